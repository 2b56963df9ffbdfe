"""The gate: an order intent in, an immutable verdict out, and what was approved counted before the next one.

Each check states the largest quantity it allows; the order gets the least of them. An order that only shrinks a
position is never held back by exposure limits or CVaR (the checks are still reported), because being unable to
leave is the worse risk; control mode, stale prices, duplicates and participation apply to it all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import ROUND_DOWN, Decimal
from math import isnan

import numpy as np
from numpy.typing import NDArray

from quant_dagster.accounting.books import Side
from quant_dagster.errors import RiskError
from quant_dagster.risk.control import ControlMode
from quant_dagster.risk.gate import checks as at
from quant_dagster.risk.gate import commitment, kernel
from quant_dagster.risk.gate.decision import (
    Check,
    MarketFacts,
    OrderIntent,
    Origin,
    Outcome,
    RiskDecision,
    Verdict,
)
from quant_dagster.risk.gate.exposure import Exposure
from quant_dagster.risk.gate.portfolio import PortfolioView
from quant_dagster.risk.sizing import drawdown_factor, leverage_limit
from quant_dagster.settings import RiskSettings

_VERDICTS = {
    at.PASSED: Verdict.PASSED,
    at.SCALED: Verdict.SCALED,
    at.FAILED: Verdict.FAILED,
    at.NOT_EVALUATED: Verdict.NOT_EVALUATED,
    at.EXEMPT: Verdict.EXEMPT,
}
_ZERO = Decimal(0)


class Gate:
    """Checks orders one by one against limits, with everything approved so far counted.

    One order of a symbol works at a time; a stop may work beside it, and the slices of an algorithm beside each other.

    Parameters
    ----------
    limits
        Every limit; none has a "no limit" value.
    mode
        Control mode in force.
    session
        The session decided on; an order of another one is refused as stale.
    sessions_since
        Sessions between a price's session and this one; prices older than ``max_price_age_sessions`` are stale.
    facts
        Per symbol; a symbol without facts is rejected as stale.
    scenario_returns
        Historical one-session returns, shape (scenarios, symbols), columns in the order of ``scenario_symbols``;
        NaN where a symbol has no history (an order is refused where its own column has too few).
    breaker_open
        Is the way to the broker closed?

    Raises
    ------
    RiskError
        Equity or a limit is not a number one can trade on.
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
        scenario_symbols: Sequence[str],
        allow_short: bool,
        volume_required: bool,
        breaker_open: bool = False,
    ) -> None:
        if not np.isfinite(portfolio.equity) or portfolio.equity <= 0:
            raise RiskError(
                f"equity is {portfolio.equity}: no order can be sized or checked against it; "
                "'quant positions' and 'quant verify ledger' say how it came about"
            )
        self.mode = mode
        self.session = session
        self.facts = facts
        self.exposure = Exposure(
            [*facts, *portfolio.held, *(order.symbol for order in portfolio.working)],
            facts=facts,
            sessions_since=sessions_since,
            portfolio=portfolio,
            returns=scenario_returns,
            return_symbols=scenario_symbols,
        )
        account = self.exposure.account
        account[at.MODE] = mode
        account[at.BREAKER] = breaker_open
        account[at.SHORT_ALLOWED] = allow_short
        account[at.VOLUME_REQUIRED] = volume_required
        account[at.MARGIN_ACCOUNT] = limits.account_type == "margin"
        self._order_ids = set(portfolio.order_ids)
        self._limits = limit_row(limits, len(scenario_returns), portfolio.drawdown)
        self._scratch = np.empty(len(scenario_returns))
        self._worst = np.empty(int(np.ceil(self._limits[at.TAIL] - 1e-12)))
        self._tail_rows = np.arange(len(self._worst))
        self._out = np.empty((3, len(at.CODES)))

    def check(self, intent: OrderIntent, refused: Sequence[str] = ()) -> RiskDecision:
        """The verdict on one order; an approved quantity is counted before the next order is checked.

        Parameters
        ----------
        refused
            Codes of account rules and lockouts that do not permit the order; one that only closes passes all the same.
        """
        exposure = self.exposure
        row = exposure.row.get(intent.symbol)
        if row is None:
            unknown = Check("stale_data", Verdict.FAILED, None, float(self._limits[at.MAX_AGE]))
            return RiskDecision(intent, Outcome.REJECTED, _ZERO, (unknown,), ("stale_data",), intent.reduce_only)
        stop = intent.stop_price is not None
        flags = (
            (intent.client_order_id in self._order_ids or intent.session != self.session) * at.DUPLICATE
            + bool(refused) * at.REFUSED
            + (intent.reduce_only or stop) * at.CLOSING_ONLY
            + stop * at.STOP
            + (stop or intent.origin is Origin.ALGORITHM) * at.BESIDE
        )
        size = kernel.check_order(
            row, float(intent.side.sign), float(intent.quantity), float(intent.decision_price), flags,
            exposure.account, exposure.rows, exposure.sectors, exposure.counterparties, self._limits,
            exposure.returns, exposure.pnl, self._scratch, self._worst, self._tail_rows, self._out,
        )  # fmt: skip
        return self._conclude(intent, row, size, refused)

    def check_many(
        self, symbols: Sequence[str], sides: Sequence[Side], quantities: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
        """Orders at their symbols' prices in bulk, for simulations: each is taken to have filled or lapsed before
        the symbol's next one, and account rules are not asked.

        Returns
        -------
        tuple
            Approved quantities, shape (orders,), and what each check said, shape (orders, checks), in the order of
            ``checks.CODES`` and in its numbers.
        """
        exposure = self.exposure
        rows = np.array([exposure.row[symbol] for symbol in symbols], dtype=np.int64)
        signs = np.array([side.sign for side in sides], dtype=np.float64)
        approved, said = np.zeros(len(rows)), np.zeros((len(rows), len(at.CODES)), dtype=np.int8)
        kernel.check_many(
            rows, signs, quantities, exposure.rows[rows, at.PRICE], exposure.account, exposure.rows, exposure.sectors,
            exposure.counterparties, self._limits, exposure.returns, exposure.pnl, approved, said,
        )  # fmt: skip
        return approved, said

    def _conclude(self, intent: OrderIntent, row: int, size: float, codes: Sequence[str]) -> RiskDecision:
        checks, failed, scaled = self._checks(codes)
        approved = min(_shares(size), intent.quantity)
        if approved <= 0:
            reasons = failed or scaled or ("below_lot_size",)
            return RiskDecision(intent, Outcome.REJECTED, _ZERO, checks, reasons, intent.reduce_only)
        closing = bool(size <= commitment.closable_shares(self.exposure.rows[row], float(intent.side.sign)))
        stop = intent.stop_price is not None
        self.exposure.commit(intent.symbol, intent.side, size, closing=closing, stop=stop)
        self._order_ids.add(intent.client_order_id)
        if approved == intent.quantity:
            return RiskDecision(intent, Outcome.APPROVED, intent.quantity, checks, (), closing)
        return RiskDecision(intent, Outcome.SCALED, approved, checks, ("position_scaled", *scaled), closing)

    def _checks(self, refused: Sequence[str]) -> tuple[tuple[Check, ...], tuple[str, ...], tuple[str, ...]]:
        """Every check that applied, and the codes of those that failed and that scaled."""
        made: list[Check] = []
        failed: list[str] = []
        scaled: list[str] = []
        for code, verdict, value, bound in zip(_CODES[self.mode], *self._out.tolist(), strict=True):
            if verdict == at.NOT_APPLICABLE:
                continue
            made.append(Check(code, _VERDICTS[verdict], _known(value), _known(bound)))
            if verdict == at.FAILED:
                failed += refused if code == "locked_out" and refused else [code]
            elif verdict == at.SCALED:
                scaled.append(code)
        return tuple(made), tuple(dict.fromkeys(failed)), tuple(scaled)


def _shares(size: float) -> Decimal:
    whole = int(size)
    return Decimal(whole) if whole == size else Decimal(repr(size)).quantize(Decimal("1e-8"), ROUND_DOWN)


def _known(value: float) -> float | None:
    return None if isnan(value) else value


_CODES = {mode: (f"control_{mode.name.lower()}", *at.CODES[1:]) for mode in ControlMode}


LIMITS = (
    "max_price_age_sessions", "price_collar", "max_orders_per_session", "max_participation", "max_symbol_weight",
    "max_sector_weight", "max_counterparty_exposure", "max_liquidation_sessions", "max_gross_leverage",
    "venue_leverage_limit", "max_drawdown", "drawdown_scaling_start", "max_net_leverage", "max_concentration",
    "max_turnover_per_session", "initial_margin", "cvar_limit", "cvar_confidence", "cvar_scenarios",
)  # fmt: skip
"""Settings that must be finite numbers before any order is checked."""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))


def limit_row(limits: RiskSettings, scenarios: int, drawdown: float) -> NDArray[np.float64]:
    """The limits as the kernel reads them.

    Raises
    ------
    RiskError
        One of them is missing or no number: unknown is unsafe. Names it.
    """
    unknown = [name for name in LIMITS if not _is_number(getattr(limits, name, None))]
    if unknown:
        raise RiskError(
            f"risk.{', risk.'.join(unknown)}: the limit is missing or no number, so no order can be checked; set it"
        )
    row = np.full(at.LIMIT_PLACES, np.nan)
    gross = leverage_limit(limits)
    row[at.MAX_AGE] = limits.max_price_age_sessions
    row[at.MAX_COLLAR] = limits.price_collar
    row[at.MAX_ORDERS] = limits.max_orders_per_session
    row[at.MAX_PARTICIPATION] = limits.max_participation
    row[at.MAX_SYMBOL] = limits.max_symbol_weight
    row[at.MAX_SECTOR] = limits.max_sector_weight
    row[at.MAX_COUNTERPARTY] = limits.max_counterparty_exposure
    row[at.MAX_LIQUIDATION] = limits.max_liquidation_sessions
    row[at.MAX_GROSS] = gross
    row[at.MAX_DRAWDOWN_GROSS] = gross * drawdown_factor(drawdown, limits)
    row[at.MAX_NET] = limits.max_net_leverage
    row[at.MAX_CONCENTRATION] = limits.max_concentration
    row[at.MAX_TURNOVER] = limits.max_turnover_per_session
    row[at.INITIAL_MARGIN] = limits.initial_margin
    row[at.MAX_CVAR] = limits.cvar_limit
    row[at.TAIL] = max(1.0, scenarios * (1.0 - limits.cvar_confidence))
    row[at.LEAST_SCENARIOS] = limits.cvar_scenarios // 2
    return row
