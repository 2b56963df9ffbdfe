"""Errors planted into real bars: how many are found, and what that costs genuine ones.

    python benchmarks/fault_injection.py [--tune] [--count 200] [--seed 20240308]

Plants each of twelve kinds of errors 200 times into the rows of one vendor (symbols N to Z; ``--tune``: A to M, on
which the detectors' thresholds were set), runs the product's screening and score with that vendor alone and with a
second vendor beside it, and prints the table of docs/data_quality.md. Reads the two daily files from ../shared/data,
or from the folder QUANT_TEST_DATA names.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from tests.unit.quality.planted_faults import KINDS, MINIMUM, Harness, Outcome, read_rows  # noqa: E402


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--tune", action="store_true", help="symbols A to M instead of N to Z")
    options.add_argument("--count", type=int, default=200, help="errors planted of each kind")
    options.add_argument("--seed", type=int, default=20240308)
    options.add_argument("--missed", action="store_true", help="list errors that were not found")
    chosen = options.parse_args()
    harness = load(chosen.tune)
    for with_other in (False, True):
        rejects = harness.clean(with_other).score < MINIMUM
        genuine, listed = harness.genuine, ~np.isnan(harness.panel.close)
        print(
            f"nothing planted, {'two vendors' if with_other else 'one vendor'}: {int((rejects & genuine).sum())} of "
            f"{int(genuine.sum())} genuine bars REJECTed, {int(rejects.sum())} of all {int(listed.sum())}"
        )
    print("| error | planted | one vendor: flagged | REJECTed | false REJECTs per 10,000 genuine "
          "| two vendors: flagged | REJECTed | false REJECTs per 10,000 genuine |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    for position, kind in enumerate(KINDS):
        outcomes = [harness.run(kind, chosen.count, chosen.seed + position, other) for other in (False, True)]
        print(f"| {kind} | {outcomes[0].planted} | " + " | ".join(cells(one) for one in outcomes) + " |", flush=True)
        if chosen.missed:
            for one in outcomes:
                print("   not found:", one.missed[:12])


def cells(outcome: Outcome) -> str:
    """Recall by flag and by rejection, and false rejections."""
    share = [f"{100.0 * found / outcome.planted:.1f} %" for found in (outcome.flagged, outcome.rejected)]
    return " | ".join([*share, f"{1e4 * outcome.false_rejects / outcome.genuine:.2f}"])


def load(tune: bool) -> Harness:
    """Both vendors' rows; the harness on one half of the alphabet."""
    folder = Path(os.environ.get("QUANT_TEST_DATA", PROJECT.parent / "shared" / "data"))
    paths = [folder / f"us_daily_{name}_2014_2024.parquet" for name in ("yahoo", "nasdaqcom")]
    for path in paths:
        if not path.exists():
            sys.exit(f"{path} is not there: set QUANT_TEST_DATA to the folder that holds it")
    home, other = (read_rows(path) for path in paths)
    names = home["symbol"].unique().sort().to_list()
    return Harness(home, other, [name for name in names if (name < "N") == tune])


if __name__ == "__main__":
    main()
