"""What a client may ask for that is wrong, refused, too early or about something else, field by field."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from decimal import Decimal

import pytest

from quant_dagster.accounting.books import Side
from quant_dagster.execution.gateway.bar_market import BarMarket
from quant_dagster.execution.gateway.gateway import Gateway
from quant_dagster.execution.gateway.wire import GREETING, Field, Fields, Frames, frame, message
from tests.support.tws_gateway import tws_gateway, wait_until
from tests.unit.execution.gateway.test_bar_market import CLOSES, DAY, OPENS, of_day, real_bars

ORDERS, EXECUTION, STATUS, ERROR, TIME, COMPLETED = "5", "11", "3", "4", "49", "101"
HISTORY, SUMMARY, VALUE, QUOTE = "17", "63", "6", "1"
CONTRACT: tuple[Field, ...] = (0, "AAPL", "STK", "", 0, "", "", "SMART", "", "USD", "", "")
UNKNOWN: tuple[Field, ...] = (0, "NOPE", "STK", "", 0, "", "", "SMART", "", "USD", "", "")


class RawClient:
    """A client that writes fields and reads fields, and nothing else."""

    def __init__(self, gateway: Gateway, client_id: int = 1, *more: bytes) -> None:
        self.socket = socket.create_connection((gateway.host, gateway.port), timeout=5)
        self._frames = Frames()
        list(self._frames.feed(GREETING))
        self.socket.sendall(GREETING + frame(b"v157..176") + message(71, 2, client_id, "") + b"".join(more))

    def close(self) -> None:
        self.socket.close()

    def read(self) -> list[Fields]:
        """What has come; empty: the gateway hung up."""
        return list(self._frames.feed(data)) if (data := self.socket.recv(65536)) else []

    def ask(self, *asked: bytes) -> list[Fields]:
        """Everything that is told until the gateway tells the time, which is asked for last."""
        self.socket.sendall(b"".join(asked) + message(49, 1))
        told: list[Fields] = []
        while not any(fields[0] == TIME for fields in told):
            some = self.read()
            assert some, "the connection was closed"
            told += some
        return told


def of_kind(told: list[Fields], kind: str) -> list[Fields]:
    return [fields for fields in told if fields[0] == kind]


def errors(told: list[Fields]) -> list[tuple[int, int]]:
    """Request or order number, and code; news of the data farms apart."""
    found = [(fields.integer(2), fields.integer(3)) for fields in of_kind(told, ERROR)]
    return [one for one in found if one[1] not in (2104, 2106, 2158)]


def order(
    number: int = 1, reference: str = "one", *, contract: tuple[Field, ...] = CONTRACT, **changed: Field
) -> bytes:
    """A limit order to buy 10 at 170; ``f83`` is its field 83."""
    fields: list[Field] = [""] * 118
    fields[:2] = [3, number]
    fields[2:14] = contract
    fields[16:22] = ["BUY", "10", "LMT", "170", "", "DAY"]
    fields[26:29] = [reference, "1", "0"]
    for name, value in changed.items():
        fields[int(name[1:])] = value
    return message(*fields)


def bars(number: int, size: str, duration: str, *, end: str = "", contract: tuple[Field, ...] = CONTRACT,
         as_epoch: bool = True) -> bytes:  # fmt: skip
    return message(20, number, *contract, 0, end, size, duration, 1, "TRADES", 2 if as_epoch else 1, 0, "")


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with tws_gateway() as started:
        yield started


@pytest.fixture
def client(gateway: Gateway) -> Iterator[RawClient]:
    with closing(RawClient(gateway)) as connected:
        yield connected


def test_an_order_for_a_contract_that_is_not_known_is_error_200_and_reaches_nobody(
    gateway: Gateway, client: RawClient
) -> None:
    euros: tuple[Field, ...] = (*CONTRACT[:9], "EUR", "", "")
    option: tuple[Field, ...] = (0, "AAPL", "OPT", *CONTRACT[3:])
    asked = [order(n, contract=one) for n, one in enumerate((UNKNOWN, euros, option, (4711, *CONTRACT[1:])), 1)]
    assert errors(client.ask(*asked)) == [(n, 200) for n in (1, 2, 3, 4)]
    assert gateway.orders() == ()


def test_an_order_whose_further_fields_are_not_read_here_is_refused(gateway: Gateway, client: RawClient) -> None:
    told = client.ask(order(f83="Vwap"), order(2, f65="D"))
    assert [(code, fields[4]) for fields in of_kind(told, ERROR) if (code := fields.integer(3)) == 320] == [
        (320, "Error reading request: order 1: an algorithm is not offered by this gateway"),
        (320, "Error reading request: order 2: a hedging order is not offered by this gateway"),
    ]
    assert gateway.orders() == ()


def test_a_read_only_gateway_cancels_nothing(gateway: Gateway, client: RawClient) -> None:
    client.ask(order())
    gateway.read_only(True)
    assert errors(client.ask(message(4, 1, 1, ""), message(58, 1))) == [(1, 321), (-1, 321)]
    assert [one.state.value for one in gateway.orders()] == ["Submitted"]


def test_an_order_before_a_client_has_said_who_it_is_is_not_taken(gateway: Gateway) -> None:
    with closing(socket.create_connection((gateway.host, gateway.port), timeout=5)) as sock:
        sock.sendall(GREETING + frame(b"v157..176") + order() + message(71, 2, 1, ""))
        wait_until(gateway.clients)
    assert gateway.orders() == ()


def test_an_order_sent_under_a_client_id_in_use_is_not_taken(gateway: Gateway, client: RawClient) -> None:
    client.ask()
    with closing(RawClient(gateway, 1, order(reference="stranger"))) as second:
        told: list[Fields] = []
        while some := second.read():
            told += some
    assert (-1, 326) in errors(told)
    assert errors(client.ask(order(reference="ours"))) == []
    assert [one.ticket.order_ref for one in gateway.orders()] == ["ours"]


def test_orders_made_by_hand_are_client_0s_only_once_it_asked_for_them(gateway: Gateway) -> None:
    gateway.place_foreign("MSFT", Side.BUY, Decimal(5), Decimal("105.00"))
    with closing(RawClient(gateway, 0)) as client:
        assert of_kind(client.ask(message(5, 1)), ORDERS) == []
        (bound,) = of_kind(client.ask(message(15, 1, 1), message(5, 1)), ORDERS)
        assert "by hand" in bound


def test_completed_orders_can_be_those_of_programs_alone(gateway: Gateway, client: RawClient) -> None:
    gateway.place_foreign("MSFT", Side.BUY, Decimal(5), Decimal("105.00"))
    client.ask(order())
    gateway.fill("by hand", Decimal(5), Decimal(105))
    gateway.fill("one", Decimal(10), Decimal(170))
    (own,) = of_kind(client.ask(message(99, 1)), COMPLETED)
    assert "one" in own
    assert len(of_kind(client.ask(message(99, 0)), COMPLETED)) == 2


def test_executions_of_another_account_or_kind_are_not_told(gateway: Gateway, client: RawClient) -> None:
    client.ask(order())
    gateway.fill("one", Decimal(10), Decimal(170))
    client.ask()

    def found(client_id: Field = "", account: str = "", since: str = "", kind: str = "", side: str = "") -> int:
        told = client.ask(message(7, 3, 9, client_id, account, since, "", kind, "", side))
        assert errors(told) == []
        return len(of_kind(told, EXECUTION))

    assert found() == found(account="DU0000000", kind="STK", side="buy") == 1
    assert [found(account="DU9"), found(kind="OPT"), found(side="SELL"), found(client_id=7)] == [0, 0, 0, 0]
    assert [found(since="20240102 10:00:00 America/New_York"), found(since="20240102-15:00:01")] == [1, 0]
    assert errors(client.ask(message(7, 3, 9, "", "", "yesterday", "", "", "", ""))) == [(3, 320)]


def test_account_values_are_pushed_while_they_are_wanted(gateway: Gateway, client: RawClient) -> None:
    client.ask(order(), order(2, "two"), order(3, "three"))

    def told_of_a_fill(name: str, *asked: bytes) -> tuple[int, int]:
        client.ask(*asked)
        gateway.fill(name, Decimal(10), Decimal(170))
        told = client.ask()
        return len(of_kind(told, VALUE)), len(of_kind(told, SUMMARY))

    values, summary = told_of_a_fill(
        "one", message(6, 2, 1, ""), message(62, 1, 5, "All", "NetLiquidation,TotalCashValue")
    )
    assert values > 10 and summary == 2
    assert told_of_a_fill("two", message(6, 2, 0, "")) == (0, 2)
    assert told_of_a_fill("three", message(63, 1, 5)) == (0, 0)


def test_a_quote_of_what_is_not_known_is_error_200(client: RawClient) -> None:
    assert errors(client.ask(message(1, 11, 8, *UNKNOWN, 0, "", 0, 0, ""))) == [(8, 200)]


def test_a_stream_of_quotes_tells_what_changed_and_nothing_twice(gateway: Gateway, client: RawClient) -> None:
    def prices(*asked: bytes) -> list[str]:
        return [fields[4] for fields in of_kind(client.ask(*asked), QUOTE)]

    assert prices(message(1, 11, 8, *CONTRACT, 0, "", 0, 0, "")) == ["169.99", "170.01", "170"]
    gateway.advance(60)
    assert prices() == []
    gateway.set_price("AAPL", Decimal("171.25"))
    assert prices() == ["171.24", "171.26", "171.25"]
    client.ask(message(2, 1, 8))
    gateway.set_price("AAPL", Decimal("172.50"))
    assert prices() == []


# -- history -------------------------------------------------------------------------------------------------------


@pytest.fixture
def day() -> Iterator[RawClient]:
    market = BarMarket(real_bars(), opens=OPENS, closes=CLOSES)
    with tws_gateway(market=market, start=CLOSES) as started, closing(RawClient(started)) as connected:
        yield connected


def rows(told: list[Fields]) -> list[Fields]:
    """The bars of the one answer: time, open, high, low, close, volume, average, count."""
    (answer,) = of_kind(told, HISTORY)
    assert answer.integer(4) * 8 == len(answer) - 5
    return [answer[at : at + 8] for at in range(5, len(answer), 8)]


def test_minutes_are_named_by_seconds_or_by_new_york_time(day: RawClient) -> None:
    (epoch, *_, last) = rows(day.ask(bars(1, "1 min", "3600 S")))
    (written, *_) = rows(day.ask(bars(2, "1 min", "3600 S", as_epoch=False)))
    assert epoch[0] == str(int((CLOSES - timedelta(hours=1)).timestamp()))
    assert written[0] == "20190213 15:00:00 US/Eastern" and written[1:] == epoch[1:]
    assert last[4] == str(of_day()[-1].close.normalize())


@pytest.mark.parametrize(("duration", "sessions"), [("1 D", 1), ("2 D", 2), ("1 W", 3), ("1 M", 3), ("1 Y", 3)])
def test_a_number_of_days_is_that_of_sessions(day: RawClient, duration: str, sessions: int) -> None:
    found = rows(day.ask(bars(1, "1 day", duration)))
    assert len(found) == sessions  # the file has three sessions up to this one
    assert found[-1][0] == f"{DAY:%Y%m%d}"
    minutes = rows(day.ask(bars(2, "1 min", "1 D")))
    assert len(minutes) == 390


def test_history_may_end_before_now_and_never_after(day: RawClient) -> None:
    earlier = rows(day.ask(bars(1, "1 min", "600 S", end="20190213-15:00:00")))
    assert [one[0] for one in earlier][-1] == str(int((OPENS + timedelta(minutes=29)).timestamp()))
    assert rows(day.ask(bars(2, "1 min", "600 S", end="20190301-15:00:00"))) == rows(day.ask(bars(3, "1 min", "600 S")))


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (bars(7, "5 mins", "1 D"), 321),
        (bars(7, "1 min", "1 D", contract=UNKNOWN), 200),
        (bars(7, "1 min", "1 D", end="20180102-15:00:00"), 162),
        (bars(7, "1 min", "one D"), 320),
        (bars(7, "1 min", "1 fortnight"), 320),
    ],
)
def test_history_that_is_not_to_be_had_says_why(day: RawClient, asked: bytes, code: int) -> None:
    told = day.ask(asked)
    assert errors(told) == [(7, code)]
    assert of_kind(told, HISTORY) == []


# -- the way there -------------------------------------------------------------------------------------------------


def test_what_is_asked_while_the_broker_is_out_of_reach_waits_for_it(gateway: Gateway, client: RawClient) -> None:
    gateway.upstream_lost()
    told = client.ask(order())  # the time is told all the same
    assert (-1, 1100) in errors(told)
    assert gateway.orders() == ()
    gateway.upstream_restored()
    wait_until(gateway.orders)
    assert "Submitted" in of_kind(client.ask(), STATUS)[-1]


def test_a_client_that_comes_while_the_broker_is_out_of_reach_is_told(gateway: Gateway) -> None:
    gateway.upstream_lost()
    with closing(RawClient(gateway)) as client:
        assert errors(client.ask()) == [(-1, 2103), (-1, 1100)]
        gateway.reject_next(201, "no")
        client.ask(order())
        gateway.upstream_restored(data_lost=True)
        assert (-1, 1101) in errors(client.ask())


def test_a_client_that_comes_to_a_silent_gateway_hears_nothing_until_it_speaks(gateway: Gateway) -> None:
    gateway.go_silent(True)
    with closing(RawClient(gateway)) as client:
        client.socket.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.read()
        assert gateway.clients() == (1,)
        client.socket.settimeout(5)
        gateway.go_silent(False)
        assert errors(client.ask()) == []


def test_what_becomes_of_an_order_whose_client_has_gone_is_there_when_it_comes_back(
    gateway: Gateway, client: RawClient
) -> None:
    client.ask(order())
    client.close()
    wait_until(lambda: not gateway.clients())
    gateway.cancel_by_broker("one", "the market is halted")
    with closing(RawClient(gateway)) as again:
        told = again.ask(message(99, 1))
        assert errors(told) == []  # the notice was for a client that was not there
        (ended,) = of_kind(told, COMPLETED)
        assert "Cancelled" in ended and "the market is halted" in "".join(ended)


def test_acknowledgements_that_were_held_are_sent_when_they_are_let_go(gateway: Gateway, client: RawClient) -> None:
    gateway.hold_acknowledgements(True)
    assert of_kind(client.ask(order()), ORDERS) == []
    assert len(gateway.orders()) == 1
    gateway.hold_acknowledgements(False)
    (_, *_, last) = of_kind(client.ask(), STATUS)
    assert "Submitted" in last
