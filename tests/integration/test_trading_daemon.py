"""The trading daemon against the loopback gateway: what is sent, what is booked, and what a person is told.

Long, because each case is a few lines against the one scene of ``tests/support/daemon.py``; headings are its chapters.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from sqlalchemy import select

from quant_dagster.accounting import books
from quant_dagster.accounting.books import Side
from quant_dagster.cli.gateway_commands import _from_file, _market
from quant_dagster.cycle.broker_reconciliation import reconcile_account
from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.dead_man import ACTOR, watch
from quant_dagster.cycle.handover import (
    DAEMON,
    ask_account,
    broker_status,
    connected,
    daemon_runs,
    handed_over,
    require_right_account,
    settle_at_broker,
    submit_to_broker,
)
from quant_dagster.cycle.history import backfill
from quant_dagster.cycle.order_entry import cancel_order, modify_order
from quant_dagster.cycle.risk_actions import withdraw
from quant_dagster.cycle.slicing import set_parent
from quant_dagster.cycle.trading_daemon import TradingDaemon
from quant_dagster.cycle.unknown_orders import settle_unknown
from quant_dagster.errors import BrokerError, ConfigurationError, OrderError
from quant_dagster.execution import foreign, order_log, requests
from quant_dagster.execution.algorithms import parent_log
from quant_dagster.execution.algorithms.parents import Algorithm, ParentEventKind
from quant_dagster.execution.desk import Settlement
from quant_dagster.execution.gateway.gateway import Gateway
from quant_dagster.execution.lease import broker_lease
from quant_dagster.observability import audit
from quant_dagster.operations.verification import verify_ledger
from quant_dagster.risk.control import ControlMode, escalate, read_mode
from quant_dagster.risk.kill_switch.heartbeat import beat
from quant_dagster.settings import load_settings
from quant_dagster.storage.ledger_tables import heartbeats, order_events
from tests.integration.troubles import TROUBLES, seen
from tests.support.daemon import DECIDED, DURING, PRICES, TRADING, DaemonScene, gateway, scene, wait_for
from tests.support.market_data import shared_data

__all__ = ["gateway", "scene"]

pytestmark = pytest.mark.slow


def arrived(gateway: Gateway, order_id: str):
    """The order at the broker."""
    return wait_for(
        lambda: next((one for one in gateway.orders() if one.ticket.order_ref == order_id), None), f"{order_id} arrives"
    )


def kinds(scene: DaemonScene, order_id: str) -> list[str]:
    with scene.ledger.read() as connection:
        query = select(order_events.c.kind).where(order_events.c.client_order_id == order_id)
        return list(connection.execute(query.order_by(order_events.c.sequence)).scalars())


def sound(scene: DaemonScene) -> bool:
    return verify_ledger(scene.ledger).problems == () and audit.verify(scene.ledger).problems == ()


# -- the ordinary day -------------------------------------------------------------------------------------------------


def test_an_approved_order_is_sent_filled_and_booked_to_the_cent(gateway: Gateway, scene: DaemonScene) -> None:
    order_id = scene.approve("AAPL", 300)
    scene.start()
    arrived(gateway, order_id)
    gateway.fill(order_id, Decimal(100), Decimal("169.90"))
    gateway.fill(order_id, Decimal(200), Decimal("170.05"))
    order = scene.until(order_id, "filled")
    assert order.average_fill_price == Decimal("170.000000")
    assert kinds(scene, order_id) == ["approved", "submitting", "accepted", "partially_filled", "filled"]
    scene.stop()
    with scene.ledger.read() as connection:
        assert books.balances(connection).cash == gateway.cash()
    assert sound(scene)


def test_a_limit_lies_a_thousandth_on_the_side_that_fills_and_arrival_is_written_down(
    gateway: Gateway, scene: DaemonScene
) -> None:
    bought, sold = scene.approve("AAPL", 10), scene.approve("JPM", 10, side=Side.SELL)
    scene.start()
    assert arrived(gateway, bought).ticket.limit == Decimal("170.17")
    assert arrived(gateway, sold).ticket.limit == Decimal("99.71")  # 99.7002 on the grid, not beyond it
    one = scene.until(bought, "accepted")
    assert (one.arrival_price, one.limit_price) == (Decimal("170.000000"), Decimal("170.170000"))
    assert one.sent_at is not None
    assert one.broker_order_id == str(arrived(gateway, bought).ticket.order_id)


def test_a_price_that_has_run_away_is_not_chased(gateway: Gateway, scene: DaemonScene) -> None:
    gateway.set_price("AAPL", Decimal("230.00"))
    order_id = scene.approve("AAPL", 10)
    scene.start()
    scene.until(order_id, "canceled")
    assert "price_collar" in str(last_payload(scene, order_id))
    assert gateway.orders() == ()


def last_payload(scene: DaemonScene, order_id: str) -> dict:
    with scene.ledger.read() as connection:
        return order_log.newest_event(connection, order_id)[0]


def test_over_its_deadline_the_rest_is_cancelled_and_what_filled_is_said(gateway: Gateway, scene: DaemonScene) -> None:
    order_id = scene.approve("AAPL", 300)
    scene.start()
    arrived(gateway, order_id)
    gateway.fill(order_id, Decimal(120), Decimal("170.00"))
    scene.until(order_id, "partially_filled")
    gateway.advance(timedelta(seconds=301))
    order = scene.until(order_id, "canceled")
    assert order.filled_quantity == 120
    assert "over its deadline of 300 s with 120 filled at 170" in scene.heard("deadline")
    scene.stop()
    assert sound(scene)


def test_a_person_cancels_through_the_daemon(gateway: Gateway, scene: DaemonScene) -> None:
    order_id = scene.approve("KO", 50)
    scene.start()
    scene.until(order_id, "accepted")
    assert "asked of the trading daemon" in cancel_order(scene.context, order_id, actor="ann", reason="changed my mind")
    scene.until(order_id, "canceled")
    scene.heard("ann asked to cancel")


def test_a_person_changes_an_order_while_it_fills(gateway: Gateway, scene: DaemonScene) -> None:
    order_id = scene.approve("KO", 50)
    scene.start()
    scene.until(order_id, "accepted")
    modify_order(scene.context, order_id, actor="ann", quantity=Decimal(40), limit_price=Decimal("49.70"))
    gateway.fill(order_id, Decimal(10), Decimal("49.60"))
    wait_for(lambda: scene.order(order_id).quantity == 40, "the change")
    one = scene.order(order_id)
    assert (one.limit_price, one.filled_quantity, one.remaining) == (Decimal("49.70"), 10, 30)
    gateway.fill(order_id, Decimal(30), Decimal("49.65"))
    assert scene.until(order_id, "filled").filled_quantity == 40
    scene.stop()
    assert sound(scene)


def test_a_change_that_does_not_come_about_is_given_up(
    gateway: Gateway, scene: DaemonScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = scene.approve("KO", 50)
    scene.start()
    scene.until(order_id, "accepted")
    monkeypatch.setattr(scene.context.broker, "modify", lambda order, **terms: None)  # lost on the way
    modify_order(scene.context, order_id, actor="ann", quantity=Decimal(40), limit_price=None)
    wait_for(lambda: "replace_rejected" in kinds(scene, order_id), "the desk gives up")
    assert scene.order(order_id).status == "accepted"
    assert scene.order(order_id).quantity == 50


def test_a_fill_that_overtakes_the_cancel_is_booked(gateway: Gateway, scene: DaemonScene) -> None:
    order_id = scene.approve("KO", 50)
    scene.start()
    scene.until(order_id, "accepted")
    gateway.cancel_by_broker(order_id, "withdrawn by the exchange")
    scene.until(order_id, "canceled")
    gateway.fill(order_id, Decimal(50), Decimal("49.60"))
    assert scene.until(order_id, "filled").filled_quantity == 50
    scene.stop()
    assert sound(scene)


def test_corrections_and_busts_are_booked_and_more_than_ordered_locks_the_symbol(
    gateway: Gateway, scene: DaemonScene
) -> None:
    order_id = scene.approve("KO", 50)
    scene.start()
    scene.until(order_id, "accepted")
    first = gateway.fill(order_id, Decimal(30), Decimal("49.60"))
    gateway.fill(order_id, Decimal(20), Decimal("49.61"))
    scene.until(order_id, "filled")
    gateway.correct(first.exec_id, quantity=Decimal(30), price=Decimal("49.50"))
    wait_for(lambda: kinds(scene, order_id)[-1] == "restated", "the correction")
    gateway.bust(first.exec_id)
    assert scene.until(order_id, "canceled").filled_quantity == 20
    other = scene.approve("JPM", 10)
    scene.until(other, "accepted")
    gateway.fill(other, Decimal(15), Decimal("99.80"))
    wait_for(lambda: "overfilled" in kinds(scene, other), "the overfill")
    scene.stop()
    with scene.ledger.read() as connection:
        assert books.balances(connection).cash == gateway.cash()
        from quant_dagster.market_data import quarantine

        assert "15 filled of 10" in quarantine.active(connection, TRADING)["JPM"]
    assert sound(scene)


def test_what_is_executed_while_the_broker_is_asked_is_no_break(
    gateway: Gateway, scene: DaemonScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = scene.approve("KO", 50)
    scene.start()
    scene.until(order_id, "accepted")
    broker, asked = scene.context.broker, []
    original = broker.account

    def account():
        told = original()
        if not asked:
            gateway.fill(order_id, Decimal(20), Decimal("49.60"))
        asked.append(told)
        return told

    monkeypatch.setattr(broker, "account", account)
    report = reconcile_account(scene.context, TRADING, "command")
    assert report.breaks == ()
    assert len(asked) >= 2, "the first answer was of another moment than the executions"
    assert read_mode(scene.ledger).mode is ControlMode.NORMAL


def test_an_order_that_was_rejected_before_it_was_cancelled_is_rejected(gateway: Gateway, scene: DaemonScene) -> None:
    order_id = scene.approve("KO", 50)
    gateway.reject_next(201, "Order rejected - reason:not today")
    with connected(scene.context):
        assert scene.context.desk.submit(first_session()).sent == 1
        wait_for(lambda: scene.context.broker.find(order_id).status == "rejected", "the rejection")
        assert scene.order(order_id).status == "submitting"
        assert scene.context.desk.cancel([order_id], TRADING, reason="late") == 0
    assert scene.order(order_id).status == "rejected"


def test_what_the_broker_refuses_a_person_is_concluded_and_the_daemon_goes_on(
    gateway: Gateway, scene: DaemonScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = scene.approve("KO", 50)
    scene.start()
    scene.until(order_id, "accepted")

    def refuse(*args, **terms):
        raise BrokerError("ibkr", "not an order of this client")

    monkeypatch.setattr(scene.context.broker, "modify", refuse)
    modify_order(scene.context, order_id, actor="ann", quantity=Decimal(40), limit_price=None)
    scene.heard("not an order of this client")
    with scene.ledger.read() as connection:
        assert requests.waiting(connection) == []
    assert scene.error is None


def test_an_emergency_ends_what_algorithms_have_left_to_buy(scene: DaemonScene) -> None:
    parent = scene.approve_parent("KO", 50)
    withdraw(scene.context, first_session(), ControlMode.PAUSE)
    assert scene.parent(parent).state == "approved"
    withdraw(scene.context, first_session(), ControlMode.EMERGENCY)
    assert scene.parent(parent).state == "cancelled"


# -- one at a time ----------------------------------------------------------------------------------------------------


def test_a_second_daemon_refuses_to_start(gateway: Gateway, scene: DaemonScene, tmp_path: Path) -> None:
    scene.start()
    scene.heard("ibkr connected")
    with DaemonScene(tmp_path, gateway) as other, pytest.raises(OrderError, match="one executor at a time"):
        TradingDaemon(other.context).run()


def test_the_session_s_own_steps_hand_over_while_it_runs_and_do_the_work_when_it_does_not(
    gateway: Gateway, scene: DaemonScene, tmp_path: Path
) -> None:
    first = scene.approve("KO", 10)
    scene.start()
    scene.until(first, "accepted")
    assert handed_over(scene.context)
    with DaemonScene(tmp_path, gateway) as other:
        assert submit_to_broker(other.context, first_session()).sent == 0
        scene.stop()
        second = other.approve("JPM", 10)
        assert not handed_over(other.context)
        assert submit_to_broker(other.context, first_session()).sent == 1
        assert other.order(second).status == "accepted"
        assert len(gateway.orders()) == 2


def first_session():
    return DECIDED


def test_orders_of_an_old_session_are_not_sent_to_a_real_broker(scene: DaemonScene) -> None:
    with pytest.raises(OrderError, match="newest session is 2019-02-08"):
        submit_to_broker(scene.context, TRADING - timedelta(days=4))


def test_sigterm_leaves_nothing_working_and_nothing_half_sent(gateway: Gateway, scene: DaemonScene) -> None:
    order_id = scene.approve("KO", 10)
    scene.start()
    scene.until(order_id, "accepted")
    scene.stop("SIGTERM")
    assert scene.order(order_id).status == "canceled"
    assert all(one.state.is_final for one in gateway.orders())
    with scene.ledger.read() as connection:
        assert not daemon_runs(connection, "ibkr", 90, scene.ledger.now())
        assert connection.execute(select(heartbeats.c.state).where(heartbeats.c.name == DAEMON)).scalar() == "stopped"


def test_the_paper_broker_needs_no_daemon(tmp_path: Path, gateway: Gateway) -> None:
    with (
        DaemonScene(tmp_path, gateway, broker="paper", clock="system") as scene,
        pytest.raises(ConfigurationError, match="needs no daemon"),
    ):
        TradingDaemon(scene.context)


# -- what a person sees when something is wrong -----------------------------------------------------------------------


def test_the_gateway_is_away_and_comes_back(gateway: Gateway, scene: DaemonScene) -> None:
    order_id = scene.approve("AAPL", 300)
    scene.start()
    arrived(gateway, order_id)
    gateway.refuse_connections(True)
    gateway.disconnect_all()
    scene.heard("ibkr reconnecting: the connection was closed")
    gateway.fill(order_id, Decimal(300), Decimal("170.00"))
    gateway.refuse_connections(False)
    scene.until(order_id, "filled")
    assert "1 executions of the gap booked" in scene.heard("synced")
    facts, changes = broker_status(scene.context, 20)
    assert facts["trading_is_the_daemons"]
    assert {"reconnecting", "syncing", "connected"} <= {one["state"].value for one in changes}


def test_a_half_dead_link_is_noticed_and_made_anew(gateway: Gateway, scene: DaemonScene) -> None:
    scene.start()
    scene.heard("ibkr connected")
    gateway.go_silent(True)
    scene.heard("no sign of life")
    gateway.go_silent(False)
    wait_for(lambda: sum("ibkr connected" in line for line in scene.lines) >= 2, "connected again")


def test_servers_lost_and_back_the_fills_of_the_gap_are_found(gateway: Gateway, scene: DaemonScene) -> None:
    order_id = scene.approve("AAPL", 300)
    scene.start()
    scene.until(order_id, "accepted")
    gateway.upstream_lost()
    gateway.fill(order_id, Decimal(300), Decimal("170.00"))
    gateway.upstream_restored()
    assert scene.until(order_id, "filled").filled_quantity == 300


def test_an_order_of_nobody_is_kept_apart_and_its_symbol_locked(gateway: Gateway, scene: DaemonScene) -> None:
    gateway.place_foreign("MSFT", Side.BUY, Decimal(7), Decimal("100.00"))
    scene.start()
    scene.heard("orders at the broker that the ledger lacks")
    with scene.ledger.read() as connection:
        (one,) = foreign.unresolved(connection)
        from quant_dagster.market_data import quarantine

        assert "MSFT" in quarantine.active(connection, TRADING)
    assert (one["kind"], one["symbol"], one["quantity"]) == ("order", "MSFT", 7)
    assert len(gateway.orders()) == 1


def test_real_money_needs_the_live_mode(tmp_path: Path) -> None:
    with Gateway(prices=PRICES, start=DURING, account="U7654321") as gateway, DaemonScene(tmp_path, gateway) as scene:
        scene.approve("AAPL", 10)
        scene.start()
        wait_for(lambda: scene.error, "it ends")
        assert isinstance(scene.error, BrokerError)
        assert "mode=live" in str(scene.error)
        assert gateway.orders() == ()
        scene.error = None


@pytest.mark.parametrize("name", TROUBLES)
def test_a_person_is_told_of_each_trouble(name: str, tmp_path: Path) -> None:
    lines = seen(name, tmp_path)
    expected = {
        "gateway away for ten minutes": "1 executions of the gap booked",
        "daily reset": "orders at the broker: 1",
        "client id in use": "execution.ibkr.client_id",
        "read-only login": "Read-Only",
        "margin rejection (201)": "not sufficient",
        "market closed": "opens at 2019-02-11 14:30 UTC",
    }
    assert any(expected[name] in line for line in lines), lines


# -- the dead man's switch --------------------------------------------------------------------------------------------


def test_a_loop_that_hangs_has_its_orders_cancelled_and_the_mode_escalated(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DaemonScene(tmp_path, gateway, dead_man_seconds=0.6) as scene:
        order_id = scene.approve("KO", 10)
        daemon = scene.start()
        scene.until(order_id, "accepted")
        original, released = daemon._turn, []

        def hanging() -> None:
            if not released:
                wait_for(lambda: all(one.state.is_final for one in gateway.orders()), "cancelled at the broker", 20)
                wait_for(lambda: read_mode(scene.ledger).mode is ControlMode.PAUSE, "the mode", 20)
                released.append(True)
            original()

        monkeypatch.setattr(daemon, "_turn", hanging)
        scene.heard("cancelling working orders")
        scene.until(order_id, "canceled")
        assert read_mode(scene.ledger).actor == ACTOR


def test_a_daemon_that_died_is_taken_over_from_outside(gateway: Gateway, scene: DaemonScene) -> None:
    order_id = scene.approve("KO", 10)
    assert submit_to_broker(scene.context, first_session()).sent == 1
    long_ago = scene.ledger.now() - timedelta(minutes=5)
    with scene.ledger.write() as connection:
        beat(connection, DAEMON, state="ok", detail="connected", at=long_ago)
    said = watch(scene.context)
    assert said is not None
    assert "silent for" in said
    assert scene.order(order_id).status in ("canceled", "pending_cancel")
    wait_for(lambda: all(one.state.is_final for one in gateway.orders()), "cancelled at the broker")
    assert read_mode(scene.ledger).mode is ControlMode.PAUSE
    assert watch(scene.context) is None


def test_a_daemon_that_lives_is_left_alone(scene: DaemonScene) -> None:
    scene.start()
    scene.heard("ibkr connected")
    assert watch(scene.context) is None
    assert read_mode(scene.ledger).mode is ControlMode.NORMAL


# -- the control mode -------------------------------------------------------------------------------------------------


def test_a_pause_stops_sending_at_once(gateway: Gateway, scene: DaemonScene) -> None:
    with scene.ledger.write() as connection:
        escalate(connection, ControlMode.PAUSE, actor="ann", reason="news", at=scene.ledger.now())
    order_id = scene.approve("KO", 10)
    scene.start()
    scene.until(order_id, "canceled")
    assert gateway.orders() == ()


def test_a_lost_lease_ends_the_daemon(gateway: Gateway, scene: DaemonScene) -> None:
    scene.start()
    scene.heard("ibkr connected")
    from quant_dagster.storage.ledger_tables import leases

    with scene.ledger.write() as connection:
        connection.execute(leases.delete())
    wait_for(lambda: scene.error, "it notices", 20)
    assert "taken it over" in str(scene.error)
    scene.error = None
    with broker_lease(scene.ledger, "ibkr", 60):
        pass


# -- what the broker knows and the ledger does not --------------------------------------------------------------------


@pytest.fixture
def lost(gateway: Gateway, scene: DaemonScene, tmp_path: Path) -> str:
    """An order of 7 MSFT that works at the broker, and whose ledger is gone."""
    (tmp_path / "gone").mkdir()
    with DaemonScene(tmp_path / "gone", gateway) as gone:
        order_id = gone.approve("MSFT", 7)
        assert submit_to_broker(gone.context, DECIDED).sent == 1
    return order_id


def reference_of(scene: DaemonScene) -> str:
    """Ask the broker what works there; what it calls the one order that the ledger lacks."""
    with connected(scene.context):
        pass
    with scene.ledger.read() as connection:
        (found,) = foreign.unresolved(connection)
    return str(found["reference"])


def unresolved(scene: DaemonScene) -> int:
    with scene.ledger.read() as connection:
        return len(foreign.unresolved(connection))


def test_a_lost_order_is_adopted_and_what_it_had_executed_is_booked(
    gateway: Gateway, scene: DaemonScene, lost: str
) -> None:
    reference = reference_of(scene)
    gateway.fill(lost, Decimal(3), Decimal("100.00"))
    said = settle_unknown(scene.context, "order", reference, "adopt", actor="ann")
    assert said == "adopted; 1 of its executions booked"
    order = scene.order(lost)
    assert (order.strategy, order.status, order.filled_quantity) == ("adopted", "partially_filled", 3)
    with scene.ledger.read() as connection:
        assert books.holding_of(connection, "MSFT").quantity == 3
        assert books.balances(connection).cash == gateway.cash()
    assert unresolved(scene) == 0, "neither the order nor what it had executed waits any longer"
    with pytest.raises(OrderError, match="has no order"):
        settle_unknown(scene.context, "order", reference, "dismiss", actor="ann")
    assert sound(scene)


def test_a_lost_order_is_cancelled_at_a_person_s_word(gateway: Gateway, scene: DaemonScene, lost: str) -> None:
    reference = reference_of(scene)
    assert "asked to cancel" in settle_unknown(scene.context, "order", reference, "cancel", actor="ann")
    wait_for(lambda: all(one.state.is_final for one in gateway.orders()), "cancelled at the broker")
    assert unresolved(scene) == 0


def test_an_order_made_by_hand_is_left_to_where_it_was_made(gateway: Gateway, scene: DaemonScene) -> None:
    gateway.place_foreign("MSFT", Side.BUY, Decimal(7), Decimal("100.00"), order_ref="")
    reference = reference_of(scene)
    for verdict in ("adopt", "cancel"):
        with pytest.raises(OrderError, match="not sent under an id of ours"):
            settle_unknown(scene.context, "order", reference, verdict, actor="ann")
    assert [one.state.is_final for one in gateway.orders()] == [False]
    assert unresolved(scene) == 1


def test_what_is_over_meanwhile_can_only_be_dismissed(gateway: Gateway, scene: DaemonScene, lost: str) -> None:
    reference = reference_of(scene)
    gateway.cancel_by_broker(lost, "withdrawn by the exchange")
    with pytest.raises(OrderError, match="does not work at broker 'ibkr' any more: dismiss it"):
        settle_unknown(scene.context, "order", reference, "adopt", actor="ann")
    assert unresolved(scene) == 1
    assert "it stays unbooked" in settle_unknown(scene.context, "order", reference, "dismiss", actor="ann")
    assert unresolved(scene) == 0


def test_an_execution_is_never_adopted(scene: DaemonScene) -> None:
    with pytest.raises(OrderError, match="dismissed, or booked by a balancing entry"):
        settle_unknown(scene.context, "execution", "0001", "adopt", actor="ann")


def test_executions_of_a_lost_order_are_said_and_not_booked(gateway: Gateway, scene: DaemonScene, lost: str) -> None:
    scene.start()
    scene.heard("ibkr connected")
    gateway.fill(lost, Decimal(7), Decimal("105.50"))
    scene.heard("executions belong to no order of ours: 'quant broker unknown' lists them")
    scene.stop()
    with scene.ledger.read() as connection:
        assert books.balances(connection).holdings == {}
        assert {one["kind"] for one in foreign.unresolved(connection)} == {"order", "execution"}


# -- the session's own steps ------------------------------------------------------------------------------------------


def test_the_session_s_own_steps_book_what_was_executed_unless_the_daemon_does(
    gateway: Gateway, scene: DaemonScene, tmp_path: Path
) -> None:
    order_id = scene.approve("KO", 10)
    assert submit_to_broker(scene.context, DECIDED).sent == 1
    gateway.fill(order_id, Decimal(10), Decimal("49.60"))
    scene.start()
    scene.until(order_id, "filled")
    with DaemonScene(tmp_path, gateway) as other:
        assert settle_at_broker(other.context, TRADING) == Settlement(), "the daemon has booked it"
        with pytest.raises(OrderError, match="is held by the trading daemon"):
            ask_account(other.context)
        scene.stop()
        late = other.approve("JPM", 5)
        assert submit_to_broker(other.context, DECIDED).sent == 1
        gateway.fill(late, Decimal(5), Decimal("99.70"))
        settle_at_broker(other.context, TRADING)
        assert other.order(late).status == "filled"
        told, working = ask_account(other.context)
        assert (told.cash["USD"], dict(told.positions), working) == (gateway.cash(), {"KO": 10, "JPM": 5}, [])
        assert sound(other)


@pytest.mark.parametrize("cash", [Decimal(250_000), Decimal(0)])
def test_books_are_opened_with_the_account_s_cash_once(tmp_path: Path, cash: Decimal) -> None:
    with Gateway(prices=PRICES, start=DURING, cash=cash) as gateway, DaemonScene(tmp_path, gateway) as scene:
        url = f"sqlite:///{tmp_path}/new.db"
        storage = scene.context.settings.storage.model_copy(update={"ledger_url": url})
        context = TradingContext(scene.context.settings.model_copy(update={"storage": storage}))
        context.open_ledger()
        with connected(context), context.ledger.read() as connection:
            assert books.balances(connection).cash == cash
        with connected(context), context.ledger.read() as connection:
            assert books.balances(connection).cash == cash


def test_a_venue_of_real_money_needs_the_live_mode_before_anything_is_asked() -> None:
    real = {"broker": "binance_spot", "binance_spot": {"base_url": "https://api.binance.com/"}}
    with pytest.raises(BrokerError, match=r"api\.binance\.com/ trades real money and mode is 'paper'"):
        require_right_account(TradingContext(load_settings({"execution": real})))
    test_net = {"broker": "binance_spot", "binance_spot": {"base_url": "https://testnet.binance.vision"}}
    require_right_account(TradingContext(load_settings({"execution": test_net})))


# -- algorithms -------------------------------------------------------------------------------------------------------


@pytest.fixture
def priced(scene: DaemonScene) -> DaemonScene:
    """A desk that knows the market up to the evening its orders were decided on."""
    backfill(scene.context, date(2018, 1, 2), DECIDED)
    return scene


def test_an_algorithm_s_slices_are_sent_and_end_with_it(gateway: Gateway, priced: DaemonScene) -> None:
    parent_id = priced.approve_parent("KO", 130)
    priced.start()
    assert parent_id in priced.heard("starts")
    (first,) = wait_for(lambda: slices(priced, parent_id), "the first slice")
    priced.until(first, "accepted")
    assert arrived(gateway, first).ticket.quantity < 130
    said = set_parent(priced.context, parent_id, ParentEventKind.CANCELLED, actor="ann", reason="second thoughts")
    assert said.state == "cancelled"
    assert priced.until(first, "canceled").filled_quantity == 0
    assert kinds(priced, first)[-2:] == ["pending_cancel", "canceled"]
    priced.stop()
    assert priced.daemon is not None and priced.daemon.report.slices == 1
    assert sound(priced)


def test_an_algorithm_is_told_the_market_s_middle_and_what_it_traded(tmp_path: Path) -> None:
    file = shared_data("intraday_1min_us24_2019-02-11_15.parquet")
    found = _from_file(file, {"bar_end": "bar_end_ny"}, "America/New_York", TRADING)
    with (
        Gateway(_market(found, Decimal("0.1"), Decimal(2)), start=DURING) as gateway,
        DaemonScene(tmp_path, gateway) as scene,
        connected(scene.context),
    ):
        waiting = replace(scene.parent(scene.approve_parent("AAPL", 130)), algorithm=Algorithm.POV)
        seen_by = scene.context.market_watch()
        before = seen_by.view(waiting)
        assert before.last_price is not None and 169 < before.last_price < 172
        assert before.volume is None, "it has not started"
        assert before.closes_at == datetime(2019, 2, 11, 21, 0, tzinfo=UTC)
        started = replace(waiting, starts_at=DURING - timedelta(minutes=20))
        traded = seen_by.view(started).volume
        ended = pl.col("bar_end_ny").is_between(
            datetime(2019, 2, 11, 9, 40), datetime(2019, 2, 11, 10, 0), closed="right"
        )
        assert traded == pl.read_parquet(file).filter(ended, pl.col("symbol") == "AAPL")["volume"].sum()
        gateway.advance(timedelta(minutes=5))
        assert seen_by.view(started).volume == traded, "asked for no oftener than it can change anything"
        untold = seen_by.view(replace(started, parent_id="p2", starts_at=gateway.clock.now()))
        assert untold.volume is None, "unknown, not nothing"
        assert seen_by.view(replace(started, algorithm=Algorithm.TWAP)).last_price is None, "a schedule does not ask"
    paper = TradingContext(load_settings({"execution": {"broker": "paper"}})).market_watch()
    assert (paper.quote("KO"), paper.prepare(["KO"])) == (None, {}), "a market that tells nothing"


def slices(scene: DaemonScene, parent_id: str) -> list[str]:
    with scene.ledger.read() as connection:
        return [one.client_order_id for one in parent_log.children(connection, parent_id)]


def test_the_day_s_close_ends_a_daemon_that_was_asked_to_stop_then(gateway: Gateway, scene: DaemonScene) -> None:
    order_id = scene.approve("KO", 10)
    scene.start(until_close=True)
    scene.until(order_id, "accepted")
    gateway.fill(order_id, Decimal(10), Decimal("49.60"))
    scene.until(order_id, "filled")
    gateway.advance(to=datetime(2019, 2, 11, 21, 0, 1, tzinfo=UTC))
    scene.heard(f"stopping: session {TRADING} is over")
    scene.stop()
    assert scene.daemon is not None and (scene.daemon.report.sent, scene.daemon.report.fills) == (1, 1)


def test_orders_are_left_working_for_a_daemon_that_starts_again(gateway: Gateway, scene: DaemonScene) -> None:
    order_id = scene.approve("KO", 10)
    scene.start(keep_orders=True)
    scene.until(order_id, "accepted")
    scene.stop()
    assert [one.state.is_final for one in gateway.orders()] == [False]
    assert scene.order(order_id).status == "accepted"


def test_a_symbol_the_broker_does_not_know_is_said_and_the_rest_goes_on(gateway: Gateway, scene: DaemonScene) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRICES, "ZZZZ", Decimal("10.00"))
        unknown, known = scene.approve("ZZZZ", 10), scene.approve("KO", 10)
    scene.start()
    scene.heard("ZZZZ cannot be traded at ibkr")
    scene.until(known, "accepted")
    assert scene.order(unknown).status != "accepted"


def test_what_was_never_sent_is_expired_and_named(gateway: Gateway, scene: DaemonScene) -> None:
    old = scene.approve("KO", 10, session=date(2019, 2, 7))
    scene.start()
    assert old in scene.heard("was never sent: expired")
    assert scene.order(old).status in ("canceled", "expired")
    assert gateway.orders() == ()


def test_a_difference_with_the_broker_is_said_in_figures(gateway: Gateway, scene: DaemonScene) -> None:
    with scene.ledger.write() as connection:
        books.deposit(connection, Decimal(1), session=DECIDED, at=scene.ledger.now(), reference="of nobody")
    scene.start()
    said = scene.heard("break: cash")
    assert "the books say 1000001" in said and "the broker says 1000000" in said
    scene.stop()
    assert scene.daemon is not None and scene.daemon.report.breaks >= 1
    assert read_mode(scene.ledger).mode is ControlMode.PAUSE
