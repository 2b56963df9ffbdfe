"""The instrument master: terms by date, the grid prices and sizes lie on, and a past that is not rewritten."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_dagster.errors import ConfigurationError, MalformedDataError, OrderError
from quant_dagster.market_data import instruments
from quant_dagster.market_data.instruments import FROM_THE_START, InstrumentMaster, Terms, on_tick
from quant_dagster.market_data.universe import load_universe
from quant_dagster.storage.ledger import Ledger

NOW = datetime(2024, 3, 8, 22, tzinfo=UTC)


def terms(**changes: object) -> Terms:
    content = {"symbol": "IBM", "valid_from": date(2000, 1, 3), "tick_size": Decimal("0.01"), "lot_size": Decimal(1)}
    return Terms(**(content | changes))


@given(st.decimals("0.0001", "100000", places=6), st.sampled_from(["0.01", "0.0001", "0.05", "0.25", "1"]))
def test_prices_land_on_the_grid_and_limits_never_get_worse(price: Decimal, tick: str) -> None:
    one = terms(tick_size=Decimal(tick))
    nearest, buy, sell = (
        on_tick(price, one.tick_size, rounding) for rounding in (ROUND_HALF_EVEN, ROUND_FLOOR, ROUND_CEILING)
    )
    for found in (nearest, buy, sell):
        assert found % one.tick_size == 0
        assert found >= one.tick_size
    assert sell >= price
    assert buy <= price or buy == one.tick_size
    assert abs(nearest - price) <= one.tick_size / 2 or nearest == one.tick_size


def test_an_order_that_does_not_fit_says_everything_that_is_wrong() -> None:
    one = terms(lot_size=Decimal(100), minimum_notional=Decimal(5000))
    with pytest.raises(
        OrderError, match=r"150 is not a multiple .* 10\.005 is not on the tick grid .* below the venue's"
    ):
        one.require(shares=Decimal(150), price=Decimal(10), limit_price=Decimal("10.005"))
    one.require(shares=Decimal(600), price=Decimal(10), limit_price=Decimal("10.01"))


def test_terms_are_those_of_the_day() -> None:
    """US stocks were quoted in sixteenths before they were quoted in cents (2001-04-09)."""
    master = InstrumentMaster(
        [
            terms(valid_from=date(1997, 6, 24), valid_to=date(2001, 4, 8), tick_size=Decimal("0.0625")),
            terms(valid_from=date(2001, 4, 9)),
        ]
    )
    assert master.find("IBM", date(1997, 6, 23)) is None
    assert master.at("IBM", date(2001, 4, 6)).tick_size == Decimal("0.0625")
    assert master.at("IBM", date(2001, 4, 9)).tick_size == Decimal("0.01")
    with pytest.raises(OrderError, match="no terms of ZZZ"):
        master.at("ZZZ", date(2020, 1, 2))


def test_spans_that_overlap_are_refused() -> None:
    with pytest.raises(MalformedDataError, match="overlap"):
        InstrumentMaster([terms(), terms(valid_from=date(2001, 4, 9))])


def test_refreshing_twice_changes_nothing_and_new_terms_end_the_old_ones(ledger: Ledger) -> None:
    def refresh(*given: Terms, today: date = date(2024, 3, 8)) -> int:
        with ledger.write() as connection:
            return instruments.refresh(connection, given, today=today, at=NOW)

    first = terms(valid_from=FROM_THE_START)
    assert refresh(first) == 1
    assert refresh(first) == 0
    coarse = terms(valid_from=FROM_THE_START, tick_size=Decimal("0.05"))
    assert refresh(coarse) == 2
    assert refresh(coarse) == 0
    with ledger.read() as connection:
        master = instruments.load(connection)
    old, new = master.history("IBM")
    assert (old.valid_to, old.tick_size) == (date(2024, 3, 7), Decimal("0.01"))
    assert (new.valid_from, new.valid_to, new.tick_size) == (date(2024, 3, 8), None, Decimal("0.05"))


def test_a_universe_gives_every_symbol_its_terms() -> None:
    found = instruments.from_universe(load_universe("us20"), ["AAPL", "KO"])
    assert [(one.symbol, one.tick_size, one.lot_size, one.currency) for one in found] == [
        ("AAPL", Decimal("0.01"), Decimal(1), "USD"), ("KO", Decimal("0.01"), Decimal(1), "USD"),
    ]  # fmt: skip


def test_dated_terms_come_from_a_file_and_a_bad_row_stops_it(tmp_path: Path) -> None:
    path = tmp_path / "instruments.csv"
    path.write_text(
        "symbol,valid_from,valid_to,tick_size,lot_size,multiplier,identifiers\n"
        "IBM,1997-06-24,2001-04-08,0.0625,100,,\nIBM,2001-04-09,,0.01,1,1,ibkr=8314;isin=US4592001014\n",
        encoding="utf-8",
    )
    old, new = instruments.read_csv(path)
    assert (old.tick_size, old.lot_size, old.multiplier) == (Decimal("0.0625"), Decimal(100), Decimal(1))
    assert new.identifiers == {"ibkr": "8314", "isin": "US4592001014"}
    path.write_text("symbol,valid_from,tick_size,lot_size\nIBM,2001-04-09,cents,1\n", encoding="utf-8")
    with pytest.raises(MalformedDataError, match="row 2"):
        instruments.read_csv(path)
    path.write_text("symbol,valid_from,tick_size\nIBM,2001-04-09,0.01\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="lot_size"):
        instruments.read_csv(path)


def test_each_new_word_of_a_source_counts_from_its_day_and_one_source_does_not_undo_another(ledger: Ledger) -> None:
    def refresh(*given: Terms, today: date) -> int:
        with ledger.write() as connection:
            return instruments.refresh(connection, given, today=today, at=NOW)

    monday, tuesday, wednesday = date(2024, 3, 4), date(2024, 3, 5), date(2024, 3, 6)
    stated = [terms(valid_from=FROM_THE_START, tick_size=Decimal(tick)) for tick in ("0.01", "0.05", "0.10")]
    assert [refresh(one, today=day) for one, day in zip(stated, (monday, tuesday, wednesday), strict=True)] == [1, 2, 2]
    venue = terms(valid_from=date(2024, 3, 7), tick_size=Decimal("0.02"), source="binance")
    assert refresh(venue, today=date(2024, 3, 7)) == 2
    again = terms(valid_from=date(2024, 3, 8), tick_size=Decimal("0.02"), source="binance")
    assert refresh(again, today=date(2024, 3, 8)) == 0, "asked again a day later, nothing has changed"
    assert refresh(stated[0], today=date(2024, 3, 8)) == 0, "the universe's file does not undo the venue's word"
    with ledger.read() as connection:
        found = [(one.valid_from, one.tick_size) for one in instruments.load(connection).history("IBM")]
    assert found == [
        (FROM_THE_START, Decimal("0.01")), (tuesday, Decimal("0.05")), (wednesday, Decimal("0.10")),
        (date(2024, 3, 7), Decimal("0.02")),
    ]  # fmt: skip


def test_a_file_of_dated_terms_takes_over_from_the_universe(ledger: Ledger) -> None:
    """Several spans of one symbol at once: each ends the one before, and nothing overlaps."""
    old = terms(valid_from=date(1997, 6, 24), valid_to=date(2001, 4, 8), tick_size=Decimal("0.0625"), source="file")
    new = terms(valid_from=date(2001, 4, 9), source="file")
    with ledger.write() as connection:
        instruments.refresh(connection, [terms(valid_from=FROM_THE_START)], today=date(2024, 3, 8), at=NOW)
        assert instruments.refresh(connection, [old, new], today=date(2024, 3, 8), at=NOW) == 3
        assert instruments.refresh(connection, [old, new], today=date(2024, 3, 11), at=NOW) == 0
        history = instruments.load(connection).history("IBM")
    assert [(one.valid_from, one.valid_to) for one in history] == [
        (FROM_THE_START, date(1997, 6, 23)), (date(1997, 6, 24), date(2001, 4, 8)), (date(2001, 4, 9), None),
    ]  # fmt: skip
