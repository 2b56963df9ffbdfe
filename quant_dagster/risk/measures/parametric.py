"""VaR and ES in closed form: normal or Student-t returns with a covariance matrix, and mean zero.

The mean of a session is lost in its own estimation error, and leaving it out errs on the side of more risk for what
earns money. McNeil, Frey & Embrechts (2015), "Quantitative Risk Management", examples 2.11 and 2.14 f.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from quant_dagster.errors import RiskError
from quant_dagster.risk.measures.empirical import Contributions

FloatArray = NDArray[np.float64]

FEWEST_FREEDOM, MOST_FREEDOM = 2.1, 100.0


def normal_multipliers(confidence: float) -> tuple[float, float]:
    """VaR and ES of a standard normal loss: ``z`` and ``phi(z) / (1 - c)``."""
    from scipy.special import ndtri

    z = float(ndtri(confidence))
    density = math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    return z, density / (1.0 - confidence)


def student_multipliers(confidence: float, degrees_of_freedom: float) -> tuple[float, float]:
    """VaR and ES of a Student-t loss of standard deviation 1; ``degrees_of_freedom`` above 2."""
    from scipy.special import stdtrit

    nu = degrees_of_freedom
    t = float(stdtrit(nu, confidence))
    constant = math.lgamma(0.5 * (nu + 1.0)) - math.lgamma(0.5 * nu) - 0.5 * math.log(math.pi * nu)
    density = math.exp(constant - 0.5 * (nu + 1.0) * math.log1p(t * t / nu))
    unit = math.sqrt((nu - 2.0) / nu)
    return unit * t, unit * density * (nu + t * t) / (nu - 1.0) / (1.0 - confidence)


def student_freedom(pnl: FloatArray) -> float:
    """Degrees of freedom, 2.1 to 100, of largest likelihood for a Student-t with mean 0 and the variance of ``pnl``."""
    from scipy.optimize import minimize_scalar

    squares = pnl * pnl / np.mean(pnl * pnl)

    def negative(inverse: float) -> float:
        nu = 1.0 / inverse
        constant = math.lgamma(0.5 * (nu + 1.0)) - math.lgamma(0.5 * nu) - 0.5 * math.log(nu - 2.0)
        return 0.5 * (nu + 1.0) * float(np.mean(np.log1p(squares / (nu - 2.0)))) - constant

    found = minimize_scalar(negative, bounds=(1.0 / MOST_FREEDOM, 1.0 / FEWEST_FREEDOM), method="bounded")
    return float(1.0 / found.x)


def deviation(covariance: FloatArray, values: FloatArray, horizon: int) -> tuple[float, FloatArray]:
    """Standard deviation of the P&L over ``horizon`` sessions, by the square root of time, and its gradient.

    Parameters
    ----------
    covariance
        Of one session's returns, shape (symbols, symbols).
    values
        Positions, shape (symbols,), in currency.

    Returns
    -------
    tuple
        In currency; and its change for one unit of currency more of each symbol: ``covariance @ values / std``.
    """
    exposure = covariance @ values
    variance = float(values @ exposure)
    if not variance > 0.0:
        raise RiskError("parametric VaR: the portfolio's P&L does not vary; check the positions and the history")
    root = math.sqrt(horizon / variance)
    return variance * root, exposure * root


def scaled_contributions(gradient: FloatArray, values: FloatArray, var: float, es: float) -> Contributions:
    """Contributions where VaR and ES are ``var`` and ``es`` standard deviations whose gradient is given."""
    return Contributions(
        component_var=var * gradient * values,
        component_es=es * gradient * values,
        marginal_var=var * gradient,
        marginal_es=es * gradient,
    )
