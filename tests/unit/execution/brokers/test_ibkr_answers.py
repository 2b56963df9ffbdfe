"""What TWS may answer that is refused, of another account or client, or not an answer, through the loopback gateway."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import pytest

from quant_dagster.accounting.books import Side
from quant_dagster.errors import BrokerError, BrokerUnavailableError, DataUnavailableError
from quant_dagster.execution.broker import LinkState, ReportedStatus
from quant_dagster.execution.brokers.ibkr.client import IbkrClient
from quant_dagster.execution.brokers.ibkr.contracts import Contracts
from quant_dagster.execution.brokers.ibkr.hearing import REQUESTS_FROM
from quant_dagster.execution.brokers.ibkr.loop_thread import LoopThread
from quant_dagster.execution.brokers.ibkr.prices import _row
from quant_dagster.execution.brokers.ibkr.wire import ContractFields
from quant_dagster.execution.gateway import answers, messages
from quant_dagster.execution.gateway.bar_market import BarMarket
from quant_dagster.execution.gateway.bars import SymbolBars
from quant_dagster.execution.gateway.records import Instrument
from quant_dagster.execution.gateway.server import TwsServer
from quant_dagster.execution.gateway.session import Session
from quant_dagster.execution.gateway.wire import Fields
from quant_dagster.execution.pricing import Quote
from quant_dagster.market_data.instruments import Terms
from tests.support.ibkr_desk import START, TODAY, Desk, filled, order, wait_for, working
from tests.support.tws_gateway import wait_until
from tests.unit.execution.gateway.test_bar_market import CLOSES, OPENS, of_day, real_bars

EXECUTIONS, CONTRACTS, QUOTES, HISTORY = "7", "9", "1", "20"


@pytest.fixture
def served() -> Iterator[Desk]:
    with ExitStack() as stack:
        desk = Desk(stack)
        desk.serve()
        yield desk


def refuse(monkeypatch: pytest.MonkeyPatch, kind: str, code: int, number_at: int = 2) -> None:
    """The gateway refuses requests of a kind with a code."""

    def refused(server: TwsServer, session: Session, fields: Fields) -> None:
        session.send(messages.error(fields.integer(number_at), code, "for a test"))

    monkeypatch.setitem(answers.HANDLERS, kind, refused)


# -- orders --------------------------------------------------------------------------------------------------------


def test_an_order_number_the_broker_could_take_for_a_request_is_not_given_out(served: Desk) -> None:
    broker = served.broker(highest=REQUESTS_FROM - 2)
    assert int(broker.reserve()) == REQUESTS_FROM - 1
    with pytest.raises(BrokerError, match="reset the API order ids"):
        broker.reserve()


def test_a_filled_order_is_not_changed_and_an_impossible_change_is_not_sent(served: Desk) -> None:
    gateway, broker = served.gateway, served.broker()
    working(broker)
    with pytest.raises(BrokerError, match="quantity 0 is not above zero"):
        broker.modify(order("q1"), quantity=Decimal(0), limit_price=Decimal("169.80"))
    with pytest.raises(BrokerError, match="NOPE"):
        broker.modify(order("q1", symbol="NOPE"), quantity=Decimal(50), limit_price=None)
    gateway.fill("q1", Decimal(100), Decimal("169.90"))
    wait_for(broker, "q1", ReportedStatus.FILLED)
    report = broker.modify(order("q1"), quantity=Decimal(50), limit_price=Decimal("169.80"))
    assert report is not None and report.status is ReportedStatus.FILLED
    assert gateway.orders()[0].ticket.quantity == 100


def test_orders_of_another_client_id_are_seen_and_not_touched(served: Desk) -> None:
    gateway, first = served.gateway, served.broker()
    working(first)
    second = served.broker(client_id=2)
    found = second.find("q1")
    assert found is not None and found.status is ReportedStatus.WORKING
    with pytest.raises(BrokerError, match=r"belongs to client id 1, not 2.* only be cancelled there"):
        second.cancel("q1", TODAY)
    with pytest.raises(BrokerError, match=r"belongs to client id 1, not 2.* only be changed there"):
        second.modify(order("q1"), quantity=Decimal(5), limit_price=None)
    assert gateway.orders()[0].state.value == "Submitted"


def test_the_read_only_setting_cancels_nothing(served: Desk) -> None:
    gateway, first = served.gateway, served.broker()
    working(first)
    first.close()
    second = served.broker(read_only=True)
    with pytest.raises(BrokerError, match=r"cannot be cancelled: execution\.ibkr\.read_only is set"):
        second.cancel("q1", TODAY)
    assert gateway.orders()[0].state.value == "Submitted"


def test_client_0_hears_of_orders_made_by_hand_without_asking(served: Desk) -> None:
    gateway, broker = served.gateway, served.broker(client_id=0)
    asked = len(gateway.messages_received())
    gateway.place_foreign("MSFT", Side.BUY, Decimal(5), Decimal("105.00"), order_ref="")
    (theirs,) = wait_until(broker._view.orders)
    assert (theirs.reference, theirs.contract.symbol, theirs.quantity) == ("", "MSFT", 5)
    assert len(gateway.messages_received()) == asked


def test_what_another_account_of_the_login_does_is_not_ours() -> None:
    """The venue's account goes by both names here: nothing it tells of is of the account that was chosen."""
    with ExitStack() as stack:
        desk = Desk(stack)
        gateway = desk.serve(account="DU1,DU2", positions={"AAPL": (Decimal(100), Decimal(150))})
        gateway.place_foreign("MSFT", Side.BUY, Decimal(5), Decimal("105.00"))
        gateway.place_foreign("JPM", Side.BUY, Decimal(5), Decimal("99.00"), order_ref="done")
        gateway.fill("done", Decimal(5), Decimal(99))
        broker = desk.broker(account="DU1")
        assert (broker.open_orders(), broker.executions(), broker.find("by hand")) == ([], [], None)
        account = broker.account()
        assert (account.account, account.cash, account.positions, account.equity) == ("DU1", {}, {}, None)


def test_what_the_broker_refuses_to_tell_is_not_taken_for_nothing(
    served: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway, broker = served.gateway, served.broker()
    working(broker)
    with monkeypatch.context() as patch:
        refuse(patch, EXECUTIONS, 321)
        with pytest.raises(BrokerUnavailableError, match="orders and executions are not told"):
            broker.refresh()
    gateway.fill("q1", Decimal(100), Decimal("169.90"))
    broker.refresh()
    assert filled(broker.executions(["q1"])) == 100


# -- the connection ------------------------------------------------------------------------------------------------


def test_a_program_that_hangs_up_at_once_is_named_with_what_may_be_wrong(served: Desk) -> None:
    with socket.socket() as rude:
        rude.bind(("127.0.0.1", 0))
        rude.listen()

        def hang_up() -> None:
            rude.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        broker = served.broker(open_=False, port=rude.getsockname()[1])
        with pytest.raises(BrokerUnavailableError, match="closed the connection before it was ready"):
            broker.open()
        assert broker.link() is LinkState.DOWN


def test_before_the_first_connection_there_is_no_time(served: Desk) -> None:
    with pytest.raises(BrokerUnavailableError, match="not known before the first connection"):
        served.broker(open_=False).market_time()


def test_work_that_waits_for_itself_or_times_out_by_itself_says_so() -> None:
    loop = LoopThread("ibkr")

    async def nested() -> None:
        loop.run(nothing, 1, "asking")

    async def nothing() -> None:
        pass

    async def impatient() -> None:
        raise TimeoutError("its own")

    async def slow() -> None:
        await asyncio.sleep(60)

    with pytest.raises(RuntimeError, match="would wait for ever"):
        loop.run(nested, 5, "asking")
    with pytest.raises(TimeoutError, match="its own"):
        loop.run(impatient, 5, "asking")
    with pytest.raises(BrokerUnavailableError, match=r"no answer within 0\.01 s while asking"):
        loop.run(slow, 0.01, "asking")
    loop.stop()
    loop.stop()


# -- contracts -----------------------------------------------------------------------------------------------------


def stock(symbol: str, **changed: Any) -> Terms:
    return Terms(symbol, date(2020, 1, 1), Decimal("0.01"), Decimal(1), **changed)


def test_a_contract_may_be_named_by_its_id(served: Desk) -> None:
    con_id = served.gateway.market.instruments["AAPL"].con_id
    broker = served.broker(terms={"APPLE": stock("APPLE", identifiers={"ibkr": str(con_id)})}.get)
    working(broker, symbol="APPLE")
    (placed,) = served.gateway.orders()
    assert placed.ticket.symbol == "AAPL"
    assert [one.symbol for one in broker.open_orders()] == ["APPLE"]


def several(monkeypatch: pytest.MonkeyPatch, *exchanges: str) -> None:
    """The gateway knows a contract on each of these exchanges under any symbol."""

    def found(server: TwsServer, session: Session, fields: Fields) -> None:
        for number, exchange in enumerate(exchanges):
            instrument = Instrument(fields[4], 700 + number, primary_exchange=exchange)
            session.send(messages.contract_details(fields.integer(2), instrument))
        session.send(messages.contract_details_end(fields.integer(2)))

    monkeypatch.setitem(answers.HANDLERS, CONTRACTS, found)


def test_of_several_contracts_the_one_on_the_terms_exchange_is_meant(
    served: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    several(monkeypatch, "NYSE", "NASDAQ")
    listed = {"AAPL": stock("AAPL", exchange="XNAS"), "MSFT": stock("MSFT", exchange="XLON")}
    broker = served.broker(terms=listed.get)
    refused = broker.prepare(["AAPL", "MSFT", "JPM"])
    assert set(refused) == {"MSFT", "JPM"}
    assert refused["JPM"].startswith("the broker's answer for JPM: several contracts (700 on NYSE, 701 on NASDAQ)")


def test_no_contract_without_an_error_is_none_either(served: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    several(monkeypatch)
    assert "knows no such contract" in served.broker().prepare(["AAPL"])["AAPL"]


def test_a_refused_question_about_a_contract_says_nothing_of_the_contract(
    served: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = served.broker()
    with monkeypatch.context() as patch:
        refuse(patch, CONTRACTS, 322)
        with pytest.raises(BrokerUnavailableError, match="322"):
            broker.prepare(["AAPL"])
    assert broker.prepare(["AAPL"]) == {}


def test_what_is_no_stock_goes_by_the_name_the_broker_gives_it() -> None:
    contracts = Contracts(cast(IbkrClient, None), lambda symbol: None)
    assert contracts.symbol_of(ContractFields(1, "BRK B", "STK", "USD", "BRK B")) == "BRK.B"
    assert contracts.symbol_of(ContractFields(2, "ES", "FUT", "USD", "ESH4")) == "ESH4"
    assert contracts.symbol_of(ContractFields(3, "EUR", "CASH", "USD", "")) == "EUR"


# -- prices --------------------------------------------------------------------------------------------------------


def test_a_market_without_a_subscription_has_no_quote_and_any_other_refusal_is_an_error(
    served: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = served.broker()
    with pytest.raises(BrokerError, match="NOPE"):
        broker.snapshot("NOPE")
    for code in (354, 10168):
        refuse(monkeypatch, QUOTES, code)
        assert broker.snapshot("AAPL") is None
    refuse(monkeypatch, QUOTES, 322)
    with pytest.raises(BrokerError, match="the market of AAPL was asked for"):
        broker.snapshot("AAPL")


def test_bars_that_are_refused_are_not_to_be_had_or_not_known_about(
    served: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, hour = served.broker(), timedelta(hours=1)
    for start, end in ((START, START), (START.replace(tzinfo=None), START)):
        with pytest.raises(BrokerError, match="two instants with time zones"):
            broker.history("AAPL", start, end, 60)
    refuse(monkeypatch, HISTORY, 99_999, number_at=1)
    with pytest.raises(BrokerUnavailableError, match="bars of AAPL"):
        broker.history("AAPL", START - hour, START, 60)


def test_before_the_first_trade_of_a_day_there_is_no_price_and_daily_bars_begin_with_their_day() -> None:
    with ExitStack() as stack:
        desk = Desk(stack)
        gateway = desk.serve(market=BarMarket({"AAPL": real_bars()["AAPL"]}, opens=OPENS, closes=CLOSES), start=CLOSES)
        broker = desk.broker()
        days = broker.history("AAPL", datetime(2019, 2, 12, tzinfo=UTC), datetime(2019, 2, 14, tzinfo=UTC), 86_400)
        assert days["bar_start"].to_list() == [datetime(2019, 2, day, tzinfo=UTC) for day in (12, 13)]
        assert days["high"][1] == max(float(bar.high) for bar in of_day())
        with pytest.raises(DataUnavailableError, match="the broker sent no bars"):
            broker.history("AAPL", CLOSES - timedelta(seconds=30), CLOSES, 60)
        assert gateway.orders() == ()
    with ExitStack() as stack:
        desk = Desk(stack)
        # Bars of this day alone: there is no earlier session whose last price could be told.
        market = BarMarket({"AAPL": SymbolBars.of(of_day())}, opens=OPENS, closes=CLOSES)
        desk.serve(market=market, start=OPENS - timedelta(minutes=5))
        assert desk.broker().snapshot("AAPL") == Quote(None, None, None)


def test_a_bar_that_names_no_instant_is_refused() -> None:
    naive = SimpleNamespace(date=datetime(2024, 1, 2, 15, 0), open=1.0, high=1.0, low=1.0, close=1.0, volume=1)
    for began in (naive.date, "yesterday"):
        naive.date = began
        with pytest.raises(BrokerError, match="names no instant"):
            _row("AAPL", naive)
