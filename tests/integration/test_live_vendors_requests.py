"""What live vendors are asked for, with which key, in which pieces, and for which symbols."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from quant_dagster.errors import (
    ConfigurationError,
    DataUnavailableError,
    MalformedAnswerError,
    UnauthorisedError,
)
from quant_dagster.market_data.vendors.registry import LIVE_VENDORS, build_vendor
from quant_dagster.settings import LiveVendorsSettings
from tests.support.vendor_servers import AlphaVantageServer, FinnhubServer, YahooServer
from tests.support.vendor_servers.worlds import (
    FIRST,
    LAST,
    LIVE,
    MINUTES_FROM,
    MINUTES_UNTIL,
    NOW,
    World,
    daily,
    minutes,
    server_of,
    vendor_at,
    world_of,
)


def test_registry_and_settings_name_the_same_live_vendors() -> None:
    assert set(LIVE_VENDORS) == set(LiveVendorsSettings.model_fields) == set(LIVE)


def test_yahoo_says_how_far_back_its_minutes_go() -> None:
    with YahooServer(daily(), minutes=minutes(), now=NOW) as server:
        vendor: Any = vendor_at("yfinance", server)
        with pytest.raises(DataUnavailableError, match="within the last 30 days"):
            vendor.minute_bars("AAPL", NOW - timedelta(days=60), NOW)


def test_yahoo_is_asked_for_a_week_of_minutes_at_a_time(worlds: dict[str, World]) -> None:
    rows = worlds["yfinance"].vendor.minute_bars("AAPL", NOW - timedelta(days=15), NOW).rows
    charts = [r.params for r in worlds["yfinance"].server.requests if "chart" in r.path]
    assert [int(c["period2"]) - int(c["period1"]) for c in charts] == [7 * 86_400, 7 * 86_400, 86_400]
    assert rows.equals(minutes())


def test_alpha_vantage_is_asked_for_the_short_form_where_that_is_enough() -> None:
    rows = daily()
    newest = rows["session"].max()
    assert isinstance(newest, date)
    now = datetime(newest.year, newest.month, newest.day, 23, tzinfo=UTC)
    with AlphaVantageServer(rows, full_is_premium=True) as server:
        vendor = vendor_at("alpha_vantage", server, now=now)
        short = vendor.daily_bars(["AAPL"], newest - timedelta(days=30), newest)
        assert short.rows["session"].max() == newest
        with pytest.raises(UnauthorisedError, match="premium endpoint"):
            vendor.daily_bars(["AAPL"], newest - timedelta(days=300), newest)


def test_alpha_vantage_is_asked_for_minutes_month_by_month(worlds: dict[str, World]) -> None:
    world = worlds["alpha_vantage"]
    with pytest.raises(MalformedAnswerError, match="is empty"):  # it holds no series for a month before March
        world.vendor.minute_bars("AAPL", datetime(2024, 2, 1, 6, tzinfo=UTC), MINUTES_UNTIL)
    world.server.clear()
    assert [request.params["month"] for request in world.server.requests] == ["2024-02"]
    world.server.requests.clear()
    world.vendor.minute_bars("AAPL", MINUTES_FROM, datetime(2024, 4, 1, 3, tzinfo=UTC))  # 23:00 on 31 March
    assert [request.params["month"] for request in world.server.requests] == ["2024-03"]


@pytest.mark.parametrize("name", ["alpha_vantage", "finnhub"])
def test_a_vendor_with_a_list_of_symbols_gives_it(name: str) -> None:
    both = pl.concat([daily(), daily("MSFT")])
    servers: dict[str, Any] = {"alpha_vantage": AlphaVantageServer, "finnhub": FinnhubServer}
    with servers[name](both) as server:
        assert vendor_at(name, server).symbols() == ["AAPL", "MSFT"]


def test_yahoo_has_no_list_of_symbols() -> None:
    with server_of("yfinance") as server, pytest.raises(ConfigurationError, match="name them in the universe"):
        vendor_at("yfinance", server).symbols()


@pytest.mark.parametrize("name", ["alpha_vantage", "finnhub"])
def test_a_missing_key_is_said_before_anything_is_asked(name: str) -> None:
    settings = getattr(LiveVendorsSettings(), name)
    with pytest.raises(ConfigurationError, match=f"QUANT_MARKET_DATA__LIVE__{name.upper()}__API_KEY"):
        build_vendor(name, {"settings": settings, "clock": lambda: NOW})


@pytest.mark.parametrize("name", ["alpha_vantage", "finnhub"])
def test_a_wrong_key_is_unauthorised(name: str) -> None:
    with server_of(name) as server, pytest.raises(UnauthorisedError):
        world_of(name, server, key="stolen").operation("daily_bars")()


def test_yahoo_is_asked_for_symbols_with_signs_as_they_are_spelt() -> None:
    rows = pl.concat([daily("^GSPC"), daily("BRK-B"), daily("ES=F")])
    with YahooServer(rows) as server:
        answer = vendor_at("yfinance", server).daily_bars(["^GSPC", "BRK-B", "ES=F"], FIRST, LAST)
    assert answer.rows["symbol"].unique(maintain_order=True).to_list() == ["^GSPC", "BRK-B", "ES=F"]
