"""How a session's volume spreads over its hours, learned from the sessions before it.

A curve is in fractions of the session, so that a session that closes early is learned from and traded like any other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from itertools import accumulate, pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_dagster.errors import OrderError
from quant_dagster.market_data.calendars import ExchangeCalendar
from quant_dagster.market_data.intraday.sessions import bar_end, regular, with_sessions

BINS = 78
"""Bins of a curve: five minutes each of a session of six and a half hours."""

LEAST_SESSIONS = 3
"""A symbol with fewer usable sessions is given the curve of all symbols."""

_EDGE = 0.1  # bars must reach into the first and the last tenth of a session, else its day was not loaded whole
_LEAST_MEDIAN = 0.5
_PLACES = 9


class CurveSource(StrEnum):
    """Where a curve is known from."""

    SYMBOL = "symbol"
    POOL = "pool"
    UNIFORM = "uniform"


@dataclass(frozen=True)
class VolumeCurve:
    """Shares of a session's volume in equal parts of the session; they add up to one.

    Attributes
    ----------
    shares
        Of the session's volume, one for each bin, none negative.
    source
        The symbol's own history, that of all symbols together, or nothing: then all bins are alike.
    sessions
        Sessions (of the pool: symbols times sessions) it was learned from.
    """

    shares: tuple[float, ...]
    source: CurveSource
    sessions: int

    def __post_init__(self) -> None:
        if not self.shares or min(self.shares) < 0 or abs(math.fsum(self.shares) - 1) > 1e-6:
            raise OrderError("a volume curve needs shares that are not negative and add up to one; learn it again")

    def until(self, fraction: float) -> float:
        """Share of the volume traded up to a fraction of the session; even within a bin."""
        position = min(max(fraction, 0.0), 1.0) * len(self.shares)
        whole = min(int(position), len(self.shares) - 1)
        return math.fsum(self.shares[:whole]) + self.shares[whole] * (position - whole)


def uniform(bins: int = BINS) -> VolumeCurve:
    """A curve that knows nothing: volume is even over the session."""
    return VolumeCurve((1 / bins,) * bins, CurveSource.UNIFORM, 0)


def learn(
    bars: pl.DataFrame,
    symbols: Sequence[str],
    calendar: ExchangeCalendar,
    *,
    before: date,
    sessions: int,
    bins: int = BINS,
) -> Mapping[str, VolumeCurve]:
    """The curve of each symbol, from the newest sessions before the one that trades.

    Of each bin the median of its shares over the sessions, scaled to add up to one: every session counts alike,
    however much was traded in it, and one odd session moves nothing. Where the medians hold less than half of the
    volume (a symbol that is traded a few times a session: most bins are empty most days) it is the mean. The volume
    of a bar that crosses bins is divided by time. Bars outside regular hours do not count; neither does a session
    without volume, with a bar of unknown volume, or whose bars do not reach into its first and its last tenth.

    Parameters
    ----------
    bars
        Rows of lake table ``intraday_bars`` (``vendor, symbol, session, bar_start, seconds, volume`` are read). Each
        vendor's and bar length's session counts as one: choose one of them first where there are several.
    symbols
        Whose curves are wanted.
    before
        The session that trades; nothing of it or after it is looked at.
    sessions
        At most this many of a symbol's sessions, the newest.
    bins
        Equal parts a session is divided into.

    Returns
    -------
    Mapping
        A curve for every symbol asked for: its own from three usable sessions on, else that of all symbols in
        ``bars`` together, else a uniform one; ``source`` says which.
    """
    shares = _shares_by_session(bars, calendar, before, bins)
    newest = {symbol: found[-sessions:] for symbol, found in shares.items()}
    everybody = [row for found in newest.values() for row in found]
    pool = _typical(everybody, CurveSource.POOL) if len(everybody) >= LEAST_SESSIONS else uniform(bins)
    return {
        symbol: _typical(newest[symbol], CurveSource.SYMBOL) if len(newest.get(symbol, ())) >= LEAST_SESSIONS else pool
        for symbol in symbols
    }


def _shares_by_session(
    bars: pl.DataFrame, calendar: ExchangeCalendar, before: date, bins: int
) -> dict[str, list[NDArray[np.float64]]]:
    """Shares (bins) of each usable session, oldest first, by symbol."""
    columns = ("vendor", "symbol", "bar_start", "seconds", "volume")
    rows = with_sessions(bars.select(columns), "bar_start", calendar)
    length = (pl.col("closes_at") - pl.col("opens_at")).dt.total_microseconds()
    inside = (
        rows.filter(regular() & (pl.col("session") < before))
        .with_columns(
            start=(pl.col("bar_start") - pl.col("opens_at")).dt.total_microseconds() / length,
            end=(bar_end() - pl.col("opens_at")).dt.total_microseconds() / length,
        )
        .sort("symbol", "session", "vendor", "seconds", "bar_start")
    )
    found: dict[str, list[NDArray[np.float64]]] = {}
    edges = np.linspace(0.0, 1.0, bins + 1)
    for (symbol, *_), one in inside.group_by("symbol", "session", "vendor", "seconds", maintain_order=True):
        total = one["volume"].sum()
        if one["volume"].null_count() or not total > 0 or one["start"][0] > _EDGE or one["end"][-1] < 1 - _EDGE:
            continue
        # Volume up to each bar's start and end: a line between them, flat where there is no bar.
        after = one["volume"].cast(pl.Float64).cum_sum().to_numpy()
        level = np.column_stack([np.concatenate([[0.0], after[:-1]]), after]).ravel()
        time = np.column_stack([one["start"].to_numpy(), one["end"].to_numpy()]).ravel()
        found.setdefault(str(symbol), []).append(np.diff(np.interp(edges, time, level)) / float(total))
    return found


def _typical(rows: Sequence[NDArray[np.float64]], source: CurveSource) -> VolumeCurve:
    middle = np.median(rows, axis=0)
    if middle.sum() < _LEAST_MEDIAN:
        middle = np.mean(rows, axis=0)
    # Rounded as a running total, so that what the ledger keeps is short and still adds up to one.
    total = [0.0, *(round(float(level), _PLACES) for level in accumulate(middle / middle.sum()))]
    total[-1] = 1.0
    shares = tuple(round(max(high - low, 0.0), _PLACES) for low, high in pairwise(total))
    return VolumeCurve(shares, source, len(rows))
