"""No value knows its future: cutting the panel after any session leaves every bit up to it as it was."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_dagster.features import compute as compute_module
from quant_dagster.features.compute import compute
from quant_dagster.features.definitions import FEATURES, View
from quant_dagster.market_data.panel import FIELDS, Panel
from tests.unit.features.real_panels import mixed_panel, with_gaps


def assert_same_bits(actual: np.ndarray, expected: np.ndarray) -> None:
    """Equal bit for bit; NaN equals NaN."""
    different = (actual.view(np.int64) != expected.view(np.int64)) & ~(np.isnan(actual) & np.isnan(expected))
    if different.any():
        k, j, t = np.argwhere(different)[0]
        raise AssertionError(f"{list(FEATURES)[k]} of symbol {j} at row {t}: {actual[k, j, t]} != {expected[k, j, t]}")


@settings(max_examples=40, deadline=None)
@given(t=st.integers(1, 619), share=st.sampled_from([0.0, 0.01, 0.1]), seed=st.integers(0, 5))
def test_earlier_rows_do_not_change_when_sessions_are_added(t: int, share: float, seed: int) -> None:
    panel = with_gaps(mixed_panel(), share, seed)
    t = min(t, len(panel.sessions) - 1)
    before, after = compute(panel.rows(0, t)), compute(panel.rows(0, t + 1))
    assert_same_bits(after.values[:, :, :t], before.values)


@pytest.mark.parametrize("t", [1, 5, 19, 20, 21, 60, 61, 252, 253, 256, 400, 500])
def test_nothing_after_a_session_reaches_it(t: int) -> None:
    panel = mixed_panel()
    changed = {field: getattr(panel, field).copy(order="F") for field in FIELDS}
    for array in changed.values():
        array[t:] *= 1.7
    tampered = Panel(sessions=panel.sessions, symbols=panel.symbols, **changed)
    assert_same_bits(compute(tampered).values[:, :, :t], compute(panel).values[:, :, :t])


def test_today_does_reach_today() -> None:
    """The test above can fail: every price feature of a stock with all fields answers to a change of its row."""
    panel = mixed_panel()
    row, column = 500, panel.symbols.index("IBM")
    changed = {field: getattr(panel, field).copy(order="F") for field in FIELDS}
    for step, field in enumerate(FIELDS):
        changed[field][row, column] *= 1.02 + 0.01 * step
    changed["high"][row, column] *= 1.2
    before, after = compute(panel), compute(Panel(sessions=panel.sessions, symbols=panel.symbols, **changed))
    late = {f"return_1_lag_{lag}" for lag in (1, 5, 10, 20)} | {f"momentum_{n}_1" for n in (3, 6, 12)}
    late |= {"rank_momentum_12_1", "return_min_60", "return_min_20"}
    late |= {"seasonal_weekday", "seasonal_month"}  # of earlier sessions alone
    for name, feature in FEATURES.items():
        if feature.view is not View.CALENDAR and name not in late:
            assert before[name][row, column] != after[name][row, column], name


def test_numbers_do_not_depend_on_threads_or_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    panel = with_gaps(mixed_panel(), 0.02, seed=1)
    expected = compute(panel, threads=1).values
    assert_same_bits(compute(panel, threads=4).values, expected)
    monkeypatch.setattr(compute_module, "_BLOCK", 3)
    assert_same_bits(compute(panel, threads=2).values, expected)


def test_windowed_features_need_only_their_window() -> None:
    """A value depends on nothing before its window: the tail of the panel gives the same bits."""
    panel = mixed_panel()
    whole, tail = compute(panel), compute(panel.last(300))
    recursive = {"rsi_14", "atr_14", "volatility_ewma", "macd", "macd_signal", "macd_histogram"}
    recursive |= {"plus_di_14", "minus_di_14", "adx_14"}
    recursive |= {name for name in FEATURES if name.startswith(("ewma", "seasonal")) or name.endswith("_effect")}
    windowed = [i for i, name in enumerate(FEATURES) if name not in recursive]
    assert_same_bits(tail.values[windowed][:, :, 260:], whole.values[windowed][:, :, -40:])
