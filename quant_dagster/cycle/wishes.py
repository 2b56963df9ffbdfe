"""What the desk wants of each symbol before the gate has seen it: an action, a target, the reasons, the evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import ROUND_DOWN, Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_dagster.accounting.books import Side
from quant_dagster.errors import OrderError
from quant_dagster.execution.orders import client_order_id
from quant_dagster.market_data.instruments import on_tick
from quant_dagster.risk.control import ControlMode
from quant_dagster.risk.gate import MarketFacts, OrderIntent, Outcome, RiskDecision
from quant_dagster.risk.sizing import Size, target_weight
from quant_dagster.settings import Settings
from quant_dagster.storage.types import money
from quant_dagster.strategies.decisions import Action, Decision, decision_id
from quant_dagster.strategies.router import Signal, SignalBundle

ZERO = Decimal(0)


@dataclass(frozen=True)
class SymbolState:
    """What is known of a symbol at the decision; None is unknown.

    ``member`` is False for what is held although it has left the universe; ``quarantined`` is why it must not be
    traded on, None if it may. ``observations`` are the sessions the forecast mean was estimated from.
    """

    symbol: str
    facts: MarketFacts | None
    quality_score: float | None
    quality_issues: str
    not_evaluated: str
    forecast_mean: float | None
    forecast_volatility: float | None
    forecast_fallback: str | None
    bundle: SignalBundle | None
    member: bool = True
    quarantined: str | None = None
    observations: int | None = None


@dataclass(frozen=True)
class Construction:
    """What an optimiser wants to be held: shares per symbol.

    ``problem`` is why there is no portfolio (then nothing is traded for it), ``left_out`` are candidates without enough
    history, ``notes`` what a person should know though every limit holds.
    """

    method: str
    targets: Mapping[str, Decimal]
    problem: str | None
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ApprovalInputs:
    """Everything a session's decisions are a function of, beside the ledger and the settings.

    ``held_facts`` are those of symbols that are held but not decided on. ``scenario_returns`` has shape
    (scenarios, symbols): simple one-session returns, NaN before a symbol existed.
    ``sessions_since`` maps a session to how many sessions ago it was. ``flag_problem`` is why the feature flags in
    force are older than the settings files, None when they are not. ``construction`` is the optimiser's portfolio, None
    where each signal is sized for itself.
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
    flag_problem: str | None = None
    construction: Construction | None = None


@dataclass(frozen=True)
class Wish:
    """A decision before the gate has seen it."""

    decision: Decision
    side: Side | None = None
    quantity: Decimal = ZERO
    reduces: bool = False


def flattened(inputs: ApprovalInputs, mode: ControlMode) -> list[SymbolState]:
    """In an emergency what is held outside the decided symbols is closed as well."""
    if mode is not ControlMode.EMERGENCY:
        return []
    return [
        SymbolState(symbol, facts, None, "not_scored", "", None, None, None, None)
        for symbol, facts in inputs.held_facts.items()
    ]


def wish_for(
    settings: Settings,
    inputs: ApprovalInputs,
    state: SymbolState,
    held: Decimal,
    equity: float,
    mode: ControlMode,
    cycle: str,
) -> Wish:
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
        decision_price=money(state.facts.price) if state.facts and _priced(state.facts) else None,
        details=_details(state) | ({"flag_problem": inputs.flag_problem} if inputs.flag_problem else {}),
    )
    if state.facts is None or state.facts.price_session != inputs.session:
        return Wish(replace(base, action=Action.REJECT, reasons=("no_bar",)))
    if not _priced(state.facts):
        return Wish(replace(base, action=Action.REJECT, reasons=("stale_data",)))
    if mode is ControlMode.EMERGENCY:
        return _towards(settings, base, state.facts, ZERO, ("flatten",))
    if state.quarantined is not None:
        return Wish(replace(base, action=Action.REJECT, reasons=("quarantined",)))
    if state.quality_score is None or state.quality_score < settings.quality.minimum_score:
        return Wish(replace(base, action=Action.REJECT, reasons=("data_quality",)))
    if not state.member:
        return _towards(settings, base, state.facts, ZERO, ("left_universe",))
    if state.forecast_mean is None or state.forecast_volatility is None:
        return Wish(replace(base, action=Action.REJECT, reasons=("no_forecast",)))
    if state.bundle is None:
        return Wish(replace(base, action=Action.REJECT, reasons=("no_features",)))
    if inputs.construction is not None and signal is not None and _may_hold(settings, signal):
        return _constructed(settings, base, state, signal, inputs.construction)
    target, reasons, size = _target(settings, state, signal, equity)
    if size is not None:
        base = replace(base, details=base.details | {"size": _size_details(size)})
    return _towards(settings, base, state.facts, target, reasons)


def _priced(facts: MarketFacts) -> bool:
    """Is the price a number one can trade at?"""
    return bool(np.isfinite(facts.price)) and facts.price > 0


def _target(
    settings: Settings, state: SymbolState, signal: Signal | None, equity: float
) -> tuple[Decimal, tuple[str, ...], Size | None]:
    """Shares to hold, why, and how the size came about."""
    if signal is None and state.bundle is not None and state.bundle.conflict:
        return ZERO, ("conflict", *(one.reasons for one in state.bundle.conflict)), None
    if signal is None:
        return ZERO, ("no_signal", *_quiet_reasons(state)), None
    if not _may_hold(settings, signal):
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
        observations=state.observations,
    )
    if size.weight == 0:
        return ZERO, (signal.reasons, "no_volatility" if size.bound_by == "no_volatility" else "no_edge"), size
    lot = Decimal(state.facts.lot_size)
    shares = Decimal(repr(size.weight * equity / state.facts.price))
    target = (shares / lot).to_integral_value(ROUND_DOWN) * lot
    reasons = (signal.reasons, f"bound_{size.bound_by}")
    return target, reasons if target else (*reasons, "below_one_lot"), size


def _may_hold(settings: Settings, signal: Signal) -> bool:
    """Is a position in the signal's direction allowed at all?"""
    return signal.direction >= 0 or settings.portfolio.allow_short


def _constructed(
    settings: Settings, base: Decision, state: SymbolState, signal: Signal, construction: Construction
) -> Wish:
    """The optimiser's target; where it has none, what is held stays as it is."""
    base = replace(base, details=base.details | {"construction": _construction_details(construction)})
    if state.facts is None or construction.problem is not None or state.symbol in construction.left_out:
        why = "construction_infeasible" if construction.problem is not None else "no_history"
        return Wish(replace(base, reasons=(why, signal.reasons)))
    target = construction.targets.get(state.symbol, ZERO)
    return _towards(settings, base, state.facts, target, (signal.reasons, "bound_optimiser"))


def _towards(settings: Settings, base: Decision, facts: MarketFacts, target: Decimal, reasons: tuple[str, ...]) -> Wish:
    held = base.current_quantity
    delta = target - held
    decided = replace(base, target_quantity=target, reasons=reasons)
    if delta == 0:
        return Wish(replace(decided, reasons=(*reasons, "at_target") if held else reasons))
    buffer = Decimal(repr(settings.portfolio.rebalance_buffer)) * max(abs(target), abs(held))
    if target != 0 and held != 0 and abs(delta) <= buffer:
        return Wish(replace(decided, reasons=(*reasons, "within_buffer")))
    side = Side.BUY if delta > 0 else Side.SELL
    decided = replace(decided, action=Action.BUY if delta > 0 else Action.SELL)
    reduces = held * delta < 0 and abs(delta) <= abs(held)
    return Wish(decided, side, abs(delta), reduces)


def concluded(wish: Wish, verdict: RiskDecision) -> Decision:
    decision = wish.decision
    if verdict.outcome is Outcome.REJECTED:
        return replace(decision, action=Action.REJECT, reasons=(*verdict.reasons, *decision.reasons))
    if verdict.outcome is Outcome.SCALED and wish.side is not None:
        target = decision.current_quantity + wish.side.sign * verdict.approved_quantity
        return replace(decision, target_quantity=target, reasons=(*decision.reasons, *verdict.reasons))
    return decision


def _quiet_reasons(state: SymbolState) -> tuple[str, ...]:
    signals = state.bundle.signals if state.bundle else ()
    said = ("alpha_dead" if one.dead and one.direction else one.reasons for one in signals if one.enabled)
    return tuple(dict.fromkeys(said))


def order_intent(settings: Settings, wish: Wish, tick_size: Decimal) -> OrderIntent:
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
        decision_price=money(on_tick(decision.decision_price, tick_size)),
    )


def finite(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), 12)


def _details(state: SymbolState) -> dict[str, Any]:
    signals = state.bundle.signals if state.bundle else ()
    return {
        "signals": {
            signal.alpha: {
                "direction": signal.direction,
                "strength": finite(signal.strength),
                "confidence": finite(signal.confidence),
                "risk": finite(signal.risk),
                "priority": finite(signal.priority),
                "enabled": signal.enabled,
                "reason": signal.reasons,
            }
            for signal in signals
        },
        "fallback_signal": state.bundle.fallback.alpha if state.bundle and state.bundle.fallback else None,
        "conflict": [one.alpha for one in state.bundle.conflict] if state.bundle else [],
        "forecast_fallback": state.forecast_fallback,
        "quality_issues": state.quality_issues,
        "not_evaluated": state.not_evaluated,
    }


def _construction_details(construction: Construction) -> dict[str, Any]:
    return {
        "method": construction.method,
        "problem": construction.problem,
        "left_out": list(construction.left_out),
        "notes": list(construction.notes),
    }


def _size_details(size: Size) -> dict[str, Any]:
    return {
        "weight": finite(size.weight),
        "kelly_weight": finite(size.kelly_weight),
        "volatility_weight": finite(size.volatility_weight),
        "cap": finite(size.cap),
        "shrinkage": finite(size.shrinkage),
        "bound_by": size.bound_by,
    }
