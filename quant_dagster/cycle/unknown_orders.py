"""A person's decision on what works or was executed at the broker under no order of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quant_dagster.cycle.handover import connected
from quant_dagster.errors import OrderError
from quant_dagster.execution import foreign
from quant_dagster.execution.adoption import adopt_order

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext


def settle_unknown(context: TradingContext, kind: str, reference: str, verdict: str, *, actor: str) -> str:
    """Adopt, cancel or dismiss; says what came of it. Executions of an adopted order are booked at once.

    Raises
    ------
    OrderError
        It is not there, or cannot be dealt with in that way.
    """
    name = context.settings.execution.broker
    if verdict == "dismiss":
        with context.ledger.write() as connection:
            at = context.ledger.now()
            foreign.resolve(connection, name, kind, reference, state="dismissed", actor=actor, at=at)
        return "dismissed: it stays unbooked; a difference in position shows in 'quant broker reconcile'"
    if kind != "order":
        raise OrderError("an execution is dismissed, or booked by a balancing entry ('quant broker breaks')")
    with connected(context):
        return _deal_with_order(context, reference, verdict, actor)


def _deal_with_order(context: TradingContext, reference: str, verdict: str, actor: str) -> str:
    name, session = context.settings.execution.broker, context.trading_session()
    working = {one.broker_order_id or one.client_order_id: one for one in context.broker.open_orders()}
    one = working.get(reference)
    if one is None:
        raise OrderError(f"order {reference} does not work at broker '{name}' any more: dismiss it")
    if not one.client_order_id:
        raise OrderError(
            f"order {reference} was not sent under an id of ours: deal with it where it was made (the broker's own "
            "workstation), then dismiss it here"
        )
    if verdict == "cancel":
        context.desk.withdraw_foreign(one, session, actor=actor)
        return "the broker was asked to cancel it"
    with context.ledger.write() as connection:
        adopt_order(connection, name, one, session=session, actor=actor, at=context.ledger.now())
    done = context.desk.sync(session)
    return f"adopted; {done.booked.new} of its executions booked"
