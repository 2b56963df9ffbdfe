"""From signals to decisions and approved orders, in one ledger transaction: all of a session's, or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import ROUND_DOWN, Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, func, select

from quant_dagster.accounting import books
from quant_dagster.accounting.books import Side
from quant_dagster.accounting.snapshots import AccountSnapshot
from quant_dagster.errors import OrderError
from quant_dagster.execution import order_log
from quant_dagster.execution.desk import working_exposure
from quant_dagster.execution.orders import client_order_id
from quant_dagster.observability import audit
from quant_dagster.risk.control import ControlMode, current
from quant_dagster.risk.gate import Gate, MarketFacts, OrderIntent, Outcome, PortfolioView, RiskDecision
from quant_dagster.risk.sizing import Size, target_weight
from quant_dagster.settings import Settings
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import cycles, decisions, orders, risk_events
from quant_dagster.storage.types import money
from quant_dagster.strategies.decisions import Action, Decision, cycle_id, decision_id
from quant_dagster.strategies.router import Signal, SignalBundle

ZERO = Decimal(0)


@dataclass(frozen=True)
class SymbolState:
    """What is known of a symbol at the decision; None is unknown."""

    symbol: str
    facts: MarketFacts | None
    quality_score: float | None
    quality_issues: str
    not_evaluated: str
    forecast_mean: float | None
    forecast_volatility: float | None
    forecast_fallback: str | None
    bundle: SignalBundle | None


@dataclass(frozen=True)
class ApprovalInputs:
    """Everything a session's decisions are a function of, beside the ledger and the settings.

    ``held_facts`` are those of symbols that are held but not decided on. ``scenario_returns`` has shape
    (scenarios, symbols): simple one-session returns, NaN before a symbol existed.
    ``sessions_since`` maps a session to how many sessions ago it was.
    """

    session: date
    states: Sequence[SymbolState]
    held_facts: Mapping[str, MarketFacts]
    scenario_returns: NDArray[np.float64]
    scenario_symbols: tuple[str, ...]
    sessions_since: Mapping[date, int]
    volume_required: bool
    lake_versions: Mapping[str, int | None]
    code_version: str


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
) -> Approval:
    """Decide every symbol once, pass what wants to trade through the risk gate, and write it all down.

    Parameters
    ----------
    value_account
        Values the account at the session's closes, on the connection of the deciding transaction.

    Raises
    ------
    OrderError
        A later session has been decided already: going back would trade on the future.
    """
    cycle = cycle_id(settings.strategy, settings.mode, inputs.session)
    with ledger.write() as connection:
        if connection.execute(select(decisions.c.symbol).where(decisions.c.cycle_id == cycle)).first():
            return _decided_before(connection, cycle, inputs.session)
        refuse_older_session(connection, settings, inputs.session)
        books.require_balance(connection)
        mode = current(connection).mode
        account = value_account(connection)
        gate = _gate(connection, settings, inputs, account, mode)
        made, verdicts = _decide_all(settings, inputs, account, mode, gate, connection, cycle)
        _write(connection, ledger, settings, inputs, cycle, made, verdicts)
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


@dataclass(frozen=True)
class _Wish:
    """A decision before the gate has seen it."""

    decision: Decision
    side: Side | None = None
    quantity: Decimal = ZERO
    reduces: bool = False


def _decide_all(
    settings: Settings,
    inputs: ApprovalInputs,
    account: AccountSnapshot,
    mode: ControlMode,
    gate: Gate,
    connection: Connection,
    cycle: str,
) -> tuple[list[Decision], dict[str, RiskDecision]]:
    held = {symbol: holding.quantity for symbol, holding in books.balances(connection).holdings.items()}
    equity = float(account.equity)
    wishes = [
        _wish(settings, inputs, state, held.get(state.symbol, ZERO), equity, mode, cycle)
        for state in sorted((*inputs.states, *_flattened(inputs, mode)), key=lambda state: state.symbol)
    ]
    made: list[Decision] = []
    verdicts: dict[str, RiskDecision] = {}
    # Exits first: they free what entries need. Then the most convincing.
    for wish in sorted(wishes, key=lambda w: (not w.reduces, -(w.decision.priority or 0.0), w.decision.symbol)):
        if wish.side is None:
            made.append(wish.decision)
            continue
        verdict = gate.check(_intent(settings, wish))
        verdicts[wish.decision.decision_id] = verdict
        made.append(_concluded(wish, verdict))
    return sorted(made, key=lambda decision: decision.symbol), verdicts


def _flattened(inputs: ApprovalInputs, mode: ControlMode) -> list[SymbolState]:
    """In an emergency what is held outside the decided symbols is closed as well."""
    if mode is not ControlMode.EMERGENCY:
        return []
    return [
        SymbolState(symbol, facts, None, "not_scored", "", None, None, None, None)
        for symbol, facts in inputs.held_facts.items()
    ]


def _wish(
    settings: Settings,
    inputs: ApprovalInputs,
    state: SymbolState,
    held: Decimal,
    equity: float,
    mode: ControlMode,
    cycle: str,
) -> _Wish:
    signal = state.bundle.primary if state.bundle else None
    base = Decision(
        decision_id=decision_id(cycle, state.symbol),
        cycle_id=cycle,
        session=inputs.session,
        symbol=state.symbol,
        action=Action.HOLD,
        reasons=(),
        current_quantity=held,
        target_quantity=held,
        alpha=signal.alpha if signal else None,
        confidence=signal.confidence if signal else None,
        risk=signal.risk if signal else None,
        priority=signal.priority if signal else None,
        expected_return=state.forecast_mean,
        expected_volatility=state.forecast_volatility,
        quality_score=state.quality_score,
        decision_price=money(state.facts.price) if state.facts else None,
        details=_details(state),
    )
    if state.facts is None or state.facts.price_session != inputs.session:
        return _Wish(replace(base, action=Action.REJECT, reasons=("no_bar",)))
    if mode is ControlMode.EMERGENCY:
        return _towards(settings, base, state.facts, ZERO, ("flatten",))
    if state.quality_score is None or state.quality_score < settings.quality.minimum_score:
        return _Wish(replace(base, action=Action.REJECT, reasons=("data_quality",)))
    if state.forecast_mean is None or state.forecast_volatility is None:
        return _Wish(replace(base, action=Action.REJECT, reasons=("no_forecast",)))
    if state.bundle is None:
        return _Wish(replace(base, action=Action.REJECT, reasons=("no_features",)))
    target, reasons, size = _target(settings, state, signal, equity)
    if size is not None:
        base = replace(base, details=base.details | {"size": _size_details(size)})
    return _towards(settings, base, state.facts, target, reasons)


def _target(
    settings: Settings, state: SymbolState, signal: Signal | None, equity: float
) -> tuple[Decimal, tuple[str, ...], Size | None]:
    """Shares to hold, why, and how the size came about."""
    if signal is None:
        return ZERO, ("no_signal", *_quiet_reasons(state)), None
    if signal.direction < 0 and not settings.portfolio.allow_short:
        return ZERO, (signal.reasons, "short_not_allowed"), None
    if state.facts is None or state.forecast_mean is None or state.forecast_volatility is None:
        return ZERO, ("no_forecast",), None
    size = target_weight(
        direction=signal.direction,
        confidence=signal.confidence,
        strength=signal.strength,
        expected_return=state.forecast_mean,
        daily_volatility=state.forecast_volatility,
        risk=settings.risk,
    )
    if size.weight == 0:
        return ZERO, (signal.reasons, "no_volatility" if size.bound_by == "no_volatility" else "no_edge"), size
    lot = Decimal(state.facts.lot_size)
    shares = Decimal(repr(size.weight * equity / state.facts.price))
    target = (shares / lot).to_integral_value(ROUND_DOWN) * lot
    reasons = (signal.reasons, f"bound_{size.bound_by}")
    return target, reasons if target else (*reasons, "below_one_lot"), size


def _towards(
    settings: Settings, base: Decision, facts: MarketFacts, target: Decimal, reasons: tuple[str, ...]
) -> _Wish:
    held = base.current_quantity
    delta = target - held
    decided = replace(base, target_quantity=target, reasons=reasons)
    if delta == 0:
        return _Wish(replace(decided, reasons=(*reasons, "at_target") if held else reasons))
    buffer = Decimal(repr(settings.portfolio.rebalance_buffer)) * max(abs(target), abs(held))
    if target != 0 and held != 0 and abs(delta) <= buffer:
        return _Wish(replace(decided, reasons=(*reasons, "within_buffer")))
    side = Side.BUY if delta > 0 else Side.SELL
    decided = replace(decided, action=Action.BUY if delta > 0 else Action.SELL)
    reduces = held * delta < 0 and abs(delta) <= abs(held)
    return _Wish(decided, side, abs(delta), reduces)


def _concluded(wish: _Wish, verdict: RiskDecision) -> Decision:
    decision = wish.decision
    if verdict.outcome is Outcome.REJECTED:
        return replace(decision, action=Action.REJECT, reasons=(*verdict.reasons, *decision.reasons))
    if verdict.outcome is Outcome.SCALED and wish.side is not None:
        target = decision.current_quantity + wish.side.sign * verdict.approved_quantity
        return replace(decision, target_quantity=target, reasons=(*decision.reasons, *verdict.reasons))
    return decision


def _quiet_reasons(state: SymbolState) -> tuple[str, ...]:
    signals = state.bundle.signals if state.bundle else ()
    return tuple(dict.fromkeys(signal.reasons for signal in signals if signal.enabled))


def _intent(settings: Settings, wish: _Wish) -> OrderIntent:
    decision = wish.decision
    if wish.side is None or decision.decision_price is None:
        raise OrderError(f"{decision.symbol}: an order needs a side and a decision price")
    return OrderIntent(
        client_order_id=client_order_id(settings.strategy, decision.session, decision.symbol, "rebalance"),
        decision_id=decision.decision_id,
        strategy=settings.strategy,
        session=decision.session,
        symbol=decision.symbol,
        side=wish.side,
        quantity=wish.quantity,
        decision_price=decision.decision_price,
    )


def _gate(
    connection: Connection, settings: Settings, inputs: ApprovalInputs, account: AccountSnapshot, mode: ControlMode
) -> Gate:
    decided = {state.symbol: state.facts for state in inputs.states if state.facts is not None}
    facts = {**inputs.held_facts, **decided}
    working = working_exposure(connection)
    quantities = {s: float(h.quantity) for s, h in books.balances(connection).holdings.items() if h.quantity}
    reserved = 0.0
    for symbol, shares in working.items():
        quantities[symbol] = quantities.get(symbol, 0.0) + shares
        if shares > 0:
            reserved += shares * facts[symbol].price if symbol in facts else float(account.cash)
    portfolio = PortfolioView(
        cash=float(account.cash) - reserved,
        equity=float(account.equity),
        quantities=quantities,
        working=set(working),
        order_ids=set(
            connection.execute(select(orders.c.client_order_id).where(orders.c.session == inputs.session)).scalars()
        ),
    )
    return Gate(
        limits=settings.risk,
        mode=mode,
        session=inputs.session,
        sessions_since=inputs.sessions_since,
        facts=facts,
        portfolio=portfolio,
        scenario_returns=inputs.scenario_returns,
        scenario_symbols=inputs.scenario_symbols,
        allow_short=settings.portfolio.allow_short,
        volume_required=inputs.volume_required,
    )


# -- writing ----------------------------------------------------------------------------------------------------------


def _write(
    connection: Connection,
    ledger: Ledger,
    settings: Settings,
    inputs: ApprovalInputs,
    cycle: str,
    made: Sequence[Decision],
    verdicts: Mapping[str, RiskDecision],
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
    events = [_risk_row(cycle, verdict, now) for verdict in verdicts.values()]
    if events:
        connection.execute(risk_events.insert(), events)
    payload = {"digest": audit.decision_digest(connection, cycle)}
    key = f"decisions:{cycle}"
    audit.append(connection, key, "decisions", actor="strategy", at=now, session=inputs.session, payload=payload)
    for decision in made:
        verdict = verdicts.get(decision.decision_id)
        if verdict is not None and verdict.outcome is not Outcome.REJECTED:
            order_log.create(
                connection,
                verdict,
                order_type=settings.execution.order_type,
                time_in_force=settings.execution.time_in_force,
                at=now,
            )


def _decision_row(decision: Decision) -> dict[str, Any]:
    row = {name: getattr(decision, name) for name in decision.__dataclass_fields__}
    return row | {"action": decision.action.value, "reasons": list(decision.reasons)}


def _risk_row(cycle: str, verdict: RiskDecision, now: Any) -> dict[str, Any]:
    checks = [
        {"code": c.code, "verdict": c.verdict.value, "value": _finite(c.value), "limit": _finite(c.limit)}
        for c in verdict.checks
    ]
    return {
        "event_id": f"risk:{verdict.intent.client_order_id}",
        "cycle_id": cycle,
        "session": verdict.intent.session,
        "symbol": verdict.intent.symbol,
        "outcome": verdict.outcome.value,
        "requested_quantity": verdict.intent.quantity,
        "approved_quantity": verdict.approved_quantity,
        "reasons": list(verdict.reasons),
        "checks": checks,
        "recorded_at": now,
    }


def _finite(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), 12)


def _details(state: SymbolState) -> dict[str, Any]:
    signals = state.bundle.signals if state.bundle else ()
    return {
        "signals": {
            signal.alpha: {
                "direction": signal.direction,
                "strength": _finite(signal.strength),
                "confidence": _finite(signal.confidence),
                "risk": _finite(signal.risk),
                "priority": _finite(signal.priority),
                "enabled": signal.enabled,
                "reason": signal.reasons,
            }
            for signal in signals
        },
        "fallback_signal": state.bundle.fallback.alpha if state.bundle and state.bundle.fallback else None,
        "forecast_fallback": state.forecast_fallback,
        "quality_issues": state.quality_issues,
        "not_evaluated": state.not_evaluated,
    }


def _size_details(size: Size) -> dict[str, Any]:
    return {
        "weight": _finite(size.weight),
        "kelly_weight": _finite(size.kelly_weight),
        "volatility_weight": _finite(size.volatility_weight),
        "cap": _finite(size.cap),
        "bound_by": size.bound_by,
    }


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
