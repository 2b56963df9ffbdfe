"""The whole of it for a range of sessions: what vendors report, what prices show, who confirms whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from quant_dagster.market_data.calendars import ExchangeCalendar
from quant_dagster.market_data.corporate_actions.actions import ActionsReport, Guard, actions_known, load_reported
from quant_dagster.market_data.corporate_actions.adjustment import adjusted, treatments, unadjusted
from quant_dagster.market_data.corporate_actions.confirmation import confirm, effective
from quant_dagster.market_data.corporate_actions.inference import InferenceReport, infer, record_confirmations
from quant_dagster.market_data.corporate_actions.levels import PriceLevel
from quant_dagster.market_data.ingest import Contract, Progress
from quant_dagster.storage.lake import Lake

_MARGIN_DAYS = 10


@dataclass(frozen=True)
class Refreshed:
    """What was loaded, what was inferred, and the confirmation report over the stored actions."""

    reported: list[ActionsReport]
    inferred: InferenceReport
    confirmation: pl.DataFrame


@dataclass(frozen=True)
class Series:
    """A symbol's prices at a level, with the actions that made them.

    Attributes
    ----------
    bars
        symbol, session, open .. volume, factor.
    treatments
        See `adjustment.treatments`; spin-offs are flagged there.
    """

    vendor: str
    bars: pl.DataFrame
    treatments: pl.DataFrame


def refresh(
    lake: Lake,
    vendors: Sequence[Any],
    levels: Mapping[str, PriceLevel],
    symbols: Sequence[str],
    start: date,
    end: date,
    *,
    guards: Mapping[str, Guard],
    calendar: ExchangeCalendar,
    now: datetime,
    contract: Contract,
    progress: Progress | None = None,
) -> Refreshed:
    """Load reported actions of ``start`` to ``end``, infer from every stored price, and confirm."""
    reported = load_reported(
        lake, vendors, symbols, start, end, guards=guards, now=now, contract=contract, progress=progress
    )
    inferred = infer(lake, levels, symbols, calendar=calendar, now=now, contract=contract)
    return Refreshed(reported, inferred, confirmation_report(lake, calendar, symbols, record=True))


def confirmation_report(
    lake: Lake, calendar: ExchangeCalendar, symbols: Sequence[str] | None = None, *, record: bool = False
) -> pl.DataFrame:
    """Every stored action with its status; with ``record``, who confirms is stored too."""
    stored = actions_known(lake, symbols)
    if stored.is_empty():
        return confirm(stored, calendar.sessions(date(2000, 1, 3), date(2000, 1, 31)))
    first, last = stored["session"].min(), stored["session"].max()
    assert isinstance(first, date)
    assert isinstance(last, date)
    margin = timedelta(days=_MARGIN_DAYS)
    sessions = calendar.sessions(first - margin, last + margin)
    return record_confirmations(lake, sessions, symbols) if record else confirm(stored, sessions)


def series(
    lake: Lake,
    symbols: Sequence[str],
    mode: PriceLevel,
    vendor: str,
    level: PriceLevel,
    vendors: Sequence[str] = (),
    *,
    start: date | None = None,
    end: date | None = None,
    known_on: date | None = None,
) -> Series:
    """A vendor's stored prices at the level wanted, by the stored actions.

    Parameters
    ----------
    vendor, level
        Whose rows of ``raw_prices``, and what they are adjusted for.
    vendors
        Priority of those who report actions.
    start, end
        Sessions of the answer. Ex-dates after ``end`` do not count: the last price stands as it was.
    known_on
        Prices and actions as they were known at the end of that day.
    """
    last = min(day for day in (end, known_on) if day is not None) if end or known_on else None
    wanted = pl.col("vendor") == vendor
    columns = ["symbol", "session", "open", "high", "low", "close", "volume"]
    prices = lake.read("raw_prices", columns=columns, symbols=symbols, end=last, where=wanted, known_on=known_on)
    actions = effective(actions_known(lake, symbols, end=last, known_on=known_on), vendors)
    bars = adjusted(prices, actions, mode, level)
    if start is not None:
        bars = bars.filter(pl.col("session") >= start)
    return Series(vendor, bars, treatments(unadjusted(prices, actions, level), actions))
