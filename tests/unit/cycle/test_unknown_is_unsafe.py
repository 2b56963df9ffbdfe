"""What is not known is not traded on: in each case no new order is made, and the reason is said."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from quant_dagster.accounting import books
from quant_dagster.accounting.books import Fill, Side
from quant_dagster.errors import ConfigurationError, QuantError, RiskError
from quant_dagster.risk.kill_switch.software import engage, kill_file
from quant_dagster.settings import load_settings
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import orders, risk_events
from tests.unit.cycle.approval_desk import Desk, facts, inputs, state
from tests.unit.execution.test_paper import TUESDAY, WEDNESDAY


@pytest.fixture
def desk(ledger: Ledger, tmp_path: Path) -> Desk:
    return Desk(ledger, tmp_path)


def made(desk: Desk) -> int:
    with desk.ledger.read() as connection:
        return connection.execute(select(func.count()).select_from(orders)).scalar_one()


def test_with_everything_known_there_is_an_order(desk: Desk) -> None:
    desk.decide(inputs(state()))
    assert made(desk) == 1


def unreadable_mode(desk: Desk) -> None:
    with desk.ledger.write() as connection:
        connection.exec_driver_sql(
            "INSERT INTO control_state (sequence, mode, actor, automatic, reason, recorded_at)"
            " VALUES (1, 'YOLO', 'x', 0, 'x', '2023-01-03 00:00:00')"
        )


def no_control_table(desk: Desk) -> None:
    with desk.ledger.write() as connection:
        connection.exec_driver_sql("DROP TABLE control_state")


def clock_jumped_back(desk: Desk) -> None:
    past = desk.ledger.now() - timedelta(days=1)
    desk.ledger.now = lambda: past


def negative_equity(desk: Desk) -> None:
    """A loss larger than the account: bought dear, worth little."""
    loss = Fill("e1", "nobody", TUESDAY, "IBM", Side.BUY, Decimal(10_000), Decimal(400), Decimal(0), Decimal(400),
                Decimal(400), {})  # fmt: skip
    with desk.ledger.write() as connection:
        connection.exec_driver_sql(
            "INSERT INTO orders (client_order_id, strategy, origin, session, symbol, side, quantity, order_type,"
            " time_in_force, reduce_only, decision_price, created_at, status, filled_quantity, events) VALUES"
            " ('nobody', 's', 'strategy', '2013-02-26', 'IBM', 'buy', 0, 'market', 'day', 0, 0, '2013-02-26 00:00:00',"
            " 'filled', 0, 1)"
        )
        books.book(connection, loss, at=desk.ledger.now())


def unreadable_action(desk: Desk) -> None:
    with desk.ledger.write() as connection:
        connection.exec_driver_sql(
            "INSERT INTO risk_actions (action_id, kind, trigger, actor, reason, targets, state, attempts, requested_at)"
            " VALUES ('a', 'buy_the_dip', 't', 'x', 'x', '{}', 'working', 0, '2013-02-26 00:00:00')"
        )


CASES: dict[str, tuple[Any, str]] = {
    "unreadable control mode": (unreadable_mode, "control mode 'YOLO' in the ledger is unknown: no new orders"),
    "control table gone": (no_control_table, "the control state cannot be read, so no new orders"),
    "clock that jumped back": (clock_jumped_back, "behind the newest record: no new orders"),
    "negative equity": (negative_equity, r"equity is -.*: no order can be sized"),
    "unreadable action": (unreadable_action, "cannot be read: no new orders"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_told_stops_the_session_and_says_why(desk: Desk, case: str) -> None:
    damage, message = CASES[case]
    damage(desk)
    before = made(desk)
    with pytest.raises(QuantError, match=message):
        desk.decide(inputs(state()))
    assert made(desk) == before


@pytest.mark.parametrize("price", [float("nan"), float("inf"), -1.0, 0.0])
def test_a_price_that_is_none_rejects_its_symbol_alone(desk: Desk, price: float) -> None:
    broken = state("IBM", facts=facts("IBM", price=price))
    desk.decide(inputs(broken, state("MSFT")))
    row = desk.decided()
    assert row["action"] == "REJECT"
    assert row["reasons"] == ["stale_data"]
    assert desk.decided("MSFT")["action"] == "BUY"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_symbol_weight": None}, "risk.max_symbol_weight"),
        ({"cvar_limit": float("nan")}, "risk.cvar_limit"),
        ({"max_gross_leverage": float("inf")}, "risk.max_gross_leverage"),
        ({"max_net_leverage": "a lot"}, "risk.max_net_leverage"),
        ({"max_net_levrage": 1.0}, "max_net_levrage"),
    ],
)
def test_a_limit_that_is_none_is_refused_before_anything_starts(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_settings({"risk": given})


def test_a_limit_that_got_lost_on_the_way_makes_no_order(desk: Desk) -> None:
    lost = load_settings().risk.model_copy(update={"cvar_limit": None})
    with pytest.raises(RiskError, match=r"risk\.cvar_limit: the limit is missing or no number, so no order"):
        desk.decide(inputs(state()), risk=lost)
    assert made(desk) == 0


def test_a_kill_file_stops_what_opens_and_says_who(desk: Desk) -> None:
    settings = load_settings()
    engage(kill_file(settings.risk.kill_switch, settings.home), actor="ann", reason="fire", at=desk.ledger.now())
    desk.decide(inputs(state()))
    assert made(desk) == 0
    assert desk.decided()["reasons"][0] == "flatten"


def test_an_instrument_without_history_is_not_bought(desk: Desk) -> None:
    blank = inputs(state())
    desk.decide(inputs(state(), scenario_returns=blank.scenario_returns * float("nan")))
    assert desk.decided()["reasons"][0] == "cvar_breach"
    with desk.ledger.read() as connection:
        (event,) = connection.execute(select(risk_events)).mappings().all()
    assert {"code": "cvar_breach", "verdict": "failed", "value": None, "limit": 0.02} in event["checks"]
    assert event["session"] == WEDNESDAY
