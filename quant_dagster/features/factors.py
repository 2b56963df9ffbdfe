"""A cross-sectional factor model: what every symbol is exposed to, and what each exposure earned.

Exposures of a session are made of that session's features; factor returns of a session are the regression of its
returns on the exposures of the session before (Fama & MacBeth 1973; Grinold & Kahn, Active Portfolio Management, 2000,
ch. 3). Market and sectors together are collinear: the sectors' returns are held to a weighted sum of zero, so that the
market factor is the market's return and a sector's what it earned beyond it (Menchero 2010, "The characteristics of
factor portfolios").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_dagster.features.compute import FeatureFrame
from quant_dagster.features.definitions import TRADING_DAYS

FloatArray = NDArray[np.float64]

MARKET = "market"
STYLES: Mapping[str, tuple[str, float]] = {
    "momentum": ("momentum_12_1", 1.0),
    "reversal": ("return_5", -1.0),
    "volatility": ("volatility_60", 1.0),
    "beta": ("beta_60", 1.0),
    "size": ("dollar_volume_20", 1.0),
}
"""Style factor to the feature it stands for and its sign; size is the logarithm of the traded value."""
LONGEST_WINDOW = 254
"""Sessions the longest of those features looks back, its own included."""
FEWEST = 10
"""Symbols below which a session's factor returns are not estimated."""
_SYMBOLS_PER_SECTOR = 5
"""Symbols there must be for each sector on average; with fewer there are no sector factors."""
_WINSOR = 3.0
_SMALLEST_VARIANCE = 1e-8


@dataclass(frozen=True)
class FactorModel:
    """Exposures and factor returns over n sessions of m symbols and k factors.

    Attributes
    ----------
    sessions, symbols, factors
        ``datetime64[D]`` of shape (n,); m names; k names: the market, sectors as ``sector:…``, styles.
    exposures
        Shape (n, m, k): at each session's close; NaN for a symbol without a bar.
    returns, errors
        Shape (n, k): what a unit of exposure at the session before earned over the session (simple return), and its
        standard error; NaN where it could not be estimated.
    explained
        Shape (n,): share of the weighted cross-sectional variance that the factors explain.
    specific
        Shape (n, m): return the factors leave unexplained; NaN for a symbol without a return or exposures before.
    """

    sessions: NDArray[np.datetime64]
    symbols: tuple[str, ...]
    factors: tuple[str, ...]
    exposures: FloatArray
    returns: FloatArray
    errors: FloatArray
    explained: FloatArray
    specific: FloatArray

    def specific_volatility(self, half_life: float = 40.0) -> FloatArray:
        """Annualised volatility of each symbol's specific return, exponentially weighted, shape (m,); NaN unknown."""
        known = np.isfinite(self.specific)
        ages = np.arange(len(self.specific))[::-1, None]
        weights = np.where(known, 0.5 ** (ages / half_life), 0.0)
        total = weights.sum(axis=0)
        square = (weights * np.where(known, self.specific, 0.0) ** 2).sum(axis=0)
        variance = np.where(total > 0.0, square / np.where(total > 0.0, total, 1.0), np.nan)
        return np.asarray(np.sqrt(variance * TRADING_DAYS), dtype=np.float64)

    def factor_covariance(self, half_life: float = 60.0) -> FloatArray:
        """Annualised covariance of the factor returns, exponentially weighted around zero, shape (k, k)."""
        known = np.isfinite(self.returns).all(axis=1)
        rows = self.returns[known]
        weights = 0.5 ** (np.arange(len(rows))[::-1] / half_life)
        return np.asarray((rows * weights[:, None]).T @ rows / max(weights.sum(), 1e-300) * TRADING_DAYS)

    def covariance(self) -> FloatArray:
        """Annualised covariance of the symbols, ``X F X' + D``, at the last session, shape (m, m); NaN unknown."""
        exposures = self.exposures[-1]
        common = exposures @ self.factor_covariance() @ exposures.T
        return np.asarray(common + np.diag(self.specific_volatility() ** 2))


def fit_factor_model(features: FeatureFrame, close: FloatArray, sectors: Mapping[str, str]) -> FactorModel:
    """Exposures at every session of ``features`` and the returns between them.

    Parameters
    ----------
    features
        Features of n sessions; those that need a volume may be absent, which drops the factor.
    close
        Closes of the same sessions and symbols, shape (n, m); NaN is absent.
    sectors
        Sector by symbol; a symbol without one belongs to ``unknown``.
    """
    exposures, factors = factor_exposures(features, sectors)
    n, m, k = exposures.shape
    with np.errstate(invalid="ignore", divide="ignore"):
        earned = np.vstack([np.full((1, m), np.nan), close[1:] / close[:-1] - 1.0])
    variance = np.maximum(np.square(features["residual_volatility_60"]), _SMALLEST_VARIANCE)
    returns, errors = np.full((n, k), np.nan), np.full((n, k), np.nan)
    explained, specific = np.full(n, np.nan), np.full((n, m), np.nan)
    for t in range(1, n):
        before = exposures[t - 1]
        usable = np.isfinite(before).all(axis=1) & np.isfinite(earned[t]) & np.isfinite(variance[t - 1])
        if usable.sum() < max(FEWEST, 2 * k):
            continue
        weights = 1.0 / variance[t - 1, usable]
        found = cross_sectional_regression(before[usable], earned[t, usable], weights, factors)
        returns[t], errors[t], explained[t] = found
        specific[t, usable] = earned[t, usable] - before[usable] @ returns[t]
    return FactorModel(
        features.sessions, features.symbols, factors, exposures, returns, errors, explained, specific
    )  # fmt: skip


def factor_exposures(features: FeatureFrame, sectors: Mapping[str, str]) -> tuple[FloatArray, tuple[str, ...]]:
    """Exposures (n, m, k) and the factors' names; a session's are a function of its own cross-section alone.

    Styles are winsorised at three robust deviations and standardised over the session's symbols; one that is absent for
    a symbol counts as average.
    """
    names = sorted({sectors.get(symbol, "unknown") for symbol in features.symbols})
    member = np.array([[sectors.get(symbol, "unknown") == name for name in names] for symbol in features.symbols])
    n, m = features.present.shape
    styles = []
    kept = []
    for style, (feature, sign) in STYLES.items():
        values = sign * features[feature]
        if style == "size":
            with np.errstate(invalid="ignore", divide="ignore"):
                values = np.log(values)
        values = np.where(features.present & np.isfinite(values), values, np.nan)
        if np.isfinite(values).any():
            kept.append(style)
            styles.append(_standardised(values))
    told_apart = len(names) > 1 and m >= _SYMBOLS_PER_SECTOR * len(names)
    sector_part = np.broadcast_to(member.astype(np.float64), (n, m, len(names))) if told_apart else None
    parts = [np.ones((n, m, 1))]
    if sector_part is not None:
        parts.append(sector_part)
    parts += [style[:, :, None] for style in styles]
    exposures = np.concatenate(parts, axis=2)
    exposures = np.where(features.present[:, :, None], exposures, np.nan)
    sector_names = tuple(f"sector:{name}" for name in names) if sector_part is not None else ()
    return exposures, (MARKET, *sector_names, *kept)


def cross_sectional_regression(
    exposures: FloatArray, earned: FloatArray, weights: FloatArray, factors: tuple[str, ...]
) -> tuple[FloatArray, FloatArray, float]:
    """Weighted least squares of returns (u,) on exposures (u, k): factor returns, their standard errors, R squared.

    The weighted sum of the sectors' returns is zero (weights: the sum of the regression weights in each sector); a
    sector without a symbol has the return zero.
    """
    restriction = _restriction(exposures, weights, factors)
    root = np.sqrt(weights)
    design = (exposures @ restriction) * root[:, None]
    target = earned * root
    estimate, _, rank, _ = np.linalg.lstsq(design, target, rcond=None)
    residual = target - design @ estimate
    freedom = max(len(earned) - int(rank), 1)
    spread = np.linalg.pinv(design.T @ design) * float(residual @ residual) / freedom
    errors = np.sqrt(np.maximum(np.einsum("ki,ij,kj->k", restriction, spread, restriction), 0.0))
    centre = np.average(earned, weights=weights)
    total = float(weights @ (earned - centre) ** 2)
    explained = 1.0 - float(residual @ residual) / total if total > 0.0 else float("nan")
    return restriction @ estimate, errors, explained


def portfolio_attribution(
    weights: FloatArray, exposures: FloatArray, factor_returns: FloatArray, earned: FloatArray
) -> tuple[FloatArray, float]:
    """What each factor contributed to a portfolio's return, shape (k,), and the specific rest; they sum to the return.

    Parameters
    ----------
    weights, exposures
        Positions over equity (m,), and exposures (m, k), at the close before.
    factor_returns, earned
        Of the session: (k,), and each symbol's simple return (m,). A symbol without exposures is all specific.
    """
    held = weights != 0.0
    known = held & np.isfinite(exposures).all(axis=1)
    contributions = (weights[known] @ exposures[known]) * np.nan_to_num(factor_returns)
    total = float(weights[held] @ np.nan_to_num(earned[held]))
    return np.asarray(contributions, dtype=np.float64), total - float(contributions.sum())


def _standardised(values: FloatArray) -> FloatArray:
    """Each session's values winsorised and standardised, absent ones zero, shape (n, m)."""
    out = np.zeros_like(values)
    for t in range(len(values)):
        known = np.isfinite(values[t])
        if known.sum() < 2:
            continue
        x = values[t, known]
        middle = np.median(x)
        deviation = 1.4826 * np.median(np.abs(x - middle))
        if deviation > 0.0:
            x = np.clip(x, middle - _WINSOR * deviation, middle + _WINSOR * deviation)
        spread = x.std()
        out[t, known] = (x - x.mean()) / spread if spread > 0.0 else 0.0
    return out


def _restriction(exposures: FloatArray, weights: FloatArray, factors: tuple[str, ...]) -> FloatArray:
    """Matrix (k, free) that maps free coefficients to factor returns which obey the sectors' restriction."""
    sectors = [i for i, name in enumerate(factors) if name.startswith("sector:")]
    size = np.array([float(weights @ exposures[:, i]) for i in sectors])
    present = [i for i, total in zip(sectors, size, strict=True) if total > 0.0]
    free = [i for i in range(len(factors)) if i not in sectors or i in present[1:]]
    matrix = np.zeros((len(factors), len(free)))
    for column, i in enumerate(free):
        matrix[i, column] = 1.0
        if i in present[1:]:  # the first present sector takes what makes the weighted sum zero
            matrix[present[0], column] = -size[sectors.index(i)] / size[sectors.index(present[0])]
    return matrix
