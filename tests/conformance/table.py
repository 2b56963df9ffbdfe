"""``python -m tests.conformance.table``: every rule with every broker, as one table; exit code 1 when one fails."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.conformance.brokers import HARNESSES, Harness, NotOfferedError, harness_of
from tests.conformance.desk_rules import DESK_RULES
from tests.conformance.rules import BROKER_RULES


def verdict(rule: Callable[[Harness], None], kind: type[Harness]) -> str:
    """``pass``, ``FAIL: why`` or ``not offered: why``."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with harness_of(kind, Path(folder)) as harness:
                rule(harness)
        except NotOfferedError as error:
            return f"not offered: {error}"
        except Exception as error:  # noqa: BLE001 - a rule may fail in any way, and the others are still asked
            return f"FAIL: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:90]
    return "pass"


def main() -> int:
    """Print the table."""
    names = [kind.name for kind in HARNESSES]
    print("| rule | " + " | ".join(names) + " |")
    print("|---" * (1 + len(names)) + "|")
    failed = 0
    for rule in (*BROKER_RULES, *DESK_RULES):
        found = [verdict(rule, kind) for kind in HARNESSES]
        failed += sum(one.startswith("FAIL") for one in found)
        what = (rule.__doc__ or rule.__name__).splitlines()[0]
        print(f"| {what} | " + " | ".join(found) + " |", flush=True)
    print(f"\n{failed} failed" if failed else "\nall kept")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
