"""Risk by sector and by factor: contributions of positions, summed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_dagster.errors import RiskError

FloatArray = NDArray[np.float64]

UNKNOWN = "unknown"


def by_sector(symbols: Sequence[str], components: FloatArray, sectors: Mapping[str, str]) -> dict[str, float]:
    """Sum of the positions' parts of VaR or ES by sector, largest first; they sum to the whole.

    ``components`` has the shape (m,). A symbol without a sector counts under ``unknown``.
    """
    parts: dict[str, float] = {}
    for symbol, component in zip(symbols, components.tolist(), strict=True):
        sector = sectors.get(symbol, UNKNOWN)
        parts[sector] = parts.get(sector, 0.0) + component
    return dict(sorted(parts.items(), key=lambda item: -item[1]))


@dataclass(frozen=True)
class FactorRisk:
    """The volatility of a portfolio's P&L, in currency, divided over factors and the positions' own risk.

    ``factors`` (one part each) and ``specific`` sum to ``volatility``; a part is negative where it hedges.
    """

    volatility: float
    factors: dict[str, float]
    specific: float


def by_factor(
    values: FloatArray,
    exposures: FloatArray,
    factors: Sequence[str],
    factor_covariance: FloatArray,
    specific_volatility: FloatArray,
) -> FactorRisk:
    """Divide ``sqrt(b' F b + s)`` by Euler: a factor's part is ``b_k (F b)_k / volatility``, with ``b = X' v``.

    Menchero & Davis (2011), "Risk contribution is exposure times volatility times correlation".

    Parameters
    ----------
    values
        Signed market values, shape (m,); 0 is not held, and may have unknown exposures.
    exposures, factor_covariance, specific_volatility
        Shapes (m, k), (k, k) and (m,), for returns of the same period.

    Raises
    ------
    RiskError
        A position whose exposures or specific volatility are unknown, or a portfolio that does not vary.
    """
    held = values != 0.0
    amounts, own = values[held], specific_volatility[held]
    if not (np.isfinite(exposures[held]).all() and np.isfinite(own).all()):
        raise RiskError("factor attribution: a position has no exposures; divide it by sector, or load more history")
    exposure = amounts @ exposures[held]
    parts = exposure * (factor_covariance @ exposure)
    specific = float(np.sum((amounts * own) ** 2))
    variance = float(parts.sum()) + specific
    if not variance > 0.0:
        raise RiskError("factor attribution: the portfolio's P&L does not vary; check the positions and the model")
    volatility = variance**0.5
    return FactorRisk(volatility, dict(zip(factors, (parts / volatility).tolist(), strict=True)), specific / volatility)
