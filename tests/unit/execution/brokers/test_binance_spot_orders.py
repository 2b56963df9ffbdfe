"""Binance spot through unmodified ccxt, at the loopback venue: an order's life, filters, refusals, quotes and bars."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from quant_dagster.accounting.books import Side
from quant_dagster.errors import BrokerError, DataUnavailableError
from quant_dagster.execution.broker import Broker, LinkState, RemoteBroker, ReportedStatus
from quant_dagster.execution.brokers.binance_spot import BinanceSpotBroker
from quant_dagster.execution.brokers.binance_spot.codes import TABLE, answer_to
from quant_dagster.execution.brokers.binance_spot.markets import read_markets
from quant_dagster.execution.brokers.codes import Answer
from quant_dagster.execution.pricing import Quote
from tests.support.binance_spot_book import Pair
from tests.support.binance_spot_server import BinanceSpotServer
from tests.unit.execution.brokers.spot_at_work import Q1, TODAY, broker_of, name_of, order

# -- an order's life -----------------------------------------------------------------------------------------------


def test_it_is_a_broker_and_a_remote_broker(broker: BinanceSpotBroker) -> None:
    as_broker: Broker = broker
    assert isinstance(as_broker, RemoteBroker)
    assert broker.link() is LinkState.UP


def test_an_order_works_fills_in_parts_and_says_what_it_cost_and_in_what(
    venue: BinanceSpotServer, broker: BinanceSpotBroker
) -> None:
    assert broker.submit(order()).status is ReportedStatus.WORKING
    venue.fill(Q1, Decimal("0.2"), Decimal("41999.99"), commission=Decimal("0.0002"), commission_asset="BTC")
    venue.fill(
        Q1, Decimal("0.3"), Decimal("42000"), commission=Decimal("0.01234567"), commission_asset="BNB", maker=False
    )
    first, second = broker.executions([Q1])
    assert (first.execution_id, first.quantity, first.price) == ("BTCUSDT-1", Decimal("0.2"), Decimal("41999.99"))
    assert (first.commission, first.commission_currency, first.currency) == (Decimal("0.0002"), "BTC", "USDT")
    assert (second.commission, second.commission_currency) == (Decimal("0.01234567"), "BNB")
    assert (first.provenance["liquidity"], second.provenance["liquidity"]) == ("maker", "taker")
    assert first.executed_at is not None and first.session == TODAY and first.client_order_id == Q1
    report = broker.find(Q1)
    assert report is not None and (report.status, report.filled_quantity) == (ReportedStatus.FILLED, Decimal("0.5"))


def test_executions_of_two_markets_never_share_an_id(venue: BinanceSpotServer, broker: BinanceSpotBroker) -> None:
    other = name_of("ether")
    broker.submit(order())
    broker.submit(order(other, limit="2300", symbol="ETH/USDT"))
    venue.fill(Q1, Decimal("0.5"), Decimal(42000))
    venue.fill(other, Decimal("0.5"), Decimal(2300))
    assert [one["id"] for one in venue.trades] == [1, 1]  # the venue counts them per market
    assert {one.execution_id: one.symbol for one in broker.executions()} == {
        "BTCUSDT-1": "BTC/USDT", "ETHUSDT-1": "ETH/USDT",
    }  # fmt: skip


def test_a_symbol_without_a_quote_currency_keeps_its_name(venue: BinanceSpotServer) -> None:
    broker = broker_of(venue, symbols=lambda: ("BTC",))
    broker.submit(order(symbol="BTC"))
    venue.fill(Q1, Decimal("0.5"), Decimal(42000))
    assert venue.orders[0].pair.id == "BTCUSDT"
    assert [one.symbol for one in broker.executions()] == ["BTC"]
    assert broker.account().positions == {"BTC": Decimal("0.5")}


def test_stable_coins_are_cash_and_locked_balances_count(venue: BinanceSpotServer, broker: BinanceSpotBroker) -> None:
    venue.free |= {"USDC": Decimal("12.5"), "XYZ": Decimal(7)}
    broker.submit(order())  # locks 21,000 USDT
    account = broker.account()
    assert account.cash == {"USDT": Decimal(1_000_000), "USDC": Decimal("12.5")}
    assert account.positions == {"XYZ": Decimal(7)}
    assert (account.account, account.currency, account.equity) == ("354937868", "USDT", None)


def test_an_order_made_by_hand_is_listed_and_is_nobodys(venue: BinanceSpotServer, broker: BinanceSpotBroker) -> None:
    venue.place_by_hand("BTCUSDT", "BUY", Decimal("0.1"), Decimal(40000))
    venue.fill("web_7c9f", Decimal("0.04"), Decimal(40000))
    (listed,) = broker.open_orders()
    assert (listed.client_order_id, listed.quantity, listed.filled_quantity) == ("", Decimal("0.1"), Decimal("0.04"))
    assert [one.client_order_id for one in broker.executions()] == [""]


def test_market_and_stop_orders_arrive_as_such(venue: BinanceSpotServer, broker: BinanceSpotBroker) -> None:
    assert broker.submit(order(limit=None)).status is ReportedStatus.FILLED
    stop = order(name_of("stop"), limit=None, order_type="stop", stop_price=Decimal("40000.01"), side=Side.SELL)
    assert broker.submit(stop).status is ReportedStatus.WORKING
    assert [(one.kind, one.stop) for one in venue.orders] == [("MARKET", 0), ("STOP_LOSS", Decimal("40000.01"))]
    assert [one.order_type for one in broker.open_orders()] == ["stop"]


def test_an_order_the_venue_lets_expire_is_expired(venue: BinanceSpotServer, broker: BinanceSpotBroker) -> None:
    broker.submit(order())
    venue.expire(Q1)
    report = broker.find(Q1)
    assert report is not None and report.status is ReportedStatus.EXPIRED


# -- filters and refusals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"quantity": "0.000001"}, "LOT_SIZE: quantity 0.000001 is below 0.00001"),
        ({"quantity": "0.500001"}, "LOT_SIZE: quantity 0.500001 is not a multiple of 0.00001"),
        ({"limit": "42000.001"}, "PRICE_FILTER: price 42000.001 is not a multiple of 0.01"),
        ({"limit": "2000000"}, "PRICE_FILTER: price 2000000 is above 1000000"),
        ({"quantity": "0.00002", "limit": "42000"}, "NOTIONAL: 0.84000 USDT is below 5"),
        ({"quantity": "0.00002", "limit": None}, "NOTIONAL"),
        ({"quantity": "121", "limit": None}, "MARKET_LOT_SIZE: quantity 121 is above 120"),
        ({"symbol": "DOGE/USDT"}, "no market DOGE/USDT"),
        ({"order_type": "iceberg"}, "order type iceberg is not offered"),
    ],
)
def test_what_a_filter_refuses_is_not_sent(
    venue: BinanceSpotServer, broker: BinanceSpotBroker, changed: dict[str, Any], said: str
) -> None:
    report = broker.submit(order(**changed))
    assert report.status is ReportedStatus.REJECTED and said in report.reason
    assert venue.sent("POST", "order") == []


def test_a_market_that_is_halted_takes_no_order(venue: BinanceSpotServer) -> None:
    venue.pairs["BTCUSDT"].status = "HALT"
    assert "status is HALT" in broker_of(venue).submit(order()).reason


def test_amounts_are_sent_without_exponents(venue: BinanceSpotServer, broker: BinanceSpotBroker) -> None:
    assert broker.submit(order(quantity="1E+1", limit="42000.00")).status is ReportedStatus.WORKING
    (sent,) = venue.sent("POST", "order")
    assert (sent.params["quantity"], sent.params["price"]) == ("10", "42000")


def test_a_refusal_by_the_venue_is_a_rejected_order(venue: BinanceSpotServer, broker: BinanceSpotBroker) -> None:
    venue.reject_next()
    report = broker.submit(order())
    assert report.status is ReportedStatus.REJECTED and "insufficient balance" in report.reason
    assert broker.link() is LinkState.UP
    assert broker.submit(order()).status is ReportedStatus.WORKING  # asked for again, it is a new attempt


@pytest.mark.parametrize(
    ("code", "answer"),
    [(-1003, Answer.RETRY), (-1007, Answer.RECONCILE), (-1013, Answer.REJECT), (-1021, Answer.RETRY),
     (-2010, Answer.REJECT), (-2011, Answer.RECONCILE), (-2013, Answer.RECONCILE), (-2014, Answer.HALT),
     (-2015, Answer.HALT), (-9999, Answer.RECONCILE)],
)  # fmt: skip
def test_every_code_has_one_answer_and_an_unknown_one_is_asked_about(code: int, answer: Answer) -> None:
    assert answer_to(code).answer is answer
    assert all(entry.number == number and entry.meaning for number, entry in TABLE.items())


def test_orders_are_not_changed_in_place_but_cancelled(broker: BinanceSpotBroker) -> None:
    broker.submit(order())
    assert not broker.capabilities.modifies
    with pytest.raises(BrokerError, match="cancel"):
        broker.modify(order(), quantity=Decimal("0.4"), limit_price=None)


# -- the market ----------------------------------------------------------------------------------------------------


def test_the_market_is_quoted_and_bars_are_paged(venue: BinanceSpotServer, broker: BinanceSpotBroker) -> None:
    assert broker.snapshot("BTC/USDT") == Quote(Decimal("41999.99"), Decimal("42000.01"), Decimal(42000))
    assert broker.snapshot("DOGE/USDT") is None
    start = datetime(2024, 1, 1, tzinfo=UTC)
    begin = int(start.timestamp() * 1000)
    venue.pairs["BTCUSDT"].klines = [
        [begin + 60_000 * n, "42000.0", "42001.5", "41999.0", f"{42000 + n % 7}", "1.25", begin + 60_000 * n + 59_999,
         "52500.0", 10, "0.5", "21000.0", "0"]
        for n in range(1440)
    ]  # fmt: skip
    bars = broker.history("BTC/USDT", start, start + timedelta(hours=20), 60)
    assert bars.columns == ["symbol", "bar_start", "open", "high", "low", "close", "volume"]
    assert (bars.height, bars["bar_start"][0], bars["bar_start"][-1]) == (
        1200, start, start + timedelta(hours=20, minutes=-1),
    )  # fmt: skip
    assert bars["close"].to_list() == [42000.0 + n % 7 for n in range(1200)]
    with pytest.raises(DataUnavailableError):
        broker.history("ETH/USDT", start, start + timedelta(hours=1), 60)
    with pytest.raises(BrokerError, match="7 s"):
        broker.history("BTC/USDT", start, start + timedelta(hours=1), 7)


def test_the_older_notional_filter_is_read_too() -> None:
    # The example of the venue's own page on filters, in a market of its page on exchange information.
    listing = Pair("ETH", "BTC", Decimal("0.05")).listing()
    listing["filters"] = [{"filterType": "MIN_NOTIONAL", "minNotional": "0.00100000", "applyToMarket": True,
                           "avgPriceMins": 5}]  # fmt: skip
    market = read_markets({"symbols": [listing]}, "USDT").of_symbol("ETH/BTC")
    assert market is not None
    small = replace(order(limit=None, quantity="0.01"), symbol="ETH/BTC", decision_price=Decimal("0.05"))
    assert market.problems(small) == ["NOTIONAL: 0.0005 BTC is below 0.00100000"]
