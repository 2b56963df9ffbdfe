"""The pre-trade gate: every order the desk makes comes out of `Gate.check`, approved, scaled or rejected.

Each check states the largest quantity it allows; the order gets the least of them. An order that only shrinks a
position is never held back by exposure limits or CVaR (the checks are still reported), because being unable to
leave is the worse risk; control mode, stale prices, duplicates and participation apply to it all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_DOWN, Decimal
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from quant_dagster.accounting.books import Side
from quant_dagster.errors import RiskError
from quant_dagster.risk.control import ControlMode
from quant_dagster.risk.expected_shortfall import expected_shortfall, largest_passing
from quant_dagster.risk.sizing import leverage_limit
from quant_dagster.settings import RiskSettings

ZERO = Decimal(0)


class Outcome(StrEnum):
    """The gate's verdict on an order."""

    APPROVED = "approved"
    SCALED = "scaled"
    REJECTED = "rejected"


class Verdict(StrEnum):
    """What one check said."""

    PASSED = "passed"
    SCALED = "scaled"
    FAILED = "failed"
    NOT_EVALUATED = "not_evaluated"
    EXEMPT = "exempt"
    """Over its limit, but the order shrinks the position."""


@dataclass(frozen=True)
class Check:
    """One check: its reason code, what was measured for the whole order, and the limit it was held against."""

    code: str
    verdict: Verdict
    value: float | None
    limit: float | None


@dataclass(frozen=True)
class OrderIntent:
    """What a strategy, an algorithm or an automatic action would like to do."""

    client_order_id: str
    decision_id: str
    strategy: str
    session: date
    symbol: str
    side: Side
    quantity: Decimal
    decision_price: Decimal


@dataclass(frozen=True)
class RiskDecision:
    """The gate's immutable answer; the only thing an order can be made from."""

    intent: OrderIntent
    outcome: Outcome
    approved_quantity: Decimal
    checks: tuple[Check, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class MarketFacts:
    """What the gate knows of a symbol at the decision: prices in currency, volumes in shares; None is unknown.

    ``instrument_problem`` is why new exposure to the instrument cannot be taken, None if it can.
    """

    price: float
    price_session: date
    previous_price: float | None
    average_volume: float | None
    sector: str
    lot_size: int = 1
    tick_size: Decimal = Decimal("0.01")
    instrument_problem: str | None = None


@dataclass
class PortfolioView:
    """What is held and on order while a batch of orders is checked. `Gate.check` adds what it approves."""

    cash: float
    equity: float
    quantities: dict[str, float]
    """Shares held plus working orders, per symbol."""
    working: set[str] = field(default_factory=set)
    """Symbols with a working order."""
    order_ids: set[str] = field(default_factory=set)
    orders_made: int = 0
    turnover: float = 0.0


class Gate:
    """Checks orders one by one against limits, with everything approved so far counted.

    Parameters
    ----------
    limits
        Every limit; none has a "no limit" value.
    mode
        Control mode in force.
    session
        The session decided on; prices older than ``max_price_age_sessions`` before it are stale.
    sessions_since
        Sessions between a price's session and this one.
    facts
        Per symbol; a symbol without facts is rejected as stale.
    scenario_returns
        Historical one-session returns, shape (scenarios, symbols), columns in the order of ``scenario_symbols``;
        NaN where a symbol has no history (counted as not evaluated when the order's own column has too few).
    """

    def __init__(
        self,
        *,
        limits: RiskSettings,
        mode: ControlMode,
        session: date,
        sessions_since: Mapping[date, int],
        facts: Mapping[str, MarketFacts],
        portfolio: PortfolioView,
        scenario_returns: NDArray[np.float64],
        scenario_symbols: tuple[str, ...],
        allow_short: bool,
        volume_required: bool,
    ) -> None:
        if not np.isfinite(portfolio.equity) or portfolio.equity <= 0:
            raise RiskError(f"equity is {portfolio.equity}: no order can be sized or checked against it")
        self.limits = limits
        self.mode = mode
        self.session = session
        self.sessions_since = sessions_since
        self.facts = facts
        self.portfolio = portfolio
        self.allow_short = allow_short
        self.volume_required = volume_required
        self._column = {symbol: i for i, symbol in enumerate(scenario_symbols)}
        self._known = np.isfinite(scenario_returns).sum(axis=0)
        self._returns = np.nan_to_num(scenario_returns, nan=0.0)
        values = np.array(
            [
                portfolio.quantities.get(symbol, 0.0) * facts[symbol].price if symbol in facts else 0.0
                for symbol in scenario_symbols
            ]
        )
        self._scenario_pnl = self._returns @ values if len(scenario_symbols) else np.zeros(len(scenario_returns))
        self._unpriced = sorted(s for s, q in portfolio.quantities.items() if q and s not in facts)

    def check(self, intent: OrderIntent) -> RiskDecision:
        """The verdict on one order; an approved quantity is reserved before the next order is checked."""
        checks: list[Check] = []
        requested = float(intent.quantity)
        held = self.portfolio.quantities.get(intent.symbol, 0.0)
        signed = intent.side.sign
        reducing = held * signed < 0 and requested <= abs(held)
        facts = self.facts.get(intent.symbol)
        allowed = requested
        if facts is None or not np.isfinite(facts.price) or facts.price <= 0:
            checks.append(Check("stale_data", Verdict.FAILED, None, float(self.limits.max_price_age_sessions)))
            return self._conclude(intent, 0.0, checks, facts)
        if self._unpriced and not reducing:
            # Something held cannot be valued, so no exposure limit can be computed: unknown is unsafe.
            checks.append(Check("unpriced_position", Verdict.FAILED, float(len(self._unpriced)), 0.0))
            return self._conclude(intent, 0.0, checks, facts)
        allowed = min(allowed, self._check_permission(intent, reducing, facts, checks))
        allowed = min(allowed, self._check_participation(requested, facts, checks))
        allowed = min(allowed, self._check_exposure(intent, held, requested, reducing, facts, checks))
        allowed = min(allowed, self._check_cvar(intent, allowed, reducing, facts, checks))
        return self._conclude(intent, allowed, checks, facts)

    # -- checks -----------------------------------------------------------------------------------------------------

    def _check_permission(self, intent: OrderIntent, reducing: bool, facts: MarketFacts, checks: list[Check]) -> float:
        """Yes-or-no checks."""
        mode_ok = self.mode is ControlMode.NORMAL or (
            self.mode in (ControlMode.REDUCE, ControlMode.EMERGENCY) and reducing
        )
        age = self.sessions_since.get(facts.price_session)
        fresh = age is not None and age <= self.limits.max_price_age_sessions
        move = None if facts.previous_price is None else abs(facts.price / facts.previous_price - 1)
        in_collar = move is not None and move <= self.limits.price_collar
        portfolio = self.portfolio
        duplicate = intent.client_order_id in portfolio.order_ids or intent.symbol in portfolio.working
        answers: list[tuple[str, bool, float | None, float | None]] = [
            (f"control_{self.mode.name.lower()}", mode_ok, float(self.mode), 0.0),
            ("stale_data", fresh, None if age is None else float(age), float(self.limits.max_price_age_sessions)),
            ("price_collar", in_collar or reducing, move, self.limits.price_collar),
            (
                "instrument",
                facts.instrument_problem is None or reducing,
                float(facts.instrument_problem is not None),
                0.0,
            ),
            ("duplicate_order", not duplicate, float(duplicate), 0.0),
            (
                "order_limit",
                portfolio.orders_made < self.limits.max_orders_per_session,
                float(portfolio.orders_made + 1),
                float(self.limits.max_orders_per_session),
            ),
        ]
        for code, passed, value, limit in answers:
            checks.append(Check(code, Verdict.PASSED if passed else Verdict.FAILED, value, limit))
        return float(intent.quantity) if all(answer[1] for answer in answers) else 0.0

    def _check_participation(self, requested: float, facts: MarketFacts, checks: list[Check]) -> float:
        limit = self.limits.max_participation
        if facts.average_volume is None or not np.isfinite(facts.average_volume) or facts.average_volume <= 0:
            verdict = Verdict.FAILED if self.volume_required else Verdict.NOT_EVALUATED
            checks.append(Check("participation", verdict, None, limit))
            return 0.0 if self.volume_required else requested
        share = requested / facts.average_volume
        return _limited("participation", share, limit, limit * facts.average_volume, requested, checks)

    def _check_exposure(
        self,
        intent: OrderIntent,
        held: float,
        requested: float,
        reducing: bool,
        facts: MarketFacts,
        checks: list[Check],
    ) -> float:
        portfolio, limits, price = self.portfolio, self.limits, facts.price
        equity, signed = portfolio.equity, intent.side.sign
        after = held + signed * requested
        others = {s: q * self.facts[s].price for s, q in portfolio.quantities.items() if s != intent.symbol and q}
        gross_others = sum(abs(value) for value in others.values())
        net_others = sum(others.values())
        sector_others = sum(abs(value) for s, value in others.items() if self.facts[s].sector == facts.sector)
        # Shares of the order that first bring the position to zero, then build it up again on the order's side.
        to_flat = abs(held) if held * signed < 0 else 0.0
        same_side = abs(held) if held * signed > 0 else 0.0

        def shares_for(value: float) -> float:
            """Order size at which the position is worth ``value`` on the order's side."""
            return to_flat + max(0.0, value) / price - same_side

        rows: list[tuple[str, float, float, float]] = [
            (
                "symbol_limit",
                abs(after) * price / equity,
                limits.max_symbol_weight,
                shares_for(limits.max_symbol_weight * equity),
            ),
            (
                "sector_limit",
                (sector_others + abs(after) * price) / equity,
                limits.max_sector_weight,
                shares_for(limits.max_sector_weight * equity - sector_others),
            ),
            (
                "gross_limit",
                (gross_others + abs(after) * price) / equity,
                leverage_limit(limits),
                shares_for(leverage_limit(limits) * equity - gross_others),
            ),
            (
                "net_limit",
                abs(net_others + after * price) / equity,
                limits.max_net_leverage,
                shares_for(limits.max_net_leverage * equity - signed * net_others),
            ),
            (
                "turnover_limit",
                (portfolio.turnover + requested * price) / equity,
                limits.max_turnover_per_session,
                (limits.max_turnover_per_session * equity - portfolio.turnover) / price,
            ),
        ]
        if intent.side is Side.BUY:
            rows.append(("buying_power", requested * price, portfolio.cash, portfolio.cash / price))
        if not self.allow_short:
            rows.append(("no_short", max(0.0, -after), 0.0, requested if after >= 0 else to_flat))
        allowed = requested
        for code, value, limit, largest in rows:
            if reducing and value > limit:
                checks.append(Check(code, Verdict.EXEMPT, value, limit))
            else:
                allowed = min(allowed, _limited(code, value, limit, largest, requested, checks))
        return allowed

    def _check_cvar(
        self, intent: OrderIntent, allowed: float, reducing: bool, facts: MarketFacts, checks: list[Check]
    ) -> float:
        limits = self.limits
        limit = limits.cvar_limit * self.portfolio.equity
        column = self._column.get(intent.symbol)
        known = int(self._known[column]) if column is not None else 0
        if column is None or known < limits.cvar_scenarios // 2:
            verdict = Verdict.EXEMPT if reducing else Verdict.FAILED
            checks.append(Check("cvar_breach", verdict, None, limit / self.portfolio.equity))
            return allowed if reducing else 0.0
        unit = self._returns[:, column] * facts.price * intent.side.sign
        before = expected_shortfall(self._scenario_pnl, limits.cvar_confidence)
        lots = int(allowed // facts.lot_size)
        value = expected_shortfall(self._scenario_pnl + lots * facts.lot_size * unit, limits.cvar_confidence)
        ratio = value / self.portfolio.equity
        if value <= limit or lots == 0:
            checks.append(Check("cvar_breach", Verdict.PASSED, ratio, limits.cvar_limit))
            return allowed
        if reducing:
            checks.append(Check("cvar_breach", Verdict.EXEMPT, ratio, limits.cvar_limit))
            return allowed
        passing, _ = largest_passing(self._scenario_pnl, unit * facts.lot_size, lots, limit, limits.cvar_confidence)
        if before > limit and passing == lots:
            checks.append(Check("cvar_breach", Verdict.PASSED, ratio, before / self.portfolio.equity))
            return allowed
        verdict = Verdict.SCALED if passing else Verdict.FAILED
        checks.append(Check("cvar_breach", verdict, ratio, limits.cvar_limit))
        return float(passing * facts.lot_size)

    def _conclude(
        self, intent: OrderIntent, allowed: float, checks: list[Check], facts: MarketFacts | None
    ) -> RiskDecision:
        lot = Decimal(facts.lot_size if facts else 1)
        approved = (Decimal(str(max(0.0, allowed))) / lot).to_integral_value(ROUND_DOWN) * lot
        approved = min(approved, intent.quantity)
        failed = tuple(check.code for check in checks if check.verdict is Verdict.FAILED)
        scaled = tuple(check.code for check in checks if check.verdict is Verdict.SCALED)
        if approved <= 0:
            reasons = failed or scaled or ("below_lot_size",)
            return RiskDecision(intent, Outcome.REJECTED, ZERO, tuple(checks), reasons)
        outcome = Outcome.APPROVED if approved == intent.quantity else Outcome.SCALED
        reasons = () if outcome is Outcome.APPROVED else ("position_scaled", *scaled)
        self._reserve(intent, float(approved))
        return RiskDecision(intent, outcome, approved, tuple(checks), reasons)

    def _reserve(self, intent: OrderIntent, approved: float) -> None:
        portfolio, price = self.portfolio, self.facts[intent.symbol].price
        signed = intent.side.sign
        portfolio.quantities[intent.symbol] = portfolio.quantities.get(intent.symbol, 0.0) + signed * approved
        portfolio.order_ids.add(intent.client_order_id)
        portfolio.working.add(intent.symbol)
        portfolio.orders_made += 1
        portfolio.turnover += approved * price
        if intent.side is Side.BUY:
            portfolio.cash -= approved * price  # a sale's proceeds are not spent before they are there
        column = self._column.get(intent.symbol)
        if column is not None:
            self._scenario_pnl = self._scenario_pnl + self._returns[:, column] * price * signed * approved


def _limited(code: str, value: float, limit: float, largest: float, requested: float, checks: list[Check]) -> float:
    """Record a check that can be cured by a smaller order; returns the largest order that passes it."""
    if value <= limit:
        checks.append(Check(code, Verdict.PASSED, value, limit))
        return requested
    largest = max(0.0, largest)
    checks.append(Check(code, Verdict.SCALED if largest >= 1 else Verdict.FAILED, value, limit))
    return largest
