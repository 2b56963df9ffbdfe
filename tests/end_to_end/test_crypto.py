"""A crypto universe, from a venue on loopback to bars, scores and the instrument master."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from quant_dagster.cycle import history
from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.inputs import market_facts
from quant_dagster.cycle.instruments import refresh_from_venue
from quant_dagster.errors import ConfigurationError
from quant_dagster.market_data.ingest import load_panel
from quant_dagster.settings import load_settings
from tests.support.replays import Command
from tests.support.vendor_servers.worlds import CRYPTO, daily, server_of

SYMBOL = "BTC/USDT"
START, END = date(2012, 10, 1), date(2013, 2, 28)
NOW = datetime(2013, 3, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("venue", CRYPTO)
def test_a_venues_days_become_bars_of_utc_sessions(venue: str, quant_home: Path) -> None:
    with server_of(venue) as server:
        context = desk(quant_home, venue, server.base_url)
        done = history.backfill(context, START, END)
    wanted = daily(SYMBOL).filter(pl.col("session").is_between(START, END))
    bars = context.lake.read("bars")
    assert bars["close"].to_list() == wanted["close"].to_list()
    assert bars["vendor"].unique().to_list() == [venue]
    assert bars["known_at"].to_list() == [context.calendar.close_time(day) for day in wanted["session"]]
    assert done.scored >= bars.height


def test_the_venues_own_steps_go_into_the_instrument_master_and_fractions_are_not_traded(quant_home: Path) -> None:
    with server_of("binance") as server:
        context = desk(quant_home, "binance", server.base_url)
        history.backfill(context, START, END)
        assert context.instruments.at(SYMBOL, END).lot_size == 1
        refresh_from_venue(context, "binance")
        terms = context.instruments.at(SYMBOL, NOW.date())
        assert (terms.source, terms.currency, terms.asset_class) == ("binance", "USDT", "crypto")
        assert terms.lot_size < 1
        assert terms.tick_size > Decimal(0)
        assert refresh_from_venue(context, "binance") == 0
        with pytest.raises(ConfigurationError, match="publishes no instrument terms"):
            refresh_from_venue(context, "yfinance")
    facts = market_facts(context, NOW.date(), load_panel(context.lake, [SYMBOL], END))
    assert "is in USDT, the account in USD" in str(facts[SYMBOL].instrument_problem)


def desk(home: Path, venue: str, url: str) -> TradingContext:
    live = {"base_url": url, "timeout_seconds": 5.0, "requests_per_minute": None}
    settings = load_settings(
        {"home": home, "universe": "crypto_majors", "market_data": {"vendors": [venue], "live": {venue: live}}}
    )
    return TradingContext(settings, symbols=[SYMBOL], clock=lambda: NOW)


def test_minutes_trades_and_the_book_of_a_venue_by_command(
    quant_home: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server_of("binance") as server:
        monkeypatch.setenv("QUANT_MARKET_DATA__LIVE__BINANCE__BASE_URL", server.base_url)
        where = ("--vendor", "binance", "--universe", "crypto_majors")
        minutes = command("intraday", "fetch", SYMBOL, *where, "--start", "2024-03-08", "--json")
        assert (minutes.code, minutes.json["inserted"]) == (0, 60), minutes.err
        trades = command("intraday", "fetch", SYMBOL, *where, "--start", "2024-03-08", "--kind", "trades", "--json")
        assert (trades.code, trades.json["inserted"]) == (0, 60), trades.err
        book = command("intraday", "snapshot", SYMBOL, *where, "--json").json
    assert (book["levels"][0]["bid"], book["levels"][0]["ask"]) == (430.47, 430.58)
    assert 430.47 < book["microprice"] < 430.58
    refused = command("intraday", "snapshot", SYMBOL, "--vendor", "binance", "--universe", "us20_live")
    assert (refused.code, "does not offer order_book" in refused.err) == (2, True)
