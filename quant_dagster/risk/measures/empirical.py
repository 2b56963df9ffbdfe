"""VaR and ES of equally likely scenarios, and what each position contributes to them.

Euler allocation (Tasche 1999, "Risk contributions and performance measurement"; 2008, "Capital allocation to business
units and sub-portfolios: the Euler principle"): a position's part of ES is its mean loss where the portfolio is in its
tail, its part of VaR its mean loss where the portfolio loses just VaR. The parts sum to the whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_dagster.errors import RiskError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Contributions:
    """Parts of VaR and ES, each of shape (symbols,), losses positive.

    Attributes
    ----------
    component_var, component_es
        In currency; they sum to VaR and to ES. Negative for a position that hedges the others.
    marginal_var, marginal_es
        Change for one unit of currency more of the symbol.
    """

    component_var: FloatArray
    component_es: FloatArray
    marginal_var: FloatArray
    marginal_es: FloatArray


def value_at_risk(pnl: FloatArray, confidence: float) -> float:
    """The loss that at most ``n (1 - confidence)`` of n scenarios exceed: the lower quantile.

    It is the loss at which :func:`quant_dagster.risk.expected_shortfall.expected_shortfall` stops averaging.

    Raises
    ------
    RiskError
        When the tail holds less than one scenario.
    """
    beyond = _scenarios_beyond(len(pnl), confidence)
    return -float(np.partition(pnl, beyond)[beyond])


def scenario_contributions(
    returns: FloatArray, values: FloatArray, confidence: float, var: float, es: float
) -> Contributions:
    """Allocate ``var`` and ``es`` to the positions by the scenarios in the portfolio's tail.

    ES: the positions' mean loss over the worst ``n (1 - confidence)`` scenarios, the boundary one by its fraction.
    VaR: their mean loss over the scenarios around the boundary, half as many to each side as lie beyond it, since
    one scenario alone says little; what is then missing to ``var`` goes by the parts of ES. ``var`` and ``es`` may
    come from a model of the same tail; the parts of ES are then in the scenarios' proportion.

    Parameters
    ----------
    returns
        Scenarios, shape (n, symbols).
    values
        Positions, shape (symbols,), in currency.

    Raises
    ------
    RiskError
        When the scenarios' tail does not lose money: there is nothing to allocate.
    """
    pnl = returns @ values
    beyond = _scenarios_beyond(len(pnl), confidence)
    side = beyond // 2
    worst = np.argsort(pnl, kind="stable")[: beyond + side + 1]
    weights = np.append(np.ones(beyond), len(pnl) * (1.0 - confidence) - beyond)
    tail = -(weights @ returns[worst[: beyond + 1]])
    around = -returns[worst[beyond - side :]].mean(axis=0)
    total = float(tail @ values)
    if not total > 0.0:
        raise RiskError(
            f"risk contributions: the portfolio makes money in its worst {1.0 - confidence:.2%} of {len(pnl)} "
            "scenarios; check the positions and the history"
        )
    marginal_es = tail * (es / total)
    marginal_var = around + tail * ((var - float(around @ values)) / total)
    return Contributions(
        component_var=marginal_var * values,
        component_es=marginal_es * values,
        marginal_var=marginal_var,
        marginal_es=marginal_es,
    )


def _scenarios_beyond(scenarios: int, confidence: float) -> int:
    beyond = int(np.floor(scenarios * (1.0 - confidence) + 1e-9))
    if beyond == 0:
        raise RiskError(
            f"VaR at {confidence:.2%}: {scenarios} scenarios hold none beyond it; load at least "
            f"{int(np.ceil(1.0 / (1.0 - confidence) - 1e-9))} sessions or lower the confidence"
        )
    return beyond
