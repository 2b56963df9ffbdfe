"""Position sizes: quarter Kelly and volatility target, under the caps."""

from __future__ import annotations

from dataclasses import dataclass

from quant_dagster.settings import RiskSettings

SESSIONS_A_YEAR = 252
HIGHEST_LEVERAGE = 3.0
VENUE_LEVERAGE_SHARE = 0.8
_LEAST_VOLATILITY = 1e-8
"""Of one session; a price that moves less does not move, and no size follows from it."""


@dataclass(frozen=True)
class Size:
    """A target weight (signed fraction of equity) and what bound it.

    ``kelly_weight`` is after the shrinkage, which is the factor, 0 to 1, that the error of the expected return left.
    """

    weight: float
    bound_by: str
    kelly_weight: float
    volatility_weight: float
    cap: float
    shrinkage: float


def leverage_limit(risk: RiskSettings) -> float:
    """Gross exposure over equity that may not be passed: min(setting, 3, 0.8 x the venue's limit)."""
    return min(risk.max_gross_leverage, HIGHEST_LEVERAGE, VENUE_LEVERAGE_SHARE * risk.venue_leverage_limit)


def drawdown_factor(drawdown: float, risk: RiskSettings) -> float:
    """Share of the gross limit that is left after a drawdown: 1 up to the start, then a line down to 0 at the maximum.

    A drawdown that is not a number leaves nothing.
    """
    start, end = risk.drawdown_scaling_start, risk.max_drawdown
    if drawdown <= start:
        return 1.0
    if not drawdown < end:
        return 0.0
    return (end - drawdown) / (end - start)


def target_weight(
    *,
    direction: int,
    confidence: float,
    strength: float,
    expected_return: float,
    daily_volatility: float,
    risk: RiskSettings,
    observations: int | None = None,
) -> Size:
    """Weight of one position.

    The least of: the Kelly fraction ``k |mu| / sigma^2`` (Thorp 2006, "The Kelly criterion in blackjack, sports
    betting and the stock market", eq. 7.3, for continuous returns) shrunk by the error of its edge
    (:func:`kelly_shrinkage`), the volatility target scaled by the signal's strength, the cap
    ``max_position_per_signal x confidence`` and the symbol limit.

    Parameters
    ----------
    direction
        -1, 0 or 1.
    confidence, strength
        0 to 1.
    expected_return, daily_volatility
        Of one session, as fractions. An edge against the direction gives no Kelly position.
    observations
        Sessions the expected return was estimated from; None takes it as known.
    """
    if direction == 0 or daily_volatility < _LEAST_VOLATILITY:
        return Size(0.0, "no_signal" if direction == 0 else "no_volatility", 0.0, 0.0, 0.0, 1.0)
    edge = max(0.0, direction * expected_return)
    shrinkage = 1.0
    if risk.kelly_error_shrinkage and observations is not None:
        shrinkage = kelly_shrinkage(edge, daily_volatility, observations)
    kelly = shrinkage * risk.kelly_fraction * edge / daily_volatility**2
    volatility = strength * risk.volatility_target / (daily_volatility * SESSIONS_A_YEAR**0.5)
    cap = risk.max_position_per_signal * confidence
    bounds = {"kelly": kelly, "volatility_target": volatility, "signal_cap": cap, "symbol_cap": risk.max_symbol_weight}
    bound_by = min(bounds, key=lambda name: (bounds[name], name))
    return Size(direction * bounds[bound_by], bound_by, kelly, volatility, cap, shrinkage)


def kelly_shrinkage(expected_return: float, daily_volatility: float, observations: int) -> float:
    """What is left of a Kelly position when its edge is only estimated: ``mu^2 / (mu^2 + sigma^2 / n)``.

    The factor c that maximises the growth ``c f mu - (c f sigma)^2 / 2`` expected over estimates ``f = m / sigma^2``
    whose m errs with the variance ``sigma^2 / n`` (Baker & McHale 2013, "Optimal betting under parameter uncertainty:
    improving the Kelly criterion", section 3). Without an edge, or without an observation, nothing is left.
    """
    evidence = observations * expected_return**2
    return evidence / (evidence + daily_volatility**2)
