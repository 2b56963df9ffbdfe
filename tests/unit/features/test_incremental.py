"""A state that takes one session after the other gives the bits of the batch."""

from __future__ import annotations

import os
from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_dagster.errors import MalformedDataError
from quant_dagster.features.compute import FeatureFrame, compute
from quant_dagster.features.cross_section import market_return
from quant_dagster.features.definitions import FEATURES
from quant_dagster.features.incremental import FeatureState, advanced, latest_values
from quant_dagster.market_data.panel import FIELDS, Panel
from tests.support.market_data import shared_data
from tests.unit.features.real_panels import mixed_panel, with_gaps


def bars_of(panel: Panel, row: int) -> np.ndarray:
    return np.stack([getattr(panel, field)[row] for field in FIELDS])


def assert_last_column(values: np.ndarray, features: FeatureFrame, row: int, but: frozenset[str] = frozenset()) -> None:
    """Equal bit for bit; NaN equals NaN."""
    expected = np.ascontiguousarray(features.values[:, :, row])
    wrong = (values.view(np.int64) != expected.view(np.int64)) & ~(np.isnan(values) & np.isnan(expected))
    names = {list(FEATURES)[i] for i in np.flatnonzero(wrong.any(axis=1))} - but
    assert not names, f"row {row}: {sorted(names)}"


@pytest.mark.parametrize("share", [0.0, 0.02, 0.2], ids=["complete", "gaps", "many gaps"])
def test_every_session_from_the_first_on_has_the_bits_of_the_batch(share: float) -> None:
    """626 updates of 22 symbols: one of them is listed later, most have closes only, gaps are whole bars or fields."""
    panel = with_gaps(mixed_panel(), share, seed=4)
    features = compute(panel)
    state = FeatureState(panel.symbols)
    for row, session in enumerate(panel.sessions):
        assert_last_column(state.update(session, bars_of(panel, row)), features, row)


@settings(max_examples=12, deadline=None)
@given(start=st.integers(1, 500), share=st.sampled_from([0.0, 0.01, 0.1]), seed=st.integers(0, 1000))
def test_a_state_built_anywhere_goes_on_with_the_bits_of_the_batch(start: int, share: float, seed: int) -> None:
    panel = with_gaps(mixed_panel(), share, seed)
    features = compute(panel)
    state = FeatureState.of(panel.rows(0, start))
    for row in range(start, start + 120):
        assert_last_column(state.update(panel.sessions[row], bars_of(panel, row)), features, row)


@pytest.mark.parametrize("value", [50.1, 0.0, -3.0], ids=["a price that never moves", "a price of zero", "below zero"])
def test_odd_prices_are_taken_as_the_batch_takes_them(value: float) -> None:
    panel = mixed_panel()
    fields = {field: getattr(panel, field).copy(order="F") for field in FIELDS}
    for field in FIELDS:
        fields[field][200:480, 0] = value
    fields["volume"][300:330, 1] = 0.0
    odd = Panel(sessions=panel.sessions, symbols=panel.symbols, **fields)
    features = compute(odd)
    state = FeatureState.of(odd.rows(0, 150))
    for row in range(150, 550):
        assert_last_column(state.update(odd.sessions[row], bars_of(odd, row)), features, row)


def test_a_whole_market_with_its_blemishes_has_the_bits_of_the_batch() -> None:
    """120 sessions of 498 real stocks, with missing sessions, absent volumes and late listings."""
    source = pl.read_parquet(shared_data("us_daily_yahoo_2014_2024.parquet")).rename({"date": "session"})
    panel = Panel.from_bars(source.filter(pl.col("session") < date(2016, 6, 1)))
    features = compute(panel)
    first = len(panel.sessions) - 120
    state = FeatureState.of(panel.rows(0, first))
    for row in range(first, len(panel.sessions)):
        assert_last_column(state.update(panel.sessions[row], bars_of(panel, row)), features, row)


def test_one_symbol_alone_has_the_bits_of_the_whole_market_but_for_ranks() -> None:
    panel = with_gaps(mixed_panel(), 0.02, seed=6)
    features = compute(panel)
    log_close = np.log(panel.close.T)
    market = market_return(np.ascontiguousarray(np.diff(log_close, axis=1, prepend=np.nan)))
    column = panel.symbols.index("GOOG")
    state = FeatureState.of(panel.rows(0, 400)).one("GOOG")
    ranks = frozenset(name for name in FEATURES if name.startswith("rank_"))
    expected = FeatureFrame(
        features.sessions, ("GOOG",), np.ascontiguousarray(features.values[:, [column]]), features.present
    )
    for row in range(400, 520):
        values = state.update(panel.sessions[row], bars_of(panel, row)[:, [column]], float(market[row]))
        assert_last_column(values, expected, row, but=ranks)
        assert np.isnan(values[[list(FEATURES).index(name) for name in ranks]]).all()


def test_latest_values_are_the_last_column() -> None:
    for rows in (1, 2, 30, 300, 626):
        panel = with_gaps(mixed_panel(), 0.01, seed=rows).rows(0, rows)
        assert_last_column(latest_values(panel), compute(panel), rows - 1)


def test_numbers_do_not_depend_on_threads() -> None:
    panel = with_gaps(mixed_panel(), 0.01, seed=2)
    one, more = latest_values(panel, threads=1), latest_values(panel, threads=(os.cpu_count() or 1) + 2)
    np.testing.assert_array_equal(one, more)


def test_a_state_is_carried_on_where_it_fits() -> None:
    panel = with_gaps(mixed_panel(), 0.01, seed=5)
    state, _ = advanced(None, panel.rows(0, 500))
    following, values = advanced(state, panel.rows(0, 501))
    assert following is state
    assert_last_column(values, compute(panel.rows(0, 501)), 500)


@pytest.mark.parametrize("change", ["members", "order", "restated", "rescaled", "sessions between", "same session"])
def test_a_state_that_does_not_fit_is_built_anew(change: str) -> None:
    panel = mixed_panel().rows(0, 502)
    state, _ = advanced(None, panel.rows(0, 500))
    fields = {field: getattr(panel, field)[:501].copy(order="F") for field in FIELDS}
    sessions, symbols = panel.sessions[:501], panel.symbols
    if change == "members":
        fields, symbols = {name: array[:, 1:] for name, array in fields.items()}, symbols[1:]
    elif change == "order":
        fields, symbols = {name: array[:, ::-1] for name, array in fields.items()}, symbols[::-1]
    elif change == "restated":
        fields["close"][350, 3] *= 1.001
    elif change == "rescaled":
        fields["close"][:500, 3] /= 2.0
    elif change == "sessions between":
        fields, sessions = {field: getattr(panel, field) for field in FIELDS}, panel.sessions
    else:
        fields, sessions = {name: array[:500] for name, array in fields.items()}, sessions[:500]
    other = Panel(sessions=sessions, symbols=symbols, **{k: np.asfortranarray(v) for k, v in fields.items()})
    following, values = advanced(state, other)
    assert following is not state
    assert_last_column(values, compute(other), len(sessions) - 1)


def test_a_session_is_not_taken_twice_and_symbols_do_not_shift() -> None:
    panel = mixed_panel()
    state = FeatureState.of(panel.rows(0, 100))
    with pytest.raises(MalformedDataError, match="does not follow"):
        state.update(panel.sessions[99], bars_of(panel, 99))
    with pytest.raises(MalformedDataError, match="22 symbols"):
        state.update(panel.sessions[100], bars_of(panel, 100)[:, :21])
    with pytest.raises(MalformedDataError, match="not among"):
        state.one("TSLA")
    assert_last_column(state.update(panel.sessions[100], bars_of(panel, 100)), compute(panel), 100)


def test_a_panel_without_sessions_has_no_newest_one() -> None:
    with pytest.raises(MalformedDataError, match="no session"):
        advanced(None, mixed_panel().rows(0, 0))
