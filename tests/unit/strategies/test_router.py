"""The router: highest priority speaks, switched off stays visible, and the shape never changes."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import polars as pl
import pytest

from quant_dagster.settings import SignalSettings
from quant_dagster.storage.tables import TABLES
from quant_dagster.strategies.alphas import ALPHAS
from quant_dagster.strategies.router import priority, route, signal_frame
from quant_dagster.strategies.selection import regime_factor
from tests.unit.strategies.test_alphas import FALLING, RISING, reverting, state_at

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
    """Times the tilt: with the wildest regime at 25 %, reversion is held back by half of what is lacking to 50 %."""
    frame = signal_frame(state_at(RISING), RISING, DEFAULT)
    tilt = frame["alpha"].replace_strict({"mean_reversion": 0.75, "pairs": 0.75}, default=1.0, return_dtype=pl.Float64)
    expected = (0.6 * frame["confidence"] + 0.4 * (1 - frame["risk"])) * tilt
    assert ((frame["priority"] - expected).abs() < 1e-15).all()


@pytest.mark.parametrize(
    ("wild", "tilt", "trend", "reversion"),
    [(0.0, 0.5, 1.0, 0.5), (0.5, 0.5, 1.0, 1.0), (1.0, 0.5, 0.5, 1.0), (0.9, 1.0, 0.2, 1.0), (1.0, 0.0, 1.0, 1.0),
     (float("nan"), 0.5, 1.0, 1.0)],
)  # fmt: skip
def test_the_regime_holds_back_trends_in_wild_markets_and_reversion_in_calm_ones(
    wild: float, tilt: float, trend: float, reversion: float
) -> None:
    settings, probability = SignalSettings(regime_tilt=tilt), np.array([wild])
    expected = {"trend": trend, "mean_reversion": reversion, "pairs": reversion, "learned": 1.0, "composite": 1.0}
    assert set(expected) == set(ALPHAS)
    for alpha, factor in expected.items():
        assert regime_factor(alpha, probability, settings) == pytest.approx([factor])


def test_a_decaying_source_is_heard_half_and_a_dead_one_not_at_all() -> None:
    state = state_at(RISING)
    whole = signal_frame(state, RISING, DEFAULT)
    frame = signal_frame(replace(state, allocation={"trend": 0.0, "composite": 0.0}), RISING, DEFAULT)
    assert (frame.filter(pl.col("alpha") == "trend")["priority"] == 0.0).all()
    assert (frame.filter(pl.col("alpha") == "trend")["direction"] != 0).any(), "its view is still measured"
    assert any(bundle.primary for bundle in route(whole).values())
    assert not any(bundle.primary for bundle in route(frame).values())
    half = signal_frame(replace(state, allocation={"trend": 0.5}), RISING, DEFAULT)
    ratio = half.filter(pl.col("alpha") == "trend")["priority"] / whole.filter(pl.col("alpha") == "trend")["priority"]
    assert ratio.to_list() == pytest.approx([0.5] * len(ratio))


@pytest.mark.parametrize(("trend", "mean_reversion"), list(product([True, False], repeat=2)))
def test_a_flag_off_changes_who_speaks_and_nothing_of_the_shape(trend: bool, mean_reversion: bool) -> None:
    state = reverting(state_at(FALLING))
    everything = signal_frame(state, FALLING, DEFAULT)
    frame = signal_frame(state, FALLING, flags(trend, mean_reversion))
    assert frame.schema == pl.Schema(TABLES["signals"].schema)
    # The composite's own view follows the flags: it is the vote of what is switched on.
    voters = pl.col("alpha") != "composite"
    assert frame.filter(voters).drop("enabled").equals(everything.filter(voters).drop("enabled"))
    bundles = route(frame)
    assert sorted(bundles) == sorted(state.symbols)
    on = {name for name, flag in (("trend", trend), ("mean_reversion", mean_reversion)) if flag}
    for bundle in bundles.values():
        assert [signal.alpha for signal in bundle.signals] == sorted(ALPHAS)
        speaking = {signal.alpha for signal in (bundle.primary, bundle.fallback) if signal}
        assert speaking == {s.alpha for s in bundle.signals if s.alpha in on and s.direction != 0}
    assert any(bundle.primary for bundle in bundles.values()) == bool(on)


def test_the_highest_priority_is_first_and_the_other_is_the_fallback() -> None:
    both = [b for b in route(signal_frame(reverting(state_at(FALLING)), FALLING, DEFAULT)).values() if b.fallback]
    assert both
    for bundle in both:
        assert bundle.primary.priority >= bundle.fallback.priority


def test_equal_priorities_go_by_name_whatever_the_order_of_rows() -> None:
    frame = signal_frame(state_at(RISING), RISING, DEFAULT).with_columns(
        pl.lit(0.5).alias("priority"), pl.lit(1, pl.Int8).alias("direction")
    )
    for rows in (frame, frame.reverse(), frame.sample(fraction=1.0, shuffle=True, seed=1)):
        for bundle in route(rows).values():
            assert (bundle.primary.alpha, bundle.fallback.alpha) == ("composite", "learned")


def opposed(first: float, second: float) -> pl.DataFrame:
    """Trend long and reversion short on every symbol, with these priorities; nobody else has a view."""
    trend, reversion = pl.col("alpha") == "trend", pl.col("alpha") == "mean_reversion"
    return signal_frame(state_at(RISING), RISING, DEFAULT).with_columns(
        pl.when(trend).then(1).when(reversion).then(-1).otherwise(0).cast(pl.Int8).alias("direction"),
        pl.when(trend).then(first).when(reversion).then(second).otherwise(0.5).alias("priority"),
    )


@pytest.mark.parametrize(("first", "second", "speaks"), [(0.60, 0.56, None), (0.56, 0.60, None), (0.60, 0.54, "trend"),
                                                         (0.50, 0.60, "mean_reversion")])  # fmt: skip
def test_opposite_signals_that_are_close_cancel_and_both_are_recorded(
    first: float, second: float, speaks: str | None
) -> None:
    for bundle in route(opposed(first, second), conflict_margin=0.05).values():
        assert (bundle.primary.alpha if bundle.primary else None) == speaks
        assert {one.alpha for one in bundle.conflict} == (set() if speaks else {"trend", "mean_reversion"})
        assert [signal.alpha for signal in bundle.signals] == sorted(ALPHAS)
        if not speaks:
            assert bundle.fallback is None


def test_a_source_that_is_switched_off_conflicts_with_nobody() -> None:
    flags = {name: name != "mean_reversion" for name in ALPHAS}
    for bundle in route(opposed(0.60, 0.60), flags, 0.05).values():
        assert bundle.primary.alpha == "trend" and bundle.conflict == ()


def test_flags_at_the_routing_win_over_those_the_signals_were_stored_with() -> None:
    frame = signal_frame(state_at(RISING), RISING, DEFAULT)
    off = route(frame, dict.fromkeys(ALPHAS, False))
    assert all(bundle.primary is None and not any(s.enabled for s in bundle.signals) for bundle in off.values())
    assert route(frame, {"trend": True}) == route(frame.with_columns(enabled=pl.col("alpha") == "trend"))


def test_a_signal_without_direction_never_speaks() -> None:
    frame = signal_frame(state_at(RISING), RISING, DEFAULT).with_columns(pl.lit(0, pl.Int8).alias("direction"))
    assert all(bundle.primary is None and bundle.fallback is None for bundle in route(frame).values())
