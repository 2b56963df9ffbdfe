"""Whether a fitted tail can be believed: its errors, its fit, and how it changes with the threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_dagster.risk.measures.extreme_value import FEWEST_EXCEEDANCES, ParetoTail, fit_pareto, fit_tail

FloatArray = NDArray[np.float64]

CANDIDATES = (0.05, 0.075, 0.10, 0.125, 0.15, 0.20)  # tail shares the table compares
FEW_EXCEEDANCES = 30
POOR_FIT = 0.05
_SAMPLES = 199  # of the parametric bootstrap: the smallest p-value is 1 / 200


@dataclass(frozen=True)
class ThresholdRow:
    """The tail beyond one candidate threshold.

    Attributes
    ----------
    threshold, mean_excess, scale, scale_error
        In the unit of the P&L. A mean excess that grows in a straight line with the threshold is a Pareto tail's.
    shape, shape_error
        The shape should change with the threshold by no more than its standard error.
    """

    tail_share: float
    threshold: float
    exceedances: int
    mean_excess: float
    shape: float
    shape_error: float
    scale: float
    scale_error: float


def threshold_row(tail: ParetoTail, tail_share: float) -> ThresholdRow:
    """The first tail in ``tail`` as a row, with asymptotic standard errors.

    ``(1 + xi) / sqrt(k)`` and ``beta sqrt(2 (1 + xi) / k)`` (Smith 1987, "Estimating tails of probability
    distributions"), which hold for shapes above -0.5.
    """
    shape, scale, count = float(tail.shape[0]), float(tail.scale[0]), tail.exceedances
    return ThresholdRow(
        tail_share=tail_share,
        threshold=float(tail.threshold[0]),
        exceedances=count,
        mean_excess=float(tail.excesses[0].mean()),
        shape=shape,
        shape_error=(1.0 + shape) / count**0.5,
        scale=scale,
        scale_error=scale * (2.0 * (1.0 + max(shape, -1.0)) / count) ** 0.5,
    )


def threshold_table(pnl: FloatArray, tail_shares: Sequence[float] = CANDIDATES) -> list[ThresholdRow]:
    """One row for each candidate with enough exceedances; ``pnl`` has the shape (n,)."""
    return [
        threshold_row(fit_tail(pnl[None, :], share), share)
        for share in tail_shares
        if int(len(pnl) * share + 1e-9) >= FEWEST_EXCEEDANCES
    ]


def anderson_darling(excesses: FloatArray, shape: FloatArray, scale: FloatArray) -> FloatArray:
    """Anderson-Darling distance of each row of ``excesses``, shape (k, count), from its Pareto tail."""
    count = excesses.shape[1]
    beyond = np.log1p(shape[:, None] / scale[:, None] * np.sort(excesses, axis=1)) / -shape[:, None]  # log survival
    within = np.log(-np.expm1(np.minimum(beyond, -1e-300)))
    weights = (2.0 * np.arange(count) + 1.0) / count
    return np.asarray(-count - (within + beyond[:, ::-1]) @ weights)


def fit_p_value(tail: ParetoTail, seed: int) -> float:
    """p-value of the Anderson-Darling distance of the first tail in ``tail``.

    The parameters were fitted, so tables of the plain test do not apply: 199 samples from the fitted tail are fitted
    and measured alike (Choulakian & Stephens 2001, "Goodness-of-fit tests for the generalized Pareto distribution").
    """
    shape = tail.shape[:1]
    distance = anderson_darling(tail.excesses[:1], shape, tail.scale[:1])[0]
    uniform = np.random.default_rng(seed).random((_SAMPLES, tail.exceedances))
    samples = np.expm1(-shape[0] * np.log1p(-uniform)) / shape[0]
    sampled = anderson_darling(samples, *fit_pareto(samples))
    return float((1 + np.sum(sampled >= distance)) / (_SAMPLES + 1))


def threshold_warnings(chosen: ThresholdRow, table: Sequence[ThresholdRow], p_value: float) -> list[str]:
    """What speaks against the tail, in words; empty when nothing does."""
    warnings = []
    if chosen.exceedances < FEW_EXCEEDANCES:
        warnings.append(f"{chosen.exceedances} exceedances; {FEW_EXCEEDANCES} or more are wanted")
    if p_value < POOR_FIT:
        warnings.append(f"the excesses do not look generalised Pareto (p-value {p_value:.3f})")
    if not -0.5 < chosen.shape < 0.5:
        warnings.append(f"shape {chosen.shape:.2f}: below -0.5 its errors, from 0.5 on the variance does not exist")
    unstable = [row for row in table if abs(row.shape - chosen.shape) > 2.0 * chosen.shape_error]
    if unstable:
        shown = ", ".join(f"{row.shape:.2f} at {row.tail_share:.1%}" for row in unstable)
        warnings.append(f"shape {chosen.shape:.2f} changes with the threshold: {shown}")
    return warnings
