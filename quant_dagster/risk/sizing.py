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
    """A target weight (signed fraction of equity) and what bound it."""

    weight: float
    bound_by: str
    kelly_weight: float
    volatility_weight: float
    cap: float


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
) -> Size:
    """Weight of one position.

    The least of: the Kelly fraction ``k |mu| / sigma^2`` (Thorp 2006, "The Kelly criterion in blackjack, sports
    betting and the stock market", eq. 7.3, for continuous returns), the volatility target scaled by the signal's
    strength, the cap ``max_position_per_signal x confidence`` and the symbol limit.

    Parameters
    ----------
    direction
        -1, 0 or 1.
    confidence, strength
        0 to 1.
    expected_return, daily_volatility
        Of one session, as fractions. An edge against the direction gives no Kelly position.
    """
    if direction == 0 or daily_volatility < _LEAST_VOLATILITY:
        return Size(0.0, "no_signal" if direction == 0 else "no_volatility", 0.0, 0.0, 0.0)
    edge = max(0.0, direction * expected_return)
    kelly = risk.kelly_fraction * edge / daily_volatility**2
    volatility = strength * risk.volatility_target / (daily_volatility * SESSIONS_A_YEAR**0.5)
    cap = risk.max_position_per_signal * confidence
    bounds = {"kelly": kelly, "volatility_target": volatility, "signal_cap": cap, "symbol_cap": risk.max_symbol_weight}
    bound_by = min(bounds, key=lambda name: (bounds[name], name))
    return Size(direction * bounds[bound_by], bound_by, kelly, volatility, cap)
