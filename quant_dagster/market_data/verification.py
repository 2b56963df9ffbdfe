"""Whether a load of history is complete: sessions of each symbol against the exchange calendar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from quant_dagster.market_data.calendars import Days, ExchangeCalendar
from quant_dagster.storage.lake import Lake


@dataclass(frozen=True)
class BackfillVerification:
    """Whether enough symbols have enough sessions; ``short`` names those that do not, with what they have."""

    passed: bool
    symbols: int
    symbols_with_enough: int
    sessions: int
    first: date | None
    last: date | None
    short: dict[str, int]


@dataclass(frozen=True)
class SymbolVerification:
    """Sessions of one symbol; ``missing`` are those the exchange traded between its first and its last."""

    symbol: str
    sessions: int
    first: date | None
    last: date | None
    missing: tuple[date, ...]

    @property
    def complete(self) -> bool:
        """Whether there is a bar for every session of the symbol's life."""
        return self.sessions > 0 and not self.missing


def verify_backfill(
    lake: Lake, min_symbols: int, min_sessions: int, known_on: date | None = None
) -> BackfillVerification:
    """Passed when at least ``min_symbols`` symbols have at least ``min_sessions`` bars each (known by then)."""
    bars = lake.read("bars", columns=["symbol", "session"], known_on=known_on, ordered=False)
    counts = dict(bars.group_by("symbol").len().sort("symbol").iter_rows())
    enough = sum(count >= min_sessions for count in counts.values())
    days = bars["session"].unique().sort().to_list()
    return BackfillVerification(
        passed=enough >= min_symbols,
        symbols=len(counts),
        symbols_with_enough=enough,
        sessions=len(days),
        first=days[0] if days else None,
        last=days[-1] if days else None,
        short={symbol: count for symbol, count in counts.items() if count < min_sessions},
    )


def verify_symbols(
    lake: Lake, symbols: Sequence[str], calendar: ExchangeCalendar, known_on: date | None = None
) -> list[SymbolVerification]:
    """Each symbol's bars (known by then) against the sessions of the exchange, in the order of ``symbols``."""
    bars = lake.read("bars", columns=["symbol", "session"], symbols=symbols, known_on=known_on)
    days_of = {
        str(name): group["session"].to_numpy().astype("datetime64[D]")
        for (name,), group in bars.group_by("symbol", maintain_order=True)
    }
    return [_verify(symbol, days_of.get(symbol), calendar) for symbol in symbols]


def _verify(symbol: str, days: Days | None, calendar: ExchangeCalendar) -> SymbolVerification:
    if days is None:
        return SymbolVerification(symbol, 0, None, None, ())
    first, last = days[0].astype(object), days[-1].astype(object)
    missing = np.setdiff1d(calendar.sessions(first, last), days)
    return SymbolVerification(symbol, len(days), first, last, tuple(missing.astype(object).tolist()))
