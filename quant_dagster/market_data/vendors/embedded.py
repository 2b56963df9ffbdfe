"""Real prices that come inside packages the desk depends on: they need no account, server or key.

``embedded`` (skfolio): 20 large US stocks, closes adjusted for splits and dividends, 1990 to 2022, nothing else.
``embedded_bokeh``: AAPL, GOOG, IBM, MSFT with all five fields, unadjusted, 2000 to 2013. ``embedded_arch``: the
S&P 500 and NASDAQ indices (``^GSPC``, ``^IXIC``), 1999 to 2018. All were drawn up with hindsight: survivors only.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
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

_INDICES = {"^GSPC": "sp500", "^IXIC": "nasdaq"}
_BOKEH_SYMBOLS = ("AAPL", "GOOG", "IBM", "MSFT")


@dataclass(frozen=True)
class _Package:
    source: str
    capabilities: Capabilities
    load: Callable[[], pl.DataFrame]


class EmbeddedVendor:
    """Prices packaged with a dependency.

    Parameters
    ----------
    name
        ``embedded``, ``embedded_bokeh`` or ``embedded_arch``.
    """

    def __init__(self, name: str = "embedded") -> None:
        if name not in _PACKAGES:
            raise ConfigurationError(f"unknown embedded vendor '{name}'; known: {', '.join(_PACKAGES)}")
        self.name = name
        self._package = _PACKAGES[name]
        self.capabilities = self._package.capabilities

    def symbols(self) -> list[str]:
        """Every symbol in the package, sorted."""
        return sorted(self._rows()["symbol"].unique().to_list())

    def daily_bars(self, symbols: Sequence[str], start: date, end: date) -> VendorAnswer:
        """Rows as packaged; fields the package lacks are null."""
        wanted = pl.col("symbol").is_in(list(symbols)) & pl.col("session").is_between(start, end)
        rows = self._rows().filter(wanted)
        missing = missing_from(symbols, rows)
        if rows.is_empty():
            raise DataUnavailableError(", ".join(missing[:5]) or "no symbol", self.name, start, end, self._span())
        return VendorAnswer(self.name, self._package.source, rows, pl.DataFrame(schema=REJECT_SCHEMA), missing)

    def _rows(self) -> pl.DataFrame:
        return _load(self.name)

    def _span(self) -> str:
        rows = self._rows()
        return f"it has {len(self.symbols())} symbols from {rows['session'].min()!s} to {rows['session'].max()!s}"


@cache
def _load(name: str) -> pl.DataFrame:
    return _PACKAGES[name].load()


def _packaged_file(package: str, path: str) -> Path:
    """A data file of a package, found without importing it (skfolio and arch take seconds to import)."""
    spec = importlib.util.find_spec(package)
    folder = Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None
    if folder is None or not (folder / path).is_file():
        raise MalformedDataError(f"package '{package}' does not hold {path}: reinstall the locked requirements")
    return folder / path


def _load_skfolio() -> pl.DataFrame:
    path = _packaged_file("skfolio", "datasets/data/sp500_dataset.csv.gz")
    wide = pl.read_csv(path, schema_overrides={"Date": pl.Date}).with_row_index("row", offset=1)
    long = wide.unpivot(index=["row", "Date"], variable_name="symbol", value_name="close")
    return _as_rows(long.rename({"Date": "session"}).drop_nulls("close"), "skfolio:sp500_dataset")


def _load_arch() -> pl.DataFrame:
    frames = []
    for symbol, name in _INDICES.items():
        table = pl.read_csv(_packaged_file("arch", f"data/{name}/{name}.csv.gz")).with_row_index("row", offset=1)
        table = table.rename({column: column.lower() for column in table.columns})
        session = pl.col("date").str.to_date("%m/%d/%Y").alias("session")
        frames.append(_as_rows(table.with_columns(session, pl.lit(symbol).alias("symbol")), "arch"))
    return pl.concat(frames)


def _load_bokeh() -> pl.DataFrame:
    from bokeh_sampledata import stocks

    frames = []
    for symbol in _BOKEH_SYMBOLS:
        series = getattr(stocks, symbol)
        table = pl.DataFrame({name: series[name] for name in ("date", *PRICE_FIELDS)}).with_row_index("row", offset=1)
        session = pl.col("date").str.to_date().alias("session")
        frames.append(_as_rows(table.with_columns(session, pl.lit(symbol).alias("symbol")), "bokeh:stocks"))
    return pl.concat(frames)


def _as_rows(table: pl.DataFrame, source: str) -> pl.DataFrame:
    absent = [name for name in ROW_SCHEMA if name not in table.columns and name != "source"]
    filled = table.with_columns(
        pl.format(f"{source}/{{}}", "symbol").alias("source"), *(pl.lit(None).alias(name) for name in absent)
    )
    return filled.select(pl.col(name).cast(dtype) for name, dtype in ROW_SCHEMA.items())


_PACKAGES = {
    "embedded": _Package(
        source="skfolio.datasets, S&P 500 stocks",
        capabilities=Capabilities(adjusted="splits and dividends"),
        load=_load_skfolio,
    ),
    "embedded_bokeh": _Package(
        source="bokeh_sampledata.stocks",
        capabilities=Capabilities(adjusted="nothing"),
        load=_load_bokeh,
    ),
    "embedded_arch": _Package(
        source="arch.data, stock indices",
        capabilities=Capabilities(adjusted="nothing (an index)"),
        load=_load_arch,
    ),
}
