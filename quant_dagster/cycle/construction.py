"""Target positions from an optimiser over the signals, where ``portfolio.construction`` names one.

Its candidates are the symbols a signal would hold; everything else held goes to nothing, as without an optimiser.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from quant_dagster.cycle.wishes import Construction, SymbolState
from quant_dagster.errors import RiskError
from quant_dagster.risk.sizing import drawdown_factor, leverage_limit
from quant_dagster.settings import Settings

_WITHOUT_VIEWS = ("risk_parity", "cvar")
_INSIDE = 0.995
"""Of what limits let be invested: an interior-point solver needs an interior."""


@dataclass(frozen=True)
class AccountFacts:
    """What the optimiser needs to know of the account: equity in currency, signed shares, drawdown (0 to 1)."""

    equity: float
    held: Mapping[str, Decimal]
    drawdown: float


def construct_targets(
    settings: Settings,
    states: Sequence[SymbolState],
    account: AccountFacts,
    returns: NDArray[np.float64],
    return_symbols: Sequence[str],
) -> Construction | None:
    """The portfolio the optimiser wants of a session; None where each signal is sized for itself.

    Parameters
    ----------
    returns
        Simple returns, shape (sessions, symbols), columns in the order of ``return_symbols``; a symbol that misses one
        is left out, and said.
    """
    method = settings.portfolio.construction
    if method == "signals":
        return None
    column = {symbol: i for i, symbol in enumerate(return_symbols)}
    wanted = [state for state in states if _is_candidate(settings, state)]
    known = [s for s in wanted if s.symbol in column and bool(np.isfinite(returns[:, column[s.symbol]]).all())]
    left_out = tuple(sorted({s.symbol for s in wanted} - {s.symbol for s in known}))
    if not known:
        return Construction(method, {}, None, left_out)
    try:
        return _optimised(settings, method, known, account, returns[:, [column[s.symbol] for s in known]], left_out)
    except RiskError as error:
        return Construction(method, {}, str(error), left_out)


def _optimised(
    settings: Settings,
    method: str,
    states: Sequence[SymbolState],
    account: AccountFacts,
    returns: NDArray[np.float64],
    left_out: tuple[str, ...],
) -> Construction:
    from quant_dagster.risk.construction.limits import Limits, largest_gross
    from quant_dagster.risk.construction.optimise import Method
    from quant_dagster.risk.construction.portfolio import Views, construct

    risk = settings.risk
    facts = [state.facts for state in states if state.facts is not None]
    prices = np.array([one.price for one in facts])
    shares = np.array([float(account.held.get(state.symbol, Decimal(0))) for state in states])
    worth = np.array([(one.average_volume or 1.0) * one.price for one in facts])
    sectors = tuple(one.sector for one in facts)
    views = Views(
        expected=np.array([_expected(state) for state in states]),
        confidences=np.array([_confidence(state) for state in states]),
        market=worth / worth.sum(),  # traded value stands in for market value, which no vendor here tells
    )
    current = shares * prices / account.equity
    limits = Limits(
        caps=np.full(len(states), risk.max_symbol_weight),
        sectors=sectors,
        sector_caps=dict.fromkeys(sectors, risk.max_sector_weight),
        gross=leverage_limit(risk) * drawdown_factor(account.drawdown, risk),
        budget=None,
        long_only=not settings.portfolio.allow_short,
        turnover=settings.portfolio.max_construction_turnover,
    )
    if method in _WITHOUT_VIEWS:
        # Without a view on returns the least risk is no position: invest as much as limits and turnover let it.
        reachable = min(largest_gross(limits), float(current.sum()) + limits.turnover)
        limits = replace(limits, budget=_INSIDE * reachable)
    portfolio = construct(
        Method(method),
        returns,
        [state.symbol for state in states],
        current_weights=current,
        views=None if method in _WITHOUT_VIEWS else views,
        limits=limits,
        risk_aversion=settings.portfolio.risk_aversion,
        cvar_confidence=risk.cvar_confidence,
        prices=prices,
        lots=np.array([float(one.lot_size) for one in facts]),
        equity=account.equity,
    )
    targets = {s.symbol: Decimal(int(n)) for s, n in zip(states, np.rint(portfolio.shares), strict=True)}
    return Construction(method, targets, None, left_out, portfolio.problems)


def _is_candidate(settings: Settings, state: SymbolState) -> bool:
    signal = state.bundle.primary if state.bundle else None
    return (
        signal is not None
        and state.facts is not None
        and state.facts.price > 0
        and state.forecast_mean is not None
        and state.member
        and state.quarantined is None
        and state.quality_score is not None
        and state.quality_score >= settings.quality.minimum_score
        and (signal.direction > 0 or (signal.direction < 0 and settings.portfolio.allow_short))
    )


def _expected(state: SymbolState) -> float:
    """The forecast mean, no further against the signal than nothing."""
    signal = state.bundle.primary if state.bundle else None
    mean = state.forecast_mean or 0.0
    return 0.0 if signal is None or signal.direction * mean < 0 else mean


def _confidence(state: SymbolState) -> float:
    signal = state.bundle.primary if state.bundle else None
    return min(0.99, max(0.01, signal.confidence)) if signal is not None else 0.01
