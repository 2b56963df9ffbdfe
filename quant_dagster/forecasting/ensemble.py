"""An ensemble of sktime forecasters: fitted through sktime's interface, carried forward by their own recursions.

Three members see a symbol's log price path: the theta method and simple exponential smoothing (the ETS model with
additive errors and nothing else), and an ARIMA of the returns whose orders are chosen by AICc. They are fitted on the
path up to ``holdout`` sessions ago. Everything after is out of sample: the one-step errors there give the weights.

sktime takes about two seconds to import and 0.15 seconds to fit a symbol, so a fit is kept as its few numbers
(``MemberFits``) and brought up to later sessions by the recursions below, which tests hold to sktime's own.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quant_dagster.errors import ForecastError
from quant_dagster.forecasting.columns import FloatArray

MEMBERS = ("theta", "ets", "arima")
SHRINKAGE = 0.5
"""How far the weights are drawn from skill to equality: estimated weights alone do worse (Stock & Watson 2004)."""
_LARGEST_ORDER = 2
_LARGEST_ROOT = 0.999


@dataclass(frozen=True)
class MemberFits:
    """What the members of one symbol's ensemble need to be carried forward.

    Attributes
    ----------
    theta_level, theta_drift
        Smoothing constant, and half the slope of the path's trend line per session.
    ets_level
        Smoothing constant.
    arima_mean, arima_ar, arima_ma
        Of the log returns: mean and coefficients.
    """

    theta_level: float
    theta_drift: float
    ets_level: float
    arima_mean: float
    arima_ar: tuple[float, ...]
    arima_ma: tuple[float, ...]

    def as_json(self) -> dict[str, object]:
        """Plain values, from which ``from_json`` builds the same fits."""
        return {
            "theta_level": self.theta_level,
            "theta_drift": self.theta_drift,
            "ets_level": self.ets_level,
            "arima_mean": self.arima_mean,
            "arima_ar": list(self.arima_ar),
            "arima_ma": list(self.arima_ma),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> MemberFits:
        """The fits ``as_json`` described."""
        return cls(
            float(values["theta_level"]),
            float(values["theta_drift"]),
            float(values["ets_level"]),
            float(values["arima_mean"]),
            tuple(values["arima_ar"]),
            tuple(values["arima_ma"]),
        )


@dataclass(frozen=True)
class EnsembleForecasts:
    """Forecasts of m symbols over steps 1 … H together, by each member and weighted.

    Attributes
    ----------
    members
        Shape (3, m, H): total log return over the next k sessions, in the order of ``MEMBERS``.
    weights
        Shape (3, m), summing to 1 over the members.
    errors
        Shape (3, m): root mean square of the one-step errors over the holdout.
    total_mean, total_std
        Shape (m, H). The standard deviation is that of the combination's one-step errors over the holdout, times the
        square root of the horizon.
    """

    members: FloatArray
    weights: FloatArray
    errors: FloatArray
    total_mean: FloatArray
    total_std: FloatArray


def fit_members(returns: FloatArray) -> MemberFits:
    """Fit every member to one symbol's returns, shape (n,), oldest first.

    Raises
    ------
    ForecastError
        A member could not be fitted; says which and why.
    """
    import pandas as pd
    from sktime.forecasting.ets import AutoETS
    from sktime.forecasting.statsforecast import StatsForecastAutoARIMA
    from sktime.forecasting.theta import ThetaForecaster

    path = pd.Series(np.concatenate([[0.0], np.cumsum(returns)]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what matters is asked below: are the numbers finite?
        members: dict[str, tuple[Any, pd.Series]] = {
            "theta": (ThetaForecaster(deseasonalize=False), path),
            "ets": (AutoETS(error="add", trend=None), path),
            "arima": (
                StatsForecastAutoARIMA(
                    max_p=_LARGEST_ORDER, max_q=_LARGEST_ORDER, d=0, seasonal=False, approximation=True
                ),
                pd.Series(returns),
            ),
        }
        for name, (forecaster, series) in members.items():
            try:
                forecaster.fit(series)
            except (ValueError, ArithmeticError, IndexError, np.linalg.LinAlgError) as error:
                raise ForecastError(f"ensemble member {name}: {type(error).__name__}: {error}") from error
    theta, ets, arima = (forecaster for forecaster, _ in members.values())
    model = arima.get_fitted_params()["model"]
    coefficients = model["coef"]
    p, q = model["arma"][0], model["arma"][1]
    fits = MemberFits(
        theta_level=float(theta.get_fitted_params()["smoothing_level"]),
        theta_drift=float(theta.trend_),
        ets_level=float(ets._fitted_forecaster.smoothing_level),  # sktime does not pass it on
        arima_mean=float(coefficients.get("intercept", 0.0)),
        arima_ar=tuple(float(coefficients[f"ar{i}"]) for i in range(1, p + 1)),
        arima_ma=invertible(tuple(float(coefficients[f"ma{i}"]) for i in range(1, q + 1))),
    )
    numbers = (fits.theta_level, fits.theta_drift, fits.ets_level, fits.arima_mean, *fits.arima_ar, *fits.arima_ma)
    if np.any(np.abs(np.roots([1.0, *(-phi for phi in fits.arima_ar)])) >= 1.0):
        raise ForecastError(f"ensemble member arima: the autoregression {fits.arima_ar} is not stationary")
    if not np.all(np.isfinite(numbers)) or not 0.0 <= fits.theta_level <= 1.0 or not 0.0 <= fits.ets_level <= 1.0:
        raise ForecastError(f"ensemble: the members' estimates are not usable: {fits}")
    return fits


def carry_forward(returns: FloatArray, fits: Sequence[MemberFits], *, holdout: int, steps: int) -> EnsembleForecasts:
    """Bring every symbol's members up to its last return, weigh them, and forecast.

    Each recursion starts at the first return of the window; what it starts with is forgotten geometrically.

    Parameters
    ----------
    returns
        Shape (m, n), right-aligned: the newest return of each symbol is last, absent older ones are NaN.
    fits
        One per symbol.
    holdout
        Newest sessions over which one-step errors are taken.
    """
    symbols, sessions = returns.shape
    alphas = np.array([[fit.theta_level for fit in fits], [fit.ets_level for fit in fits]])
    drift = np.array([fit.theta_drift for fit in fits])
    mean = np.array([fit.arima_mean for fit in fits])
    ar, ma = _padded([fit.arima_ar for fit in fits]), _padded([fit.arima_ma for fit in fits])
    # Distance of each smoothed level from the log price: smoothing does not depend on where prices stand.
    gap = np.zeros((2, symbols))
    past, shocks = np.zeros((_LARGEST_ORDER, symbols)), np.zeros((_LARGEST_ORDER, symbols))
    errors = np.full((len(MEMBERS), symbols, holdout), np.nan)
    seen = np.ones(symbols)  # points of each path so far
    for t in range(sessions):
        value = returns[:, t]
        known = np.isfinite(value)
        move = np.where(known, value, 0.0)
        expected = np.stack([
            gap[0] + drift * (1.0 + _lag(alphas[0], seen)),
            gap[1],
            mean + np.sum(ar * past, axis=0) + np.sum(ma * shocks, axis=0),
        ])  # fmt: skip
        if t >= sessions - holdout:
            errors[:, :, t - (sessions - holdout)] = np.where(known, move - expected, np.nan)
        seen = seen + known
        gap = np.where(known, (1.0 - alphas) * (gap - move), gap)
        past = np.where(known, np.vstack([move - mean, past[:-1]]), past)
        shocks = np.where(known, np.vstack([move - expected[2], shocks[:-1]]), shocks)
    members = np.empty((len(MEMBERS), symbols, steps))
    ahead = np.arange(1, steps + 1, dtype=np.float64)
    members[0] = gap[0][:, None] + drift[:, None] * (ahead + _lag(alphas[0], seen)[:, None])
    members[1] = gap[1][:, None]
    members[2] = _arima_totals(mean, ar, ma, past, shocks, steps)
    squares = np.nanmean(errors**2, axis=2)
    weights = skill_weights(squares)
    together = np.sum(weights[:, :, None] * errors, axis=0)
    spread = np.sqrt(np.nanmean(together**2, axis=1))
    return EnsembleForecasts(
        members=members,
        weights=weights,
        errors=np.sqrt(squares),
        total_mean=np.sum(weights[:, :, None] * members, axis=0),
        total_std=spread[:, None] * np.sqrt(ahead),
    )


def invertible(coefficients: tuple[float, ...]) -> tuple[float, ...]:
    """The moving average with the same autocorrelations whose filter does not explode.

    A root outside the unit circle is replaced by its reciprocal (Brockwell & Davis 1991, section 4.4), one on it is
    drawn in.
    """
    if not coefficients:
        return coefficients
    roots = np.roots([1.0, *coefficients]).astype(np.complex128)
    inside = np.array([1.0 / np.conj(root) if abs(root) > 1.0 else root for root in roots])
    drawn = np.where(
        np.abs(inside) > _LARGEST_ROOT, inside / np.maximum(np.abs(inside), 1e-300) * _LARGEST_ROOT, inside
    )
    return tuple(float(value) for value in np.real(np.poly(drawn))[1:])


def skill_weights(squares: FloatArray, shrinkage: float = SHRINKAGE) -> FloatArray:
    """Weights by inverse mean square error (Bates & Granger 1969), drawn towards equality; over the first axis.

    A member whose errors are not finite has no weight.
    """
    usable = np.isfinite(squares) & (squares > 0.0)
    inverse = np.where(usable, 1.0 / np.where(usable, squares, 1.0), 0.0)
    by_skill = inverse / np.maximum(inverse.sum(axis=0), 1e-300)
    equal = usable / np.maximum(usable.sum(axis=0), 1)
    return np.asarray((1.0 - shrinkage) * by_skill + shrinkage * equal, dtype=np.float64)


def _lag(alpha: FloatArray, seen: FloatArray) -> FloatArray:
    """Sessions a smoothed level lags behind a trend (Hyndman & Billah 2003, equation 5); 0 without smoothing."""
    smooths = alpha > 1e-8
    return np.where(smooths, (1.0 - (1.0 - alpha) ** seen) / np.where(smooths, alpha, 1.0), 0.0)


def _arima_totals(
    mean: FloatArray, ar: FloatArray, ma: FloatArray, past: FloatArray, shocks: FloatArray, steps: int
) -> FloatArray:
    """Expected total return over the next 1 … ``steps`` sessions, shape (m, steps); coming shocks are zero."""
    total, totals = np.zeros_like(mean), np.empty((len(mean), steps))
    for k in range(steps):
        deviation = np.sum(ar * past, axis=0) + np.sum(ma * shocks, axis=0)
        total = total + mean + deviation
        totals[:, k] = total
        past, shocks = np.vstack([deviation, past[:-1]]), np.vstack([np.zeros_like(mean), shocks[:-1]])
    return totals


def _padded(rows: Sequence[Sequence[float]]) -> FloatArray:
    """Coefficients as (order, m), zero beyond each symbol's own order."""
    padded = np.zeros((_LARGEST_ORDER, len(rows)))
    for j, row in enumerate(rows):
        padded[: len(row), j] = row
    return padded
