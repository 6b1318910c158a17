"""How a peer says what it found: a line per check, exit code 1 when one failed."""

import sys
import traceback

_failed = False


def check(name, holds, found=""):
    """Prints the outcome of one check; `found` is shown when it does not hold. Returns whether it holds."""
    global _failed
    if holds:
        print(f"ok      {name}", flush=True)
    else:
        _failed = True
        print(f"FAILED  {name}: {found}", flush=True)
    return holds


def run(peer, main):
    """Runs `main`; an exception in it is a failed check of this peer."""
    try:
        main()
    except Exception as error:  # noqa: BLE001 - whatever it is, the check has failed
        traceback.print_exc()
        check(f"{peer}: to its end", False, repr(error))
    sys.exit(1 if _failed else 0)


def each(peer, cases, *arguments):
    """Runs every case, a function named by its docstring's first line; an exception in it is its failure."""
    for case in cases:
        name = f"{peer}: {case.__doc__.splitlines()[0].rstrip('.')}"
        try:
            case(*arguments)
        except Exception as error:  # noqa: BLE001 - whatever it is, the check has failed
            traceback.print_exc()
            check(name, False, repr(error)[:300])
        else:
            check(name, True)
