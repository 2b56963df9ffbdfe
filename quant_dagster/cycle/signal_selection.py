"""Which signals and trades are worth their place: sources by their record, trades by what else the capital could do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

import polars as pl
from sqlalchemy import select

from quant_dagster.cycle import history
from quant_dagster.cycle.wishes import ZERO, ApprovalInputs, Wish
from quant_dagster.execution.costs import commission
from quant_dagster.market_data.panel import Panel
from quant_dagster.risk.sizing import leverage_limit
from quant_dagster.settings import Settings, SignalSettings
from quant_dagster.storage.ledger_tables import decisions, positions
from quant_dagster.strategies.alphas import ALPHAS
from quant_dagster.strategies.attribution import Contribution, Decided, Standing, attribute
from quant_dagster.strategies.decisions import Action
from quant_dagster.strategies.flags import hot_flags
from quant_dagster.strategies.opportunity import Candidate, Comparison, compare
from quant_dagster.strategies.performance import HORIZONS, alpha_performance

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext

OPPORTUNITY_COST_FAIL = "opportunity_cost_fail"


def settings_now(settings: Settings) -> SignalSettings:
    """The signal settings with the feature flags as the files have them now."""
    return settings.signals.model_copy(update={"flags": dict(hot_flags(settings))})


def measure_alphas(context: TradingContext, panel: Panel) -> pl.DataFrame:
    """What every source was worth up to the panel's last session, stored in ``alpha_performance``; returns the rows."""
    window = context.settings.signals.decay_sessions
    reach = min(len(panel.sessions), window + max(HORIZONS) + 1)
    newest = panel.last(reach)
    signals = context.lake.read(
        "signals",
        columns=["session", "symbol", "alpha", "direction", "strength"],
        start=newest.sessions[0].astype("datetime64[D]").astype(object),
        end=newest.last_session,
        # The session's own signals have no outcome yet; whether they are stored already makes no difference.
        where=pl.col("session") < newest.last_session,
        ordered=False,
    )
    rows = alpha_performance(signals, newest, sorted(ALPHAS), window)
    history.store(context, "alpha_performance", rows)
    return rows


def after_opportunity_cost(
    settings: Settings,
    inputs: ApprovalInputs,
    wishes: Sequence[Wish],
    held: Mapping[str, Decimal],
    equity: float,
) -> list[Wish]:
    """The wishes, those refused that open or add to a position and do not beat their best alternative after costs.

    Exits and reductions pass untouched; of a trade through zero the exit is kept. The numbers of every comparison
    stand in the decision's details under ``opportunity``.
    """
    if not settings.signals.opportunity_cost:
        return list(wishes)
    horizon = max(settings.forecasting.horizons)
    prices = {s: facts.price for s, facts in inputs.held_facts.items()}
    prices |= {state.symbol: state.facts.price for state in inputs.states if state.facts is not None}
    after = {symbol: quantity for symbol, quantity in held.items() if quantity}
    turnover = 0.0
    candidates: dict[str, Candidate] = {}
    for wish in wishes:
        decision = wish.decision
        if wish.side is None or decision.symbol not in prices:
            continue
        candidate = _candidate(settings, wish, prices[decision.symbol])
        if candidate is not None:
            candidates[decision.symbol] = candidate
            if decision.current_quantity * decision.target_quantity < 0:
                after[decision.symbol] = ZERO
        else:
            after[decision.symbol] = decision.target_quantity
            turnover += float(wish.quantity) * prices[decision.symbol]
    gross = sum(abs(float(quantity)) * prices.get(symbol, 0.0) for symbol, quantity in after.items())
    compared = compare(
        candidates.values(),
        holding_sessions=horizon,
        cash_rate=settings.signals.cash_rate,
        gross_room=leverage_limit(settings.risk) * equity - gross,
        turnover_room=settings.risk.max_turnover_per_session * equity - turnover,
    )
    return [_compared(wish, compared.get(wish.decision.symbol)) for wish in wishes]


def attribution(context: TradingContext, start: date | None = None, end: date | None = None) -> list[Contribution]:
    """How much of the profit and loss up to ``end`` each alpha's positions earned, from the ledger.

    ``start`` limits the sessions in which it was earned, not the decisions that brought the positions.
    """
    wanted = select(decisions.c.session, decisions.c.symbol, decisions.c.alpha, decisions.c.target_quantity)
    standing = select(
        positions.c.session, positions.c.symbol, positions.c.quantity, positions.c.unrealised_pnl,
        positions.c.realised_pnl, positions.c.commission,
    )  # fmt: skip
    if end is not None:
        wanted = wanted.where(decisions.c.session <= end)
        standing = standing.where(positions.c.session <= end)
    with context.ledger.read() as connection:
        decided = [Decided(*row) for row in connection.execute(wanted)]
        standings = [
            Standing(row.session, row.symbol, row.quantity, row.unrealised_pnl + row.realised_pnl - row.commission)
            for row in connection.execute(standing)
        ]
    if start is None:
        return attribute(decided, standings)
    before = {one.alpha: one for one in attribute(decided, [s for s in standings if s.session < start])}
    result = []
    for one in attribute(decided, standings):
        earlier = before.get(one.alpha)
        if earlier is not None:
            one = replace(
                one, pnl=one.pnl - earlier.pnl, position_sessions=one.position_sessions - earlier.position_sessions
            )
        result.append(one)
    return sorted(result, key=lambda one: (-one.pnl, one.alpha))


def _candidate(settings: Settings, wish: Wish, price: float) -> Candidate | None:
    """The part of a wish that opens or adds; None where it only closes."""
    decision = wish.decision
    current, target = decision.current_quantity, decision.target_quantity
    through_zero = current * target < 0
    opened = abs(target) if through_zero else abs(target) - abs(current)
    if opened <= 0 or decision.expected_return is None:
        return None
    direction = 1.0 if target > 0 else -1.0
    capital = float(opened) * price
    paid = commission(opened, Decimal(repr(price)), settings.execution)
    one_way = float(paid) / capital + settings.execution.slippage_bps / 10_000
    return Candidate(
        symbol=decision.symbol,
        priority=decision.priority or 0.0,
        capital=capital,
        turnover=float(wish.quantity) * price,
        expected_return=direction * decision.expected_return,
        cost=2.0 * one_way,
        kept_return=-direction * decision.expected_return if through_zero else None,
    )


def _compared(wish: Wish, comparison: Comparison | None) -> Wish:
    if comparison is None:
        return wish
    details = {**wish.decision.details, "opportunity": comparison.as_details()}
    decision = replace(wish.decision, details=details)
    if comparison.passes:
        return replace(wish, decision=decision)
    limited = (comparison.limited_by,) if comparison.limited_by else ()
    reasons = (OPPORTUNITY_COST_FAIL, *limited, *decision.reasons)
    current = decision.current_quantity
    if current * decision.target_quantity < 0:
        exit_only = replace(decision, target_quantity=ZERO, reasons=reasons)
        return Wish(exit_only, wish.side, abs(current), reduces=True)
    action = Action.HOLD if current else Action.REJECT
    return Wish(replace(decision, action=action, target_quantity=current, reasons=reasons))
