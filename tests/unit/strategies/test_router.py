"""The router: highest priority speaks, switched off stays visible, and the shape never changes."""

from __future__ import annotations

from itertools import product

import polars as pl
import pytest

from quant_dagster.settings import SignalSettings
from quant_dagster.storage.tables import TABLES
from quant_dagster.strategies.alphas import ALPHAS
from quant_dagster.strategies.router import priority, route, signal_frame
from tests.unit.strategies.test_alphas import FALLING, RISING, state_at

DEFAULT = SignalSettings()


def flags(trend: bool, mean_reversion: bool) -> SignalSettings:
    return SignalSettings(flags={"trend": trend, "mean_reversion": mean_reversion})


@pytest.mark.parametrize(
    ("confidence", "risk", "expected"),
    [(1.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 1.0, 0.6), (0.0, 0.0, 0.4), (0.5, 0.25, 0.6)],
)
def test_priority_is_0_6_confidence_and_0_4_of_what_is_not_risk(
    confidence: float, risk: float, expected: float
) -> None:
    assert priority(confidence, risk, DEFAULT) == pytest.approx(expected, abs=1e-15)


def test_the_weights_are_settings() -> None:
    assert priority(0.5, 0.2, SignalSettings(confidence_weight=0.2, risk_weight=0.8)) == pytest.approx(0.74)


def test_the_stored_priority_is_the_formula() -> None:
    frame = signal_frame(state_at(RISING), RISING, DEFAULT)
    expected = 0.6 * frame["confidence"] + 0.4 * (1 - frame["risk"])
    assert ((frame["priority"] - expected).abs() < 1e-15).all()


@pytest.mark.parametrize(("trend", "mean_reversion"), list(product([True, False], repeat=2)))
def test_a_flag_off_changes_who_speaks_and_nothing_of_the_shape(trend: bool, mean_reversion: bool) -> None:
    state = state_at(FALLING)
    everything = signal_frame(state, FALLING, DEFAULT)
    frame = signal_frame(state, FALLING, flags(trend, mean_reversion))
    assert frame.schema == pl.Schema(TABLES["signals"].schema)
    assert frame.drop("enabled").equals(everything.drop("enabled"))
    bundles = route(frame)
    assert sorted(bundles) == sorted(state.symbols)
    on = {name for name, flag in (("trend", trend), ("mean_reversion", mean_reversion)) if flag}
    for bundle in bundles.values():
        assert [signal.alpha for signal in bundle.signals] == sorted(ALPHAS)
        speaking = {signal.alpha for signal in (bundle.primary, bundle.fallback) if signal}
        assert speaking == {s.alpha for s in bundle.signals if s.alpha in on and s.direction != 0}
    assert any(bundle.primary for bundle in bundles.values()) == bool(on)


def test_the_highest_priority_is_first_and_the_other_is_the_fallback() -> None:
    both = [b for b in route(signal_frame(state_at(FALLING), FALLING, DEFAULT)).values() if b.fallback]
    assert both
    for bundle in both:
        assert bundle.primary.priority >= bundle.fallback.priority


def test_equal_priorities_go_by_name_whatever_the_order_of_rows() -> None:
    frame = signal_frame(state_at(RISING), RISING, DEFAULT).with_columns(
        pl.lit(0.5).alias("priority"), pl.lit(1, pl.Int8).alias("direction")
    )
    for rows in (frame, frame.reverse(), frame.sample(fraction=1.0, shuffle=True, seed=1)):
        for bundle in route(rows).values():
            assert (bundle.primary.alpha, bundle.fallback.alpha) == ("mean_reversion", "trend")


def test_a_signal_without_direction_never_speaks() -> None:
    frame = signal_frame(state_at(RISING), RISING, DEFAULT).with_columns(pl.lit(0, pl.Int8).alias("direction"))
    assert all(bundle.primary is None and bundle.fallback is None for bundle in route(frame).values())
