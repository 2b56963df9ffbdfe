"""From a vendor into the lake, and from the lake to the panel: the only way prices get in and out.

Everything is worked out before anything is written: an error leaves the lake as it was, and a load that was
interrupted is simply run again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_dagster.errors import DataUnavailableError
from quant_dagster.market_data.calendars import ExchangeCalendar
from quant_dagster.market_data.panel import FIELDS, Panel
from quant_dagster.market_data.screening import rejected_summary, screen
from quant_dagster.market_data.universe import Universe
from quant_dagster.market_data.vendor_choice import REACH_DAYS, choose
from quant_dagster.market_data.vendors.protocol import Vendor, VendorAnswer
from quant_dagster.storage.lake import Lake
from quant_dagster.storage.tables import TABLES, TIMESTAMP

Contract = Callable[[str, pl.DataFrame], pl.DataFrame]
"""Checks a frame against the contract of a lake table: ``quality.contracts.validate``."""

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many steps are done, and how many there are."""

_STEPS = ("asking the vendor", "screening", "checking the contract", "storing", "stored")


@dataclass(frozen=True)
class IngestReport:
    """What a load did.

    Attributes
    ----------
    rows
        Fit rows the vendor gave: ``inserted + updated + unchanged``.
    restated
        Stored rows whose values the vendor has changed since; they count as known from now on.
    rejected
        Refused rows by reason.
    missing_symbols
        Symbols the vendor had nothing for.
    """

    vendor: str
    source: str
    rows: int
    inserted: int
    updated: int
    unchanged: int
    rejected: dict[str, int]
    restated: int
    missing_symbols: tuple[str, ...]
    lake_version: int


@dataclass(frozen=True)
class BarsReport:
    """What building bars did.

    ``stand_ins`` are rows of a lesser vendor where the first one missed the session, ``adjusted`` of them multiplied
    to its level; ``unconfirmed`` are changes of a symbol's home vendor between unlike levels.
    """

    rows: int
    inserted: int
    updated: int
    unchanged: int
    stand_ins: int
    refused_stand_ins: int
    adjusted: int
    unconfirmed: int
    lake_version: int


def ingest(
    lake: Lake,
    vendor: Vendor,
    symbols: Sequence[str],
    start: date,
    end: date,
    *,
    calendar: ExchangeCalendar,
    now: datetime,
    contract: Contract,
    progress: Progress | None = None,
) -> IngestReport:
    """Ask a vendor and store its answer: see `store_answer`.

    Raises
    ------
    DataUnavailableError, MalformedDataError, VendorError
        The vendor has nothing, its answer cannot be read, or it could not be asked. Nothing was written.
    """
    if progress is not None:
        progress(_STEPS[0], 0, len(_STEPS) - 1)
    answer = vendor.daily_bars(symbols, start, end)
    return store_answer(lake, answer, start, end, calendar=calendar, now=now, contract=contract, progress=progress)


def store_answer(
    lake: Lake,
    answer: VendorAnswer,
    start: date,
    end: date,
    *,
    calendar: ExchangeCalendar,
    now: datetime,
    contract: Contract,
    progress: Progress | None = None,
) -> IngestReport:
    """Put a vendor's rows into ``raw_prices``, and those refused into ``rejected_rows``.

    A row counts as known from the close of its session, or from the time the vendor states. A row that differs
    from the one stored for its key is a restatement and counts as known from ``now``, unless the vendor states
    another time.

    Parameters
    ----------
    start, end
        What the vendor was asked for.
    now
        The present (aware): sessions not closed by then are refused.
    contract
        ``quality.contracts.validate``.

    Raises
    ------
    ContractError
        The rows break the table's contract; nothing was written.
    """

    def report(step: int) -> None:
        if progress is not None:
            progress(_STEPS[step], step, len(_STEPS) - 1)

    report(1)
    rows, rejected = screen(answer, calendar, now)
    rows, restated = _date_restatements(lake, rows, answer.vendor, start, end, now)
    report(2)
    rows = contract("raw_prices", rows)
    rejected = contract("rejected_rows", rejected)
    report(3)
    commit = lake.merge("raw_prices", rows)
    lake.merge("rejected_rows", rejected, ignore=("known_at",))
    report(4)
    return IngestReport(
        vendor=answer.vendor,
        source=answer.source,
        rows=rows.height,
        inserted=commit.inserted,
        updated=commit.updated,
        unchanged=commit.unchanged,
        rejected=rejected_summary(rejected),
        restated=restated,
        missing_symbols=answer.missing_symbols,
        lake_version=commit.version,
    )


def build_bars(
    lake: Lake, universe: Universe, start: date, end: date, *, contract: Contract | None = None
) -> BarsReport:
    """Make the bars of ``start`` to ``end``, both included, from the raw prices of the universe's vendors.

    See ``vendor_choice`` for whose row is taken. Nothing changes, and no version is made, when the raw prices
    have not changed.
    """
    symbols = None if universe.symbols == "all" else universe.symbol_names()
    reach = start - timedelta(days=REACH_DAYS)
    raw = lake.read("raw_prices", symbols=symbols, start=reach, end=end, ordered=False)
    choice = choose(raw, universe.vendors, start)
    bars = choice.rows.select(list(TABLES["bars"].schema))
    if bars.is_empty():
        raise DataUnavailableError(
            f"universe '{universe.name}'", ", ".join(universe.vendors), start, end, "load raw prices first"
        )
    commit = lake.merge("bars", bars if contract is None else contract("bars", bars))
    return BarsReport(
        rows=bars.height,
        inserted=commit.inserted,
        updated=commit.updated,
        unchanged=commit.unchanged,
        stand_ins=choice.stand_ins,
        refused_stand_ins=choice.refused_stand_ins,
        adjusted=choice.adjusted,
        unconfirmed=choice.unconfirmed,
        lake_version=commit.version,
    )


def load_panel(
    lake: Lake,
    symbols: Sequence[str],
    end: date,
    *,
    start: date | None = None,
    lookback: int | None = None,
    version: int | None = None,
) -> Panel:
    """The bars of ``symbols`` up to ``end``, included, as a panel with a column for each symbol in that order.

    Parameters
    ----------
    start
        First session, included.
    lookback
        Newest sessions to keep.
    version
        Version of ``bars`` to read; a replay names the one its cycle recorded.

    Raises
    ------
    DataUnavailableError
        There is no bar of any of the symbols in that range.
    """
    first = start
    if lookback is not None:
        # Trading days are at least 248 of 365; two weeks more cover the longest closures.
        reach = end - timedelta(days=int(lookback * 1.5) + 14)
        first = reach if start is None else max(start, reach)
    bars = lake.read(
        "bars",
        columns=["symbol", "session", *FIELDS],
        symbols=symbols,
        start=first,
        end=end,
        version=version,
        ordered=False,
    )
    if bars.is_empty():
        raise DataUnavailableError(", ".join(list(symbols)[:5]), "lake table bars", first, end, "build bars first")
    panel = Panel.from_bars(bars, symbols)
    return panel if lookback is None else panel.last(lookback)


def load_other_panels(lake: Lake, panel: Panel, vendors: Sequence[str]) -> list[Panel]:
    """What other vendors say of a panel's bars: one panel per vendor, same sessions and symbols, in order.

    A cell that is a bar of that very vendor is absent: nobody is a witness for himself.
    """
    if len(vendors) < 2 or not len(panel.sessions):
        return []
    span: dict[str, Any] = {
        "symbols": panel.symbols,
        "start": panel.sessions[0].astype(object),
        "end": panel.sessions[-1].astype(object),
        "ordered": False,
    }
    wanted = pl.col("vendor").is_in(list(vendors))
    raw = lake.read("raw_prices", columns=["vendor", "symbol", "session", *FIELDS], where=wanted, **span)
    if raw["vendor"].n_unique() < 2:
        return []
    bars = lake.read("bars", columns=["vendor", "symbol", "session"], **span)
    said = raw.join(bars, on=["vendor", "symbol", "session"], how="anti")
    by_vendor = said.partition_by("vendor", as_dict=True)
    return [
        Panel.from_bars(by_vendor[(vendor,)], panel.symbols, panel.sessions)
        for vendor in vendors
        if (vendor,) in by_vendor
    ]


def load_level_unknown(lake: Lake, panel: Panel) -> NDArray[np.bool_]:
    """Where the vendor of a symbol's bars changed without the two being known to be at one level; shape (n, m)."""
    marked = np.zeros(panel.close.shape, dtype=np.bool_)
    bars = lake.read(
        "bars",
        columns=["symbol", "session"],
        symbols=panel.symbols,
        start=panel.sessions[0].astype(object),
        end=panel.sessions[-1].astype(object),
        where=pl.col("vendor_change") == "unconfirmed",
        ordered=False,
    )
    column_of = {symbol: position for position, symbol in enumerate(panel.symbols)}
    for symbol, session in bars.iter_rows():
        marked[np.searchsorted(panel.sessions, np.datetime64(session, "D")), column_of[symbol]] = True
    return marked


def _date_restatements(
    lake: Lake, rows: pl.DataFrame, vendor: str, start: date, end: date, now: datetime
) -> tuple[pl.DataFrame, int]:
    """Rows with the time each was first known, given what is stored already; and how many are restatements."""
    stored = lake.read(
        "raw_prices",
        columns=["symbol", "session", "row_hash", "known_at"],
        start=start,
        end=end,
        where=pl.col("vendor") == vendor,
        ordered=False,
    ).rename({"row_hash": "stored_hash", "known_at": "stored_known_at"})
    if stored.is_empty():
        return rows, 0
    joined = rows.join(stored, on=["symbol", "session"], how="left", maintain_order="left")
    same = pl.col("row_hash") == pl.col("stored_hash")
    restated = pl.col("stored_hash").is_not_null() & ~same
    stated_later = pl.col("known_at") > pl.col("stored_known_at")
    known_at = (
        pl.when(same)
        .then(pl.col("stored_known_at"))
        .when(restated & ~stated_later)
        .then(pl.lit(now).cast(TIMESTAMP))
        .otherwise(pl.col("known_at"))
    )
    dated = joined.with_columns(known_at=known_at)
    return dated.select(rows.columns), int(joined.select(restated.sum()).item())
