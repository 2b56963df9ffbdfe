"""From signals to decisions and approved orders, in one ledger transaction: all of a session's, or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, func, select

from quant_dagster.accounting import books
from quant_dagster.accounting.snapshots import AccountSnapshot
from quant_dagster.cycle.gatekeeping import Gatekeeper
from quant_dagster.cycle.ordering import OrderMaker
from quant_dagster.cycle.risk_actions import advance
from quant_dagster.cycle.signal_selection import after_opportunity_cost
from quant_dagster.cycle.wishes import ApprovalInputs, concluded, flattened, order_intent, wish_for
from quant_dagster.errors import OrderError
from quant_dagster.execution import order_log
from quant_dagster.execution.orders import Order
from quant_dagster.execution.verdicts import record as record_verdict
from quant_dagster.observability import audit
from quant_dagster.risk.gate import MarketFacts, Origin, Outcome, RiskDecision
from quant_dagster.settings import Settings
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import cycles, decisions, orders
from quant_dagster.strategies.decisions import Action, Decision, cycle_id

ZERO = Decimal(0)


@dataclass(frozen=True)
class Approval:
    """What a session came to: counts per action, orders made; ``repeated`` when it had been decided before."""

    session: date
    actions: Mapping[str, int]
    orders: int
    repeated: bool


def approve(
    ledger: Ledger,
    settings: Settings,
    inputs: ApprovalInputs,
    value_account: Callable[[Connection], AccountSnapshot],
    decided_at: datetime,
    maker: OrderMaker | None = None,
) -> Approval:
    """Decide every symbol once, pass what wants to trade through the risk gate, and write it all down.

    Automatic actions at work come first: their orders are made before anything else is decided.

    Parameters
    ----------
    value_account
        Values the account at the session's closes, on the connection of the deciding transaction.
    decided_at
        The session's last instant: lockouts that are in force then count.
    maker
        Makes what the gate approved; default: orders that are sent whole.

    Raises
    ------
    OrderError
        A later session has been decided already: going back would trade on the future.
    AuditError
        The audit chain is broken: what happened so far is not known for certain, so no order is made.
    """
    audit.require_intact(ledger)
    cycle = cycle_id(settings.strategy, settings.mode, inputs.session)
    with ledger.write() as connection:
        if connection.execute(select(decisions.c.symbol).where(decisions.c.cycle_id == cycle)).first():
            return _decided_before(connection, cycle, inputs.session)
        refuse_older_session(connection, settings, inputs.session)
        books.require_balance(connection)
        account = value_account(connection)
        gate = Gatekeeper(connection, settings, inputs, account, decided_at=decided_at, now=ledger.now())
        advance(connection, gate, settings, inputs.session, ledger.now())
        made, verdicts = _decide_all(settings, inputs, account, gate, connection, cycle)
        whole = maker or OrderMaker(settings, inputs.session, None)
        _write(connection, ledger, settings, inputs, cycle, made, verdicts, whole)
        counts = {action.value: sum(d.action is action for d in made) for action in Action}
        approved = sum(verdict.outcome is not Outcome.REJECTED for verdict in verdicts.values())
        return Approval(inputs.session, counts, approved, repeated=False)


def refuse_older_session(connection: Connection, settings: Settings, session: date) -> None:
    """Raise `OrderError` when a session after ``session`` has decisions and ``session`` itself has none."""
    decided = select(cycles.c.session).where(
        cycles.c.strategy == settings.strategy,
        cycles.c.mode == settings.mode,
        cycles.c.cycle_id.in_(select(decisions.c.cycle_id)),
    )
    sessions = set(connection.execute(decided.where(cycles.c.session >= session)).scalars())
    if sessions and session not in sessions:
        raise OrderError(
            f"session {session} cannot be decided: the ledger already holds decisions for {max(sessions)}. "
            "Replay an earlier period in a QUANT_HOME of its own"
        )


# -- deciding ---------------------------------------------------------------------------------------------------------


def _decide_all(
    settings: Settings,
    inputs: ApprovalInputs,
    account: AccountSnapshot,
    gate: Gatekeeper,
    connection: Connection,
    cycle: str,
) -> tuple[list[Decision], dict[str, RiskDecision]]:
    held = {symbol: holding.quantity for symbol, holding in books.balances(connection).holdings.items()}
    equity = float(account.equity)
    mode = gate.permission.mode
    on_way = {order.symbol for order in order_log.with_status(connection, order_log.OPEN) if _closes_by_action(order)}
    wishes = [
        wish_for(settings, inputs, state, held.get(state.symbol, ZERO), equity, mode, cycle)
        for state in sorted((*inputs.states, *flattened(inputs, mode)), key=lambda state: state.symbol)
    ]
    wishes = after_opportunity_cost(settings, inputs, wishes, held, equity)
    made: list[Decision] = []
    verdicts: dict[str, RiskDecision] = {}
    # Exits first: they free what entries need. Then the most convincing.
    for wish in sorted(wishes, key=lambda w: (not w.reduces, -(w.decision.priority or 0.0), w.decision.symbol)):
        if wish.side is None:
            made.append(wish.decision)
            continue
        if wish.decision.symbol in on_way:
            left = replace(wish.decision, action=Action.HOLD, target_quantity=wish.decision.current_quantity)
            made.append(replace(left, reasons=("risk_action", *wish.decision.reasons)))
            continue
        facts = gate.facts.get(wish.decision.symbol)
        tick = facts.tick_size if facts is not None else Decimal("0.01")
        verdict = gate.check(order_intent(settings, wish, tick))
        verdicts[wish.decision.decision_id] = verdict
        made.append(concluded(wish, verdict))
    return sorted(made, key=lambda decision: decision.symbol), verdicts


def _closes_by_action(order: Order) -> bool:
    return order.origin == Origin.ACTION and order.stop_price is None


# -- writing ----------------------------------------------------------------------------------------------------------


def _write(
    connection: Connection,
    ledger: Ledger,
    settings: Settings,
    inputs: ApprovalInputs,
    cycle: str,
    made: Sequence[Decision],
    verdicts: Mapping[str, RiskDecision],
    maker: OrderMaker,
) -> None:
    now = ledger.now()
    connection.execute(
        cycles.update()
        .where(cycles.c.cycle_id == cycle)
        .values(
            settings_hash=settings.decision_hash(),
            code_version=inputs.code_version,
            inputs={"lake_versions": dict(inputs.lake_versions)},
        )
    )
    connection.execute(decisions.insert(), [_decision_row(decision) for decision in made])
    for one in verdicts.values():
        record_verdict(connection, one, cycle_id=cycle, at=now)
    payload = {"digest": audit.decision_digest(connection, cycle)}
    key = f"decisions:{cycle}"
    audit.append(connection, key, "decisions", actor="strategy", at=now, session=inputs.session, payload=payload)
    for decision in made:
        verdict = verdicts.get(decision.decision_id)
        if verdict is not None and verdict.outcome is not Outcome.REJECTED:
            facts = _facts_of(inputs, decision.symbol)
            _require_instrument(facts, verdict)
            maker.make(connection, verdict, facts, decision.expected_volatility, at=now)


def _facts_of(inputs: ApprovalInputs, symbol: str) -> MarketFacts | None:
    return inputs.held_facts.get(symbol) or next(
        (state.facts for state in inputs.states if state.symbol == symbol), None
    )


def _require_instrument(facts: MarketFacts | None, verdict: RiskDecision) -> None:
    """The last look before an order exists: its size is a multiple of the lot, its price lies on the tick grid."""
    intent = verdict.intent
    lot = Decimal(facts.lot_size if facts else 1)
    # What is held in odd lots (after a split) may be closed whole.
    if verdict.approved_quantity % lot and not verdict.reduce_only:
        raise OrderError(
            f"order for {intent.symbol}: {verdict.approved_quantity} is not a multiple of its lot of {lot}"
        )
    if facts is not None and intent.decision_price % facts.tick_size:
        raise OrderError(f"order for {intent.symbol}: {intent.decision_price} is off its tick of {facts.tick_size}")


def _decision_row(decision: Decision) -> dict[str, Any]:
    row = {name: getattr(decision, name) for name in decision.__dataclass_fields__}
    return row | {"action": decision.action.value, "reasons": list(decision.reasons)}


def _decided_before(connection: Connection, cycle: str, session: date) -> Approval:
    counts = {action.value: 0 for action in Action}
    for action, count in connection.execute(
        select(decisions.c.action, func.count()).where(decisions.c.cycle_id == cycle).group_by(decisions.c.action)
    ):
        counts[action] = count
    made = connection.execute(
        select(func.count()).select_from(orders.join(decisions)).where(decisions.c.cycle_id == cycle)
    ).scalar_one()
    return Approval(session, counts, made, repeated=True)
