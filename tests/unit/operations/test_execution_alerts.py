"""Alerts of execution: each is told once, with what a person has to do, and what is nobody's business is not told."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from quant_dagster.accounting.books import Side
from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.handover import DAEMON, STOPPED
from quant_dagster.execution import foreign, order_log, verdicts
from quant_dagster.execution.algorithms import parent_log
from quant_dagster.execution.algorithms.parameters import Parameters
from quant_dagster.execution.algorithms.parents import Algorithm, ParentEvent, ParentEventKind
from quant_dagster.execution.broker import BrokerOrder
from quant_dagster.execution.connection import ConnectionState, Transition
from quant_dagster.execution.connection_log import outages, record_transition
from quant_dagster.execution.orders import OrderEvent, OrderEventKind, client_order_id
from quant_dagster.execution.reconciliation.breaks import Break, BreakKind
from quant_dagster.execution.reconciliation.compare import Comparison
from quant_dagster.execution.reconciliation.record import Run, record
from quant_dagster.operations.alerts.execution import execution_alerts
from quant_dagster.operations.alerts.notifications import Notifier, Severity
from quant_dagster.risk.gate import OrderIntent, Origin, Outcome, RiskDecision
from quant_dagster.risk.kill_switch.heartbeat import beat

NOON = datetime(2023, 1, 4, 17, tzinfo=UTC)
DECIDED, TRADED, TODAY = date(2022, 12, 30), date(2023, 1, 3), date(2023, 1, 4)
K, S = OrderEventKind, ConnectionState
PARAMETERS = Parameters(minutes=60, slices=4, lot=Decimal(1), least_slice_value=Decimal(0))


@pytest.fixture
def context() -> TradingContext:
    made = TradingContext(clock=lambda: NOON)
    made.ledger.upgrade()
    return made


def heard(context: TradingContext) -> list[tuple[str, Severity]]:
    return [(alert.title, alert.severity) for alert in execution_alerts(context)]


def verdict(name: str, symbol: str) -> RiskDecision:
    intent = OrderIntent(
        client_order_id("s", DECIDED, symbol, name), None, "s", DECIDED, symbol, Side.BUY, Decimal(100), Decimal(60),
        origin=Origin.COMMAND,
    )  # fmt: skip
    return RiskDecision(intent, Outcome.APPROVED, Decimal(100), (), (), reduce_only=False)


def order(context: TradingContext, *happened: tuple[OrderEventKind, dict], name: str = "", symbol: str = "KO",
          session: date = TRADED) -> str:  # fmt: skip
    """An order to which these things happened."""
    made = verdict(name, symbol)
    order_id = made.intent.client_order_id
    with context.ledger.write() as connection:
        verdicts.record(connection, made, cycle_id=None, at=NOON)
        order_log.create(connection, made, order_type="limit", time_in_force="day", at=NOON, limit_price=Decimal(61))
        for kind, payload in happened:
            order_log.record(connection, OrderEvent(order_id, kind, session, payload), actor="desk", at=NOON)
    return order_id


def fill(quantity: int) -> dict:
    return {"execution_id": f"x{quantity}", "quantity": Decimal(quantity), "price": Decimal(60)}


def moved(context: TradingContext, minutes: float, state: ConnectionState, previous: ConnectionState, why: str) -> None:
    with context.ledger.write() as connection:
        at = NOON + timedelta(minutes=minutes)
        record_transition(connection, "ibkr", Transition(state, previous, why, 0), at=at)


def connected(context: TradingContext, minutes: float, since: ConnectionState = S.DISCONNECTED) -> None:
    moved(context, minutes, S.CONNECTING, since, "try")
    moved(context, minutes, S.SYNCING, S.CONNECTING, "connected")
    moved(context, minutes, S.CONNECTED, S.SYNCING, "in step")


def test_a_quiet_desk_is_not_worth_a_word(context: TradingContext) -> None:
    order(context, (K.SUBMITTING, {"broker": "ibkr"}), (K.ACCEPTED, {}), (K.FILLED, fill(100)))
    connected(context, -60)
    with context.ledger.write() as connection:
        beat(connection, DAEMON, state="ok", detail="connected", at=NOON - timedelta(seconds=5))
    assert execution_alerts(context) == []


def test_a_break_is_told_once_and_cash_loudest(context: TradingContext) -> None:
    found = [
        Break(BreakKind.POSITION, "KO", "KO", "144", "145", "position in KO: 1 more at the broker"),
        Break(BreakKind.CASH, "USD", None, "10", "12", "cash in USD: 2 more at the broker"),
        Break(BreakKind.COMMISSION, "x1", "KO", "1", "1.5", "commission of x1"),
    ]
    with context.ledger.write() as connection:
        done = record(connection, Run("ibkr", TRADED, "timer", NOON), Comparison(tuple(found), {"positions": 1}))
    alerts = {alert.title: alert for alert in execution_alerts(context)}
    assert {title: alert.severity for title, alert in alerts.items()} == {
        "break with broker 'ibkr': position of KO": Severity.ERROR,
        "break with broker 'ibkr': cash of USD": Severity.CRITICAL,
        "break with broker 'ibkr': commission of KO": Severity.ERROR,
    }
    assert {alert.key for alert in alerts.values()} == {f"break:{row['break_id']}" for row in done.open}
    cash = alerts["break with broker 'ibkr': cash of USD"]
    assert cash.details[0] == "the books say 10, the broker says 12"
    assert cash.details[2].startswith("Nothing is traded until") and "quant broker propose b" in cash.details[2]
    notifier = Notifier(context.settings.notifications, context.ledger)
    for alert in alerts.values():
        notifier.send(alert)
    assert execution_alerts(context) == []


def test_what_nobody_ordered_is_told_until_somebody_has_decided(context: TradingContext) -> None:
    one = BrokerOrder("77", "", "KO", Side.SELL, Decimal(50), Decimal(0), "limit", Decimal("61.5"))
    with context.ledger.write() as connection:
        foreign.keep_order(connection, "ibkr", one, "the ledger has no such order", session=TRADED, at=NOON)
    (alert,) = execution_alerts(context)
    assert (alert.key, alert.severity) == ("unknown:ibkr:order:77", Severity.ERROR)
    assert alert.title == "unknown order at broker 'ibkr': sell 50 KO at 61.5"
    assert alert.details[0] == "order 77: the ledger has no such order"
    with context.ledger.write() as connection:
        foreign.resolve(connection, "ibkr", "order", "77", state="dismissed", actor="ada", at=NOON)
    assert execution_alerts(context) == []


def test_more_than_was_ordered_names_order_and_execution(context: TradingContext) -> None:
    sent = (
        (K.SUBMITTING, {"broker": "ibkr"}),
        (K.ACCEPTED, {}),
        (K.PARTIALLY_FILLED, fill(80)),
        (K.OVERFILLED, fill(40)),
    )
    order_id = order(context, *sent)
    (alert,) = execution_alerts(context)
    assert (alert.key, alert.severity) == (f"overfill:{order_id}:5", Severity.ERROR)
    assert alert.title == "more was executed than was ordered: 120 of 100 KO"
    assert alert.details[0] == f"order {order_id} (buy), execution x40"


def parent(context: TradingContext, actor: str) -> str:
    with context.ledger.write() as connection:
        made = verdict("parent", "KO")
        verdicts.record(connection, made, cycle_id=None, at=NOON)
        one = parent_log.create(connection, made, algorithm=Algorithm.TWAP, parameters=PARAMETERS, at=NOON)
        assert one is not None
        times = {"starts_at": NOON.isoformat(), "ends_at": (NOON + timedelta(hours=1)).isoformat()}
        for kind, payload, who in (
            (ParentEventKind.STARTED, {**times, "arrival_price": None}, "desk"),
            (ParentEventKind.PAUSED, {"reason": "slice 2: symbol_limit"}, actor),
        ):
            parent_log.record(connection, ParentEvent(one.parent_id, kind, payload), actor=who, at=NOON)
    return one.parent_id


def test_an_algorithm_stopped_by_the_gate_is_told(context: TradingContext) -> None:
    name = parent(context, "risk")
    (alert,) = execution_alerts(context)
    assert (alert.key, alert.severity) == (f"parent_paused:{name}:3", Severity.WARNING)
    assert alert.title == "twap buy 100 KO is paused by the risk gate"
    assert alert.details[0] == "slice 2: symbol_limit" and f"quant order resume {name}" in alert.details[1]
    with context.ledger.write() as connection:
        parent_log.record(connection, ParentEvent(name, ParentEventKind.RESUMED, {}), actor="ada", at=NOON)
    assert execution_alerts(context) == []


def test_an_algorithm_a_person_paused_is_no_news(context: TradingContext) -> None:
    parent(context, "ada")
    assert execution_alerts(context) == []


# -- the connection ---------------------------------------------------------------------------------------------------


def test_an_outage_is_told_when_it_has_lasted_and_not_again_at_each_try(context: TradingContext) -> None:
    connected(context, -120)
    moved(context, -6, S.RECONNECTING, S.CONNECTED, "the connection was closed")
    (first,) = execution_alerts(context)
    assert (first.title, first.severity) == ("broker 'ibkr' has been away for 6 minutes", Severity.ERROR)
    assert first.details[0] == "the connection was closed"
    for tenth in range(1, 60):
        moved(context, -6 + tenth / 10, S.CONNECTING, S.RECONNECTING, "try")
        moved(context, -6 + tenth / 10, S.RECONNECTING, S.CONNECTING, "refused")
    assert [alert.key for alert in execution_alerts(context)] == [first.key], "118 changes later it is the same outage"
    connected(context, -0.05, S.RECONNECTING)
    (over,) = execution_alerts(context)
    assert (over.key, over.severity) == (first.key, Severity.WARNING)
    assert over.title == "broker 'ibkr' was away for 6 minutes"


def test_a_short_outage_and_an_ordinary_stop_are_nobody_s_business(context: TradingContext) -> None:
    connected(context, -120)
    moved(context, -60, S.RECONNECTING, S.CONNECTED, "the connection was closed")
    connected(context, -57, S.RECONNECTING)
    moved(context, -30, S.DISCONNECTED, S.CONNECTED, "Ctrl-C")
    assert execution_alerts(context) == []
    with context.ledger.read() as connection:
        assert [one.ended is not None for one in outages(connection)] == [True, True]


# -- the daemon -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "detail", "seconds", "said"),
    [
        ("ok", "connected", 100, ("the trading daemon gives no sign of life (90 s are allowed)", Severity.CRITICAL)),
        (STOPPED, "the trading daemon is silent for 300 s", 10,
         ("the dead man's switch took over from the trading daemon", Severity.CRITICAL)),
        (STOPPED, "an error", 10, ("the trading daemon was ended by an error", Severity.ERROR)),
        (STOPPED, "Ctrl-C", 10_000, None),
        ("ok", "reconnecting", 80, None),
    ],
)  # fmt: skip
def test_a_daemon_that_is_not_well_is_told(
    context: TradingContext, state: str, detail: str, seconds: int, said: tuple[str, Severity] | None
) -> None:
    with context.ledger.write() as connection:
        beat(connection, DAEMON, state=state, detail=detail, at=NOON - timedelta(seconds=seconds))
    assert heard(context) == ([said] if said is not None else [])


# -- deadlines --------------------------------------------------------------------------------------------------------


def test_orders_cancelled_at_their_deadline_are_one_digest_when_the_session_is_over(context: TradingContext) -> None:
    late = (K.SUBMITTING, {"broker": "ibkr"}), (K.ACCEPTED, {}), (K.PARTIALLY_FILLED, fill(30)), (
        K.PENDING_CANCEL, {"reason": "deadline"}), (K.CANCELED, {"reason": ""})  # fmt: skip
    order(context, *late, name="a", symbol="XOM")
    order(context, *late, name="b", symbol="KO")
    order(context, *late, name="c", symbol="KO", session=TODAY)
    order(context, (K.SUBMITTING, {}), (K.ACCEPTED, {}), (K.PENDING_CANCEL, {"reason": "ada: no"}), name="d")
    (alert,) = execution_alerts(context)
    assert (alert.key, alert.severity) == ("deadline:2023-01-03", Severity.WARNING)
    assert alert.title == "2 orders of 2023-01-03 cancelled at the deadline"
    assert [line.split(" (")[0] for line in alert.details] == [
        "buy KO: 30 of 100 filled", "buy XOM: 30 of 100 filled"]  # fmt: skip


def test_keys_fit_the_ledger(context: TradingContext, tmp_path: Path) -> None:
    one = BrokerOrder("7" * 80, "", "KO", Side.SELL, Decimal(50), Decimal(0), "limit", None)
    with context.ledger.write() as connection:
        foreign.keep_order(connection, "b" * 32, one, "r", session=TRADED, at=NOON)
    (alert,) = execution_alerts(context)
    assert len(alert.key) <= 160
