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
from quant_dagster.strategies.alphas import ALPHAS, MarketState, market_risk, mean_reversion, trend
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


def test_reversion_leans_against_a_close_far_from_its_mean() -> None:
    """The direction is against the 20-session z of the close, computed here from the closes themselves."""
    for session in (RISING, FALLING):
        state = state_at(session)
        view = mean_reversion(state, DEFAULT)
        closes = bars().filter(pl.col("session") <= session).sort("session")
        spoken = 0
        for column, symbol in enumerate(state.symbols):
            last = closes.filter(pl.col("symbol") == symbol)["close"].tail(20).to_numpy()
            z = (last[-1] - last.mean()) / last.std()
            far = abs(z) >= DEFAULT.reversion_entry_z
            assert view.direction[column] == (-np.sign(z) if far else 0), f"{symbol} {session}: z {z}"
            assert view.reasons[column] == (
                ("mean_reversion_long" if z < 0 else "mean_reversion_short") if far else "near_mean"
            )
            spoken += far
        assert spoken >= 2


def test_a_falling_knife_is_riskier_to_catch() -> None:
    state = state_at(FALLING)
    view = mean_reversion(state, DEFAULT)
    plain = market_risk(state)
    bought = view.direction == 1
    falling = state.features["ewmac_64_256"] < 0
    assert (bought & falling).any() and (bought & ~falling).any()
    assert (view.risk[bought & falling] > 0.5 * plain[bought & falling]).all()
    assert view.risk[bought & ~falling] == pytest.approx(0.5 * plain[bought & ~falling])


def test_what_is_absent_says_so_and_has_no_direction() -> None:
    state = with_feature(state_at(RISING), "AAPL", ewmac_64_256=float("nan"))
    msft = state.symbols.index("MSFT")
    state.mean[msft], keep = float("nan"), state.mean[msft]
    try:
        for name, alpha in ALPHAS.items():
            view = alpha(state, DEFAULT)
            for symbol, reason in (("AAPL", "no_features"), ("MSFT", "no_forecast")):
                column = state.symbols.index(symbol)
                assert (view.direction[column], view.reasons[column]) == (0, reason), name
                assert (view.strength[column], view.confidence[column], view.risk[column]) == (0.0, 0.0, 1.0)
    finally:
        state.mean[msft] = keep


def test_a_higher_threshold_silences_the_weaker_trends_only() -> None:
    state = state_at(RISING)
    low, high = trend(state, DEFAULT), trend(state, DEFAULT.model_copy(update={"entry_threshold": 0.5}))
    strong = low.strength >= 0.5
    assert 0 < strong.sum() < len(strong)
    assert (high.direction == np.where(strong, low.direction, 0)).all()
    assert {high.reasons[i] for i in np.flatnonzero(~strong)} == {"trend_weak"}


@pytest.mark.parametrize("session", [RISING, FALLING])
@pytest.mark.parametrize("name", sorted(ALPHAS))
def test_every_number_lies_between_0_and_1(name: str, session: date) -> None:
    view = ALPHAS[name](state_at(session), DEFAULT)
    for values in (view.strength, view.confidence, view.risk):
        assert ((values >= 0) & (values <= 1)).all()
    assert set(view.direction.tolist()) <= {-1, 0, 1}


def test_unknown_risk_is_the_highest() -> None:
    state = state_at(RISING)
    assert (market_risk(replace(state, high_volatility=np.full(len(state.symbols), np.nan))) == 1.0).all()
