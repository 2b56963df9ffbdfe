"""The handle of the chaos run and of tests: clocks, prices, restarts, and what they refuse."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from quant_dagster.accounting.books import Side
from quant_dagster.errors import ConfigurationError, OrderError
from quant_dagster.execution.gateway.bar_market import BarMarket
from quant_dagster.execution.gateway.faults import FaultPlan
from quant_dagster.execution.gateway.gateway import Gateway
from quant_dagster.execution.gateway.market import ManualClock, RunningClock
from tests.support.tws_gateway import PRICES, InsyncClient, tws_gateway, wait_until
from tests.unit.execution.gateway.test_bar_market import CLOSES, OPENS, of_day, real_bars
from tests.unit.execution.gateway.test_faults import _ended, everything_received, session_start

NOON = datetime(2024, 1, 2, 17, 0, tzinfo=UTC)


def test_a_gateway_without_a_market_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="needs a market, or prices"):
        Gateway()


def test_stopping_what_was_never_started_does_nothing() -> None:
    gateway = Gateway(prices=PRICES)
    gateway.stop()
    with pytest.raises(ConfigurationError, match="call start"):
        gateway.refuse_connections(True)


def test_market_time_never_goes_back() -> None:
    clock = ManualClock(NOON)
    with pytest.raises(ConfigurationError, match="cannot go back"):
        clock.move_to(NOON - timedelta(seconds=1))
    assert clock.now() == NOON
    with tws_gateway(start=NOON) as gateway:
        with pytest.raises(ConfigurationError, match="cannot go back"):
            gateway.advance(to=NOON - timedelta(hours=1))
        assert gateway.advance(timedelta(minutes=2)) == NOON + timedelta(minutes=2)


def test_a_market_of_bars_runs_by_its_own_clock_and_takes_no_prices() -> None:
    clock = RunningClock(OPENS, 600.0)
    with tws_gateway(
        market=BarMarket(real_bars(), opens=OPENS, closes=CLOSES), clock=clock, tick_seconds=0.01
    ) as gateway:
        with pytest.raises(ConfigurationError, match="only a scripted one can be set"):
            gateway.set_price("AAPL", Decimal(1))
        with pytest.raises(ConfigurationError, match="a running clock cannot be moved"):
            gateway.advance(1)
        gateway.place_foreign("AAPL", Side.BUY, Decimal(10))
        wait_until(gateway.executions)
        (trade, *_) = gateway.executions()
        assert trade.at in {bar.start for bar in of_day()}


def test_a_price_of_what_is_not_traded_is_refused() -> None:
    with tws_gateway() as gateway, pytest.raises(ConfigurationError, match="these are: AAPL, JPM, MSFT, SPY"):
        gateway.set_price("NOPE", Decimal(1))


def test_orders_and_trades_that_are_not_there_are_named() -> None:
    with tws_gateway() as gateway:
        with pytest.raises(OrderError, match="no order with reference 'nobody'"):
            gateway.fill("nobody", Decimal(1), Decimal(170))
        with pytest.raises(OrderError, match=r"execution x\.01 is not known"):
            gateway.bust("x.01")


def test_after_the_nightly_restart_clients_can_connect_only_when_it_is_over() -> None:
    with tws_gateway() as gateway, InsyncClient() as client:
        gateway.daily_reset(back_after=0.1)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((gateway.host, gateway.port)).close()

        def connected() -> bool:
            try:
                client.connect(gateway)
            except ConnectionRefusedError:
                return False
            return True

        wait_until(connected)


def test_a_connection_that_falls_silent_for_good_speaks_when_silence_is_ended() -> None:
    plan = FaultPlan(silence_after_sent=(1500, 1500))
    with tws_gateway(faults=plan) as gateway, socket.create_connection((gateway.host, gateway.port), timeout=5) as sock:
        sock.sendall(session_start())
        wait_until(gateway.orders)
        received = sock.recv(65536)
        assert 0 < len(received) <= 1500
        gateway.go_silent(False)
        while not _ended(received):
            received += sock.recv(65536)


def test_a_cut_while_nobody_may_connect_is_followed_by_the_planned_time_to_connect() -> None:
    plan = FaultPlan(cut_after_sent=(50, 50), refuse_after_cut=(0.1, 0.1))
    with tws_gateway(faults=plan) as gateway:
        with socket.create_connection((gateway.host, gateway.port), timeout=5) as sock:
            wait_until(lambda: gateway._see(lambda: len(gateway._server._connections)))
            gateway.refuse_connections(True)
            sock.sendall(session_start())
            while sock.recv(65536):
                pass
        gateway.change_faults(FaultPlan())

        def answered() -> bool:
            try:
                return _ended(everything_received(gateway))
            except ConnectionRefusedError:
                return False

        wait_until(answered)
