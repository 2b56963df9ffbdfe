"""Spectra that groups share, against the stacked trajectory matrix; and both spectral families on real prices."""

from __future__ import annotations

import json

import numpy as np
import pytest

from quant_dagster.errors import ConfigurationError
from quant_dagster.forecasting.families.protocol import NOT_ASKED, Answer, Reply, Request
from quant_dagster.forecasting.families.spectrum import mssa_family, ssa_family
from quant_dagster.forecasting.history import return_history
from quant_dagster.forecasting.parameters import ForecastParameters
from quant_dagster.forecasting.spectrum.multivariate import correlation_blocks, forecast_groups
from quant_dagster.forecasting.spectrum.singular import FITTED, NOT_TRIED, TOO_SHORT, forecast_spectrum
from quant_dagster.market_data.panel import Panel
from tests.unit.forecasting.real_returns import columns, panel_of, stock_panel
from tests.unit.forecasting.test_singular_spectrum import averages


def request_of(panel: Panel, settings: ForecastParameters | None = None) -> Request:
    settings = settings or ForecastParameters(window=700)
    history = return_history(panel, settings.window, settings.longest_gap)
    tried = (history.counts >= settings.min_observations) & (history.stale == 0)
    return Request(history, (1, 5), settings, 1, tried, panel.last(settings.window + 1))


def test_a_group_is_decomposed_as_its_stacked_trajectory_matrix() -> None:
    logs = np.log(stock_panel().close[:, :4])
    paths = [logs[:, 0] - logs[:, 0].mean(), logs[-500:, 1] - logs[-500:, 1].mean(), logs[:, 2] - logs[:, 2].mean()]
    window, components, steps = 40, 5, 8
    scales = [np.sqrt(np.mean(x**2)) for x in paths]
    matrices = [
        np.array([x[i : i + window] for i in range(len(x) - window + 1)]).T / scale
        for x, scale in zip(paths, scales, strict=True)
    ]
    stacked = np.hstack(matrices)
    left, values, right = np.linalg.svd(stacked, full_matrices=False)
    kept = (left[:, :components] * values[:components]) @ right[:components]
    pi = left[-1, :components]
    recurrence = left[:-1, :components] @ pi / (1 - pi @ pi)
    got = forecast_groups(*columns(*paths), np.zeros(3, np.int64), window=window, components=components, steps=steps)
    at = 0
    for j, (x, scale) in enumerate(zip(paths, scales, strict=True)):
        width = len(x) - window + 1
        path = averages(kept[:, at : at + width]).tolist()
        at += width
        for _ in range(steps):
            path.append(float(np.dot(path[-window + 1 :], recurrence)))
        np.testing.assert_allclose(got.reconstruction[j, : len(x)], scale * np.array(path[: len(x)]), atol=1e-12)
        np.testing.assert_allclose(got.path[j], scale * np.array(path[len(x) :]), atol=1e-11)
        np.testing.assert_allclose(got.shares[j], values[:components] ** 2 / np.sum(values**2), atol=1e-14)


def test_a_group_of_one_is_a_series_alone() -> None:
    paths = np.log(stock_panel().close[:, :6])
    counts = np.full(6, len(paths))
    alone = forecast_spectrum(paths, counts, window=60, components=6, steps=5)
    groups = forecast_groups(paths, counts, np.arange(6), window=60, components=6, steps=5)
    np.testing.assert_allclose(groups.path, alone.path, rtol=1e-11)
    np.testing.assert_allclose(groups.noise_std, alone.noise_std, rtol=1e-9)


def test_a_cycle_that_a_group_shares_is_seen_better_together() -> None:
    t = np.arange(300.0)
    rng = np.random.default_rng(4)
    cycle = np.sin(2 * np.pi * (t[:, None] / 25 + rng.uniform(size=20)))
    noisy = cycle[:280] + 3.0 * rng.normal(size=(280, 20))
    counts = np.full(20, 280)
    alone = forecast_spectrum(noisy, counts, window=60, components=2, steps=20)
    together = forecast_groups(noisy, counts, np.zeros(20, np.int64), window=60, components=2, steps=20)
    future = cycle[280:].T
    assert np.mean((together.path - future) ** 2) < 0.5 * np.mean((alone.path - future) ** 2)


def test_symbols_out_of_the_groups_or_too_short_have_no_numbers() -> None:
    paths = np.log(stock_panel().close[:, :3])
    counts = np.array([len(paths), 50, len(paths)])
    found = forecast_groups(paths, counts, np.array([0, 0, -1]), window=60, components=4, steps=2)
    assert found.status.tolist() == [FITTED, TOO_SHORT, NOT_TRIED]
    assert np.isfinite(found.path[0]).all() and np.isnan(found.path[1:]).all()


def test_too_many_components_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="mssa: 60 components"):
        forecast_groups(np.ones((200, 1)), np.array([200]), np.zeros(1, np.int64), window=60, components=60, steps=1)


def test_blocks_keep_together_what_moves_together() -> None:
    rng = np.random.default_rng(8)
    factors = rng.normal(size=(250, 3))
    member = np.tile(np.arange(3), 20)
    returns = factors[:, member] + 0.5 * rng.normal(size=(250, 60))
    blocks = correlation_blocks(returns, 20)
    assert np.bincount(blocks).tolist() == [20, 20, 20]
    for factor in range(3):
        assert len(set(blocks[member == factor].tolist())) == 1


def test_blocks_differ_in_size_by_one_at_most_and_hold_constant_columns() -> None:
    returns = np.diff(np.log(stock_panel().close), axis=0)[-250:].copy()
    returns[:, 3] = 0.0
    sizes = np.bincount(correlation_blocks(returns, 6))
    assert sizes.sum() == 20 and sizes.max() - sizes.min() <= 1
    assert correlation_blocks(returns[:, :2], 25).tolist() == [0, 0]


def answers(replies: list[Reply]) -> dict[int, Answer]:
    return {j: reply for j, reply in enumerate(replies) if isinstance(reply, Answer)}


def test_the_ssa_family_forecasts_the_difference_along_the_path_with_the_naive_variance() -> None:
    panel = stock_panel().last(701)
    request = request_of(panel)
    found = answers(ssa_family(request))
    assert len(found) >= 18
    path = np.log(panel.close)
    path -= path.mean(axis=0)
    want = forecast_spectrum(path, np.full(20, 701), window=60, components=6, steps=5)
    for j, answer in found.items():
        np.testing.assert_allclose(answer.mean, (want.path[j] - want.last[j])[[0, 4]], atol=1e-11)
        np.testing.assert_allclose(answer.std, np.sqrt(request.history.variance[j] * np.array([1, 5])))
        assert answer.diagnostics["device"] == "cpu"


def test_the_ssa_family_reports_the_change_of_march_2020() -> None:
    found = answers(ssa_family(request_of(stock_panel())))
    since = [answer.diagnostics["sessions_since_change"] for answer in found.values()]
    assert sum(isinstance(sessions, int) and 50 <= sessions <= 95 for sessions in since) >= 15
    assert all(isinstance(answer.diagnostics["change_statistic"], float) for answer in found.values())


@pytest.mark.parametrize("family", [ssa_family, mssa_family])
def test_a_spectral_forecast_does_not_depend_on_later_sessions(family: object) -> None:
    assert callable(family)
    panel = stock_panel()
    longer = panel_of(panel.close, panel.symbols, panel.sessions)
    cut = panel_of(panel.close[:1150].copy(), panel.symbols, panel.sessions[:1150])
    one, other = family(request_of(longer.rows(0, 1150))), family(request_of(cut))
    for a, b in zip(one, other, strict=True):
        assert isinstance(a, Answer) == isinstance(b, Answer)
        if isinstance(a, Answer) and isinstance(b, Answer):
            assert a.mean.tolist() == b.mean.tolist()
            assert (a.parameters, a.diagnostics) == (b.parameters, b.diagnostics)


def test_the_mssa_family_keeps_its_policy_and_what_it_did_with_the_forecast() -> None:
    found = answers(mssa_family(request_of(stock_panel())))
    assert len(found) >= 18
    tables = {json.dumps(answer.parameters["policy"], sort_keys=True) for answer in found.values()}
    assert len(tables) == 1
    assert len(tables.pop()) < 4000
    done = {answer.diagnostics["intervention"] for answer in found.values()}
    assert done <= {None, "keep", "shrink", "refit"}
    for answer in found.values():
        if answer.diagnostics["intervention"] == "shrink":
            assert answer.mean.tolist() == [0.0, 0.0]


def test_a_symbol_with_a_gap_takes_part_with_what_follows_it_or_says_why_not() -> None:
    closes = stock_panel().close.copy()
    closes[-600, 0] = np.nan
    closes[-100, 1] = np.nan
    replies = mssa_family(request_of(panel_of(closes)))
    first, second = replies[0], replies[1]
    assert isinstance(first, Answer) and first.diagnostics["observations"] == 598
    assert second == f"99 sessions without a gap to {panel_of(closes).last_session}; the groups need 250"


def test_symbols_that_are_not_asked_are_left_alone() -> None:
    request = request_of(stock_panel().last(100), ForecastParameters(window=700))
    assert ssa_family(request) == [NOT_ASKED] * 20
    assert mssa_family(request) == [NOT_ASKED] * 20


def test_a_card_that_is_not_there_is_recorded_and_changes_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    panel = stock_panel().last(401)
    asked = answers(mssa_family(request_of(panel, ForecastParameters(window=700, ssa_device="cuda"))))
    plain = answers(mssa_family(request_of(panel)))
    for j, answer in asked.items():
        assert answer.diagnostics["device"] == "cpu: torch is not installed"
        assert answer.mean.tolist() == plain[j].mean.tolist()


def test_torch_gives_the_groups_the_numbers_of_numpy() -> None:
    pytest.importorskip("torch")
    paths = np.log(stock_panel().close)
    paths = paths - paths.mean(axis=0)
    counts = np.array([len(paths), 400] * 10)
    groups = np.arange(20) % 3
    want = forecast_groups(paths, counts, groups, window=60, components=6, steps=10)
    got = forecast_groups(paths, counts, groups, window=60, components=6, steps=10, device="torch")
    np.testing.assert_allclose(got.path, want.path, atol=1e-11)
    np.testing.assert_allclose(got.shares, want.shares, atol=1e-14)
