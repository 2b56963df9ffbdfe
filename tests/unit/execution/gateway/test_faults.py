"""What goes wrong on the way, and that the venue stays whole through it."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from quant_dagster.errors import ConfigurationError
from quant_dagster.execution.gateway.faults import FaultPlan
from quant_dagster.execution.gateway.gateway import Gateway
from quant_dagster.execution.gateway.wire import frame, message
from tests.support.tws_gateway import InsyncClient, tws_gateway, wait_until


def session_start() -> bytes:
    """What a client sends when it starts and synchronises, with an order among it."""
    order = [""] * 118
    order[:14] = ["3", "7", "0", "AAPL", "STK", "", "0", "", "", "SMART", "", "USD", "", ""]
    order[16:22] = ["BUY", "10", "LMT", "170", "", "DAY"]
    order[26:29] = ["byte", "1", "0"]
    parts = [b"API\0" + frame(b"v157..176"), message(71, 2, 5, ""), message(61, 1), message(5, 1), message(99, 0),
             message(6, 2, 1, "DU0000000"), message(*order), message(7, 3, 9, 0, "", "", "", "", "", "")]  # fmt: skip
    return b"".join(parts)


def everything_received(gateway: Gateway) -> bytes:
    with socket.create_connection((gateway.host, gateway.port), timeout=5) as sock:
        sock.sendall(session_start())
        received = b""
        while not _ended(received) and (data := sock.recv(65536)):
            received += data
        return received


def _ended(received: bytes) -> bool:
    return received.endswith(message(55, 1, 9))


def placed_refs(gateway: Gateway) -> list[str]:
    return [order.ticket.order_ref for order in gateway.orders()]


def test_a_session_can_break_at_every_byte_it_sends() -> None:
    with tws_gateway() as gateway:
        everything_received(gateway)
        wait_until(lambda: not gateway.clients())
        whole = everything_received(gateway)  # the order is there now, and stays the only one
        wait_until(lambda: not gateway.clients())
        assert _ended(whole) and len(whole) > 1000
        for length in range(1, len(whole), 7):
            gateway.change_faults(FaultPlan(cut_after_sent=(length, length)))
            assert len(everything_received(gateway)) == length
            wait_until(lambda: not gateway.clients())
        # The order came in whole each time; the id was used by the first.
        assert placed_refs(gateway) == ["byte"]
        gateway.change_faults(FaultPlan())
        again = everything_received(gateway)
        assert _ended(again) and b"byte\0" in again


def test_a_session_can_break_at_every_byte_it_reads() -> None:
    with tws_gateway() as gateway:
        for length in range(1, len(session_start()), 7):
            gateway.change_faults(FaultPlan(cut_after_received=(length, length)))
            with socket.create_connection((gateway.host, gateway.port), timeout=5) as sock:
                sock.sendall(session_start())
                try:
                    while sock.recv(65536):
                        pass
                except ConnectionResetError:
                    pass
            wait_until(lambda: not gateway.clients())
        assert placed_refs(gateway) in ([], ["byte"])
        gateway.change_faults(FaultPlan())
        assert _ended(everything_received(gateway))
        assert placed_refs(gateway) == ["byte"]


def trade_some(gateway: Gateway, client: InsyncClient, count: int = 8) -> list[Any]:
    import ib_insync

    contract = ib_insync.Stock("AAPL", "SMART", "USD")
    client.ask(lambda: client.ib.qualifyContractsAsync(contract))
    trades = []
    for number in range(count):
        order = ib_insync.LimitOrder("BUY", 10, 170.0, orderRef=f"n{number}", tif="DAY")
        trades.append(client.do(lambda order=order: client.ib.placeOrder(contract, order)))  # type: ignore[misc]
    wait_until(lambda: len(gateway.orders()) == count)
    for number in range(count):
        gateway.fill(f"n{number}", Decimal(4), Decimal(170))
        gateway.fill(f"n{number}", Decimal(6), Decimal(170))
    return trades


@pytest.mark.parametrize(
    "plan",
    [
        FaultPlan(seed=3, duplicate=0.5),
        FaultPlan(seed=3, reorder=0.5),
        FaultPlan(seed=3, delay=(0.0, 0.002)),
        FaultPlan(seed=3, commission_delay=(0.0, 0.05)),
        FaultPlan(seed=3, fill_before_acknowledgement=1.0),
        FaultPlan(seed=5, duplicate=0.3, reorder=0.3, delay=(0.0, 0.001), commission_delay=(0.0, 0.05),
                  fill_before_acknowledgement=0.5),
    ],
)  # fmt: skip
def test_messages_that_come_twice_late_or_in_another_order_lose_no_fill(plan: FaultPlan) -> None:
    with tws_gateway(faults=plan) as gateway, InsyncClient() as client:
        client.connect(gateway)
        trades = trade_some(gateway, client)
        wait_until(lambda: all(len(trade.fills) == 2 for trade in trades))
        known = {fill.execution.execId for fill in client.do(client.ib.fills)}
        assert known == {one.exec_id for one in gateway.executions()}
        wait_until(lambda: all(fill.commissionReport.execId for trade in trades for fill in trade.fills))


def test_a_commission_that_never_comes_by_itself_is_there_when_executions_are_asked_for() -> None:
    with tws_gateway(faults=FaultPlan(commission_never=1.0)) as gateway, InsyncClient() as client:
        client.connect(gateway)
        (trade,) = trade_some(gateway, client, 1)
        wait_until(lambda: trade.orderStatus.status == "Filled")
        assert [fill.commissionReport.execId for fill in trade.fills] == ["", ""]
        client.ask(client.ib.reqExecutionsAsync)
        assert [fill.commissionReport.commission for fill in trade.fills] == [1.0, 0.0]


def test_the_same_seed_breaks_connections_in_the_same_places() -> None:
    def lengths(seed: int) -> list[int]:
        with tws_gateway(faults=FaultPlan(seed=seed, cut_after_sent=(1, 2000), cut_share=0.7)) as gateway:
            found = []
            for _ in range(8):
                found.append(len(everything_received(gateway)))
                wait_until(lambda: not gateway.clients())
            return found

    assert lengths(1) == lengths(1) != lengths(2)


def test_a_connection_may_fall_silent_and_speak_again() -> None:
    plan = FaultPlan(silence_after_sent=(1500, 1500), silence_for=(0.15, 0.15))
    with tws_gateway(faults=plan) as gateway, socket.create_connection((gateway.host, gateway.port)) as sock:
        sock.sendall(session_start())
        wait_until(gateway.orders)
        received = sock.recv(65536)
        sock.settimeout(0.03)
        with pytest.raises(TimeoutError):
            received += sock.recv(65536) + sock.recv(65536)
        assert len(received) <= 1500 and gateway.clients() == (5,)
        sock.settimeout(5)
        while not _ended(received):
            received += sock.recv(65536)


@pytest.mark.slow
def test_a_client_that_sweeps_before_it_sends_again_buys_exactly_what_it_wanted() -> None:
    """Connections that break at random bytes, each way: one order an intent, and every fill becomes known."""
    import ib_insync

    cuts = FaultPlan(seed=11, cut_after_sent=(500, 80_000), cut_after_received=(300, 9_000))
    plan = replace(cuts, duplicate=0.05, reorder=0.05)
    wanted = [f"w{number}" for number in range(40)]
    breaks = 0
    with tws_gateway(fills_at_once=True, faults=plan) as gateway, InsyncClient() as client:
        known: dict[str, float] = {}

        def sweep() -> None:
            known.update({fill.execution.execId: fill.execution.shares for fill in client.ib.fills()})

        async def work() -> None:
            await client.ib.connectAsync(gateway.host, gateway.port, clientId=1, timeout=0.5)
            sweep()
            (contract,) = await client.ib.qualifyContractsAsync(ib_insync.Stock("AAPL", "SMART", "USD"))
            for name in wanted:
                seen = {trade.order.orderRef for trade in client.ib.trades()}
                seen |= {fill.execution.orderRef for fill in client.ib.fills()}
                if name not in seen:
                    client.ib.placeOrder(contract, ib_insync.MarketOrder("BUY", 100, orderRef=name, tif="DAY"))
            await client.ib.reqExecutionsAsync()
            sweep()

        for _ in range(300):
            # What was sent and not confirmed is only known to have been lost once a new connection says so.
            client.do(client.ib.wrapper.reset)
            try:
                client.run(work(), 5)
            except (ConnectionError, TimeoutError, ValueError):
                breaks += 1
            if client.ib.isConnected():
                client.do(client.ib.disconnect)
            wait_until(lambda: not gateway.clients())
            if len(known) == len(wanted):
                break
        assert breaks > 0
        assert sorted(placed_refs(gateway)) == sorted(wanted)
        assert sum(known.values()) == 100 * len(wanted) == gateway.positions()[0].quantity


def test_after_a_break_nobody_connects_for_a_while() -> None:
    plan = FaultPlan(cut_after_sent=(50, 50), refuse_after_cut=(0.15, 0.15))
    with tws_gateway(faults=plan) as gateway:
        everything_received(gateway)
        with pytest.raises(ConnectionRefusedError):
            wait_until(lambda: socket.create_connection((gateway.host, gateway.port)).close(), 0.1)

        def listening() -> bool:
            try:
                socket.create_connection((gateway.host, gateway.port)).close()
            except ConnectionRefusedError:
                return False
            return True

        wait_until(listening)


@pytest.fixture
def plain_socket() -> Iterator[tuple[Gateway, socket.socket]]:
    with tws_gateway() as gateway, socket.create_connection((gateway.host, gateway.port), timeout=5) as sock:
        yield gateway, sock


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n\r\n", b"API\0\xff\xff\xff\xff", b"API\0" + frame(b"v20..30"),
                                  b"API\0" + frame(b"nonsense")])  # fmt: skip
def test_a_stranger_is_turned_away_and_others_are_served(
    plain_socket: tuple[Gateway, socket.socket], sent: bytes
) -> None:
    gateway, sock = plain_socket
    sock.sendall(sent)
    assert sock.recv(100) == b""
    assert _ended(everything_received(gateway))


def test_a_request_that_cannot_be_read_is_an_error_to_its_client_alone(
    plain_socket: tuple[Gateway, socket.socket],
) -> None:
    gateway, sock = plain_socket
    sock.sendall(b"API\0" + frame(b"v157..176") + message(71, 2, 8, ""))
    for broken in (message(3, 1, "AAPL"), message(7), message(20, 5), message(9, 8, "x"), message("zz"), message("")):
        sock.sendall(broken)
    sock.sendall(message(49, 1))
    received = b""
    while not received.endswith(message(49, 1, 1704207600)):
        data = sock.recv(65536)
        assert data, "the connection was closed"
        received += data
    assert received.count(b"\x00320\x00") == 6
    assert gateway.clients() == (8,)


def test_a_port_that_is_taken_is_a_plain_error() -> None:
    with tws_gateway() as gateway:
        second = Gateway(prices={"AAPL": Decimal(170)}, port=gateway.port)
        with pytest.raises(ConfigurationError, match="another --port"):
            second.start()


def test_a_killed_client_leaves_its_order_at_the_venue() -> None:
    with tws_gateway() as gateway:
        sock = socket.create_connection((gateway.host, gateway.port), timeout=5)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.sendall(session_start())
        wait_until(gateway.orders)
        sock.close()  # a reset, as the kernel sends for a process that is gone
        wait_until(lambda: not gateway.clients())
        gateway.fill("byte", Decimal(10), Decimal(170))
        assert b"0000e0d5" in everything_received(gateway)


def test_nothing_is_controlled_before_the_start() -> None:
    gateway = Gateway(prices={"AAPL": Decimal(170)})
    with pytest.raises(ConfigurationError, match="start"):
        gateway.go_silent(True)
    assert gateway.orders() == ()
