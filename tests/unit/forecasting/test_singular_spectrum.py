"""Singular spectrum analysis against a dense one by the trajectory matrix's singular value decomposition."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from quant_dagster.errors import ConfigurationError
from quant_dagster.forecasting.spectrum import singular
from quant_dagster.forecasting.spectrum.singular import (
    CONSTANT,
    FITTED,
    NOT_TRIED,
    TOO_SHORT,
    VERTICAL,
    Continuation,
    forecast_spectrum,
)
from tests.unit.forecasting.real_returns import columns, index_returns, stock_panel

FloatArray = NDArray[np.float64]


@cache
def passengers() -> FloatArray:
    """Monthly airline passengers 1949 to 1960 (Box & Jenkins)."""
    from sktime.datasets import load_airline

    return np.asarray(load_airline().to_numpy(), np.float64)


def averages(matrix: FloatArray) -> FloatArray:
    """Means over the antidiagonals."""
    rows, width = matrix.shape
    return np.array([matrix[::-1].diagonal(k - rows + 1).mean() for k in range(rows + width - 1)])


def dense(x: FloatArray, window: int, components: int, steps: int, continuation: Continuation) -> dict[str, FloatArray]:
    """Basic SSA as it is written in Golyandina, Nekrutkin & Zhigljavsky (2001), chapters 1 and 2."""
    trajectories = np.array([x[i : i + window] for i in range(len(x) - window + 1)]).T
    left, values, right = np.linalg.svd(trajectories, full_matrices=False)
    kept = (left[:, :components] * values[:components]) @ right[:components]
    smooth = averages(kept)
    pi = left[-1, :components]
    vertical = pi @ pi
    recurrence = left[:-1, :components] @ pi / (1 - vertical)
    if continuation is Continuation.RECURRENT:
        path = smooth.tolist()
        for _ in range(steps):
            path.append(float(np.dot(path[-window + 1 :], recurrence)))
    else:
        upper = left[:-1, :components]
        projection = upper @ upper.T + (1 - vertical) * np.outer(recurrence, recurrence)
        vectors = list(kept.T)
        for _ in range(steps + window - 1):
            shifted = vectors[-1][1:]
            vectors.append(np.append(projection @ shifted, recurrence @ shifted))
        path = averages(np.array(vectors).T)[: len(x) + steps].tolist()
    return {
        "shares": values[:components] ** 2 / np.sum(values**2),
        "coefficients": recurrence,
        "reconstruction": smooth,
        "path": np.array(path[len(x) :]),
    }


@pytest.mark.parametrize("continuation", list(Continuation))
@pytest.mark.parametrize(("window", "components"), [(24, 1), (24, 7), (60, 13), (72, 14)])
def test_airline_passengers_are_decomposed_and_continued_as_by_the_dense_method(
    continuation: Continuation, window: int, components: int
) -> None:
    x = passengers()
    want = dense(x, window, components, 12, continuation)
    got = forecast_spectrum(*columns(x), window=window, components=components, steps=12, continuation=continuation)
    np.testing.assert_allclose(got.shares[0], want["shares"], atol=1e-14)
    np.testing.assert_allclose(got.coefficients[0], want["coefficients"], atol=1e-11)
    np.testing.assert_allclose(got.reconstruction[0], want["reconstruction"], rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(got.path[0], want["path"], rtol=1e-10)
    assert got.noise_std[0] == pytest.approx(np.sqrt(np.mean((x - want["reconstruction"]) ** 2)), rel=1e-9)
    assert got.last[0] == got.reconstruction[0, -1]


def test_a_series_of_finite_rank_is_continued_exactly() -> None:
    t = np.arange(200.0)
    x = np.stack([1.01**t * np.cos(2 * np.pi * t / 12), 3.0 + 0.5 * t, np.sin(t / 3) + np.cos(t / 7)], axis=1)
    future = np.arange(200.0, 220.0)
    want = [1.01**future * np.cos(2 * np.pi * future / 12), 3.0 + 0.5 * future, np.sin(future / 3) + np.cos(future / 7)]
    for j, rank in enumerate((2, 2, 4)):
        got = forecast_spectrum(x[:, j : j + 1], np.array([200]), window=50, components=rank, steps=20)
        np.testing.assert_allclose(got.path[0], want[j], rtol=1e-8, atol=1e-9)
        assert got.noise_std[0] < 1e-9 * np.abs(x[:, j]).max()


def test_many_paths_of_different_length_agree_with_the_dense_method_to_twelve_digits() -> None:
    index = np.cumsum(index_returns("sp500"))
    paths = [index - index.mean(), index[-119:] - index[-1], *(np.log(stock_panel().close).T - 3.0)]
    got = forecast_spectrum(*columns(*paths), window=60, components=6, steps=10)
    for j, x in enumerate(paths):
        want = dense(x, 60, 6, 10, Continuation.RECURRENT)
        np.testing.assert_allclose(got.reconstruction[j, : len(x)], want["reconstruction"], atol=1e-11)
        np.testing.assert_allclose(got.path[j], want["path"], atol=1e-11)
        assert np.isnan(got.reconstruction[j, len(x) :]).all()


def test_a_path_does_not_depend_on_its_neighbours() -> None:
    paths = np.log(stock_panel().close)
    together = forecast_spectrum(paths, np.full(20, len(paths)), window=60, components=6, steps=5)
    alone = forecast_spectrum(paths[:, 7:8], np.array([len(paths)]), window=60, components=6, steps=5)
    np.testing.assert_allclose(together.path[7], alone.path[0], rtol=1e-13)
    np.testing.assert_allclose(together.reconstruction[7], alone.reconstruction[0], rtol=1e-13)


def test_what_cannot_be_decomposed_is_named() -> None:
    x = np.random.default_rng(1).normal(size=200).cumsum()
    series, counts = columns(x, x[:60], np.zeros(200), np.append(np.zeros(199), 1.0), x)
    tried = np.array([True, True, True, True, False])
    got = forecast_spectrum(series, counts, window=40, components=2, steps=3, tried=tried)
    assert got.status.tolist() == [FITTED, TOO_SHORT, CONSTANT, VERTICAL, NOT_TRIED]
    assert np.isfinite(got.path[0]).all() and np.isnan(got.path[1:]).all()
    assert set(singular.REASONS) == {TOO_SHORT, CONSTANT, VERTICAL, NOT_TRIED}


def test_as_many_components_as_coordinates_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="10 components of lagged vectors of 10"):
        forecast_spectrum(*columns(passengers()), window=10, components=10, steps=1)


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="ssa_device is 'tpu'; allowed are cpu, cuda"):
        forecast_spectrum(*columns(passengers()), window=10, components=3, steps=1, device="tpu")


def test_without_a_graphics_card_the_processor_does_it_and_the_record_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)  # an import of torch raises ModuleNotFoundError
    asked = forecast_spectrum(*columns(passengers()), window=24, components=5, steps=6, device="cuda")
    plain = forecast_spectrum(*columns(passengers()), window=24, components=5, steps=6)
    assert asked.device == "cpu: torch is not installed"
    assert plain.device == "cpu"
    assert asked.path.tolist() == plain.path.tolist()


@pytest.mark.parametrize("continuation", list(Continuation))
def test_torch_gives_the_numbers_of_numpy(continuation: Continuation) -> None:
    pytest.importorskip("torch")
    paths = np.log(stock_panel().close)
    paths = paths - paths.mean(axis=0)
    counts = np.array([len(paths), 400] * 10)
    want = forecast_spectrum(paths, counts, window=60, components=6, steps=10, continuation=continuation)
    got = forecast_spectrum(paths, counts, window=60, components=6, steps=10, continuation=continuation, device="torch")
    assert got.device == "cpu by torch"
    np.testing.assert_allclose(got.path, want.path, atol=1e-11)
    np.testing.assert_allclose(got.reconstruction, want.reconstruction, atol=1e-11)
    np.testing.assert_allclose(got.shares, want.shares, atol=1e-14)
