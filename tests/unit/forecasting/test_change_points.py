"""Change points: the statistic against its definition, the level on noise, planted and real breaks."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from numpy.typing import NDArray

from quant_dagster.forecasting.spectrum.change_points import (
    BASE,
    COMPONENTS,
    FEWEST,
    LAG,
    LEVEL,
    REFRESH,
    TESTED,
    detect_changes,
    sum_of_squared_weights,
    threshold,
)
from tests.unit.forecasting.real_returns import columns, stock_panel

FloatArray = NDArray[np.float64]


def noise(sessions: int, series: int, seed: int = 11) -> FloatArray:
    return np.random.default_rng(seed).normal(size=(sessions, series))


def defined_distance(x: FloatArray, t: int) -> float:
    """S at row t by the trajectory matrices themselves (Moskvina & Zhigljavsky 2003, section 3)."""
    start = (t - FEWEST) // REFRESH * REFRESH
    base = np.array([x[start + k : start + k + LAG] for k in range(BASE - LAG + 1)]).T
    left, values, _ = np.linalg.svd(base, full_matrices=False)
    span = left[:, :COMPONENTS]
    tested = np.array([x[t - LAG + 1 - q : t + 1 - q] for q in range(TESTED)]).T
    away = np.sum(tested**2) - np.sum((span.T @ tested) ** 2)
    return float(away / tested.size / (np.sum(values[COMPONENTS:] ** 2) / base.size))


def test_the_distance_is_that_of_its_definition() -> None:
    x = np.append(noise(400, 1)[:, 0], 2.0 * noise(300, 1, 12)[:, 0])
    found = detect_changes(*columns(x)).distance[:, 0]
    rows = [FEWEST, FEWEST + 1, FEWEST + REFRESH - 1, FEWEST + REFRESH, 420, 650, 699]
    np.testing.assert_allclose(found[rows], [defined_distance(x, t) for t in rows], rtol=1e-10)
    assert np.isnan(found[:FEWEST]).all()


@pytest.mark.parametrize(("lag", "tested"), [(1, 1), (16, 16), (30, 7)])
def test_the_weights_of_the_threshold_are_how_often_a_value_is_in_the_tested_vectors(lag: int, tested: int) -> None:
    weights = np.convolve(np.ones(lag), np.ones(tested))
    assert sum_of_squared_weights(lag, tested) == pytest.approx(np.sum(weights**2))


def test_the_threshold_is_the_quantile_of_the_difference_of_two_averages_of_squared_noise() -> None:
    squares = noise(400_000, 1)[:, 0] ** 2
    weights = np.convolve(np.ones(LAG), np.ones(TESTED)) / (LAG * TESTED)
    average = np.convolve(squares, weights, "valid")
    apart = average[len(weights) :] - average[: -len(weights)]
    assert np.sqrt(apart.var()) == pytest.approx(threshold(0.05) / 1.6448536, rel=0.02)
    assert np.mean(apart > threshold(0.05)) == pytest.approx(0.05, abs=0.01)


def test_stationary_noise_is_called_a_change_less_often_than_the_level() -> None:
    changes = detect_changes(noise(1000, 300), np.full(300, 1000))
    assert changes.declared[FEWEST:].mean() < LEVEL
    assert changes.declared.any(axis=0).mean() < 0.1


def test_a_planted_break_of_the_volatility_is_found_within_the_vectors_tested() -> None:
    x = noise(700, 200)
    x[500:] *= 2.0
    changes = detect_changes(x, np.full(200, 700))
    after = changes.declared[500:]
    delay = np.where(after.any(axis=0), after.argmax(axis=0), 999)
    assert np.mean(delay <= LAG + TESTED) > 0.9
    assert 5 < np.median(delay) < 22
    found = np.flatnonzero(delay < 100)
    onset = changes.onset[500 + delay[found], found]
    assert abs(np.median(onset) - 500) <= 5
    assert np.median(after.sum(axis=0)) == 1  # the new volatility becomes the normal one


def test_a_planted_cycle_that_is_not_in_the_base_is_found() -> None:
    x = noise(700, 100)
    x[500:] += 3.0 * np.sin(np.arange(200.0) * 2 * np.pi / 8)[:, None]
    changes = detect_changes(x, np.full(100, 700))
    assert changes.declared[500:560].any(axis=0).mean() > 0.8


def test_a_cycle_that_goes_on_is_no_change() -> None:
    x = noise(1000, 100) + 3.0 * np.sin(np.arange(1000.0) * 2 * np.pi / 8)[:, None]
    assert detect_changes(x, np.full(100, 1000)).declared.any(axis=0).mean() < 0.1


def test_march_2020_is_a_change_of_large_stocks_and_the_summer_before_is_not() -> None:
    panel = stock_panel(date(2020, 6, 30), 801)
    returns = np.diff(np.log(panel.close), axis=0)
    sessions = panel.sessions[1:]
    changes = detect_changes(returns, np.full(20, 800))
    crash = (sessions >= np.datetime64("2020-02-20")) & (sessions <= np.datetime64("2020-03-31"))
    summer = (sessions >= np.datetime64("2019-06-01")) & (sessions <= np.datetime64("2019-09-30"))
    assert changes.declared[crash].any(axis=0).sum() >= 18
    assert changes.declared[summer].any(axis=0).sum() <= 5
    first = [sessions[crash][column.argmax()] for column in changes.declared[crash].T if column.any()]
    assert np.median(np.array(first).astype(np.int64)) <= np.datetime64("2020-03-13").astype(np.int64)


def test_what_is_said_of_a_session_does_not_depend_on_later_ones() -> None:
    returns = np.diff(np.log(stock_panel(sessions=801).close), axis=0)
    full = detect_changes(returns, np.full(20, 800))
    for stop in (FEWEST + 1, 500, 731):
        cut = detect_changes(returns[:stop], np.full(20, stop))
        for name in ("statistic", "distance", "declared", "onset", "since"):
            np.testing.assert_array_equal(getattr(cut, name), getattr(full, name)[:stop])


def test_sessions_are_counted_from_the_newest_change() -> None:
    x = noise(800, 1)
    x[500:] *= 3.0
    changes = detect_changes(x, np.array([800]))
    (at,) = np.flatnonzero(changes.declared[:, 0])
    assert changes.since[at - 1 : at + 3, 0].tolist() == [-1, 0, 1, 2]
    assert changes.onset[at - 1, 0] == -1
    assert changes.onset[-1, 0] == changes.onset[at, 0] <= at
    assert changes.statistic[at, 0] > 1.0


def test_short_and_constant_series_have_no_changes() -> None:
    changes = detect_changes(*columns(noise(700, 1)[:, 0], noise(FEWEST, 1)[:, 0], np.zeros(700)))
    assert np.isnan(changes.statistic[:, 1]).all()
    assert not changes.declared[:, 1:].any()
    assert (changes.statistic[FEWEST:, 2] == 0.0).all()
