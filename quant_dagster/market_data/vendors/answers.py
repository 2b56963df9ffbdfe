"""Reading what a live vendor answered, strictly: right types, equal lengths, time in order, or no answer at all.

Where a vendor's fields are found and what it documents as "none" stands in the vendor's own module.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import polars as pl

from quant_dagster.errors import DataUnavailableError, MalformedAnswerError
from quant_dagster.market_data.vendors.protocol import (
    ACTION_SCHEMA,
    MINUTE_SCHEMA,
    PRICE_FIELDS,
    REJECT_SCHEMA,
    ROW_SCHEMA,
    VendorAnswer,
)
from quant_dagster.storage.tables import TIMESTAMP

DailyRows = tuple[pl.DataFrame, pl.DataFrame]
"""Rows of one symbol and those that were refused, in ``ROW_SCHEMA`` and ``REJECT_SCHEMA``."""


def each_symbol(
    vendor: str,
    source: str,
    symbols: Sequence[str],
    start: date,
    end: date,
    ask: Callable[[str], DailyRows],
) -> VendorAnswer:
    """Ask symbol by symbol; those the vendor has nothing for are missing, and any other failure ends it.

    Raises
    ------
    DataUnavailableError
        There is nothing for any of the symbols: the last one's own error.
    """
    rows, rejected, missing = [pl.DataFrame(schema=ROW_SCHEMA)], [pl.DataFrame(schema=REJECT_SCHEMA)], []
    last: DataUnavailableError | None = None
    for symbol in symbols:
        try:
            good, bad = ask(symbol)
        except DataUnavailableError as error:
            missing.append(symbol)
            last = error
            continue
        rows.append(good)
        rejected.append(bad)
    if len(missing) == len(symbols):
        raise last or DataUnavailableError("no symbol", vendor, start, end, "no symbol was asked for")
    return VendorAnswer(vendor, source, pl.concat(rows), pl.concat(rejected), tuple(missing))


def numbers(vendor: str, where: str, values: Any, *, nullable: bool = False) -> pl.Series:
    """A list of finite JSON numbers, or of texts that spell them, as Float64; null only where ``nullable``."""
    if not isinstance(values, list):
        raise MalformedAnswerError(vendor, f"{where} is no list: {_shown(values)}")
    return pl.Series([_number(vendor, where, value, nullable) for value in values], dtype=pl.Float64)


def number(vendor: str, where: str, value: Any) -> float:
    """One finite JSON number, or a text that spells one."""
    read = _number(vendor, where, value, nullable=False)
    assert read is not None
    return read


def _number(vendor: str, where: str, value: Any, nullable: bool) -> float | None:
    if value is None and nullable:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise MalformedAnswerError(vendor, f"{where} is no number: {_shown(value)}")
    try:
        read = float(value)
    except (ValueError, OverflowError) as error:
        raise MalformedAnswerError(vendor, f"{where} is no number: {_shown(value)}") from error
    if not math.isfinite(read):
        raise MalformedAnswerError(vendor, f"{where} is not finite: {_shown(value)}")
    return read


def whole(vendor: str, where: str, value: Any) -> int:
    """A whole number from 0 on, or a text that spells one, exactly: a float holds 15 digits, a time in ns has 19."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    raise MalformedAnswerError(vendor, f"{where} is no whole number: {_shown(value)}")


def instants(vendor: str, where: str, values: Any, unit_us: int = 1_000_000) -> pl.Series:
    """A list of epoch times (``unit_us`` microseconds each), strictly ascending, as UTC instants."""
    read = numbers(vendor, where, values)
    whole = (read * unit_us).round().cast(pl.Int64)
    if not bool((whole.diff().drop_nulls() > 0).all()):
        raise MalformedAnswerError(vendor, f"{where} is not in ascending order")
    return whole.cast(TIMESTAMP)


def day(vendor: str, where: str, value: Any) -> date:
    """A date as ``YYYY-MM-DD``."""
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise MalformedAnswerError(vendor, f"{where} is no date: {_shown(value)}") from error


def field(vendor: str, where: str, container: Any, name: str, kind: type | tuple[type, ...]) -> Any:
    """A field that the vendor documents as always there, of a documented JSON type."""
    if not isinstance(container, Mapping) or name not in container:
        raise MalformedAnswerError(vendor, f"{where} has no '{name}': {_shown(container)}")
    value = container[name]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise MalformedAnswerError(vendor, f"{where}: '{name}' has an undocumented type: {_shown(value)}")
    return value


def columns(vendor: str, where: str, found: Mapping[str, pl.Series]) -> pl.DataFrame:
    """Columns side by side; of one length, or the answer is malformed."""
    lengths = {name: len(series) for name, series in found.items()}
    if len(set(lengths.values())) > 1:
        raise MalformedAnswerError(vendor, f"{where}: fields of unequal length {lengths}")
    return pl.DataFrame(dict(found))


def daily_rows(frame: pl.DataFrame, symbol: str, source: str) -> DailyRows:
    """Rows from columns session, open .. volume; those without a close are refused with the reason ``no_close``."""
    numbered = frame.with_row_index("row", offset=1).with_columns(
        pl.lit(symbol).alias("symbol"),
        pl.lit(source).alias("source"),
        pl.lit(None, TIMESTAMP).alias("known_at"),
        pl.lit("no_close").alias("reason"),
        pl.lit("close is null").alias("detail"),
    )
    closed = pl.col("close").is_not_null()
    good = numbered.filter(closed).select(pl.col(name).cast(dtype) for name, dtype in ROW_SCHEMA.items())
    bad = numbered.filter(~closed).select(pl.col(name).cast(dtype) for name, dtype in REJECT_SCHEMA.items())
    return good, bad


def minute_rows(frame: pl.DataFrame, symbol: str, start: datetime, end: datetime) -> pl.DataFrame:
    """Rows in ``MINUTE_SCHEMA`` from columns bar_start, open .. volume, of bars from ``start`` to before ``end``."""
    inside = (pl.col("bar_start") >= start) & (pl.col("bar_start") < end)
    rows = frame.filter(inside).with_columns(pl.lit(symbol).alias("symbol"))
    return rows.select(pl.col(name).cast(dtype) for name, dtype in MINUTE_SCHEMA.items())


def action_rows(symbol: str, start: date, end: date, actions: Iterable[tuple[date, str, float]]) -> pl.DataFrame:
    """Rows in ``ACTION_SCHEMA`` from (ex-date, kind, ratio or amount) within the range, by date and kind."""
    found = sorted(action for action in actions if start <= action[0] <= end)
    rows = [
        (symbol, session, kind, value if kind == "split" else None, None if kind == "split" else value)
        for session, kind, value in found
    ]
    return pl.DataFrame(rows, schema=ACTION_SCHEMA, orient="row")


def price_columns(vendor: str, where: str, found: Mapping[str, Any], *, nullable: bool = False) -> dict[str, pl.Series]:
    """The five price fields of an answer that holds each as a list under the desk's own name."""
    return {
        name: numbers(vendor, f"{where}.{name}", field(vendor, where, found, name, list), nullable=nullable)
        for name in PRICE_FIELDS
    }


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
