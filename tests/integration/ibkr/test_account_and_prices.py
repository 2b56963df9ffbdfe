"""The account, the broker's clock, quotes and bars."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest

from quant_dagster.errors import BrokerError, DataUnavailableError
from quant_dagster.execution.broker import ReportedStatus
from quant_dagster.execution.gateway.bar_market import BarMarket
from quant_dagster.execution.gateway.bars import minute_bars, of_session, read_bars
from tests.support.ibkr_desk import START, Desk, wait_for, working
from tests.support.market_data import shared_data


def test_the_account_is_told_with_cash_by_currency_and_signed_positions(desk: Desk) -> None:
    gateway = desk.serve(positions={"AAPL": (Decimal(100), Decimal(150)), "JPM": (Decimal(-20), Decimal(100))})
    broker = desk.broker()
    account = broker.account()
    assert (account.account, account.currency) == ("DU0000000", "USD")
    assert account.cash == {"USD": gateway.cash()}
    assert account.positions == {"AAPL": 100, "JPM": -20}
    assert account.equity == gateway.equity()
    working(broker)
    gateway.fill("q1", Decimal(100), Decimal("169.90"))
    wait_for(broker, "q1", ReportedStatus.FILLED)
    assert broker.account().positions["AAPL"] == 200
    assert broker.account().cash == {"USD": gateway.cash()}


def test_market_time_is_the_broker_s(desk: Desk) -> None:
    gateway, broker = desk.serve(), desk.broker()
    assert timedelta(0) <= broker.market_time() - START < timedelta(seconds=10)
    gateway.advance(3600)
    broker.ping(2)
    assert timedelta(0) <= broker.market_time() - (START + timedelta(hours=1)) < timedelta(seconds=10)


def test_a_snapshot_of_the_market(desk: Desk) -> None:
    desk.serve()
    quote = desk.broker().snapshot("AAPL")
    assert quote is not None
    assert quote.bid is not None and quote.ask is not None
    assert quote.bid < 170 < quote.ask
    assert quote.last == 170


def test_no_history_is_an_error_and_not_an_empty_table(desk: Desk) -> None:
    desk.serve()
    broker = desk.broker()
    with pytest.raises(DataUnavailableError, match="162"):
        broker.history("AAPL", START - timedelta(hours=1), START, 60)
    with pytest.raises(DataUnavailableError, match="NOPE"):
        broker.history("NOPE", START - timedelta(hours=1), START, 60)
    with pytest.raises(BrokerError, match="7 s"):
        broker.history("AAPL", START - timedelta(hours=1), START, 7)


def test_bars_of_a_real_session_are_those_the_gateway_has(desk: Desk) -> None:
    minutes = read_bars(
        shared_data("intraday_1min_us24_2019-02-11_15.parquet"), {"bar_end": "bar_end_ny"},
        time_zone="America/New_York",
    )  # fmt: skip
    opens, closes = datetime(2019, 2, 13, 14, 30, tzinfo=UTC), datetime(2019, 2, 13, 21, tzinfo=UTC)
    real = of_session(minutes, date(2019, 2, 13)).filter(pl.col("symbol") == "AAPL")
    desk.serve(market=BarMarket(minute_bars(real), opens=opens, closes=closes), start=closes)
    broker = desk.broker()
    found = broker.history("AAPL", opens + timedelta(minutes=30), opens + timedelta(minutes=90), 60)
    assert found.height == 60
    assert found["bar_start"][0] == opens + timedelta(minutes=30)
    hour = pl.col("bar_start").is_between(opens + timedelta(minutes=30), opens + timedelta(minutes=89))
    expected = real.filter(hour).sort("bar_start")
    for field in ("open", "high", "low", "close", "volume"):
        assert found[field].to_list() == pytest.approx(expected[field].cast(pl.Float64).to_list())
    assert found["bar_start"].to_list() == expected["bar_start"].to_list()
