"""The daily cycle of 498 stocks with every model family: a cold process, and a warm one, stage by stage.

    python benchmarks/cycle.py [sessions]

Reads ../shared/data/us_daily_yahoo_2014_2024.parquet, or that file in QUANT_TEST_DATA, into an empty home. Kernels are
compiled by the first session, which is not counted. Then one session in a process of its own (cold: imports, kernels
read from the cache), and the rest in one process (warm). Models that are slow to fit spread their fits over a week of
sessions, so that after five of them every symbol has every model; the table of rows shows it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))


def main(sessions: int) -> None:
    """Backfill, compile, measure one cold and several warm cycles."""
    data = Path(os.environ.get("QUANT_TEST_DATA", PROJECT.parent / "shared" / "data"))
    source = data / "us_daily_yahoo_2014_2024.parquet"
    if not source.exists():
        sys.exit(f"{source} is not there: set QUANT_TEST_DATA to the folder that holds it")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["QUANT_HOME"] = folder
        os.environ["QUANT_UNIVERSE"] = "all_files"
        os.environ["QUANT_MARKET_DATA__VENDORS"] = '["files"]'
        os.environ["QUANT_MARKET_DATA__FILES__PATH"] = str(source)
        from quant_dagster.cycle import history
        from quant_dagster.cycle.context import TradingContext
        from quant_dagster.cycle.run import run_cycle

        context = TradingContext()
        history.backfill(context, context.settings.market_data.history_start)
        bars = context.lake.read("bars", columns=["session"], ordered=False)["session"]
        days = bars.unique().sort().to_list()[-sessions - 2 :]
        in_a_process(days[0])
        cold = in_a_process(days[1])
        show("cold process, kernels compiled before", cold["seconds"])
        run_cycle(context, days[2])  # imports
        warm = [run_cycle(context, day) for day in days[3:]]
        for report in warm:
            show(f"warm, {report.session}", report.seconds)
        rows = context.lake.read("forecasts", start=days[-1], end=days[-1])
        rows = rows.filter(rows["horizon"] == 1).group_by("model", "status").len().sort("model", "status")
        print(f"rows of {days[-1]}, one session ahead:")
        for model, status, count in rows.iter_rows():
            print(f"  {model:20s} {status:10s} {count}")


def in_a_process(day: object) -> dict[str, dict[str, float]]:
    """One cycle as ``quant cycle`` runs it."""
    command = [sys.executable, "-m", "quant_dagster.cli.main", "cycle", "--session", str(day), "--json"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    result: dict[str, dict[str, float]] = json.loads(done.stdout)
    return result


def show(title: str, seconds: dict[str, float]) -> None:
    """Stages over a tenth of a second, and the total."""
    stages = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items() if value >= 0.1)
    print(f"{title}: {sum(seconds.values()):.1f} s ({stages})", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
