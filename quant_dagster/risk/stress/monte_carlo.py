"""Simulated returns of one session, and VaR and ES of the positions in them with their sampling errors.

Two models: normal factors with an own risk of each symbol, and the symbols' own past returns joined by a t copula,
whose extreme moves come together more often than a correlation says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_dagster.errors import RiskError
from quant_dagster.risk.expected_shortfall import expected_shortfall
from quant_dagster.risk.measures.empirical import value_at_risk
from quant_dagster.risk.stress.shocks import nearest_correlation

FloatArray = NDArray[np.float64]

FEWEST_SESSIONS = 100
FEWEST_FREEDOM, MOST_FREEDOM = 2.0, 100.0
_SMALLEST_EIGENVALUE = 1e-6


@dataclass(frozen=True)
class Simulated:
    """VaR and ES of simulated P&L, losses positive, with the standard errors of a simulation of this size."""

    var: float
    var_error: float
    es: float
    es_error: float
    paths: int


def simulated_risk(returns: FloatArray, values: FloatArray, confidence: float) -> Simulated:
    """VaR and ES of positions over simulated returns.

    The error of VaR is half the distance between the order statistics one binomial standard deviation to each side of
    it; that of ES is ``sqrt((s^2 + c (ES - VaR)^2) / (n (1 - c)))`` with the variance s^2 of the losses beyond VaR
    (Manistre & Hancock 2005, "Variance of the CTE estimator").

    Parameters
    ----------
    returns
        Shape (paths, m).
    values
        Signed market values, shape (m,).

    Raises
    ------
    RiskError
        Fewer than ten paths beyond VaR.
    """
    pnl = returns @ values
    paths = len(pnl)
    beyond = int(paths * (1.0 - confidence) + 1e-9)
    if beyond < 10:
        raise RiskError(
            f"simulation: {paths} paths leave {beyond} beyond VaR at {confidence:.2%}; raise risk.measures.paths"
        )
    var, es = value_at_risk(pnl, confidence), expected_shortfall(pnl, confidence)
    losses = -np.sort(pnl)
    side = round(math.sqrt(paths * confidence * (1.0 - confidence)))
    spread = float(np.var(losses[:beyond]))
    return Simulated(
        var=var,
        var_error=0.5 * float(losses[beyond - side] - losses[beyond + side]),
        es=es,
        es_error=math.sqrt((spread + confidence * (es - var) ** 2) / beyond),
        paths=paths,
    )


def simulate_factors(
    exposures: FloatArray,
    factor_covariance: FloatArray,
    specific_volatility: FloatArray,
    paths: int,
    seed: int,
) -> FloatArray:
    """Normal returns with the covariance ``B F B' + D``, shape (paths, m).

    Parameters
    ----------
    exposures, factor_covariance, specific_volatility
        Shapes (m, k), (k, k) and (m,), of one session (divide annualised covariance by 252).

    Raises
    ------
    RiskError
        An exposure or a volatility is unknown: a position that cannot be simulated must not count as riskless.
    """
    if not (np.isfinite(exposures).all() and np.isfinite(specific_volatility).all()):
        raise RiskError("simulation: a symbol has no exposures or no specific volatility; use the t copula for it")
    generator = np.random.default_rng(seed)
    eigenvalues, vectors = np.linalg.eigh(factor_covariance)
    roots = vectors * np.sqrt(np.maximum(eigenvalues, 0.0))
    common = generator.standard_normal((paths, len(roots))) @ (exposures @ roots).T
    own = generator.standard_normal((paths, len(specific_volatility))) * specific_volatility
    return np.asarray(common + own)


def principal_factors(returns: FloatArray, factors: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Statistical factor model: exposures (m, k), factor covariance (k, k) and specific volatility (m,) of one session.

    The ``factors`` largest principal components of the covariance of ``returns``, shape (n, m), none missing; a
    symbol's specific variance is the rest of its own.
    """
    covariance = np.atleast_2d(np.cov(returns, rowvar=False, bias=True))
    eigenvalues, vectors = np.linalg.eigh(covariance)
    exposures = vectors[:, ::-1][:, :factors]
    variances = np.maximum(eigenvalues[::-1][:factors], 0.0)
    rest = np.diag(covariance) - (exposures * exposures) @ variances
    return exposures, np.diag(variances), np.sqrt(np.maximum(rest, 0.0))


@dataclass(frozen=True)
class TCopula:
    """Dependence of m symbols: a correlation matrix (m, m) and the degrees of freedom of the tails.

    ``estimated`` says whether the degrees of freedom come from the data or are the setting.
    """

    correlation: FloatArray
    degrees_of_freedom: float
    estimated: bool

    def tail_dependence(self, first: int, second: int) -> float:
        """Limit of the probability that one symbol has an extreme loss, given that the other has one.

        ``2 t_{nu+1}(-sqrt((nu + 1)(1 - rho) / (1 + rho)))`` (Demarta & McNeil 2005, "The t copula and related
        copulas", eq. 11).
        """
        from scipy.special import stdtr

        nu, rho = self.degrees_of_freedom, float(self.correlation[first, second])
        return float(2.0 * stdtr(nu + 1.0, -math.sqrt((nu + 1.0) * (1.0 - rho) / (1.0 + rho))))


def fit_t_copula(returns: FloatArray, default_freedom: float) -> TCopula:
    """Correlations from Kendall's tau, ``sin(pi tau / 2)``, and degrees of freedom, 2 to 100, of largest likelihood.

    The likelihood is that of the ranks over n + 1 (Demarta & McNeil 2005, section 3). Where the symbols are more than
    half of the sessions it says little, and the degrees of freedom are ``default_freedom``.

    Parameters
    ----------
    returns
        Shape (n, m), none missing.

    Raises
    ------
    RiskError
        Fewer than 100 sessions, or a missing return.
    """
    sessions, count = returns.shape
    if sessions < FEWEST_SESSIONS or not np.isfinite(returns).all():
        raise RiskError(f"t copula: {sessions} sessions; {FEWEST_SESSIONS} without a missing return are needed")
    correlation = nearest_correlation(np.sin(0.5 * np.pi * kendall_tau(returns)))
    estimated = 1 < count <= sessions // 2
    freedom = _likeliest_freedom(returns, correlation) if estimated else default_freedom
    return TCopula(correlation, freedom, estimated)


def kendall_tau(returns: FloatArray) -> FloatArray:
    """Kendall's tau-a of all pairs of columns of ``returns``, shape (n, m): the excess of concordant pairs of rows."""
    sessions, count = returns.shape
    total = np.zeros((count, count))
    for lag in range(1, sessions):
        signs = np.sign(returns[lag:] - returns[:-lag])
        total += signs.T @ signs
    tau = total / (sessions * (sessions - 1) / 2)
    np.fill_diagonal(tau, 1.0)
    return np.asarray(tau)


def simulate_copula(copula: TCopula, returns: FloatArray, paths: int, seed: int) -> FloatArray:
    """Returns of one session, shape (paths, m): t copula over the symbols' own past returns, shape (n, m).

    Between past returns they are interpolated, and none is beyond the worst and the best that a symbol has seen: what
    the copula adds is that many of them come together.
    """
    from scipy.special import stdtr

    generator = np.random.default_rng(seed)
    nu = copula.degrees_of_freedom
    eigenvalues, vectors = np.linalg.eigh(copula.correlation)
    roots = vectors * np.sqrt(np.maximum(eigenvalues, 0.0))
    normal = generator.standard_normal((paths, len(roots))) @ roots.T
    mixing = np.sqrt(nu / generator.chisquare(nu, (paths, 1)))
    uniform = stdtr(nu, normal * mixing)
    sessions = len(returns)
    position = np.clip(uniform * (sessions + 1) - 1.0, 0.0, sessions - 1.0)
    below = np.minimum(position.astype(np.int64), sessions - 2)
    ordered = np.sort(returns, axis=0)
    low = np.take_along_axis(ordered, below, axis=0)
    high = np.take_along_axis(ordered, below + 1, axis=0)
    return np.asarray(low + (position - below) * (high - low))


def _likeliest_freedom(returns: FloatArray, correlation: FloatArray) -> float:
    from scipy.optimize import minimize_scalar
    from scipy.special import stdtrit

    sessions, count = returns.shape
    ranks = np.argsort(np.argsort(returns, axis=0, kind="stable"), axis=0, kind="stable")
    grid = np.arange(1, sessions + 1) / (sessions + 1)
    eigenvalues, vectors = np.linalg.eigh(correlation)
    whitening = vectors / np.sqrt(np.maximum(eigenvalues, _SMALLEST_EIGENVALUE))

    def negative(inverse: float) -> float:
        nu = 1.0 / inverse
        quantiles = stdtrit(nu, grid)
        x = quantiles[ranks]
        joint = math.lgamma(0.5 * (nu + count)) + (count - 1) * math.lgamma(0.5 * nu)
        constant = joint - count * math.lgamma(0.5 * (nu + 1.0))
        distance = np.log1p(np.sum((x @ whitening) ** 2, axis=1) / nu)
        single = np.log1p(quantiles**2 / nu)
        return float(0.5 * (nu + count) * distance.mean() - 0.5 * (nu + 1.0) * count * single.mean() - constant)

    found = minimize_scalar(negative, bounds=(1.0 / MOST_FREEDOM, 1.0 / FEWEST_FREEDOM), method="bounded")
    return float(1.0 / found.x)
