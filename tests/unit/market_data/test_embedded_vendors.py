"""Packaged prices arrive as they are packaged: nothing filled in, nothing invented."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest
from bokeh_sampledata.stocks import MSFT
from skfolio.datasets import load_sp500_dataset

from quant_dagster.errors import ConfigurationError, DataUnavailableError
from quant_dagster.market_data.vendors.embedded import EmbeddedVendor
from quant_dagster.market_data.vendors.protocol import ROW_SCHEMA, row_hashes
from quant_dagster.market_data.vendors.registry import build_vendor

EVER = (date(1985, 1, 1), date(2030, 1, 1))


def test_closes_are_those_that_skfolio_loads() -> None:
    vendor = EmbeddedVendor()
    rows = vendor.daily_bars(vendor.symbols(), *EVER).rows
    theirs = load_sp500_dataset()
    ours = rows.pivot("symbol", index="session", values="close").sort("session").drop("session")
    assert np.array_equal(ours.select(list(theirs.columns)).to_numpy(), theirs.to_numpy())
    assert rows.height == theirs.size
    assert rows.schema == ROW_SCHEMA
    assert rows.select("source", "row").is_unique().all(), "source and row name one price"


def test_fields_a_package_lacks_are_null_never_copied_from_the_close() -> None:
    vendor = EmbeddedVendor()
    rows = vendor.daily_bars(["AAPL"], *EVER).rows
    assert rows.select("open", "high", "low", "volume").null_count().row(0) == (rows.height,) * 4


def test_second_vendor_has_all_five_fields() -> None:
    rows = EmbeddedVendor("embedded_bokeh").daily_bars(["MSFT"], date(2008, 10, 10), date(2008, 10, 10)).rows
    position = MSFT["date"].index("2008-10-10")
    expected = tuple(float(MSFT[field][position]) for field in ("open", "high", "low", "close", "volume"))
    assert rows.select("open", "high", "low", "close", "volume").row(0) == expected


def test_index_prices_are_those_that_arch_loads() -> None:
    import arch.data.nasdaq

    rows = EmbeddedVendor("embedded_arch").daily_bars(["^IXIC"], *EVER).rows
    theirs = arch.data.nasdaq.load()
    assert np.array_equal(rows["close"].to_numpy(), theirs["Close"].to_numpy())
    assert rows["session"].to_list() == [stamp.date() for stamp in theirs.index]


def test_symbols_without_data_are_named_and_nothing_stands_in_for_them() -> None:
    answer = EmbeddedVendor().daily_bars(["AAPL", "TSLA"], date(2020, 1, 2), date(2020, 1, 3))
    assert answer.missing_symbols == ("TSLA",)
    assert answer.rows["symbol"].unique().to_list() == ["AAPL"]
    with pytest.raises(DataUnavailableError, match=r"'embedded' has no data for AAPL from 2023-06-01 to 2023-06-30"):
        EmbeddedVendor().daily_bars(["AAPL"], date(2023, 6, 1), date(2023, 6, 30))


def test_row_hash_is_sha256_of_the_row_and_tells_rows_apart() -> None:
    import hashlib

    rows = EmbeddedVendor("embedded_bokeh").daily_bars(["MSFT"], date(2008, 10, 9), date(2008, 10, 10)).rows
    hashes = row_hashes(rows).to_list()
    first = rows.row(0, named=True)
    text = "|".join(str(first[name]) for name in ("symbol", "session", "open", "high", "low", "close", "volume"))
    assert hashes[0] == hashlib.sha256(text.encode()).hexdigest()[:16]
    assert hashes[0] != hashes[1]
    assert row_hashes(rows.with_columns(pl.col("close") + 0.01)).to_list() != hashes


def test_unknown_vendor_or_option_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="unknown vendor 'bloomberg'; known: embedded"):
        build_vendor("bloomberg")
    with pytest.raises(ConfigurationError, match="does not take options \\['path'\\]"):
        build_vendor("embedded", {"path": "x"})
    with pytest.raises(ConfigurationError, match="unknown embedded vendor"):
        EmbeddedVendor("files")
