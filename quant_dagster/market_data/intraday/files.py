"""Intraday rows from your own Parquet and CSV files, under the desk's names and in UTC.

A row that cannot be read keeps its place with null in it, and the text that was there: screening refuses it with
file and row number. A file that cannot be read at all, or lacks a column, stops the load.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from quant_dagster.errors import ConfigurationError, MalformedDataError
from quant_dagster.market_data.intraday.options import BarTime, IntradayFile, IntradayKind
from quant_dagster.storage.tables import TIMESTAMP

_SUFFIXES = (".parquet", ".csv", ".csv.gz")
UNREAD = "unread"
"""Column: what could not be read in the row (``reason: field is 'text'``), null where everything could."""


def read_files(source: IntradayFile, symbols: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
    """Rows of each file: symbol, time (column of the kind), numbers, ``source``, ``row`` (from 1), ``unread``.

    Parameters
    ----------
    symbols
        Only these; rows without a symbol come along, to be refused.

    Raises
    ------
    ConfigurationError
        The path is not there, or holds no such file.
    MalformedDataError
        A file cannot be read, is empty, or lacks a column.
    """
    for path in _files_in(source.path):
        rows = _read(path, source)
        if symbols is not None:
            rows = rows.filter(pl.col("symbol").is_in(list(symbols)) | pl.col("symbol").is_null())
        yield rows


def _read(path: Path, source: IntradayFile) -> pl.DataFrame:
    table = _open(path)
    kind = source.kind
    names = _columns_of(path, table, source)
    time = _instant(pl.col(names["time"]), table.schema[names["time"]], source)
    numbers = {name: _number(names, name, table.schema) for name in kind.numbers}
    texts = [name for name in ("trade_id", "side") if kind is IntradayKind.TRADES]
    symbol = pl.col(names["symbol"]).cast(pl.String).str.strip_chars() if "symbol" in names else pl.lit(_stem(path))
    unread = [
        pl.when(value.is_null() & ~_blank(names, name, table.schema)).then(
            pl.format(f"not_a_number: {name} is '{{}}'", pl.col(names[name]).cast(pl.String))
        )
        for name, value in numbers.items()
        if name in names
    ]
    bad_time = pl.when(time.is_null()).then(
        pl.format(
            f"not_a_time: time is '{{}}' ({source.time_zone})", pl.col(names["time"]).cast(pl.String).fill_null("")
        )
    )
    return table.select(
        pl.when(symbol != "").then(symbol).alias("symbol"),
        time.alias(kind.time_column),
        *(value.alias(name) for name, value in numbers.items()),
        *(
            (pl.col(names[name]).cast(pl.String).str.strip_chars() if name in names else pl.lit(None, pl.String)).alias(
                name
            )
            for name in texts
        ),
        pl.lit(path.name).alias("source"),
        (pl.int_range(pl.len(), dtype=pl.Int64) + 1).alias("row"),
        pl.coalesce(bad_time, *unread).alias(UNREAD),
    )


def _columns_of(path: Path, table: pl.DataFrame, source: IntradayFile) -> dict[str, str]:
    """The desk's names that this file has, with the file's."""
    wanted = ("symbol", "time", *source.kind.numbers, "trade_id", "side")
    names = {name: name for name in wanted if name in table.columns} | dict(source.columns)
    needed = {"bars": ["time", "close"], "quotes": ["time"], "trades": ["time", "price", "size", "trade_id"]}
    unnamed = [name for name in needed[source.kind] if name not in names]
    absent = [f"'{column}' (for {name})" for name, column in names.items() if column not in table.columns]
    if unnamed or absent:
        raise MalformedDataError(
            f"file {path} has no column {', '.join([*absent, *unnamed])}; columns found: {', '.join(table.columns)}; "
            f"say what the columns of {source.kind} are called"
        )
    return names


def _number(names: dict[str, str], name: str, schema: pl.Schema) -> pl.Expr:
    if name not in names:
        return pl.lit(None, pl.Float64)
    column, dtype = pl.col(names[name]), schema[names[name]]
    number = (column.str.strip_chars() if dtype == pl.String else column).cast(pl.Float64, strict=False)
    return pl.when(number.is_finite()).then(number)


def _blank(names: dict[str, str], name: str, schema: pl.Schema) -> pl.Expr:
    """Where the file says nothing: null, NaN, or an empty text."""
    column, dtype = pl.col(names[name]), schema[names[name]]
    if dtype == pl.String:
        return column.is_null() | column.str.strip_chars().is_in(["", "NaN", "nan"])
    return column.is_null() | (column.is_nan() if dtype.is_float() else pl.lit(False))


def _instant(column: pl.Expr, dtype: pl.DataType, source: IntradayFile) -> pl.Expr:
    """The bar's first instant (a trade's own), UTC; null for a time that is none or happened twice."""
    if dtype == pl.String:
        text = column.str.strip_chars().str.replace("T", " ", literal=True)
        plain = pl.coalesce(
            text.str.to_datetime(form, time_unit="us", strict=False)
            for form in ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M")
        )
        zoned = _in_zone(plain, source.time_zone)
        stamped = column.str.strip_chars().str.to_datetime(
            "%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", time_zone="UTC", strict=False
        )
        spaced = column.str.strip_chars().str.to_datetime(
            "%Y-%m-%d %H:%M:%S%.f%#z", time_unit="us", time_zone="UTC", strict=False
        )
        instant = pl.coalesce(zoned, stamped, spaced)
    elif isinstance(dtype, pl.Datetime):
        instant = column.dt.convert_time_zone("UTC") if dtype.time_zone else _in_zone(column, source.time_zone)
    else:
        raise MalformedDataError(
            f"time of {source.path} is {dtype}: give a column of times, or of text like 2024-01-31 09:31:00"
        )
    instant = instant.cast(TIMESTAMP)
    if source.kind is not IntradayKind.TRADES and source.bar_time is BarTime.END:
        instant = instant - pl.duration(seconds=source.seconds)
    return instant


def _in_zone(column: pl.Expr, zone: str) -> pl.Expr:
    # The hour that happens twice in autumn cannot be told apart: null, and refused, rather than guessed.
    return column.dt.replace_time_zone(zone, ambiguous="null", non_existent="null").dt.convert_time_zone("UTC")


def _files_in(path: Path) -> list[Path]:
    place = path.expanduser()
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise ConfigurationError(f"intraday data: {place} does not exist; name a Parquet or CSV file or a folder")
    files = sorted(file for file in place.iterdir() if file.name.lower().endswith(_SUFFIXES))
    if not files:
        raise ConfigurationError(f"intraday data: folder {place} holds no {', '.join(_SUFFIXES)} file")
    return files


def _stem(path: Path) -> str:
    return path.name.split(".csv")[0] if ".csv" in path.name else path.stem


def _open(path: Path) -> pl.DataFrame:
    try:
        table = (
            pl.read_parquet(path, glob=False) if path.suffix == ".parquet" else pl.read_csv(path, infer_schema=False)
        )
    except (pl.exceptions.PolarsError, OSError) as error:
        raise MalformedDataError(f"file {path} cannot be read: {error}") from error
    if table.is_empty():
        raise MalformedDataError(f"file {path} is empty: it has columns ({', '.join(table.columns)}) but no rows")
    return table
