"""Prices from your own files: one Parquet or CSV file, or a folder of them, with a mapping of column names.

A row that cannot be read (a text where a price should be, a date that is none) is handed back as rejected with
its file and row number; a file that cannot be read at all stops the load before anything is stored. An open
outside the low-high range, a zero volume or a wild return is *not* refused here: it is a price, and ``quality``
scores it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import polars as pl

from quant_dagster.errors import ConfigurationError, DataUnavailableError, MalformedDataError
from quant_dagster.market_data.vendors.protocol import (
    PRICE_FIELDS,
    REJECT_SCHEMA,
    ROW_SCHEMA,
    Capabilities,
    VendorAnswer,
    missing_from,
)
from quant_dagster.storage.tables import TIMESTAMP

DEFAULT_COLUMNS: Mapping[str, str] = {
    "symbol": "symbol",
    "session": "date",
    **{field: field for field in PRICE_FIELDS},
}
_SETTING = "market_data.files"
_SUFFIXES = (".parquet", ".csv", ".csv.gz")


class FilesVendor:
    """Daily prices in Parquet or CSV.

    Parameters
    ----------
    path
        A file, or a folder whose ``.parquet``, ``.csv`` and ``.csv.gz`` files are read.
    columns
        The desk's names (symbol, session, open, high, low, close, volume, known_at) and the file's names for
        them. ``session`` and ``close`` are needed. A price field left out is null. ``symbol`` left out: the
        symbol is the file's name. ``known_at`` names a time with zone (or UTC) at which the row became known.
    name
        Name under which the rows are stored.
    adjusted
        What its prices are adjusted for, in the words of `Capabilities.adjusted`.
    """

    def __init__(
        self,
        path: Path | str | None,
        columns: Mapping[str, str] | None = None,
        name: str = "files",
        adjusted: str = "as the files are",
    ) -> None:
        self.name = name
        self._columns = dict(DEFAULT_COLUMNS if columns is None else columns)
        known = set(ROW_SCHEMA) - {"source", "row"}
        if unknown := sorted(set(self._columns) - known):
            raise ConfigurationError(f"{_SETTING}.columns: unknown fields {unknown}; known: {', '.join(sorted(known))}")
        if absent := [field for field in ("session", "close") if field not in self._columns]:
            raise ConfigurationError(f"{_SETTING}.columns: no column named for {absent}; the vendor needs both")
        self._files = _files_in(path)
        self.capabilities = Capabilities(adjusted=adjusted)

    def symbols(self) -> list[str]:
        """Every symbol in the files, sorted."""
        found: set[str] = set()
        for path in self._files:
            found.update(self._candidates(path).select("symbol").drop_nulls().unique().collect()["symbol"].to_list())
        return sorted(found)

    def daily_bars(self, symbols: Sequence[str], start: date, end: date) -> VendorAnswer:
        """Rows of the files, and those that cannot be read; nothing is filled in."""
        wanted = pl.col("symbol").is_in(list(symbols)) | pl.col("symbol").is_null()
        inside = pl.col("session").is_between(start, end) | pl.col("session").is_null()
        rows, rejected = [], []
        for path in self._files:
            if "symbol" not in self._columns and _symbol_of(path) not in symbols:
                continue
            good, bad = _separate(self._candidates(path).filter(wanted & inside).collect())
            rows.append(good)
            rejected.append(bad)
        answer = pl.concat([pl.DataFrame(schema=ROW_SCHEMA), *rows])
        refused = pl.concat([pl.DataFrame(schema=REJECT_SCHEMA), *rejected])
        missing = missing_from(symbols, answer, refused)
        if answer.is_empty() and refused.is_empty():
            detail = f"{len(self._files)} files read"
            raise DataUnavailableError(", ".join(missing[:5]) or "no symbol", self.name, start, end, detail)
        return VendorAnswer(self.name, ", ".join(path.name for path in self._files[:5]), answer, refused, missing)

    def _candidates(self, path: Path) -> pl.LazyFrame:
        """The file under the desk's names: parsed where it can be, null where not, with the text that was not."""
        table, types = _open(path)
        self._demand_columns(path, list(types))
        source = {field: (pl.col(column), types[column]) for field, column in self._columns.items()}
        parsed: dict[str, pl.Expr] = {"symbol": pl.lit(_symbol_of(path)), "known_at": pl.lit(None, TIMESTAMP)}
        parsed["session"] = _as_date(*source["session"])
        for field in PRICE_FIELDS:
            parsed[field] = _as_number(*source[field]) if field in source else pl.lit(None, pl.Float64)
        if "symbol" in source:
            text = _as_text(*source["symbol"])
            parsed["symbol"] = pl.when(text != "").then(text)
        if "known_at" in source:
            parsed["known_at"] = _as_instant(*source["known_at"])
        return table.select(
            *(parsed[field].alias(field) for field in ROW_SCHEMA if field in parsed),
            pl.lit(path.name).alias("source"),
            (pl.col("__row") + 1).cast(pl.Int64).alias("row"),
            *(
                _as_text(column, dtype).alias(f"{field}__text")
                for field, (column, dtype) in source.items()
                if field != "symbol" and _is_text(dtype)
            ),
        )

    def _demand_columns(self, path: Path, found: list[str]) -> None:
        missing = {field: column for field, column in self._columns.items() if column not in found}
        if missing:
            what = ", ".join(f"'{column}' (for {field})" for field, column in missing.items())
            raise MalformedDataError(
                f"file {path} has no column {what}; columns found: {', '.join(found)}; "
                f"say what the columns are called in {_SETTING}.columns"
            )


def _files_in(path: Path | str | None) -> list[Path]:
    if path is None or str(path) == "":
        raise ConfigurationError(f"vendor 'files' needs {_SETTING}.path: a Parquet or CSV file, or a folder of them")
    place = Path(path).expanduser()
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise ConfigurationError(f"{_SETTING}.path: {place} does not exist")
    files = sorted(file for file in place.iterdir() if file.name.lower().endswith(_SUFFIXES))
    if not files:
        raise ConfigurationError(f"{_SETTING}.path: folder {place} holds no {', '.join(_SUFFIXES)} file")
    return files


def _symbol_of(path: Path) -> str:
    return path.name.split(".csv")[0] if ".csv" in path.name else path.stem


def _open(path: Path) -> tuple[pl.LazyFrame, pl.Schema]:
    """The file as it is, with its column types; row numbers in ``__row``, from 0."""
    if path.stat().st_size == 0:
        raise MalformedDataError(f"file {path} is empty: remove it or fill it")
    try:
        if path.suffix == ".parquet":
            table = pl.scan_parquet(path, row_index_name="__row", glob=False)
        else:
            table = pl.read_csv(path, infer_schema=False, row_index_name="__row").lazy()
        types = table.collect_schema()
        rows = table.select(pl.len()).collect().item()
    except (pl.exceptions.PolarsError, OSError) as error:
        why = _other_separator(path) or str(error).split("\n", 1)[0]
        raise MalformedDataError(f"file {path} cannot be read as {path.suffix.lstrip('.')}: {why}") from error
    if rows == 0:
        raise MalformedDataError(
            f"file {path} is empty: it has columns ({', '.join(name for name in types if name != '__row')}) but no rows"
        )
    return table, pl.Schema({name: dtype for name, dtype in types.items() if name != "__row"})


def _other_separator(path: Path) -> str | None:
    """What a CSV file is separated by in place of commas, in words, if that is so."""
    if path.suffix != ".csv":
        return None
    with path.open(encoding="utf-8", errors="replace") as file:
        header = file.readline()
    found = next((mark for mark in (";", "\t", "|") if mark in header and "," not in header), None)
    return found and f"its columns are separated by {found!r}; save it with commas, and with points in numbers"


def _is_text(dtype: pl.DataType) -> bool:
    return dtype in (pl.String, pl.Categorical, pl.Enum)


def _as_text(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    return column.str.strip_chars() if dtype == pl.String else column.cast(pl.String)


def _as_number(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    text_or_number = _as_text(column, dtype) if _is_text(dtype) else column
    return text_or_number.cast(pl.Float64, strict=False).fill_nan(None)


def _as_date(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if not _is_text(dtype):
        return column if dtype == pl.Date else column.cast(pl.Date, strict=False)
    text = _as_text(column, dtype)
    plain = text.str.to_date("%Y-%m-%d", strict=False)
    return pl.coalesce(plain, text.str.to_date("%Y-%m-%d %H:%M:%S%.f", strict=False))


def _as_instant(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if isinstance(dtype, pl.Datetime):
        zoned = column if dtype.time_zone else column.dt.replace_time_zone("UTC")
        return zoned.dt.convert_time_zone("UTC").cast(TIMESTAMP)
    return _as_text(column, dtype).str.to_datetime(time_unit="us", time_zone="UTC", strict=False)


def _separate(candidates: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that were read whole, and the others with the first reason why not."""
    tests = [(pl.col("symbol").is_null(), "no_symbol", pl.lit("symbol is empty"))]
    for field in (name for name in ROW_SCHEMA if name not in ("symbol", "source", "row")):
        has_text = f"{field}__text" in candidates.columns
        text = pl.col(f"{field}__text").fill_null("") if has_text else pl.lit("")
        unread = pl.col(field).is_null() & ~text.is_in(["", "NaN", "nan"])
        if field == "session":
            unread = pl.col(field).is_null()
        if field in PRICE_FIELDS:
            unread = unread | pl.col(field).is_infinite().fill_null(False)
        code = {"session": "not_a_date", "known_at": "not_a_time"}.get(field, "not_a_number")
        tests.append((unread, code, pl.format(f"{field} is '{{}}'", text)))
    judged = candidates.with_columns(
        reason=pl.coalesce([pl.when(test).then(pl.lit(code)) for test, code, _ in tests]),
        detail=pl.coalesce([pl.when(test).then(detail) for test, _, detail in tests]),
    )
    good = judged.filter(pl.col("reason").is_null()).select(pl.col(n).cast(t) for n, t in ROW_SCHEMA.items())
    bad = judged.filter(pl.col("reason").is_not_null()).select(pl.col(n).cast(t) for n, t in REJECT_SCHEMA.items())
    return good, bad
