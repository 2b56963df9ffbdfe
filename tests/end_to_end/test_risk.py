"""Risk in the real cycle on real prices: an emergency ends flat, a rule closes, locks and lets go after its reset."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import select

from quant_dagster.accounting import books
from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.risk_actions import act
from quant_dagster.cycle.run import replay, run_cycle
from quant_dagster.observability import audit
from quant_dagster.operations.verification import verify_ledger
from quant_dagster.risk import actions
from quant_dagster.risk.actions import ActionState
from quant_dagster.risk.control import ControlMode
from quant_dagster.risk.permission import kill, read_permission
from quant_dagster.settings import load_settings
from quant_dagster.storage.ledger_tables import decisions, lockouts, orders

FIRST, SECOND, THIRD = date(2022, 12, 21), date(2022, 12, 22), date(2022, 12, 23)
QUICK = {"market_data": {"history_start": date(2018, 1, 2)}, "forecasting": {"families": ["ar", "garch11", "hmm"]}}


def desk(home: Path, **risk) -> TradingContext:
    return TradingContext(load_settings({"home": home, **QUICK, "risk": risk}))


def held(context: TradingContext) -> dict[str, int]:
    with context.ledger.read() as connection:
        return {s: int(h.quantity) for s, h in books.balances(connection).holdings.items() if h.quantity}


def orders_of(context: TradingContext, session: date) -> list:
    with context.ledger.read() as connection:
        return list(connection.execute(select(orders).where(orders.c.session == session)).mappings())


def sound(context: TradingContext) -> bool:
    return verify_ledger(context.ledger).sound and audit.verify(context.ledger).intact


@pytest.mark.slow
def test_a_kill_between_sessions_withdraws_what_opens_and_ends_flat(quant_home: Path) -> None:
    context = desk(quant_home)
    replay(context, 2, SECOND)
    before = held(context)
    assert before, "something to close"
    opening = [o for o in orders_of(context, SECOND) if o["status"] == "accepted" and not o["reduce_only"]]
    kill(context.ledger, context.settings, context.home, actor="ann", reason="drill", automatic=False)
    assert read_permission(context.ledger, context.settings, context.home).mode is ControlMode.EMERGENCY

    done = act(context)
    assert done.withdrawn == len(opening)
    assert (done.made, done.refused) == (len(before), ())
    again = act(context)
    assert (again.made, again.sent, again.withdrawn) == (0, 0, 0), "asked again, nothing more is done"
    closing = [o for o in orders_of(context, SECOND) if o["origin"] == "action"]
    assert {o["symbol"]: int(o["quantity"]) for o in closing} == before
    assert all(o["reduce_only"] and o["side"] == "sell" and o["decision_id"] is None for o in closing)

    run_cycle(context, THIRD)
    assert held(context) == {}
    with context.ledger.read() as connection:
        (action,) = actions.every(connection)
        actions_taken = connection.execute(select(decisions.c.action).where(decisions.c.session == THIRD)).scalars()
        assert set(actions_taken) == {"HOLD"}, "flat, and nothing is opened"
    assert action.state is ActionState.DONE
    assert orders_of(context, THIRD) == []
    assert sound(context)


@pytest.mark.slow
def test_a_rule_closes_and_locks_until_its_reset(quant_home: Path) -> None:
    """The positions of the first session lose a little in the second: a limit of one dollar bites."""
    context = desk(quant_home, account_rules={"daily_unrealised_loss": {"enabled": True, "amount": 1.0}})
    replay(context, 3, THIRD)
    with context.ledger.read() as connection:
        locked = connection.execute(select(lockouts)).mappings().all()
        taken = actions.every(connection)
    assert {row["rule"] for row in locked} == {"daily_unrealised_loss"}
    assert all(row["symbol"] is None and row["expires_at"].hour == 23 for row in locked), "17:00 in Chicago, in winter"
    assert {action.kind.value for action in taken} == {"close_all", "cancel_orders"}
    day = min(row["trading_day"] for row in locked)
    made = orders_of(context, day)
    assert made
    assert all(o["origin"] == "action" for o in made), "nothing is opened on the evening of the lockout"
    with context.ledger.read() as connection:
        refused = connection.execute(select(decisions).where(decisions.c.session == day)).mappings().all()
    reasons = {reason for row in refused for reason in row["reasons"]}
    assert reasons & {"daily_unrealised_loss", "risk_action"}
    assert sound(context)
