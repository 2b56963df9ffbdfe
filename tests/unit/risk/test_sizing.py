"""Quarter Kelly and volatility target under the caps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_dagster.risk.sizing import leverage_limit, target_weight
from quant_dagster.settings import RiskSettings

RISK = RiskSettings()


def size(**changes):
    inputs = {"direction": 1, "confidence": 0.8, "strength": 1.0, "expected_return": 0.0005, "daily_volatility": 0.01}
    return target_weight(**inputs | changes, risk=RISK)


def test_kelly_is_a_quarter_of_mean_over_variance() -> None:
    assert size().kelly_weight == pytest.approx(0.25 * 0.0005 / 0.01**2)


def test_volatility_weight_brings_the_position_to_the_target() -> None:
    assert size().volatility_weight == pytest.approx(0.15 / (0.01 * 252**0.5))


def test_the_cap_is_two_percent_of_equity_times_confidence() -> None:
    assert size().weight == pytest.approx(0.02 * 0.8)
    assert size().bound_by == "signal_cap"


def test_an_edge_against_the_signal_holds_nothing() -> None:
    assert size(expected_return=-0.001).weight == 0
    assert size(direction=-1).weight == 0


def test_leverage_is_at_most_three_and_four_fifths_of_the_venue() -> None:
    free = RiskSettings(max_gross_leverage=10)
    assert leverage_limit(free) == pytest.approx(1.6)
    assert leverage_limit(free.model_copy(update={"venue_leverage_limit": 10})) == 3


@given(
    st.sampled_from([-1, 0, 1]),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(-0.1, 0.1),
    st.floats(0, 0.5),
)
def test_no_size_passes_any_cap(direction, confidence, strength, mean, volatility) -> None:
    result = target_weight(
        direction=direction,
        confidence=confidence,
        strength=strength,
        expected_return=mean,
        daily_volatility=volatility,
        risk=RISK,
    )
    assert abs(result.weight) <= 0.02 * confidence + 1e-15
    assert result.weight * direction >= 0
