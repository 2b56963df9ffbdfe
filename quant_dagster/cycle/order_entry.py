"""A person's order: through the same gate as a strategy's, worked whole or by an algorithm, under the person's name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from quant_dagster.accounting.books import Side
from quant_dagster.cycle.account_watch import newest_valued
from quant_dagster.cycle.gatekeeping import Gatekeeper, closing_instant
from quant_dagster.cycle.handover import connected, handed_over
from quant_dagster.cycle.ordering import OrderMaker
from quant_dagster.errors import BrokerError, BrokerUnavailableError, OrderError
from quant_dagster.execution import order_log, requests, verdicts
from quant_dagster.execution.algorithms.parents import Algorithm
from quant_dagster.execution.broker import RemoteBroker
from quant_dagster.execution.orders import client_order_id
from quant_dagster.market_data.instruments import on_tick
from quant_dagster.risk.gate import OrderIntent, Origin, Outcome, RiskDecision
from quant_dagster.storage.types import money, plain

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext

PREFIX = "person:"
"""Strategy name of a person's orders: this and their name."""


@dataclass(frozen=True)
class Entered:
    """The gate's answer to a person's order: ``order_id`` names the order or the algorithm's, ``worked`` says which."""

    order_id: str
    verdict: RiskDecision
    worked: str


def enter_order(
    context: TradingContext,
    symbol: str,
    side: Side,
    quantity: Decimal,
    *,
    algorithm: str | None,
    actor: str,
    reference: str,
) -> Entered:
    """Pass a person's order through the gate, against the newest valued session; it is sent like any other.

    Parameters
    ----------
    algorithm
        How it is worked, ``none``: sent whole; default: as the settings say.
    reference
        The person's own name for the order: the same one again is the same order.

    Raises
    ------
    OrderError
        The symbol has no price in that session, or the order was entered before.
    """
    from quant_dagster.cycle.inputs import approval_inputs
    from quant_dagster.cycle.session_data import SessionData

    settings = context.settings
    context.open_ledger()
    session = newest_valued(context)
    data = SessionData(context, session)
    inputs = approval_inputs(context, session, data.panel)
    volatility = {state.symbol: state.forecast_volatility for state in inputs.states}.get(symbol)
    maker = OrderMaker.of_settings(context, session)
    if algorithm is not None:
        maker = OrderMaker(settings, session, None if algorithm == "none" else Algorithm(algorithm), context)
    maker.prepare()
    with context.ledger.write() as connection:
        now = context.ledger.now()
        at, account = closing_instant(context.calendar, session), data.value(connection)
        gate = Gatekeeper(connection, settings, inputs, account, decided_at=at, now=now)
        facts = gate.facts.get(symbol)
        if facts is None:
            known = ", ".join(sorted(gate.facts)[:20])
            raise OrderError(
                f"{symbol} has no price in session {session}, so no order can be checked; there are: {known}"
            )
        intent = OrderIntent(
            client_order_id=client_order_id(PREFIX + actor, session, symbol, reference),
            decision_id=None,
            strategy=PREFIX + actor,
            session=session,
            symbol=symbol,
            side=side,
            quantity=quantity,
            decision_price=money(on_tick(money(facts.price), facts.tick_size)),
            origin=Origin.COMMAND,
        )
        verdict = gate.check(intent)
        verdicts.record(connection, verdict, cycle_id=None, at=now)
        worked = "refused"
        if verdict.outcome is not Outcome.REJECTED:
            worked = maker.make(connection, verdict, facts, volatility, at=now)
    return Entered(intent.client_order_id, verdict, worked)


def cancel_order(context: TradingContext, order_id: str, *, actor: str, reason: str) -> str:
    """Cancel what is not filled of an order at a person's word; says what came of it.

    Where the trading daemon runs it is asked to, and does so within a second.
    """
    return _step_in(context, order_id, {"kind": "cancel", "reason": f"{actor}: {reason}"}, actor)


def modify_order(
    context: TradingContext, order_id: str, *, actor: str, quantity: Decimal | None, limit_price: Decimal | None
) -> str:
    """Change a working order at a person's word; says what came of it."""
    wanted = {
        "kind": "modify",
        "quantity": None if quantity is None else str(quantity),
        "limit_price": None if limit_price is None else str(limit_price),
    }
    return _step_in(context, order_id, wanted, actor)


def _step_in(context: TradingContext, order_id: str, wanted: Mapping[str, Any], actor: str) -> str:
    if handed_over(context):
        with context.ledger.write() as connection:
            requests.ask(connection, order_id, wanted, actor=actor, at=context.ledger.now())
        return "asked of the trading daemon; 'quant order show' says what comes of it"
    with connected(context):
        session = context.trading_session() if isinstance(context.broker, RemoteBroker) else newest_valued(context)
        return carry_out(context, order_id, wanted, session)


def carry_out(context: TradingContext, order_id: str, wanted: Mapping[str, Any], session: date) -> str:
    """Do what a person asked for, over the connection that is open."""
    if wanted["kind"] == "cancel":
        done = context.desk.cancel([order_id], session, reason=wanted["reason"] or "")
        return "cancelled" if done else "asked for; it is cancelled when the broker says so"
    with context.ledger.read() as connection:
        order = order_log.get(connection, order_id)
    quantity = order.quantity if wanted["quantity"] is None else Decimal(wanted["quantity"])
    limit = order.limit_price if wanted["limit_price"] is None else Decimal(wanted["limit_price"])
    after = context.desk.modify(order_id, session, quantity=quantity, limit_price=limit)
    return f"{after.status}: {plain(after.quantity)} at {'market' if after.limit_price is None else after.limit_price}"


def carry_out_requests(context: TradingContext) -> Iterator[str]:
    """Do what people asked for while the trading daemon holds the connection; says of each what came of it."""
    with context.ledger.read() as connection:
        asked = requests.waiting(connection)
    for one in asked:
        try:
            outcome = carry_out(context, one.order_id, one.wanted, context.trading_session())
        except BrokerUnavailableError:
            raise  # asked again when the connection is back
        except (OrderError, BrokerError) as error:
            outcome = str(error)
        with context.ledger.write() as connection:
            requests.conclude(connection, one, outcome, at=context.ledger.now())
        yield f"{one.actor} asked to {one.wanted['kind']} order {one.order_id}: {outcome}"
