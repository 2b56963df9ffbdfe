"""Verdicts on a series of VaR and ES forecasts: how many losses exceeded VaR, how they cluster, how large they were."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_YELLOW, _RED = 0.95, 0.9999


class Zone(StrEnum):
    """The supervisors' traffic light."""

    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"


@dataclass(frozen=True)
class LikelihoodRatio:
    """A test statistic and its asymptotic p-value (chi-squared)."""

    statistic: float
    p_value: float


def kupiec(sessions: int, exceedances: int, probability: float) -> LikelihoodRatio:
    """Proportion-of-failures test: is the share of exceedances ``probability``, 1 less the confidence?

    Kupiec (1995), "Techniques for verifying the accuracy of risk measurement models"; one degree of freedom.
    """
    hits, misses = exceedances, sessions - exceedances
    restricted = _likelihood(hits, misses, probability)
    statistic = max(0.0, 2.0 * (_likelihood(hits, misses, hits / sessions) - restricted))
    return LikelihoodRatio(statistic, math.erfc(math.sqrt(0.5 * statistic)))


def independence(exceeded: BoolArray) -> LikelihoodRatio:
    """Does an exceedance make another one in the next session more, or less, likely?

    Christoffersen (1998), "Evaluating interval forecasts": a first-order Markov chain against one probability; one
    degree of freedom. Without an exceedance before the last session nothing is known, and the statistic is 0.
    """
    before, after = exceeded[:-1], exceeded[1:]
    calm_calm, calm_hit = int(np.sum(~before & ~after)), int(np.sum(~before & after))
    hit_calm, hit_hit = int(np.sum(before & ~after)), int(np.sum(before & after))
    both = _likelihood(calm_hit + hit_hit, calm_calm + hit_calm, (calm_hit + hit_hit) / len(after))
    calm, hit = max(1, calm_calm + calm_hit), max(1, hit_calm + hit_hit)
    apart = _likelihood(calm_hit, calm_calm, calm_hit / calm) + _likelihood(hit_hit, hit_calm, hit_hit / hit)
    statistic = max(0.0, 2.0 * (apart - both))
    return LikelihoodRatio(statistic, math.erfc(math.sqrt(0.5 * statistic)))


def conditional_coverage(coverage: LikelihoodRatio, independent: LikelihoodRatio) -> LikelihoodRatio:
    """Both at once: the sum of the two statistics, two degrees of freedom (Christoffersen 1998)."""
    statistic = coverage.statistic + independent.statistic
    return LikelihoodRatio(statistic, math.exp(-0.5 * statistic))


def traffic_light(sessions: int, exceedances: int, probability: float) -> Zone:
    """Zone by the probability of so many exceedances or fewer: yellow from 95 %, red from 99.99 %.

    Basel Committee (1996), "Supervisory framework for the use of 'backtesting' in conjunction with the internal
    models approach to market risk capital requirements", table 2: with 250 sessions at 99 %, green to 4, yellow to 9.
    """
    from scipy.special import bdtr

    so_many = float(bdtr(exceedances, sessions, probability))
    if so_many >= _RED:
        return Zone.RED
    return Zone.YELLOW if so_many >= _YELLOW else Zone.GREEN


def shortfall_statistic(pnl: FloatArray, exceeded: BoolArray, es: FloatArray, probability: float) -> float:
    """Z2 of Acerbi & Szekely (2014), "Back-testing expected shortfall", eq. 6: 0 expected, negative is too little ES.

    -0.7 is significant at 5 % for 250 sessions at 97.5 %, for all but the fattest tails.
    """
    return float(np.sum(pnl[exceeded] / es[exceeded]) / (len(pnl) * probability) + 1.0)


def shortfall_p_value(
    statistic: float, sessions: int, probability: float, degrees_of_freedom: float, paths: int, seed: int
) -> float:
    """Share of ``paths`` simulated histories with a Z2 as low, where VaR and ES are right.

    The losses are Student-t with any scale, which cancels; degrees of freedom above 2. Only tails are drawn: how many
    sessions exceed VaR, and how far each does.
    """
    from scipy.special import stdtrit

    from quant_dagster.risk.measures.parametric import student_multipliers

    random = np.random.default_rng(seed)
    counts = random.binomial(sessions, probability, size=paths)
    unit = math.sqrt((degrees_of_freedom - 2.0) / degrees_of_freedom)
    # 1 - U lies in (0, 1]: a quantile at 0 would be infinite
    losses = -unit * stdtrit(degrees_of_freedom, probability * (1.0 - random.random(int(counts.sum()))))
    _, es = student_multipliers(1.0 - probability, degrees_of_freedom)
    totals = np.bincount(np.repeat(np.arange(paths), counts), weights=losses, minlength=paths)
    simulated = 1.0 - totals / (sessions * probability * es)
    return float((1 + np.sum(simulated <= statistic)) / (paths + 1))


def _likelihood(hits: int, misses: int, probability: float) -> float:
    """Log-likelihood of that many hits and misses; nothing times a logarithm of 0 is 0."""
    return sum(count * math.log(p) for count, p in ((hits, probability), (misses, 1.0 - probability)) if count)
