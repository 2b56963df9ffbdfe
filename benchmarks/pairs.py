"""Cointegration of every pair of 498 stocks over 500 sessions: the panel's matrix products beside statsmodels.

    python benchmarks/pairs.py [--pairs 150]

Reads ../shared/data/us_daily_yahoo_2014_2024.parquet, or that file in QUANT_TEST_DATA. The panel tests every pair in
both directions (Engle-Granger) and by Johansen, the better of three runs; statsmodels does the same for a sample of
pairs spread evenly over all (``--pairs``), and its rate is compared with the panel's in pairs a second. Agreement is of
the statistics on that sample. A day's following of the pairs is timed as well.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import polars as pl

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from quant_dagster.market_data.panel import Panel  # noqa: E402
from quant_dagster.settings import PairsSettings  # noqa: E402
from quant_dagster.storage.tables import TABLES  # noqa: E402
from quant_dagster.strategies.cointegration import cointegration_tests  # noqa: E402
from quant_dagster.strategies.pairs import pairs_at  # noqa: E402

SESSIONS = 500


def load() -> Panel:
    folder = Path(os.environ.get("QUANT_TEST_DATA", PROJECT / ".." / "shared" / "data"))
    bars = pl.read_parquet(folder / "us_daily_yahoo_2014_2024.parquet")
    return Panel.from_bars(bars.rename({"date": "session"}).with_columns(pl.col("symbol").cast(pl.String)))


def main() -> None:
    from statsmodels.tsa.stattools import coint
    from statsmodels.tsa.vector_ar.vecm import coint_johansen

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pairs", type=int, default=150, help="pairs that statsmodels tests")
    count = parser.parse_args().pairs
    warnings.simplefilter("ignore")
    panel = load()
    newest = panel.last(SESSIONS)
    complete = np.flatnonzero((newest.close > 0.0).all(axis=0) & np.isfinite(newest.close).all(axis=0))
    levels = np.log(newest.close[:, complete])
    spent = []
    for _ in range(3):
        begin = time.perf_counter()
        tests = cointegration_tests(levels)
        spent.append(time.perf_counter() - begin)
    i, j = np.triu_indices(len(complete), 1)
    chosen = np.linspace(0, len(i) - 1, count).astype(int)
    worst_adf = worst_trace = 0.0
    begin = time.perf_counter()
    for k in chosen:
        a, b = levels[:, i[k]], levels[:, j[k]]
        one, other = (coint(x, y, maxlag=1, autolag=None)[0] for x, y in ((a, b), (b, a)))
        trace = coint_johansen(np.column_stack([a, b]), 0, 1).lr1[0]
        worst_adf = max(worst_adf, abs(tests.statistic[i[k], j[k]] - one), abs(tests.statistic[j[k], i[k]] - other))
        worst_trace = max(worst_trace, abs(tests.trace[i[k], j[k]] - trace))
    library = count / (time.perf_counter() - begin)
    rate = len(i) / min(spent)
    print(
        f"{len(i):,} pairs of {len(complete)} stocks, {SESSIONS} sessions: {min(spent):.2f} s, {rate:,.0f} pairs/s   "
        f"statsmodels {library:,.0f} pairs/s   {rate / library:,.0f} x   "
        f"worst difference of the ADF statistic {worst_adf:.1e}, of the trace {worst_trace:.1e}"
    )
    settings, earlier = PairsSettings(), TABLES["pairs"].empty()
    for stop in (len(panel.sessions) - 1, len(panel.sessions)):
        begin = time.perf_counter()
        earlier = pairs_at(panel.rows(0, stop), earlier, settings)
        print(f"{earlier.height} pairs at {panel.sessions[stop - 1]}: {time.perf_counter() - begin:.2f} s")


if __name__ == "__main__":
    main()
