"""What `smallbrain pull` printed. Usage:

    pulled.py readings FILE DEVICE METRIC VALUE LEAST   at least LEAST readings of the device's metric, all of this VALUE
    pulled.py rising FILE DEVICE METRIC LEAST           at least LEAST, each above the one before
    pulled.py goes-on FIRST SECOND                      the second file begins at the record after the first one's last
"""

import json
import sys
from decimal import Decimal


def lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def values(path, device, metric):
    """In the order of positions; numbers are exact decimals as text."""
    rows = [row for line in lines(path) if "body" in line for row in line["body"].get("readings", [])]
    return [Decimal(row["value"]) for row in rows if (row["device"], row["metric"]) == (device, metric)]


def readings(path, device, metric, value, least):
    found = values(path, device, metric)
    assert len(found) >= int(least), f"{len(found)} readings of {device} {metric}, wanted {least}"
    assert set(found) == {Decimal(value)}, f"{sorted(set(found))[:5]}, wanted {value}"


def rising(path, device, metric, least):
    found = values(path, device, metric)
    assert len(found) >= int(least), f"{len(found)} readings of {device} {metric}, wanted {least}"
    assert all(a < b for a, b in zip(found, found[1:])), f"{found[:20]}"


def goes_on(first, second):
    before, after = ([line["seq"] for line in lines(path) if "seq" in line] for path in (first, second))
    assert before and after, f"{len(before)} and {len(after)} records"
    both = before + after
    assert both == list(range(both[0], both[0] + len(both))), f"{before} then {after}"


COMMANDS = {"readings": readings, "rising": rising, "goes-on": goes_on}
try:
    COMMANDS[sys.argv[1]](*sys.argv[2:])
except AssertionError as error:
    sys.exit(str(error))
