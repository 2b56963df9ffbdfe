"""Expected returns from the market's equilibrium and an investor's views (Black & Litterman 1992)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

TAU = 0.05
"""Variance of the equilibrium's mean over that of a return (He & Litterman 1999)."""
_LEAST_CONFIDENCE = 1e-9


def equilibrium(covariance: FloatArray, market: FloatArray, risk_aversion: float) -> FloatArray:
    """Expected returns at which ``market`` weights are what a mean-variance investor holds: ``delta Sigma w``."""
    return np.asarray(risk_aversion * covariance @ market)


def posterior(
    prior: FloatArray, covariance: FloatArray, picks: FloatArray, views: FloatArray, confidences: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Expected returns (m,) and covariance (m, m) after the views.

    A view's error variance is ``tau (1 / c - 1) p Sigma p'`` (Idzorek 2005 in the closed form of Walters 2014, "The
    Black-Litterman model in detail", section 7): confidence 0 leaves the prior, 1 makes the view certain, and 0.5 is
    He & Litterman's own choice.

    Parameters
    ----------
    prior, covariance
        Of one session, shapes (m,) and (m, m).
    picks, views, confidences
        Portfolios the views speak of (v, m), their expected returns (v,), and 0 to 1 (v,).
    """
    spread = TAU * covariance @ picks.T
    explained = picks @ spread
    error = np.diag((1.0 / np.maximum(confidences, _LEAST_CONFIDENCE) - 1.0) * np.diag(explained))
    surprise = views - picks @ prior
    mean = prior + spread @ np.linalg.solve(explained + error, surprise)
    return mean, (1.0 + TAU) * covariance - spread @ np.linalg.solve(explained + error, spread.T)
