"""Are enough branches taken of each package that handles money? Reads a report of ``coverage json``.

    python -m tests.support.branch_coverage report.json

One line a package and one for each of its modules below the target; fails when a package is below it. Branches alone
count: pytest-cov's own limit mixes them with lines, of which there are many more.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

TARGET = 95.0
PACKAGES = ("accounting", "risk", "risk/gate", "execution")


def percent(summaries: list[dict[str, Any]]) -> float:
    """Branches taken, in percent; 0 where there is none, because then nothing was measured."""
    branches = sum(one["num_branches"] for one in summaries)
    return 100 * sum(one["covered_branches"] for one in summaries) / branches if branches else 0.0


def main(report: Path) -> int:
    files = {name: one["summary"] for name, one in json.loads(report.read_text())["files"].items()}
    below = 0
    for package in PACKAGES:
        modules = {name: one for name, one in files.items() if name.startswith(f"quant_dagster/{package}/")}
        total = percent(list(modules.values()))
        below += total < TARGET
        print(f"{'ok ' if total >= TARGET else 'LOW'} {package:<10} {total:5.1f} % of branches, {TARGET:g} % wanted")
        parts = {name: percent([one]) for name, one in modules.items() if one["num_branches"]}
        for name, taken in sorted(parts.items(), key=lambda part: part[1]):
            if taken < TARGET:
                print(f"      {taken:5.1f} %  {name}  ({modules[name]['missing_branches']} not taken)")
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
