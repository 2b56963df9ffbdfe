"""Vendors against each other over a range of sessions: breaks into the lake, the worst symbols into quarantine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import polars as pl

from quant_dagster.market_data import quarantine
from quant_dagster.market_data.panel import FIELDS
from quant_dagster.quality import contracts
from quant_dagster.quality.reconciliation import compared_counts, quarantine_candidates, reconcile

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext

_CONTEXT_DAYS = 45
"""Calendar days before the range that are read as well: what is a bad print shows by its neighbours."""
_QUARANTINE_DAYS = 365
_FEWEST_COMPARED = 60
"""Sessions two vendors must share within the year before a symbol is judged."""


@dataclass(frozen=True)
class Reconciled:
    """What comparing vendors came to.

    Attributes
    ----------
    compared
        Bars that two vendors both speak of, or one of them misses.
    breaks
        By class.
    quarantined
        Symbols put under quarantine now.
    """

    vendors: tuple[str, ...]
    compared: int
    breaks: dict[str, int]
    quarantined: tuple[str, ...]


def reconcile_range(context: TradingContext, start: date, end: date) -> Reconciled | None:
    """Compare the first vendor with each other one; None where there are no two vendors to compare.

    The breaks of these sessions are stored anew; symbols that stand out over the last year go into quarantine.
    """
    vendors = context.universe.vendors
    if len(vendors) < 2:
        return None
    raw = _raw(context, start - timedelta(days=_CONTEXT_DAYS), end)
    inside = pl.col("session").is_between(start, end)
    present = [name for name in vendors if (raw.filter(inside)["vendor"] == name).any()]
    if len(present) < 2:
        return None
    context.progress("reconciling vendors", 0, 1)
    rows = {name: raw.filter(pl.col("vendor") == name).drop("vendor") for name in present}
    first_day, last_day = raw["session"].min(), raw["session"].max()
    assert isinstance(first_day, date)
    assert isinstance(last_day, date)
    sessions = context.calendar.sessions(first_day, end)
    first, *others = present
    found = [reconcile(rows[first], rows[other], vendor=first, other=other, sessions=sessions) for other in others]
    breaks = pl.concat(found).filter(inside)
    compared = sum(
        sum(compared_counts(rows[first].filter(inside), rows[other].filter(inside)).values()) for other in others
    )
    stored = context.lake.read("reconciliation", columns=["session"], start=start, end=end, ordered=False)
    touched = sorted({*breaks["session"].to_list(), *stored["session"].to_list()})
    context.lake.replace("reconciliation", contracts.validate("reconciliation", breaks), touched)
    placed = _quarantine(context, last_day) if breaks.height else ()
    context.progress("reconciling vendors", 1, 1)
    counts = dict(breaks.group_by("break_class").len().sort("break_class").iter_rows())
    return Reconciled(tuple(present), compared, counts, placed)


def _quarantine(context: TradingContext, end: date) -> tuple[str, ...]:
    """Put symbols that stand out over the year up to ``end`` under quarantine; returns those that are new there."""
    start = end - timedelta(days=_QUARANTINE_DAYS)
    breaks = context.lake.read("reconciliation", symbols=context.symbols, start=start, end=end)
    raw = _raw(context, start, end)
    placed = []
    for (first, other), found in breaks.group_by(["vendor", "other"], maintain_order=True):
        ours, theirs = (raw.filter(pl.col("vendor") == name) for name in (first, other))
        compared = {symbol: n for symbol, n in compared_counts(ours, theirs).items() if n >= _FEWEST_COMPARED}
        for symbol, reason in quarantine_candidates(found, compared).select("symbol", "reason").iter_rows():
            with context.ledger.write() as connection:
                text = f"{first} against {other}: {reason}"
                if quarantine.place(connection, symbol, end, text, actor="reconciliation", at=context.now()):
                    placed.append(symbol)
    return tuple(placed)


def _raw(context: TradingContext, start: date, end: date) -> pl.DataFrame:
    return context.lake.read(
        "raw_prices",
        columns=["vendor", "symbol", "session", *FIELDS],
        symbols=context.symbols,
        start=start,
        end=end,
        where=pl.col("vendor").is_in(list(context.universe.vendors)),
        ordered=False,
    )
