"""Quarter Kelly, shrunk by its error, and volatility target under the caps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_dagster.risk.sizing import Size, drawdown_factor, kelly_shrinkage, leverage_limit, target_weight
from quant_dagster.settings import RiskSettings

RISK = RiskSettings()


def size(risk=RISK, **changes):
    inputs = {"direction": 1, "confidence": 0.8, "strength": 1.0, "expected_return": 0.0005, "daily_volatility": 0.01}
    return target_weight(**inputs | changes, risk=risk)


def test_kelly_is_a_quarter_of_mean_over_variance() -> None:
    assert size().kelly_weight == pytest.approx(0.25 * 0.0005 / 0.01**2)
    assert size().shrinkage == 1.0


def test_volatility_weight_brings_the_position_to_the_target() -> None:
    assert size().volatility_weight == pytest.approx(0.15 / (0.01 * 252**0.5))
    assert size(strength=0.4).volatility_weight == pytest.approx(0.4 * 0.15 / (0.01 * 252**0.5))


def test_the_cap_is_two_percent_of_equity_times_confidence() -> None:
    assert size().weight == pytest.approx(0.02 * 0.8)
    assert size().cap == pytest.approx(0.02 * 0.8)
    assert size().bound_by == "signal_cap"


def test_an_edge_against_the_signal_holds_nothing() -> None:
    assert size(expected_return=-0.001).weight == 0
    assert size(direction=-1).weight == 0


def test_a_short_signal_is_a_negative_weight() -> None:
    assert size(direction=-1, expected_return=-0.0005).weight == pytest.approx(-0.016)
    assert size(direction=-1, expected_return=-0.0005).kelly_weight == pytest.approx(1.25)


@pytest.mark.parametrize(
    ("changes", "bound_by", "weight"),
    [
        ({"expected_return": 1e-6}, "kelly", 0.25 * 1e-6 / 0.01**2),
        ({"strength": 0.01}, "volatility_target", 0.01 * 0.15 / (0.01 * 252**0.5)),
        ({"confidence": 0.1}, "signal_cap", 0.002),
    ],
)
def test_the_least_bound_is_the_size(changes: dict, bound_by: str, weight: float) -> None:
    found = size(**changes)
    assert (found.bound_by, found.weight) == (bound_by, pytest.approx(weight))


def test_the_symbol_cap_bounds_a_signal_that_is_allowed_more() -> None:
    found = size(risk=RiskSettings(max_position_per_signal=0.5))
    assert (found.bound_by, found.weight) == ("symbol_cap", 0.05)


def test_of_equal_bounds_the_first_by_name_is_named() -> None:
    assert size(risk=RiskSettings(max_position_per_signal=0.0625, max_symbol_weight=0.05)).bound_by == "signal_cap"


def test_no_signal_and_a_price_at_rest_have_no_size() -> None:
    assert size(direction=0) == Size(0.0, "no_signal", 0.0, 0.0, 0.0, 1.0)
    assert size(daily_volatility=9.9e-9) == Size(0.0, "no_volatility", 0.0, 0.0, 0.0, 1.0)
    assert size(direction=0, daily_volatility=0.0).bound_by == "no_signal"
    assert size(daily_volatility=1e-8).bound_by == "signal_cap"


def test_the_error_of_the_edge_shrinks_the_kelly_position() -> None:
    # The edge is one standard error: 0.0005 = 0.01 / sqrt(400). Half of the position is left.
    found = size(observations=400)
    assert found.shrinkage == pytest.approx(0.5)
    assert found.kelly_weight == pytest.approx(0.5 * 1.25)
    assert size(observations=1600).shrinkage == pytest.approx(0.8)


def test_the_shrinkage_can_be_switched_off() -> None:
    found = size(risk=RiskSettings(kelly_error_shrinkage=False), observations=400)
    assert (found.shrinkage, found.kelly_weight) == (1.0, pytest.approx(1.25))


def test_no_observation_and_no_edge_leave_nothing() -> None:
    assert size(observations=0).weight == 0.0
    assert size(observations=0).shrinkage == 0.0
    assert size(expected_return=-0.001, observations=400).shrinkage == 0.0


def test_the_shrinkage_maximises_expected_growth_over_estimates() -> None:
    """Growth ``f mu - f^2 sigma^2 / 2`` averaged over estimates: largest at the factor, by simulation."""
    mean, volatility, observations = 0.002, 0.01, 50
    estimates = mean + volatility / observations**0.5 * np.random.default_rng(3).standard_normal(400_000)
    factors = np.linspace(0.0, 1.2, 121)
    fractions = estimates / volatility**2
    growth = [np.mean(c * fractions * mean - (c * fractions * volatility) ** 2 / 2) for c in factors]
    best = factors[int(np.argmax(growth))]
    assert kelly_shrinkage(mean, volatility, observations) == pytest.approx(2 / 3)
    assert best == pytest.approx(2 / 3, abs=0.011)


def test_leverage_is_at_most_three_and_four_fifths_of_the_venue() -> None:
    free = RiskSettings(max_gross_leverage=10)
    assert leverage_limit(free) == pytest.approx(1.6)
    assert leverage_limit(free.model_copy(update={"venue_leverage_limit": 10})) == 3
    assert leverage_limit(RISK) == 1.0


@pytest.mark.parametrize(
    ("drawdown", "left"),
    [(-0.01, 1.0), (0.0, 1.0), (0.10, 1.0), (0.125, 0.75), (0.175, 0.25), (0.2, 0.0), (0.3, 0.0), (np.nan, 0.0)],
)
def test_gross_exposure_falls_on_a_line_between_the_two_drawdowns(drawdown: float, left: float) -> None:
    assert drawdown_factor(drawdown, RISK) == pytest.approx(left)


def test_a_drawdown_at_which_scaling_starts_and_ends_leaves_all() -> None:
    steep = RiskSettings(drawdown_scaling_start=0.2)
    assert drawdown_factor(0.2, steep) == 1.0
    assert drawdown_factor(0.2000001, steep) == 0.0


@given(
    st.sampled_from([-1, 0, 1]),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(-0.1, 0.1),
    st.floats(0, 0.5),
    st.none() | st.integers(0, 10_000),
)
def test_no_size_passes_any_cap(direction, confidence, strength, mean, volatility, observations) -> None:
    result = target_weight(
        direction=direction,
        confidence=confidence,
        strength=strength,
        expected_return=mean,
        daily_volatility=volatility,
        risk=RISK,
        observations=observations,
    )
    assert abs(result.weight) <= 0.02 * confidence + 1e-15
    assert result.weight * direction >= 0
    assert 0.0 <= result.shrinkage <= 1.0
