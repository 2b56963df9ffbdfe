"""Panic conditions: signs in the newest fills, quotes and errors that something is wrong with the market or the desk.

Every condition looks at a sliding window: an observation counts at ``now`` if it is younger than ``window_seconds`` and
not from the future, ``now - window < at <= now``. Observations may arrive late and in any order; what was observed,
not when it was heard of, decides. A condition holds when its value is above its limit; at the limit it does not.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import fmean, median
from typing import Any

from quant_dagster.errors import RiskError
from quant_dagster.risk.control import ControlMode
from quant_dagster.settings import PanicConditionSettings, PanicSettings

MOST_KEPT = 10_000
"""Newest observations kept of fills, of errors, and of each symbol's quotes."""
USUAL_WINDOWS = 12
"""How many windows before the newest one tell what a spread usually is."""


@dataclass(frozen=True)
class PanicCondition:
    """A condition that holds: its name, the reason code, what was seen, what is allowed, and what to escalate to."""

    name: str
    code: str
    value: float
    limit: float
    mode: ControlMode
    reason: str


@dataclass
class _Series:
    """Observations in the order of their times; of equal times, in the order they came."""

    times: list[datetime] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def add(self, at: datetime, value: Any) -> None:
        place = bisect_right(self.times, at)
        self.times.insert(place, at)
        self.values.insert(place, value)
        del self.times[:-MOST_KEPT], self.values[:-MOST_KEPT]

    def between(self, after: datetime, until: datetime) -> list[Any]:
        """Values with ``after < at <= until``."""
        return self.values[bisect_right(self.times, after) : bisect_right(self.times, until)]


class Panic:
    """Observations go in, conditions come out. It knows no clock and no ledger.

    Parameters
    ----------
    settings
        Windows, limits, least observations and modes.
    """

    def __init__(self, settings: PanicSettings) -> None:
        self._settings = settings
        self._fills = _Series()
        self._errors = _Series()
        self._quotes: dict[str, _Series] = {}
        self._watched: frozenset[str] = frozenset()

    def fill(self, at: datetime, symbol: str, slippage_bps: float) -> None:
        """A fill was this much worse than its reference price, in basis points (better: negative).

        Raises
        ------
        RiskError
            The slippage is not a finite number.
        """
        if not math.isfinite(slippage_bps):
            raise RiskError(
                f"slippage of {symbol} at {at.isoformat()} is {slippage_bps}: give the fill's real slippage"
            )
        self._fills.add(at, slippage_bps)

    def quote(self, at: datetime, symbol: str, bid: float, ask: float) -> None:
        """The best bid and ask of a watched symbol. One that cannot be (not positive, crossed) is no quote."""
        if symbol in self._watched and 0 < bid <= ask < math.inf:
            self._quotes.setdefault(symbol, _Series()).add(at, (ask - bid) / (0.5 * (ask + bid)))

    def error(self, at: datetime, service: str) -> None:
        """A request to a broker or vendor failed."""
        self._errors.add(at, service)

    def watched(self, symbols: Iterable[str]) -> None:
        """Say, before the first quote, which symbols must have them; those of others are not kept."""
        self._watched = frozenset(symbols)
        self._quotes = {symbol: series for symbol, series in self._quotes.items() if symbol in self._watched}

    def conditions(self, now: datetime) -> list[PanicCondition]:
        """The conditions that hold at ``now``, always in the order slippage, stale quotes, spread, errors."""
        settings = self._settings
        judged = [
            _Judged("slippage", settings.slippage, *self._slippage(settings.slippage, now)),
            _Judged("stale_quotes", settings.stale_quotes, *self._stale(settings.stale_quotes, now)),
            _Judged("spread", settings.spread, *self._spread(settings.spread, now)),
            _Judged("errors", settings.errors, *self._error_count(settings.errors, now)),
        ]
        return [one.condition() for one in judged if one.holds()]

    def _slippage(self, settings: PanicConditionSettings, now: datetime) -> tuple[int, float, str]:
        seen = self._fills.between(*_window(settings, now))
        mean = fmean(seen) if seen else 0.0
        return len(seen), mean, f"mean slippage of {len(seen)} fills is {mean:.1f} bps"

    def _stale(self, settings: PanicConditionSettings, now: datetime) -> tuple[int, float, str]:
        """Judged where enough symbols are watched: the less is quoted, the more it must be judged."""
        after, until = _window(settings, now)
        watched = len(self._watched)
        stale = sorted(s for s in self._watched if s not in self._quotes or not self._quotes[s].between(after, until))
        named = ", ".join(stale[:5]) + (", ..." if len(stale) > 5 else "")
        share = len(stale) / watched if watched else 0.0
        return watched, share, f"{len(stale)} of {watched} symbols have no quote ({named})"

    def _spread(self, settings: PanicConditionSettings, now: datetime) -> tuple[int, float, str]:
        """Each symbol's median spread over its usual one, and the median of those.

        The usual spread is the median of the `USUAL_WINDOWS` windows before the newest one, which has no part in its
        own yardstick. A symbol is judged with ``least`` quotes in both; one whose usual spread is nothing is not.
        """
        after, until = _window(settings, now)
        begin = after - USUAL_WINDOWS * timedelta(seconds=settings.window_seconds)
        ratios = []
        for series in self._quotes.values():
            newest, before = series.between(after, until), series.between(begin, after)
            if min(len(newest), len(before)) >= settings.least and median(before) > 0:
                ratios.append(median(newest) / median(before))
        # `least` was asked of each symbol; one that passed is enough.
        value = median(ratios) if ratios else 0.0
        return (
            settings.least,
            value,
            f"spreads are {value:.1f} times their usual ones (median of {len(ratios)} symbols)",
        )

    def _error_count(self, settings: PanicConditionSettings, now: datetime) -> tuple[int, float, str]:
        counts = Counter(self._errors.between(*_window(settings, now)))
        named = ", ".join(f"{service} {count}" for service, count in sorted(counts.items()))
        return counts.total(), float(counts.total()), f"{counts.total()} requests failed ({named})"


@dataclass(frozen=True)
class _Judged:
    name: str
    settings: PanicConditionSettings
    observations: int
    value: float
    seen: str

    def holds(self) -> bool:
        enough = self.observations >= self.settings.least
        return self.settings.enabled and enough and self.value > self.settings.limit

    def condition(self) -> PanicCondition:
        mode = ControlMode[self.settings.mode]
        reason = f"{self.seen} within {self.settings.window_seconds:g} s, allowed are {self.settings.limit:g}"
        return PanicCondition(self.name, f"panic_{self.name}", self.value, self.settings.limit, mode, reason)


def _window(settings: PanicConditionSettings, now: datetime) -> tuple[datetime, datetime]:
    return now - timedelta(seconds=settings.window_seconds), now
