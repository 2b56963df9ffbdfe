"""The simulated gateway's market: a vendor's day, which the desk does not know yet."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from bokeh_sampledata import stocks

from quant_dagster.cli.gateway_commands import _from_vendor
from quant_dagster.errors import ConfigurationError
from quant_dagster.storage.lake import Lake

DAY = date(2013, 2, 28)


@pytest.fixture
def small_universe(quant_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QUANT_UNIVERSE", "us4")
    return quant_home


def test_a_vendor_s_day_is_a_market_by_the_minute_and_stays_out_of_the_lake(small_universe: Path) -> None:
    found = _from_vendor("embedded_bokeh", DAY)
    assert (found.session, sorted(found.bars)) == (DAY, ["AAPL", "GOOG", "IBM", "MSFT"])
    place = stocks.AAPL["date"].index(DAY.isoformat())
    today = [bar for bar in found.bars["AAPL"].bars if bar.start.date() == DAY]
    assert len(today) == 390
    assert (today[0].open, today[-1].close) == (
        Decimal(repr(stocks.AAPL["open"][place])),
        Decimal(repr(stocks.AAPL["close"][place])),
    )
    assert max(bar.high for bar in today) == Decimal(repr(stocks.AAPL["high"][place]))
    assert min(bar.low for bar in today) == Decimal(repr(stocks.AAPL["low"][place]))
    assert abs(sum(bar.volume for bar in today) - stocks.AAPL["volume"][place]) <= 3, "thirds of a day, whole shares"
    assert Lake(small_universe / "lake").read("bars").is_empty()


def test_without_a_session_it_is_the_vendor_s_newest(small_universe: Path) -> None:
    assert _from_vendor("embedded_bokeh", None).session == date(2013, 3, 1)


def test_a_vendor_that_the_universe_does_not_have_is_refused_with_those_it_has(small_universe: Path) -> None:
    with pytest.raises(ConfigurationError, match="'yfinance' is not one that universe 'us4' has: embedded_bokeh"):
        _from_vendor("yfinance", DAY)
