"""What the positions would make in a hypothetical move of all prices, and their VaR in markets under such stress."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_dagster.errors import RiskError
from quant_dagster.risk.measures.correlations import Correlations
from quant_dagster.risk.measures.parametric import normal_multipliers
from quant_dagster.settings import ShockSettings

FloatArray = NDArray[np.float64]

MARKET_BETA = 1.0


@dataclass(frozen=True)
class ShockResult:
    """P&L of m positions in one shock, in account currency; a loss is negative, VaR and ES are positive losses.

    Attributes
    ----------
    pnl
        Shape (m,).
    assumed_betas
        Symbols whose beta is unknown and was taken for the market's own, 1, though the shock moves the market.
    var, es, stressed_var, stressed_es
        Normal, of one session and at the positions' values before the shock: as things are, and with the shock's
        volatilities and correlations.
    """

    name: str
    symbols: tuple[str, ...]
    pnl: FloatArray
    total: float
    assumed_betas: tuple[str, ...]
    var: float
    es: float
    stressed_var: float
    stressed_es: float


def apply_shock(
    name: str,
    shock: ShockSettings,
    symbols: Sequence[str],
    values: FloatArray,
    betas: FloatArray,
    sectors: Mapping[str, str],
    correlations: Correlations,
    confidence: float,
) -> ShockResult:
    """Move every price, then measure VaR with the stressed covariance.

    A symbol moves by its own entry of the shock; without one by its beta times the market's move plus its sector's
    further move. No price falls below 0.

    Parameters
    ----------
    values
        Signed market values, shape (m,).
    betas
        Shape (m,); NaN is unknown, and taken for 1.
    sectors
        Sector by symbol.
    correlations
        Of the same symbols.

    Raises
    ------
    RiskError
        A value that is not a finite number.
    """
    if not np.isfinite(values).all():
        raise RiskError(f"shock {name}: a position's value is not a finite number; mark the positions first")
    further = np.array([shock.sectors.get(sectors.get(symbol, ""), 0.0) for symbol in symbols])
    moves = np.where(np.isfinite(betas), betas, MARKET_BETA) * shock.market + further
    moves = np.array([shock.symbols.get(symbol, move) for symbol, move in zip(symbols, moves, strict=True)])
    pnl = values * np.maximum(moves, -1.0)
    assumed = tuple(
        symbol
        for symbol, beta in zip(symbols, betas, strict=True)
        if not np.isfinite(beta) and shock.market != 0.0 and symbol not in shock.symbols
    )
    var, es = normal_multipliers(confidence)
    now = _deviation(correlations.covariance, values)
    stressed = _deviation(stressed_covariance(correlations, shock), values)
    return ShockResult(
        name, tuple(symbols), pnl, float(pnl.sum()), assumed, var * now, es * now, var * stressed, es * stressed
    )


def stressed_covariance(correlations: Correlations, shock: ShockSettings) -> FloatArray:
    """Covariance with every volatility times ``shock.volatility`` and, where it is set, every pair at one correlation.

    Positive semi-definite, shape (m, m).
    """
    count = len(correlations.std)
    if shock.correlation is None:
        matrix = nearest_correlation(correlations.matrix)
    else:
        matrix = np.full((count, count), shock.correlation)
        np.fill_diagonal(matrix, 1.0)
    std = shock.volatility * correlations.std
    return np.asarray(std[:, None] * matrix * std)


def nearest_correlation(matrix: FloatArray) -> FloatArray:
    """A correlation matrix without the negative eigenvalues of ``matrix``, its diagonal brought back to 1.

    Rebonato & Jaeckel (1999), "The most general methodology to create a valid correlation matrix", section 3.
    """
    eigenvalues, vectors = np.linalg.eigh(matrix)
    if eigenvalues[0] >= 0.0:
        return matrix
    roots = vectors * np.sqrt(np.maximum(eigenvalues, 0.0))
    roots /= np.sqrt(np.sum(roots * roots, axis=1))[:, None]
    repaired = roots @ roots.T
    np.fill_diagonal(repaired, 1.0)
    return np.asarray(repaired)


def _deviation(covariance: FloatArray, values: FloatArray) -> float:
    """Standard deviation of the P&L; 0 for positions that hedge each other completely, whatever rounding says."""
    return float(np.sqrt(max(0.0, float(values @ covariance @ values))))
