"""A portfolio by mean-variance, Black-Litterman, risk parity or CVaR, in whole lots and under every limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_dagster.errors import RiskError
from quant_dagster.risk.construction.black_litterman import equilibrium, posterior
from quant_dagster.risk.construction.limits import Limits, breaches
from quant_dagster.risk.construction.lots import whole_lots
from quant_dagster.risk.construction.optimise import Method, Outlook, best_weights
from quant_dagster.risk.expected_shortfall import expected_shortfall
from quant_dagster.risk.measures.correlations import shrunk_correlation

FloatArray = NDArray[np.float64]

FEWEST_SESSIONS = 60


@dataclass(frozen=True)
class Views:
    """What is expected of each of m symbols over one session.

    Attributes
    ----------
    expected
        Shape (m,): simple returns. NaN is no view, which only Black-Litterman takes.
    confidences
        Shape (m,): 0 to 1, of Black-Litterman's views.
    market
        Shape (m,): weights of the market portfolio of Black-Litterman's equilibrium.
    """

    expected: FloatArray
    confidences: FloatArray
    market: FloatArray


@dataclass(frozen=True)
class Portfolio:
    """Target positions of m symbols.

    Attributes
    ----------
    weights, shares
        Shape (m,): fractions of equity, and signed shares in whole lots.
    ideal_weights
        Shape (m,): what the optimiser wanted before rounding.
    expected_return, volatility, cvar
        Of ``weights`` over one session, as fractions of equity: with the views' expected returns (without views, the
        mean of the past), the covariance that was optimised over, and the past sessions.
    turnover
        Sum of absolute changes of weights.
    problems
        What a person should know though every limit holds.
    """

    method: Method
    symbols: tuple[str, ...]
    weights: FloatArray
    shares: FloatArray
    ideal_weights: FloatArray
    expected_return: float
    volatility: float
    cvar: float
    turnover: float
    problems: tuple[str, ...]


def construct(
    method: Method,
    returns: FloatArray,
    symbols: Sequence[str],
    *,
    current_weights: FloatArray,
    views: Views | None,
    limits: Limits,
    risk_aversion: float,
    cvar_confidence: float,
    prices: FloatArray,
    lots: FloatArray,
    equity: float,
) -> Portfolio:
    """Find the best weights that obey all limits and round them to whole lots that obey them too.

    Parameters
    ----------
    returns
        Simple returns, shape (sessions, m), oldest first, none missing. Their covariance is shrunk
        (:func:`quant_dagster.risk.measures.correlations.shrunk_correlation`).
    current_weights
        Shape (m,): positions held, as fractions of equity.
    views
        Needed by mean-variance and Black-Litterman; CVaR does without. Risk parity only reports by
        them.
    risk_aversion
        Of variance, or of CVaR where there are views.
    cvar_confidence
        Of the CVaR that is minimised and of the one that is reported.
    prices, lots
        Shape (m,): account currency a share, and shares of one lot.

    Raises
    ------
    RiskError
        No such portfolio exists, or it cannot be computed: limits that contradict each other, too little turnover to
        reach them, too few sessions, a number missing, views missing, a solver that failed. The message says which.
        Nothing is relaxed, and there is no portfolio to fall back on: the caller keeps what it holds.
    """
    _check(method, returns, symbols, current_weights, views, limits, prices, lots, equity)
    covariance = shrunk_correlation(returns, symbols).covariance
    mean = None if views is None else views.expected
    if views is not None and method is Method.BLACK_LITTERMAN:
        prior = equilibrium(covariance, views.market, risk_aversion)
        viewed = ~np.isnan(views.expected)
        picks = np.eye(len(symbols))[viewed]
        mean, covariance = posterior(prior, covariance, picks, views.expected[viewed], views.confidences[viewed])
    outlook = Outlook(mean, covariance, returns)
    ideal = best_weights(method, outlook, current_weights, limits, risk_aversion, cvar_confidence)
    broken = breaches(ideal, current_weights, limits, symbols)
    if broken:
        raise RiskError(f"portfolio construction ({method}): the solver broke limits: {'; '.join(broken)}")
    lot_weights = lots * prices / equity
    count = whole_lots(ideal, current_weights, lot_weights, limits, symbols)
    weights = count * lot_weights
    expected = returns.mean(axis=0) if mean is None else mean
    return Portfolio(
        method=method,
        symbols=tuple(symbols),
        weights=weights,
        shares=count * lots,
        ideal_weights=ideal,
        expected_return=float(weights @ expected),
        volatility=float(np.sqrt(weights @ covariance @ weights)),
        cvar=expected_shortfall(returns @ weights, cvar_confidence),
        turnover=float(np.abs(weights - current_weights).sum()),
        problems=_problems(ideal, weights, symbols),
    )


def _check(
    method: Method,
    returns: FloatArray,
    symbols: Sequence[str],
    current: FloatArray,
    views: Views | None,
    limits: Limits,
    prices: FloatArray,
    lots: FloatArray,
    equity: float,
) -> None:
    what = f"portfolio construction ({method})"
    sizes = {returns.shape[1], len(symbols), len(current), len(limits.caps), len(prices), len(lots)}
    if len(sizes) > 1:
        raise RiskError(
            f"{what}: returns, names, weights, caps, prices and lots do not belong together: {sorted(sizes)}"
        )
    if len(returns) < FEWEST_SESSIONS:
        raise RiskError(f"{what}: {len(returns)} sessions of returns, {FEWEST_SESSIONS} are needed; load more history")
    _refuse(~np.isfinite(returns.sum(axis=0)), symbols, f"{what}: returns are missing; complete or leave out")
    _refuse(~np.isfinite(current), symbols, f"{what}: the current weight is unknown; mark the positions")
    worth = prices * lots
    _refuse(np.logical_not(np.isfinite(worth) & (worth > 0.0)), symbols, f"{what}: price or lot size is unknown")
    if not equity > 0.0:
        raise RiskError(f"{what}: equity is {equity:,.2f}; weights of it are not defined")
    if method in (Method.MEAN_VARIANCE, Method.BLACK_LITTERMAN) and views is None:
        raise RiskError(f"{what} needs views; give expected returns or choose risk_parity or cvar")
    if views is not None and method is Method.BLACK_LITTERMAN:
        unclear = ~np.isnan(views.expected) & ~((views.confidences >= 0.0) & (views.confidences <= 1.0))
        _refuse(unclear, symbols, f"{what}: the confidence of the view is not between 0 and 1")
        _refuse(
            np.isinf(views.expected) | ~np.isfinite(views.market), symbols, f"{what}: view or market weight is wrong"
        )
    elif views is not None:
        _refuse(~np.isfinite(views.expected), symbols, f"{what}: the expected return is unknown")


def _refuse(refused: NDArray[np.bool_], symbols: Sequence[str], reason: str) -> None:
    if refused.any():
        names = [symbols[j] for j in np.flatnonzero(refused).tolist()]
        raise RiskError(f"{reason}: {', '.join(names[:10])} ({len(names)} symbols)")


def _problems(ideal: FloatArray, weights: FloatArray, symbols: Sequence[str]) -> tuple[str, ...]:
    found = []
    lost = [symbols[j] for j in np.flatnonzero((np.abs(ideal) > 1e-4) & (weights == 0.0)).tolist()]
    if lost:
        found.append(f"wanted, but by less than a lot: {', '.join(lost)}")
    missed = float(np.abs(ideal - weights).sum())
    if missed > 0.01:
        found.append(f"rounding to whole lots changed {missed:.2%} of equity")
    return tuple(found)
