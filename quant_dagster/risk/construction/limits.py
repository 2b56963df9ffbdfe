"""What the weights of a portfolio must obey, and why no weights can."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_dagster.errors import RiskError

FloatArray = NDArray[np.float64]

TOLERANCE = 1e-6
"""Of a weight: solvers meet limits to about a hundredth of that."""


@dataclass(frozen=True)
class Limits:
    """Limits on m weights, which are fractions of equity.

    Attributes
    ----------
    caps
        Shape (m,): largest absolute weight of each symbol.
    sectors, sector_caps
        Sector of each symbol, and largest sum of absolute weights of a sector; one that is not named has none.
    gross
        Largest sum of absolute weights.
    budget
        What the weights must sum to; None leaves what is not wanted in cash.
    long_only
        No weight below 0.
    turnover
        Largest sum of absolute changes from the current weights.
    """

    caps: FloatArray
    sectors: tuple[str, ...]
    sector_caps: Mapping[str, float]
    gross: float
    budget: float | None
    long_only: bool
    turnover: float

    def __post_init__(self) -> None:
        amounts = [*self.caps.tolist(), *self.sector_caps.values(), self.gross, self.turnover]
        if not all(amount >= 0.0 for amount in amounts) or not len(self.caps) == len(self.sectors):
            raise RiskError(
                "portfolio limits: every symbol needs a cap and a sector, and no limit may be unknown or below 0"
            )

    def groups(self) -> dict[str, tuple[list[int], float]]:
        """Members and cap of every capped sector that has members."""
        found = {}
        for sector, cap in self.sector_caps.items():
            members = [j for j, own in enumerate(self.sectors) if own == sector]
            if members:
                found[sector] = (members, cap)
        return found


def breaches(weights: FloatArray, current: FloatArray, limits: Limits, symbols: Sequence[str]) -> list[str]:
    """Every limit the weights do not obey, in words; the budget, which rounding to lots undercuts, is not looked at."""
    found = []
    for j in np.flatnonzero(np.abs(weights) > limits.caps + TOLERANCE).tolist():
        found.append(f"{symbols[j]} has {weights[j]:.4%}, its cap is {limits.caps[j]:.4%}")
    for sector, (members, cap) in limits.groups().items():
        total = float(np.abs(weights[members]).sum())
        if total > cap + TOLERANCE:
            found.append(f"sector {sector} has {total:.4%}, its cap is {cap:.4%}")
    gross, turnover = float(np.abs(weights).sum()), float(np.abs(weights - current).sum())
    if gross > limits.gross + TOLERANCE:
        found.append(f"gross exposure is {gross:.4%}, its limit {limits.gross:.4%}")
    if turnover > limits.turnover + TOLERANCE:
        found.append(f"turnover is {turnover:.4%}, its limit {limits.turnover:.4%}")
    if limits.long_only and weights.min() < -TOLERANCE:
        found.append(f"{symbols[int(np.argmin(weights))]} is short, and only long positions are allowed")
    return found


def why_infeasible(current: FloatArray, limits: Limits) -> str | None:
    """The reason no weights obey all limits, None where some do."""
    reachable = largest_gross(limits)
    if limits.budget is not None and abs(limits.budget) > reachable + TOLERANCE:
        return f"caps and gross limit let the weights sum to {reachable:.4%} at most, the budget is {limits.budget:.4%}"
    needed = least_turnover(current, limits)
    if needed > limits.turnover + TOLERANCE:
        return f"to obey the other limits takes a turnover of {needed:.4%}, and {limits.turnover:.4%} is allowed"
    return None


def largest_gross(limits: Limits) -> float:
    """The largest sum of absolute weights that caps, sector caps and the gross limit allow."""
    total = float(limits.caps.sum())
    for members, cap in limits.groups().values():
        total -= max(0.0, float(limits.caps[members].sum()) - cap)
    return min(total, limits.gross)


def least_turnover(current: FloatArray, limits: Limits) -> float:
    """The smallest turnover that leads from the current weights to some that obey all other limits (a linear program).

    Raises
    ------
    RiskError
        There are none.
    """
    import cvxpy as cp
    from cvxpy.atoms.affine.sum import sum as total
    from cvxpy.atoms.norm1 import norm1

    weights = cp.Variable(len(current))
    rules = position_rules(weights, 1.0, limits)
    if limits.budget is not None:
        rules.append(total(weights) == limits.budget)
    problem: Any = cp.Problem(cp.Minimize(norm1(weights - current)), rules)
    problem.solve(solver="CLARABEL")
    if problem.status != "optimal":
        raise RiskError(f"portfolio limits: no weights obey them, whatever the turnover ({problem.status})")
    return float(problem.value)


def position_rules(weights: Any, unit: Any, limits: Limits) -> list[Any]:
    """The limits on positions as cvxpy constraints: ``weights / unit`` obeys them (``unit`` may be an expression)."""
    from cvxpy.atoms.elementwise.abs import abs as absolute
    from cvxpy.atoms.norm1 import norm1

    rules = [absolute(weights) <= limits.caps * unit, norm1(weights) <= limits.gross * unit]
    rules += [norm1(weights[members]) <= cap * unit for members, cap in limits.groups().values()]
    if limits.long_only:
        rules.append(weights >= 0.0)
    return rules
