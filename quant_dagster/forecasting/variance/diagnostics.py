"""What a conditional-variance model left in its standardised residuals, and how long its shocks last."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from quant_dagster.forecasting.columns import BoolArray, FloatArray, IntArray
from quant_dagster.forecasting.residuals import LJUNG_BOX_LAGS, chi_squared_p_value, jarque_bera, ljung_box


@dataclass(frozen=True)
class ResidualTests:
    """Tests of the standardised residuals of m symbols; every array has shape (m,), NaN where nothing was fitted.

    Attributes
    ----------
    ljung_box, ljung_box_p
        Of the residuals at lag 10, and its chance under 10 degrees of freedom: autocorrelation the mean has missed.
    ljung_box_squares, ljung_box_squares_p
        Of their squares: clusters of volatility the model has missed.
    jarque_bera, jarque_bera_p
        Normality; a Gaussian likelihood is consistent without it, its quantiles are not.
    """

    ljung_box: FloatArray
    ljung_box_p: FloatArray
    ljung_box_squares: FloatArray
    ljung_box_squares_p: FloatArray
    jarque_bera: FloatArray
    jarque_bera_p: FloatArray

    def of(self, column: int) -> dict[str, object]:
        """The tests of one symbol, by name."""
        return {name: float(values[column]) for name, values in vars(self).items()}


def residual_tests(residuals: FloatArray, counts: IntArray, fitted: BoolArray, workers: int = 1) -> ResidualTests:
    """Ljung-Box of residuals (m, n) and of their squares, and Jarque-Bera, of the columns that were ``fitted``."""
    size = np.where(fitted, counts, 0)
    plain = ljung_box(residuals, size, workers=workers)
    squares = ljung_box(residuals * residuals, size, workers=workers)
    normality = jarque_bera(residuals, size)
    degrees = float(LJUNG_BOX_LAGS)
    return ResidualTests(
        ljung_box=plain,
        ljung_box_p=chi_squared_p_value(plain, degrees),
        ljung_box_squares=squares,
        ljung_box_squares_p=chi_squared_p_value(squares, degrees),
        jarque_bera=normality,
        jarque_bera_p=chi_squared_p_value(normality, 2.0),
    )


def half_life(persistence: float) -> float:
    """Sessions until half of a shock to the variance (EGARCH: to its logarithm) is gone; 0 without persistence."""
    if persistence <= 0.0:
        return 0.0
    return math.log(0.5) / math.log(persistence) if persistence < 1.0 else math.inf
