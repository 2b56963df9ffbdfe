"""Intraday rows into the lake, from files or from a vendor: all of a load, or nothing.

A row counts as known from the end of its bar. One that differs from the row stored for its key is a restatement and
counts as known from the time of loading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import polars as pl

from quant_dagster.errors import DataUnavailableError
from quant_dagster.market_data.calendars import ExchangeCalendar
from quant_dagster.market_data.ingest import Contract
from quant_dagster.market_data.intraday.files import UNREAD, read_files
from quant_dagster.market_data.intraday.options import IntradayFile, IntradayKind
from quant_dagster.market_data.intraday.screening import screen_rows
from quant_dagster.market_data.screening import rejected_summary
from quant_dagster.market_data.vendors.protocol import IntradayVendor, RowsAnswer
from quant_dagster.resilience.guard import ServiceGuard
from quant_dagster.storage.lake import Lake
from quant_dagster.storage.tables import TIMESTAMP, lake_table

_VENDOR_SECONDS = 60


@dataclass(frozen=True)
class IntradayReport:
    """What a load did.

    Attributes
    ----------
    table
        Lake table the rows went into.
    rows
        Fit rows: ``inserted + updated + unchanged``.
    restated
        Stored rows whose values have changed since; they count as known from now on.
    rejected
        Refused rows by reason.
    missing_symbols
        Symbols there was nothing for.
    first, last
        First and last session of the fit rows; None without any.
    """

    vendor: str
    table: str
    rows: int
    inserted: int
    updated: int
    unchanged: int
    restated: int
    rejected: dict[str, int]
    missing_symbols: tuple[str, ...]
    first: date | None
    last: date | None
    lake_version: int


def load_files(
    lake: Lake,
    source: IntradayFile,
    *,
    calendar: ExchangeCalendar,
    now: datetime,
    contract: Contract,
    symbols: Sequence[str] | None = None,
    sessions: tuple[date, date] | None = None,
) -> IntradayReport:
    """Load a file, or all files of a folder.

    Parameters
    ----------
    now
        The present (aware): bars not ended by then are refused.
    contract
        ``quality.contracts.validate``.
    symbols
        Only these; default: all there are.
    sessions
        Only these, first and last included; default: all there are. Rows without a readable session are refused in
        any case.

    Raises
    ------
    ConfigurationError, MalformedDataError
        A file is not there or cannot be read. Nothing was written.
    DataUnavailableError
        There is no row of any of the symbols.
    ContractError
        The rows break the table's contract. Nothing was written.
    """
    found = list(read_files(source, symbols))
    return _store(
        lake,
        found,
        source.kind,
        source.vendor,
        source.seconds,
        symbols or (),
        calendar=calendar,
        now=now,
        contract=contract,
        extended_hours=source.extended_hours,
        sessions=sessions,
    )


def load_vendor(
    lake: Lake,
    vendor: IntradayVendor,
    kind: IntradayKind,
    symbols: Sequence[str],
    start: datetime,
    end: datetime,
    *,
    calendar: ExchangeCalendar,
    now: datetime,
    contract: Contract,
    guard: ServiceGuard | None = None,
    extended_hours: bool = False,
) -> IntradayReport:
    """Ask a vendor for 1-minute bars or trades from ``start`` to before ``end`` (aware), symbol by symbol.

    Parameters
    ----------
    guard
        What a remote vendor is asked through.

    Raises
    ------
    DataUnavailableError
        The vendor has nothing for any of the symbols, or is asked for quotes, which no vendor offers in bars.
    VendorError
        It could not be asked, or its answer could not be read. Nothing was written: the load is run again.
    """
    if kind is IntradayKind.QUOTES:
        raise DataUnavailableError(
            ", ".join(symbols[:5]), vendor.name, start.date(), end.date(), "quotes are loaded from files only"
        )
    frames = []
    for symbol in symbols:
        answer = _ask(vendor, kind, symbol, start, end, guard)
        if answer is not None:
            frames.append(_as_read(answer, kind))
    return _store(
        lake,
        frames,
        kind,
        vendor.name,
        _VENDOR_SECONDS,
        symbols,
        calendar=calendar,
        now=now,
        contract=contract,
        extended_hours=extended_hours,
    )


def _ask(
    vendor: IntradayVendor, kind: IntradayKind, symbol: str, start: datetime, end: datetime, guard: ServiceGuard | None
) -> RowsAnswer | None:
    """The answer, or None where the vendor says that it has nothing (such a symbol is reported as missing)."""

    def work() -> RowsAnswer:
        return (vendor.trades if kind is IntradayKind.TRADES else vendor.minute_bars)(symbol, start, end)

    ask: Callable[[], RowsAnswer] = work if guard is None else lambda: guard.call(kind.table, work)
    try:
        return ask()
    except DataUnavailableError:
        return None


def _as_read(answer: RowsAnswer, kind: IntradayKind) -> pl.DataFrame:
    rows = answer.rows.with_columns(
        *(pl.col(name).fill_nan(None) for name in kind.numbers),
        pl.lit(answer.source).alias("source"),
        pl.lit(None, pl.String).alias(UNREAD),
    )
    return rows.with_columns(pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("row"))


def _store(
    lake: Lake,
    frames: Iterable[pl.DataFrame],
    kind: IntradayKind,
    vendor: str,
    seconds: int,
    symbols: Sequence[str],
    *,
    calendar: ExchangeCalendar,
    now: datetime,
    contract: Contract,
    extended_hours: bool,
    sessions: tuple[date, date] | None = None,
) -> IntradayReport:
    found = [frame for frame in frames if frame.height]
    if not found:
        raise DataUnavailableError(", ".join(symbols[:5]) or "any symbol", vendor, None, None, f"no {kind} came")
    rows, rejected = screen_rows(
        pl.concat(found, how="diagonal"),
        kind,
        vendor,
        seconds=seconds,
        calendar=calendar,
        now=now,
        extended_hours=extended_hours,
    )
    if sessions is not None:
        inside = pl.col("session").is_between(*sessions)
        rows, rejected = rows.filter(inside), rejected.filter(inside | pl.col("session").is_null())
    rows, restated = _date_restatements(lake, rows, kind, vendor, now)
    rows, rejected = contract(kind.table, rows), contract("rejected_rows", rejected)
    commit = lake.merge(kind.table, rows)
    lake.merge("rejected_rows", rejected, ignore=("known_at",))
    seen = set(rows["symbol"].unique().to_list()) | set(rejected["symbol"].drop_nulls().unique().to_list())
    first, last = (rows["session"].min(), rows["session"].max()) if rows.height else (None, None)
    return IntradayReport(
        vendor=vendor,
        table=kind.table,
        rows=rows.height,
        inserted=commit.inserted,
        updated=commit.updated,
        unchanged=commit.unchanged,
        restated=restated,
        rejected=rejected_summary(rejected),
        missing_symbols=tuple(symbol for symbol in symbols if symbol not in seen),
        first=first,  # type: ignore[arg-type]
        last=last,  # type: ignore[arg-type]
        lake_version=commit.version,
    )


def _date_restatements(
    lake: Lake, rows: pl.DataFrame, kind: IntradayKind, vendor: str, now: datetime
) -> tuple[pl.DataFrame, int]:
    """Rows with the time each was first known, given what is stored; and how many are restatements."""
    if rows.is_empty():
        return rows, 0
    key = list(lake_table(kind.table).key)
    texts = ("side",) if kind is IntradayKind.TRADES else ()
    values = [*kind.numbers, *texts]
    stored = lake.read(
        kind.table,
        columns=[*key, *values, "known_at"],
        symbols=rows["symbol"].unique().to_list(),
        start=rows["session"].min(),  # type: ignore[arg-type]
        end=rows["session"].max(),  # type: ignore[arg-type]
        where=pl.col("vendor") == vendor,
        ordered=False,
    ).rename({name: f"stored_{name}" for name in [*values, "known_at"]})
    if stored.is_empty():
        return rows, 0
    joined = rows.join(stored, on=key, how="left", maintain_order="left")
    there = pl.col("stored_known_at").is_not_null()
    differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"stored_{name}")) for name in values)
    dated = joined.with_columns(
        known_at=pl.when(there & differs)
        .then(pl.lit(now).cast(TIMESTAMP))
        .when(there)
        .then(pl.col("stored_known_at"))
        .otherwise(pl.col("known_at"))
    )
    return dated.select(rows.columns), int(joined.select((there & differs).sum()).item())
