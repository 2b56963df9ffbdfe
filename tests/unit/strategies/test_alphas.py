"""Alphas on features of real prices: trend follows, reversion leans against, and what is unknown stays quiet."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from functools import cache

import numpy as np
import polars as pl
import pytest

from quant_dagster.features.compute import compute
from quant_dagster.market_data.panel import Panel
from quant_dagster.settings import SignalSettings
from quant_dagster.storage.tables import TABLES
from quant_dagster.strategies.alphas import (
    ALPHAS,
    MarketState,
    ModelView,
    composite,
    learned,
    market_risk,
    mean_reversion,
    pairs,
    trend,
)
from quant_dagster.strategies.decisions import REASONS
from tests.unit.features.real_panels import bars

DEFAULT = SignalSettings()
RISING = date(2012, 4, 9)
"""AAPL closed at its high after tripling in three years."""
FALLING = date(2008, 11, 20)
"""The low of the autumn of 2008; everything had fallen for months."""


@cache
def state_at(session: date) -> MarketState:
    """What was known of 22 real symbols; the forecast is the mean and deviation of a year of log returns."""
    window = pl.col("session").is_between(date(session.year - 3, session.month, 1), session)
    panel = Panel.from_bars(bars().filter(window))
    assert panel.last_session == session
    frame = compute(panel)
    returns = np.diff(np.log(panel.close[-251:]), axis=0)
    return MarketState(
        symbols=panel.symbols,
        features={name: frame[name][-1] for name in frame.names},
        mean=returns.mean(axis=0),
        volatility=returns.std(axis=0),
        high_volatility=np.full(len(panel.symbols), 0.25),
    )


def with_feature(state: MarketState, symbol: str, **values: float) -> MarketState:
    features = {name: array.copy() for name, array in state.features.items()}
    for name, value in values.items():
        features[name][state.symbols.index(symbol)] = value
    return replace(state, features=features)


def test_trend_follows_a_rising_series() -> None:
    state = state_at(RISING)
    view = trend(state, DEFAULT)
    aapl = state.symbols.index("AAPL")
    assert view.direction[aapl] == 1
    assert view.reasons[aapl] == "trend_long"
    assert view.strength[aapl] > 0.5
    assert view.confidence[aapl] > 0.5


def test_trend_follows_a_falling_market_down() -> None:
    state = state_at(FALLING)
    view = trend(state, DEFAULT)
    known = np.array([reason not in ("no_features", "no_forecast") for reason in view.reasons])
    assert (view.direction[known] == -1).sum() > 0.7 * known.sum()
    assert view.reasons[state.symbols.index("BAC")] == "trend_short"


def reverting(state: MarketState, half_life: object = 10.0, half_life_high: object = 20.0) -> MarketState:
    """The state with an Ornstein-Uhlenbeck fit: z is where the last close stands among the newest 60, less their mean.

    The process's own fit is tested with its family; here it is what the alpha makes of it.
    """
    z = []
    for symbol in state.symbols:
        closes = bars().filter((pl.col("symbol") == symbol) & (pl.col("session") <= day_of(state))).sort("session")
        last = closes["close"].tail(60).to_numpy()
        z.append((last[-1] - last.mean()) / last.std())
    parameters = {"half_life": half_life, "half_life_low": 1.0, "half_life_high": half_life_high}
    model = ModelView(
        horizon=5, mean=state.mean * 5, std=state.volatility * 5**0.5,
        parameters=tuple(dict(parameters) for _ in state.symbols), diagnostics=tuple({"z": value} for value in z),
    )  # fmt: skip
    return replace(state, models={"ornstein_uhlenbeck": model})


def day_of(state: MarketState) -> date:
    return RISING if state.symbols == state_at(RISING).symbols and state.mean is state_at(RISING).mean else FALLING


def test_reversion_leans_against_a_close_far_from_its_level() -> None:
    for session in (RISING, FALLING):
        state = reverting(state_at(session))
        view = mean_reversion(state, DEFAULT)
        z = state.models["ornstein_uhlenbeck"].diagnostic("z")
        far = np.abs(z) >= DEFAULT.reversion_entry_z
        known = np.isfinite(state.features["ewmac_64_256"]) & np.isfinite(state.mean)
        assert (view.direction[known] == np.where(far, -np.sign(z), 0)[known]).all()
        for column in np.flatnonzero(known):
            expected = (
                ("mean_reversion_long" if z[column] < 0 else "mean_reversion_short") if far[column] else "near_mean"
            )
            assert view.reasons[column] == expected
        assert (far & known).sum() >= 2


@pytest.mark.parametrize("half_life", [DEFAULT.longest_half_life * 1.01, float("inf"), 0.0, None, "long"])
def test_what_does_not_revert_in_time_is_not_traded_on(half_life: object) -> None:
    state = reverting(state_at(FALLING), half_life)
    view = mean_reversion(state, DEFAULT)
    assert not view.direction.any()
    assert set(view.reasons) <= {"no_reversion", "no_features", "no_forecast"} and "no_reversion" in view.reasons


def test_without_a_reversion_model_there_is_no_reversion() -> None:
    view = mean_reversion(state_at(FALLING), DEFAULT)
    assert not view.direction.any() and "no_reversion" in view.reasons


def test_a_half_life_that_is_uncertain_or_slow_convinces_less() -> None:
    state = state_at(FALLING)
    sure = mean_reversion(reverting(state, 5.0), DEFAULT)
    slow = mean_reversion(reverting(state, 14.0), DEFAULT)
    unsure = mean_reversion(reverting(state, 5.0, 100.0), DEFAULT)
    spoken = sure.direction != 0
    assert spoken.any()
    assert (sure.confidence > slow.confidence)[spoken].all() and (sure.confidence > unsure.confidence)[spoken].all()


def boosted(state: MarketState, information: object = 0.05) -> MarketState:
    model = ModelView(
        horizon=5, mean=state.mean * 5, std=state.volatility * 5**0.5,
        parameters=tuple({} for _ in state.symbols),
        diagnostics=tuple({"information_coefficient": information} for _ in state.symbols),
    )  # fmt: skip
    return replace(state, models={**state.models, "boosting": model})


def test_the_learned_alpha_follows_its_model() -> None:
    state = boosted(state_at(RISING))
    view = learned(state, DEFAULT)
    ratio = state.mean * 5 / (state.volatility * 5**0.5)
    expected = np.where(np.clip(np.abs(ratio) / 0.5, 0, 1) >= DEFAULT.entry_threshold, np.sign(ratio), 0)
    known = np.isfinite(ratio)
    assert (view.direction[known] == expected[known]).all() and (expected != 0).sum() > 5


@pytest.mark.parametrize("information", [0.0, -0.03, None, float("nan")])
def test_a_learned_model_without_information_is_not_followed(information: object) -> None:
    view = learned(boosted(state_at(RISING), information), DEFAULT)
    assert not view.direction.any() and not view.confidence.any()
    assert "no_information" in view.reasons
    assert "no_model" in learned(state_at(RISING), DEFAULT).reasons


def pair(first: str, second: str, state: str, z: float, hedge: float = 1.0) -> dict[str, object]:
    return {
        "session": RISING, "first": first, "second": second, "formed_on": RISING, "hedge_ratio": hedge,
        "intercept": 0.0,
        "engle_granger_p": 0.001, "johansen_trace": 30.0, "half_life": 8.0, "spread_std": 0.05, "z": z, "state": state,
        "detail": "",
    }  # fmt: skip


def paired(*rows: dict[str, object]) -> MarketState:
    return replace(state_at(RISING), pairs=pl.DataFrame(list(rows), schema=TABLES["pairs"].schema))


def test_a_symbol_holds_the_net_of_its_pairs() -> None:
    state = paired(
        pair("AAPL", "MSFT", "long", -2.5), pair("IBM", "MSFT", "short", 2.5), pair("AAPL", "IBM", "flat", 0.1),
        pair("GE", "KO", "long", -2.5), pair("KO", "GE", "long", -2.5), pair("BAC", "JPM", "broken", 5.0),
        pair("PG", "WMT", "flat", 0.2),
    )  # fmt: skip
    view = pairs(state, DEFAULT)
    said = {s: (view.direction[k], view.reasons[k]) for k, s in enumerate(state.symbols)}
    assert said["AAPL"] == (1, "pairs_long")
    assert said["IBM"] == (-1, "pairs_short")
    assert said["MSFT"] == (0, "pairs_cancel"), "short of one pair, long of the other, of the same size"
    assert said["GE"] == (0, "pairs_cancel")
    assert said["BAC"] == (0, "pair_broken")
    assert said["PG"] == (0, "pairs_near_mean")
    assert said["XOM"] == (0, "no_pair")


def test_both_legs_of_a_pair_are_held_in_proportion() -> None:
    state = paired(pair("AAPL", "MSFT", "long", -3.0, hedge=0.5))
    view = pairs(state, DEFAULT)
    first, second = state.symbols.index("AAPL"), state.symbols.index("MSFT")
    assert (view.direction[first], view.direction[second]) == (1, -1)
    assert view.strength[second] == pytest.approx(0.5 * view.strength[first])
    weaker = pairs(paired(pair("AAPL", "MSFT", "long", -2.0, hedge=0.5)), DEFAULT)
    assert weaker.confidence[first] < view.confidence[first]


def test_the_composite_is_the_weighted_vote_of_the_enabled_sources() -> None:
    state = boosted(reverting(state_at(FALLING)))
    views = {"trend": trend(state, DEFAULT), "mean_reversion": mean_reversion(state, DEFAULT),
             "learned": learned(state, DEFAULT)}  # fmt: skip
    weights = {"trend": 0.5, "mean_reversion": 1.0, "learned": 1.0, "pairs": 0.0}
    view = composite(replace(state, allocation=weights), DEFAULT)
    votes = {name: weights[name] * one.direction * one.strength for name, one in views.items()}
    vote = sum(votes.values()) / 2.5
    voices = sum((np.sign(one) == np.sign(vote)) & (one != 0) for one in votes.values())
    expected = np.where((np.abs(vote) >= DEFAULT.entry_threshold) & (voices >= 2), np.sign(vote), 0)
    known = np.isfinite(state.mean)
    assert (view.direction == expected)[known].all() and (expected != 0).sum() > 5
    assert view.strength[known] == pytest.approx(np.abs(vote)[known])
    best = np.max([one.confidence * (one.direction == np.sign(vote)) for one in views.values()], axis=0)
    assert (view.confidence <= best + 1e-12)[known].all()
    silenced = composite(replace(state, allocation={**weights, "learned": 0.0}), DEFAULT)
    assert np.abs(silenced.direction).sum() < np.abs(view.direction).sum()


def test_the_vote_of_one_source_is_no_vote() -> None:
    state = boosted(reverting(state_at(FALLING)))
    both = SignalSettings(flags={"trend": True, "learned": True, "composite": True})
    assert composite(state, both).direction.any()
    alone = composite(state, SignalSettings(flags={"trend": True, "composite": True}))
    assert not alone.direction.any() and "no_agreement" in alone.reasons
    nobody = composite(state, SignalSettings(flags={"composite": True}))
    assert not nobody.direction.any() and "no_votes" in nobody.reasons


def test_a_falling_knife_is_riskier_to_catch() -> None:
    state = reverting(state_at(FALLING))
    view = mean_reversion(state, DEFAULT)
    plain = market_risk(state)
    bought = view.direction == 1
    falling = state.features["ewmac_64_256"] < 0
    assert (bought & falling).any() and (bought & ~falling).any()
    assert (view.risk[bought & falling] > 0.5 * plain[bought & falling]).all()
    assert view.risk[bought & ~falling] == pytest.approx(0.5 * plain[bought & ~falling])


def test_what_is_absent_says_so_and_has_no_direction() -> None:
    """Features of AAPL that trend and reversion need, and the forecast of MSFT, which every alpha needs."""
    whole = boosted(reverting(state_at(RISING)))
    state = with_feature(whole, "AAPL", ewmac_64_256=float("nan"))
    mean = state.mean.copy()
    mean[state.symbols.index("MSFT")] = float("nan")
    state = replace(state, mean=mean)
    for name, alpha in ALPHAS.items():
        view = alpha(state, DEFAULT)
        expected = {"MSFT": "no_forecast"} | ({"AAPL": "no_features"} if name in ("trend", "mean_reversion") else {})
        for symbol, reason in expected.items():
            column = state.symbols.index(symbol)
            assert (view.direction[column], view.reasons[column]) == (0, reason), name
            assert (view.strength[column], view.confidence[column], view.risk[column]) == (0.0, 0.0, 1.0)


def test_a_higher_threshold_silences_the_weaker_trends_only() -> None:
    state = state_at(RISING)
    low, high = trend(state, DEFAULT), trend(state, DEFAULT.model_copy(update={"entry_threshold": 0.5}))
    strong = low.strength >= 0.5
    assert 0 < strong.sum() < len(strong)
    assert (high.direction == np.where(strong, low.direction, 0)).all()
    assert {high.reasons[i] for i in np.flatnonzero(~strong)} == {"trend_weak"}


@pytest.mark.parametrize("session", [RISING, FALLING])
@pytest.mark.parametrize("name", sorted(ALPHAS))
def test_every_number_lies_between_0_and_1_and_every_code_is_explained(name: str, session: date) -> None:
    state = replace(boosted(reverting(state_at(session))), pairs=paired(pair("AAPL", "MSFT", "long", -3.9)).pairs)
    view = ALPHAS[name](state, DEFAULT)
    for values in (view.strength, view.confidence, view.risk):
        assert ((values >= 0) & (values <= 1)).all()
    assert set(view.direction.tolist()) <= {-1, 0, 1}
    assert view.direction.any() and set(view.reasons) <= set(REASONS)


def test_unknown_risk_is_the_highest() -> None:
    state = state_at(RISING)
    assert (market_risk(replace(state, high_volatility=np.full(len(state.symbols), np.nan))) == 1.0).all()
