"""Weights in whole lots, under the same limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from quant_dagster.errors import RiskError
from quant_dagster.risk.construction.limits import TOLERANCE, Limits, breaches

FloatArray = NDArray[np.float64]

_SNAP = 1e-7
"""Of a weight: a whole lot the solver missed by less is a whole lot."""


def whole_lots(
    ideal: FloatArray, current: FloatArray, lot_weights: FloatArray, limits: Limits, symbols: Sequence[str]
) -> FloatArray:
    """Numbers of lots, signed and whole, near ``ideal`` weights.

    Rounding towards 0 keeps every limit but the turnover, which it raises where a position is reduced. Where that is
    too much, a lot is given back to positions that were reduced, then taken off other trades, the largest saving
    first, as far as the other limits let it.

    Parameters
    ----------
    ideal, current
        Weights, shape (m,).
    lot_weights
        Weight of one lot of each symbol, shape (m,).

    Raises
    ------
    RiskError
        No whole lots near ``ideal`` obey the limits.
    """
    lots = np.sign(ideal) * np.floor((np.abs(ideal) + _SNAP) / lot_weights)
    back = lots + np.sign(current - lots * lot_weights)
    saved = np.abs(lots * lot_weights - current) - np.abs(back * lot_weights - current)
    overshot = (current - lots * lot_weights) * (ideal - lots * lot_weights) > 0.0
    others = replace(limits, turnover=np.inf)
    for j in np.lexsort((-saved, ~overshot)).tolist():
        if np.abs(lots * lot_weights - current).sum() <= limits.turnover + TOLERANCE:
            break
        trial = lots.copy()
        trial[j] = back[j]
        if saved[j] > 0.0 and not breaches(trial * lot_weights, current, others, symbols):
            lots = trial
    found = breaches(lots * lot_weights, current, limits, symbols)
    if found:
        raise RiskError(
            f"portfolio construction is infeasible in whole lots: {'; '.join(found)}; allow more turnover or smaller "
            "lots"
        )
    return np.asarray(lots)
