"""Universes are read from files, and a mistake in one is named."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from quant_dagster.errors import ConfigurationError
from quant_dagster.market_data.universe import known_universes, load_universe
from quant_dagster.market_data.vendors.embedded import EmbeddedVendor
from quant_dagster.market_data.vendors.registry import KNOWN_VENDORS
from tests.support.market_data import shared_data


def test_us20_is_the_packaged_stocks_and_needs_no_volume() -> None:
    universe = load_universe("us20")
    assert list(universe.symbol_names()) == EmbeddedVendor().symbols()
    assert not universe.volume_required
    assert universe.survivors_only
    apple = universe.instrument("AAPL")
    assert (apple.sector, apple.tick_size, apple.lot_size) == ("Information Technology", Decimal("0.01"), 1)
    with pytest.raises(ConfigurationError, match="does not list TSLA"):
        universe.instrument("TSLA")


def test_sectors_of_us20_are_those_of_the_index_provider() -> None:
    import polars as pl

    table = pl.read_csv(shared_data("sp500_constituents_gics.csv")).select("Symbol", "GICS Sector")
    published = dict(table.iter_rows())
    universe = load_universe("us20")
    listed = {one.symbol: one.sector for one in map(universe.instrument, universe.symbol_names())}
    known = {symbol: sector for symbol, sector in listed.items() if symbol in published}
    assert len(known) >= 18, "Range Resources left the index"
    assert known == {symbol: published[symbol] for symbol in known}


def test_universe_of_all_is_what_the_vendors_offer() -> None:
    universe = load_universe("all_files")
    assert universe.symbol_names(["MSFT", "AAPL", "MSFT"]) == ("AAPL", "MSFT")
    assert universe.instrument("ANY").lot_size == 1
    assert universe.volume_required


def test_every_shipped_universe_names_vendors_that_exist() -> None:
    for name in known_universes():
        assert set(load_universe(name).vendors) <= set(KNOWN_VENDORS)


def test_unknown_universe_names_the_known_ones() -> None:
    with pytest.raises(
        ConfigurationError, match=r"unknown universe 'us21'.*known: all_files, crypto_majors, us20, us20_live"
    ):
        load_universe("us21")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("description: x\nvendors: [files]\nsymbols: [{symbol: A}, {symbol: A}]", "symbols listed twice: A"),
        ("description: x\nvendors: [files]\nsymbols: some", "symbols"),
        ("description: x\nvendors: []\nsymbols: all", "vendors"),
        ("description: x\nvendors: [files]\nsymbols: all\ncolour: red", "colour"),
        ("description: [", "cannot be read"),
        ("just words", "not a mapping"),
    ],
)
def test_mistake_in_a_universe_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        load_universe("mine", tmp_path)
