"""Real return series for the model tests, and panels of them with real prices."""

from __future__ import annotations

from datetime import date
from functools import cache

import numpy as np
from numpy.typing import NDArray

from quant_dagster.market_data.panel import Panel

FloatArray = NDArray[np.float64]


@cache
def index_returns(name: str, count: int = 2000) -> FloatArray:
    """Newest ``count`` daily log returns of the S&P 500 or the NASDAQ, 1999 to 2018."""
    from arch.data import nasdaq, sp500

    close = {"sp500": sp500, "nasdaq": nasdaq}[name].load()["Adj Close"].to_numpy()
    return np.diff(np.log(close))[-count:]


@cache
def stock_panel(end: date = date(2020, 6, 30), sessions: int = 1201) -> Panel:
    """Twenty large US stocks, closes only, up to ``end``."""
    from skfolio.datasets import load_sp500_dataset

    prices = load_sp500_dataset()
    prices = prices.loc[: str(end)].iloc[-sessions:]
    return panel_of(prices.to_numpy(), tuple(prices.columns), prices.index.to_numpy())


def panel_of(
    closes: FloatArray, symbols: tuple[str, ...] = (), sessions: NDArray[np.datetime64] | None = None
) -> Panel:
    """A panel with closes only."""
    closes = np.asfortranarray(closes, dtype=np.float64)
    if sessions is None:
        sessions = np.busday_offset("2016-01-04", np.arange(len(closes)), roll="forward")
    absent = np.asfortranarray(np.full_like(closes, np.nan))
    return Panel(
        sessions=sessions.astype("datetime64[D]"),
        symbols=symbols or tuple(f"S{j}" for j in range(closes.shape[1])),
        open=absent,
        high=absent,
        low=absent,
        close=closes,
        volume=absent,
    )


def columns(*series: FloatArray) -> tuple[FloatArray, NDArray[np.int64]]:
    """Series of different lengths packed as the kernels take them: (returns, counts)."""
    counts = np.array([len(values) for values in series], np.int64)
    returns = np.full((int(counts.max()), len(series)), np.nan, order="F")
    for j, values in enumerate(series):
        returns[: len(values), j] = values
    return returns, counts


def stock_returns() -> FloatArray:
    """Log returns of :func:`stock_panel`, shape (1200, 20)."""
    return np.asfortranarray(np.diff(np.log(stock_panel().close), axis=0))
