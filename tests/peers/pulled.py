"""What `smallbrain pull`, `scan --json` and `read --json` printed. Usage:

    pulled.py arrived FILE EXPECTED                     there is a reading of each value that is expected
    pulled.py exact FILE EXPECTED                       a check for each, all readings of it exactly as expected
    pulled.py quality FILE DEVICE METRIC QUALITY        the last reading of the device's metric has this QUALITY
    pulled.py rising FILE DEVICE METRIC LEAST           at least LEAST readings, each above the one before
    pulled.py goes-on FIRST SECOND                      the second file begins at the record after the first one's last
    pulled.py found FILE "ADDRESS DEVICE, …"            the scan was complete and found exactly these
    pulled.py one FILE VALUE                            one value was read, and it is this
"""

import json
import sys
from collections import defaultdict
from decimal import Decimal

from checks import check


def lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def rows(path):
    """All readings by (device, metric), in the order of positions."""
    found = defaultdict(list)
    for row in (row for line in lines(path) if "body" in line for row in line["body"].get("readings", [])):
        found[row["device"], row["metric"]].append(row)
    return found


def value(text):
    """Numbers are exact decimals as text, flags are JSON's."""
    return text if isinstance(text, bool) else Decimal(text)


def expectations(path):
    """(device, metric) and the value; None where no reading may come."""
    words = {"true": True, "false": False, "-": None}
    with open(path, encoding="utf-8") as file:
        for device, metric, text in (line.split() for line in file if not line.startswith("#")):
            yield (device, metric), words[text] if text in words else Decimal(text)


def arrived(path, expected):
    found = rows(path)
    missing = [" ".join(key) for key, wanted in expectations(expected) if wanted is not None and key not in found]
    assert not missing, f"no reading yet of {', '.join(missing)}"


def exact(path, expected):
    found = rows(path)
    for key, wanted in expectations(expected):
        values = [value(row["value"]) for row in found[key]]
        name = f"pull: {' '.join(key)} is {wanted}" if wanted is not None else f"pull: {' '.join(key)} has no reading"
        good = all(type(one) is type(wanted) and one == wanted for one in values) and bool(values) == (wanted is not None)
        check(name, good, f"{len(values)} readings, {sorted(set(values))[:5]}")


def quality(path, device, metric, wanted):
    found = rows(path)[device, metric]
    assert found and found[-1]["quality"] == wanted, f"{found[-1:]}, wanted {wanted}"


def rising(path, device, metric, least):
    found = [value(row["value"]) for row in rows(path)[device, metric]]
    assert len(found) >= int(least), f"{len(found)} readings of {device} {metric}, wanted {least}"
    assert all(a < b for a, b in zip(found, found[1:])), f"{found[:20]}"


def goes_on(first, second):
    before, after = ([line["seq"] for line in lines(path) if "seq" in line] for path in (first, second))
    assert before and after, f"{len(before)} and {len(after)} records"
    both = before + after
    assert both == list(range(both[0], both[0] + len(both))), f"{before} then {after}"


def found(path, expected):
    *meters, summary = lines(path)
    assert summary["complete"], summary
    told = ", ".join(f"{meter['address']} {meter['device']}" for meter in meters)
    assert told == expected, told


def one(path, expected):
    [answer] = lines(path)
    assert [row["value"] for row in answer["values"]] == [expected], answer


COMMANDS = {"arrived": arrived, "exact": exact, "quality": quality, "rising": rising, "goes-on": goes_on, "found": found, "one": one}
try:
    COMMANDS[sys.argv[1]](*sys.argv[2:])
except AssertionError as error:
    sys.exit(str(error))
