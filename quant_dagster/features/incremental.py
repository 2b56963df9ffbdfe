"""The features of one new session from what is already known: the same bits as ``compute``, without the history.

A ``FeatureState`` is built from a panel once and takes one session after the other. ``advanced`` brings a state up to
a panel, and builds it anew where it does not fit: other symbols, another calendar, sessions in between, or a history
that was restated within the sessions that are kept. ``latest_values`` is for a process that has no state.

The compiled pass is in ``one_session``.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import numpy as np
from numpy.typing import NDArray

from quant_dagster.errors import MalformedDataError
from quant_dagster.features import decomposition, recursive
from quant_dagster.features.calendar import calendar_features, day_kinds
from quant_dagster.features.compute import above_zero
from quant_dagster.features.cross_section import market_return, ranks_from_order
from quant_dagster.features.definitions import FEATURES, View, features_of
from quant_dagster.features.one_session import take_session
from quant_dagster.features.prices import lagged
from quant_dagster.features.session_layout import DEPTH, EQUALS, PRESENTS, SERIES, WORK_ROWS
from quant_dagster.market_data.panel import FIELDS, Panel

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Day = date | np.datetime64

_NAMES = tuple(FEATURES)
_TRENDS = slice(_NAMES.index("ewma_trend_10"), _NAMES.index("ewma_trend_10") + 3)
_RANKED = [name for name in _NAMES if name.startswith("rank_")]
_RANKS = slice(_NAMES.index(_RANKED[0]), _NAMES.index(_RANKED[-1]) + 1)
_SOURCES = np.array([_NAMES.index(name.removeprefix("rank_")) for name in _RANKED])
_CALENDAR = tuple(feature.name for feature in features_of(View.CALENDAR))
_DATES = slice(_NAMES.index(_CALENDAR[0]), _NAMES.index(_CALENDAR[-1]) + 1)
_LEAD = 16
"""Sessions before the kept ones that the oldest derived series look back to."""
_BLOCK = 16
_SMALLEST = 1e-300
"""Stands for prices that are not above 0 while logarithms are taken; the compiled pass leaves those out."""


class FeatureState:
    """What the features of the next session depend on, for the symbols of one panel.

    Attributes
    ----------
    symbols
        m names: the columns of bars and values.
    exchange
        Calendar of the calendar features.
    session
        The newest session taken in.
    """

    def __init__(self, symbols: tuple[str, ...], exchange: str = "XNYS") -> None:
        m = len(symbols)
        self.symbols = symbols
        self.exchange = exchange
        self.session = np.datetime64("0001-01-01", "D")
        self._newest = -1
        self._ring = np.full((SERIES, 2 * DEPTH * m), np.nan)
        self._bars = np.full((DEPTH, 5, m), np.nan)
        self._equal = np.zeros((EQUALS, m), dtype=np.int64)
        self._present = np.zeros((PRESENTS, m), dtype=np.int64)
        self._recursions = np.zeros((m, recursive.STATE_SIZE))
        self._seasons = np.zeros((m, decomposition.STATE_SIZE))
        self._logs = np.empty((4, m))
        self._dates: dict[np.datetime64, tuple[FloatArray, IntArray]] = {}

    @classmethod
    def of(cls, panel: Panel, exchange: str = "XNYS", threads: int | None = None) -> FeatureState:
        """The state after the last session of ``panel``: recursions over all of it, windows over its tail."""
        state = cls(panel.symbols, exchange)
        n, m = panel.close.shape
        if n == 0:
            return state
        high, low, close = (above_zero(getattr(panel, field).T) for field in ("high", "low", "close"))
        log_close = np.log(close)
        returns = log_close - lagged(log_close, 1)
        days = day_kinds(panel.sessions, exchange)
        none = np.empty((len(recursive.RESULTS), 0, 0))

        def recur(first: int) -> None:
            rows = slice(first, first + _BLOCK)
            recursive.advance_all(
                state._recursions[rows], high[rows], low[rows], close[rows], log_close[rows], none, 0
            )  # fmt: skip
            decomposition.take_returns(state._seasons[rows], returns[rows], days, none, 0)

        with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
            list(pool.map(recur, range(0, m, _BLOCK)))
        first = max(0, n - DEPTH - _LEAD)
        market = market_return(returns[:, first:])
        tail = np.stack([np.ascontiguousarray(getattr(panel, field)[first:]) for field in FIELDS], axis=1)
        work = np.empty((WORK_ROWS, m))
        for t in range(n - first):
            # The oldest return of the tail is absent in the ring and present in the panel: within the lead.
            state._take(tail[t], days[first + t], float(market[t]), work, history=True)
        state.session = panel.sessions[-1].astype("datetime64[D]")
        return state

    def update(self, session: Day, bars: FloatArray, market: float | None = None) -> FloatArray:
        """Take the bars of the next session in and return its features, (k, m), in the order of ``FEATURES``.

        Bit for bit the last column of ``compute`` over the panel with this session appended.

        Parameters
        ----------
        session
            After ``self.session``.
        bars
            Open, high, low, close, volume of each symbol, (5, m); NaN is absent, also for a symbol without a bar or
            not yet listed.
        market
            Mean log return of the whole market, for a state of some of its symbols; default: that of these symbols.

        Raises
        ------
        MalformedDataError
            The session does not follow, or there are other symbols than the state's. The state is as before.
        """
        day = np.datetime64(session, "D")  # type: ignore[call-overload]  # of either type
        if not day > self.session:
            raise MalformedDataError(
                f"features: session {day} does not follow {self.session}, the newest taken in: build the state anew "
                "with FeatureState.of when history was restated"
            )
        if bars.shape != (5, len(self.symbols)):
            raise MalformedDataError(
                f"features: bars have the shape {bars.shape}, the state has {len(self.symbols)} symbols, so "
                f"(5, {len(self.symbols)}) was expected: build the state anew when symbols come or go"
            )
        row, kinds = self._date(day)
        work = np.empty((WORK_ROWS, len(self.symbols)))
        values = work[: len(_NAMES)]
        self._take(np.ascontiguousarray(bars, np.float64), kinds, math.inf if market is None else market, work)
        trends = values[_TRENDS]
        np.log(trends, out=trends)
        if len(self.symbols) > 1:
            ranked = values[_SOURCES]
            ranks = np.empty((len(self.symbols), len(_RANKED)))
            ranks_from_order(ranked, np.argsort(ranked, axis=1), ranks)
            values[_RANKS] = ranks.T
        values[_DATES] = row
        self.session = day
        return values

    def one(self, symbol: str) -> FeatureState:
        """A state of one symbol, with the market's history; its ranks are absent.

        Given the market's return with each update, every other feature is that of the whole panel.
        """
        if symbol not in self.symbols:
            raise MalformedDataError(f"features: {symbol} is not among the {len(self.symbols)} symbols of the state")
        m, j = len(self.symbols), self.symbols.index(symbol)
        state = FeatureState((symbol,), self.exchange)
        state.session, state._newest, state._dates = self.session, self._newest, self._dates
        state._ring[:] = self._ring[:, j::m]
        for name in ("_bars", "_equal", "_present"):
            getattr(state, name)[:] = getattr(self, name)[..., [j]]
        state._recursions[:], state._seasons[:] = self._recursions[[j]], self._seasons[[j]]
        return state

    def fits(self, panel: Panel, exchange: str) -> bool:
        """Whether the panel is this state's history and one further session."""
        n = len(panel.sessions)
        if panel.symbols != self.symbols or exchange != self.exchange or n < 2 or panel.sessions[-2] != self.session:
            return False
        kept = min(n - 1, DEPTH)
        rows = (self._newest - np.arange(kept)) % DEPTH
        for i, field in enumerate(FIELDS):
            history = getattr(panel, field)[n - 1 - kept : n - 1][::-1]
            if not np.array_equal(history, self._bars[rows, i], equal_nan=True):
                return False
        return True

    def _take(
        self, bars: FloatArray, kinds: IntArray, market: float, values: FloatArray, history: bool = False
    ) -> None:
        self._newest = (self._newest + 1) % DEPTH
        self._bars[self._newest] = bars
        np.maximum(bars[:4], _SMALLEST, out=self._logs)
        np.log(self._logs, out=self._logs)
        take_session(
            self._ring, self._newest, bars, self._logs, kinds, market, self._equal, self._present, self._recursions,
            self._seasons, values, history,
        )  # fmt: skip

    def _date(self, day: np.datetime64) -> tuple[FloatArray, IntArray]:
        """Calendar features, (6, 1), and kinds of a day; a year's days are looked up together."""
        known = self._dates.get(day)
        if known is not None:
            return known
        days = day + np.arange(366).astype("timedelta64[D]")
        features = calendar_features(days, self.exchange)
        table = np.stack([features[name] for name in _CALENDAR], axis=1)
        kinds = day_kinds(days, self.exchange)
        for i in range(len(days)):
            self._dates[days[i]] = (table[i][:, None].copy(), kinds[i].copy())
        return self._dates[day]


def advanced(
    state: FeatureState | None, panel: Panel, exchange: str = "XNYS", threads: int | None = None
) -> tuple[FeatureState, FloatArray]:
    """The state after the panel's last session, and that session's features, (k, m).

    ``state`` is carried on (and changed) where the panel is its history and one session more; else a new one is
    built. What is compared: symbols in their order, the sessions, and every field of the newest 256 sessions. A
    restatement further back, which only the recursions remember, does not show: pass None after one.
    """
    if len(panel.sessions) == 0:
        raise MalformedDataError("features: the panel has no session, so there is no newest one")
    if state is None or not state.fits(panel, exchange):
        state = FeatureState.of(panel.rows(0, len(panel.sessions) - 1), exchange, threads)
    bars = np.stack([getattr(panel, field)[-1] for field in FIELDS])
    return state, state.update(panel.sessions[-1], bars)


def latest_values(panel: Panel, exchange: str = "XNYS", threads: int | None = None) -> FloatArray:
    """Features of the panel's last session, (k, m): the last column of ``compute``, bit for bit, at less cost."""
    return advanced(None, panel, exchange, threads)[1]
