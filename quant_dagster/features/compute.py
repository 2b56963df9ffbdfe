"""From a panel to every feature: ``compute``, ``latest`` and the long frame the store takes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_dagster.features.calendar import calendar_features, day_kinds
from quant_dagster.features.cross_section import market_return, percentile_rank
from quant_dagster.features.definitions import FEATURES, View, features_of
from quant_dagster.features.prices import (
    Block,
    fill_filters,
    fill_liquidity,
    fill_market,
    fill_recursions,
    fill_returns,
    fill_trend,
    fill_volatility,
    lagged,
)
from quant_dagster.market_data.panel import Panel

FloatArray = NDArray[np.float64]
_BLOCK = 16
"""Symbols worked on together: small enough for the cache, large enough to make a call cheap. Results do not depend
on it."""


@dataclass(frozen=True)
class FeatureFrame:
    """Every feature of a panel.

    Attributes
    ----------
    sessions
        ``datetime64[D]``, shape (n,).
    symbols
        m names.
    values
        float64, shape (k, m, n) in the order of ``FEATURES``; NaN is absent.
    present
        bool, shape (n, m): the symbol has a bar in the session.
    """

    sessions: NDArray[np.datetime64]
    symbols: tuple[str, ...]
    values: FloatArray
    present: NDArray[np.bool_]

    def __getitem__(self, feature: str) -> FloatArray:
        """One feature as a panel: shape (n, m), Fortran order, no copy."""
        column: FloatArray = self.values[_POSITION[feature]]
        return column.T

    @property
    def names(self) -> tuple[str, ...]:
        """The features in order."""
        return tuple(FEATURES)


_FILLS = (fill_recursions, fill_returns, fill_trend, fill_filters, fill_volatility, fill_liquidity, fill_market)
_POSITION = {name: i for i, name in enumerate(FEATURES)}


def compute(panel: Panel, exchange: str = "XNYS", threads: int | None = None) -> FeatureFrame:
    """Every feature at every session of the panel.

    A value at session T is a function of rows up to T (calendar features: of the date alone), with the same bits
    whatever rows follow. A price that is not above zero counts as absent.

    Parameters
    ----------
    panel
        n sessions by m symbols.
    exchange
        Calendar for the calendar features.
    threads
        Default: one per core. The numbers do not depend on it.
    """
    n, m = panel.close.shape
    values = np.empty((len(FEATURES), m, n))
    close = above_zero(panel.close.T)
    log_close = np.log(close)
    returns = log_close - lagged(log_close, 1)
    market = market_return(returns)
    days = day_kinds(panel.sessions, exchange)

    def fill(first: int) -> None:
        rows = slice(first, first + _BLOCK)
        high, low = above_zero(panel.high.T[rows]), above_zero(panel.low.T[rows])
        block = Block(
            high=high,
            low=low,
            close=close[rows],
            volume=np.ascontiguousarray(panel.volume.T[rows]),
            log_open=np.log(above_zero(panel.open.T[rows])),
            log_high=np.log(high),
            log_low=np.log(low),
            log_close=log_close[rows],
            returns=returns[rows],
            market=market,
            days=days,
        )
        out = {name: values[i, rows] for name, i in _POSITION.items()}
        with np.errstate(invalid="ignore", divide="ignore"):
            for fill_some in _FILLS:
                fill_some(block, out)

    def rank(ranked: str) -> None:
        percentile_rank(values[_POSITION[ranked]], values[_POSITION[f"rank_{ranked}"]])

    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        list(pool.map(fill, range(0, m, _BLOCK)))
        list(pool.map(rank, (name.removeprefix("rank_") for name in FEATURES if name.startswith("rank_"))))
    for name, column in calendar_features(panel.sessions, exchange).items():
        values[_POSITION[name]] = column
    return FeatureFrame(sessions=panel.sessions, symbols=panel.symbols, values=values, present=~np.isnan(close).T)


def above_zero(prices: FloatArray) -> FloatArray:
    """A C-ordered copy with NaN in place of what is not above zero."""
    return np.ascontiguousarray(np.where(prices > 0.0, prices, np.nan))


def to_long(features: FeatureFrame, sessions: slice = slice(None), names: Sequence[str] | None = None) -> pl.DataFrame:
    """Rows (symbol, session, features…) for every bar in a range of sessions, by session and symbol.

    Parameters
    ----------
    features
        What ``compute`` returned.
    sessions
        Positions of the sessions wanted, e.g. ``slice(-20, None)``.
    names
        Features wanted; default all. Absent values are null.
    """
    present = features.present[sessions]
    rows, columns = np.nonzero(present)
    days = features.sessions[sessions]
    chosen = tuple(names) if names is not None else features.names
    data: dict[str, pl.Series] = {
        "symbol": pl.Series(np.array(features.symbols, dtype=object)[columns], dtype=pl.String),
        "session": pl.Series(days[rows]).cast(pl.Date),
    }
    for name in chosen:
        data[name] = pl.Series(features[name][sessions][rows, columns], nan_to_null=True)
    return pl.DataFrame(data)


def latest(panel: Panel, exchange: str = "XNYS") -> pl.DataFrame:
    """The long frame of the panel's newest session, from its whole history."""
    return to_long(compute(panel, exchange), slice(-1, None))


def view_columns(view: View) -> list[str]:
    """Names of a view's features, in order."""
    return [feature.name for feature in features_of(view)]
