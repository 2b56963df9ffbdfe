"""Conditional variances: GARCH(1,1) and GJR-GARCH(1,1) with a constant mean by Gaussian quasi maximum likelihood."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_dagster.forecasting.columns import BoolArray, FloatArray, IntArray
from quant_dagster.forecasting.parameters import Backcast
from quant_dagster.forecasting.variance.search import GARCH, GJR, fit_model


@dataclass(frozen=True)
class GarchFits:
    """Fits of m symbols: ``y_t = mu + e_t``, ``h_t = omega + (alpha + gamma [e < 0]) e ** 2 + beta h`` at t - 1.

    Attributes
    ----------
    status
        int8, shape (m,): 0 fitted, else a key of ``search.REASONS`` (the other entries are then NaN or 0).
    mu, omega, alpha, gamma, beta
        float64, shape (m,), in the units of the returns; gamma is 0 in GARCH(1,1).
    log_likelihood
        Shape (m,): Gaussian, constants included.
    iterations
        int64, shape (m,): of the start that won.
    at_bound
        bool, shape (m,): a parameter lies on a bound (``alpha``, ``alpha + gamma`` or ``beta`` 0, the persistence at
        its largest).
    residuals
        Shape (m, n), C order: standardised, ``e_t / sqrt(h_t)``; NaN beyond a symbol's count.
    step_variance
        Shape (m, steps): expected variance of the return 1, 2, … sessions ahead.
    """

    status: NDArray[np.int8]
    mu: FloatArray
    omega: FloatArray
    alpha: FloatArray
    gamma: FloatArray
    beta: FloatArray
    log_likelihood: FloatArray
    iterations: IntArray
    at_bound: BoolArray
    residuals: FloatArray
    step_variance: FloatArray

    @property
    def persistence(self) -> FloatArray:
        """``alpha + gamma / 2 + beta``: what is left of a shock to the variance a session later."""
        return np.asarray(self.alpha + 0.5 * self.gamma + self.beta)


def fit_garch(
    returns: FloatArray,
    counts: IntArray,
    *,
    steps: int,
    asymmetric: bool = False,
    starts: int = 2,
    backcast: Backcast = Backcast.SAMPLE_VARIANCE,
    tried: BoolArray | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> GarchFits:
    """Fit GARCH(1,1) to every column and forecast the variance of the next ``steps`` returns.

    ``E h_(T+k+1) = omega + (alpha + beta) E h_(T+k)`` (Bollerslev 1986), started from ``h_(T+1)``, which is known.

    Parameters
    ----------
    returns, counts
        As in :class:`quant_dagster.forecasting.history.ReturnHistory`.
    asymmetric
        Fit GJR-GARCH(1,1) (Glosten, Jagannathan & Runkle 1993), in which a fall raises the variance by gamma more:
        ``E h_(T+k+1) = omega + (alpha + gamma / 2 + beta) E h_(T+k)``, half of the shocks taken to be negative.
    starts
        1 to 4 starting points; the highest likelihood is kept.
    backcast
        What stands for the squared residual and the variance before the first return.
    tried
        Columns to fit; None is all.
    """
    found = fit_model(
        GJR if asymmetric else GARCH,
        returns,
        counts,
        starts=starts,
        backcast=backcast,
        tried=tried,
        workers=workers,
        progress=progress,
    )
    scale, variance = found.scale, found.next_variance
    mu, omega, persistence, share = found.estimates[:, :4].T
    negative = found.estimates[:, 4] if asymmetric else np.full(len(scale), 0.5)
    step_variance = np.empty((len(scale), steps))
    for k in range(steps):
        step_variance[:, k] = variance * scale**2
        variance = omega + persistence * variance
    shocks = persistence * share
    return GarchFits(
        status=found.status,
        mu=found.centre + scale * mu,
        omega=omega * scale**2,
        alpha=2.0 * shocks * (1.0 - negative),
        gamma=2.0 * shocks * (2.0 * negative - 1.0),
        beta=persistence * (1.0 - share),
        log_likelihood=-found.lowest - counts * (np.log(scale) + 0.5 * np.log(2.0 * np.pi)),
        iterations=found.iterations,
        at_bound=found.at_bound,
        residuals=found.residuals,
        step_variance=step_variance,
    )
