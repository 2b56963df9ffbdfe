"""How concentrated a portfolio is: in names, in bets, in one common movement."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_dagster.errors import RiskError
from quant_dagster.risk.measures.correlations import Correlations

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Heat:
    """Concentration of a portfolio.

    Attributes
    ----------
    herfindahl
        Sum of squared weights, weights over equity.
    effective_names
        Equally large positions that are as concentrated: squared gross value over the sum of squared values.
    average_correlation
        Mean over all pairs of symbols held.
    weighted_correlation
        The one correlation of all pairs of positions, a short one taken as the opposite of its symbol, at which the
        portfolio would vary as it does: 1 when all move as one. It is 0 for a single position.
    diversification_ratio
        Sum of the positions' volatilities over the portfolio's (Choueifaty & Coignard 2008).
    effective_bets
        Its square: independent bets of equal risk with the same ratio (Choueifaty, Froidure & Reynier 2013).
    largest_component
        Share of the first principal component in the variance of the standardised returns.
    volatility
        Of the portfolio in one session, as a fraction of equity.
    """

    herfindahl: float
    effective_names: float
    average_correlation: float
    weighted_correlation: float
    diversification_ratio: float
    effective_bets: float
    largest_component: float
    volatility: float


def heat(correlations: Correlations, values: FloatArray, equity: float) -> Heat:
    """Concentration of positions ``values``, shape (m,), in currency, none of them 0.

    Raises
    ------
    RiskError
        Equity that is not positive, or a portfolio that does not vary.
    """
    if not equity > 0.0:
        raise RiskError(f"portfolio heat: equity is {equity:,.2f}; concentration over it is not defined")
    count = len(values)
    risks = values * correlations.std
    own = float(risks @ risks)
    variance = float(risks @ correlations.matrix @ risks)
    if not variance > 0.0:
        raise RiskError("portfolio heat: the portfolio's P&L does not vary; check the positions and the history")
    gross, total = float(np.abs(values).sum()), float(np.abs(risks).sum())
    pairs = count * (count - 1)
    ratio = total / np.sqrt(variance)
    return Heat(
        herfindahl=float(values @ values) / equity**2,
        effective_names=gross**2 / float(values @ values),
        average_correlation=(float(correlations.matrix.sum()) - count) / pairs if pairs else 0.0,
        weighted_correlation=(variance - own) / (total**2 - own) if pairs else 0.0,
        diversification_ratio=float(ratio),
        effective_bets=float(ratio**2),
        largest_component=_largest_eigenvalue(correlations.matrix) / count,
        volatility=float(np.sqrt(variance)) / equity,
    )


def _largest_eigenvalue(matrix: FloatArray) -> float:
    from scipy.linalg import eigh

    last = len(matrix) - 1
    return float(eigh(matrix, eigvals_only=True, subset_by_index=(last, last))[0])
