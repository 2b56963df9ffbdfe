"""Training the learned model on 498 stocks, and asking it for one session.

    python benchmarks/learned.py [--workers 2]

Reads ../shared/data/us_daily_yahoo_2014_2024.parquet, or that file in QUANT_TEST_DATA. One training is five folds, each
with screening, generated features, trees for the selection, permutation of 60 features and trees for the test, and the
final trees. What the model was worth out of sample is printed as it is.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import polars as pl

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from benchmarks.measuring import stock_panel  # noqa: E402
from quant_dagster.forecasting.learned.boosting import predict, train, training_rows  # noqa: E402
from quant_dagster.forecasting.parameters import ForecastParameters  # noqa: E402

ENDS = ("2018-12-31", "2020-12-31", "2024-03-08")


def main() -> None:
    """Train at three sessions, years apart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    workers = parser.parse_args().workers
    panel, settings = stock_panel(), ForecastParameters()
    rows = training_rows(settings)
    predict(train(panel.last(rows), settings, workers), panel.last(rows), settings.exchange)  # compiles
    for end in ENDS:
        stop = int(panel.sessions.searchsorted(pl.Series([end]).str.to_date().to_numpy()[0], side="right"))
        known = panel.rows(0, stop).last(rows)
        started, used = time.perf_counter(), time.process_time()
        trained = train(known, settings, workers)
        seconds, processor = time.perf_counter() - started, time.process_time() - used
        started = time.perf_counter()
        predict(trained, known, settings.exchange, workers)
        asked = time.perf_counter() - started
        print(
            f"{end}: trained on {len(known.symbols)} symbols x {trained.sessions} sessions in {seconds:.1f} s "
            f"({processor:.1f} s of processor), asked in {asked:.2f} s; rank correlation "
            f"{trained.information_coefficient:+.4f} (t {trained.ic_t:+.1f}) over {trained.unseen} unseen sessions, "
            f"slope {trained.slope:.4f} of {trained.raw_slope:+.4f}"
        )


if __name__ == "__main__":
    main()
