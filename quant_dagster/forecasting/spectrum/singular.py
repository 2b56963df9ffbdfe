"""Singular spectrum analysis of many series at once: leading components, reconstruction, forecasts.

A series of length N is laid out as the L x K trajectory matrix of its lagged vectors, K = N - L + 1. The matrix is
never made: its leading left singular vectors are those of the L x L lag covariance, which needs the first row and
running differences only; the average over antidiagonals of their projection is, away from the ends, a symmetric
filter, which the Fourier transform applies. Golyandina, Nekrutkin & Zhigljavsky (2001), *Analysis of Time Series
Structure*; Golyandina & Zhigljavsky (2013), *Singular Spectrum Analysis for Time Series*; the filter: Harris & Yan
(2010).

The functions below take the array module they work with, NumPy or torch, so that a graphics card runs the same code.
What the components are used for belongs in ``families.spectrum``; groups of series in ``multivariate``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_dagster.errors import ConfigurationError
from quant_dagster.forecasting.columns import SMALLEST_VARIATION, BoolArray, FloatArray, IntArray

FITTED, NOT_TRIED, TOO_SHORT, CONSTANT, VERTICAL = 0, 1, 2, 3, 4
REASONS = {
    NOT_TRIED: "not asked",
    TOO_SHORT: "too short: twice the length of the lagged vectors is needed",
    CONSTANT: "the series does not vary",
    VERTICAL: "the components leave no recurrence: they span the last coordinate (verticality 1)",
}
DEVICES = ("cpu", "cuda", "torch")
LARGEST_VERTICALITY = 1.0 - 1e-9
_CHUNK = 64  # series at a time: the working set stays in the cache


class Continuation(StrEnum):
    """How a reconstructed series is continued: by its linear recurrence, or by vectors of the components' span."""

    RECURRENT = "recurrent"
    VECTOR = "vector"


@dataclass(frozen=True)
class SpectrumForecasts:
    """Leading components of m series and where they lead.

    Attributes
    ----------
    status
        int8, shape (m,): 0 fitted, else a key of ``REASONS`` (the other entries are then NaN).
    shares
        Shape (m, components): of the trajectory matrix's squared norm, largest first.
    verticality
        Shape (m,): squared cosine between the components' span and the last coordinate, in [0, 1).
    coefficients
        Shape (m, L - 1): of the linear recurrence, for the oldest value first.
    reconstruction
        Shape (m, n): the components' part of each series; NaN beyond its count.
    path
        Shape (m, steps): the values that follow.
    noise_std
        Shape (m,): root mean square of the series less its reconstruction.
    device
        Where it was computed; where that is not what was asked for, it says why.
    """

    status: NDArray[np.int8]
    shares: FloatArray
    verticality: FloatArray
    coefficients: FloatArray
    reconstruction: FloatArray
    path: FloatArray
    noise_std: FloatArray
    device: str

    @property
    def last(self) -> FloatArray:
        """Shape (m,): the reconstruction's newest value."""
        size = np.isfinite(self.reconstruction).sum(axis=1)
        newest = np.maximum(size - 1, 0)[:, None]
        return np.asarray(np.take_along_axis(self.reconstruction, newest, axis=1)[:, 0])

    def without_unfitted(self, counts: IntArray) -> SpectrumForecasts:
        """The same with NaN beyond the counts, and in every entry of a series that was not fitted."""
        unfitted = self.status != FITTED
        self.reconstruction[np.arange(self.reconstruction.shape[1]) >= counts[:, None]] = np.nan
        for array in (self.shares, self.coefficients, self.verticality, self.reconstruction, self.path):
            array[unfitted] = np.nan
        return self

    def noise(self, packed: FloatArray, counts: IntArray) -> FloatArray:
        """Root mean square of the series less their reconstruction; NaN where not fitted."""
        squares = np.where(np.isfinite(self.reconstruction), packed - self.reconstruction, 0.0) ** 2
        noise = np.sqrt(squares.sum(axis=1) / np.maximum(counts, 1))
        return np.asarray(np.where(self.status == FITTED, noise, np.nan))


def forecast_spectrum(
    series: FloatArray,
    counts: IntArray,
    *,
    window: int,
    components: int,
    steps: int,
    tried: BoolArray | None = None,
    continuation: Continuation = Continuation.RECURRENT,
    device: str = "cpu",
) -> SpectrumForecasts:
    """Decompose every column, keep the leading components and continue them ``steps`` values.

    Parameters
    ----------
    series
        float64, shape (n, m): column j holds ``counts[j]`` values, oldest first, from the top; the rest is not read.
        It is analysed as it is: take its mean off first where its level is of no interest.
    window
        Length L of the lagged vectors; a series needs 2 L - 1 values at least.
    components
        Number of leading components, 1 to L - 1.
    device
        ``cpu`` (NumPy), ``torch`` (torch on the processor) or ``cuda``. Without torch or a graphics card ``cuda`` is
        done on the processor, and ``SpectrumForecasts.device`` says so.

    Raises
    ------
    ConfigurationError
        For components, a window or a device out of range.
    """
    if window < 2 or not 1 <= components < window:
        raise ConfigurationError(f"ssa: {components} components of lagged vectors of {window}; allowed are 1 to L - 1")
    n, m = series.shape
    wanted = np.ones(m, np.bool_) if tried is None else tried
    status = np.where(counts < 2 * window - 1, TOO_SHORT, FITTED).astype(np.int8)
    status[~wanted] = NOT_TRIED
    xp, kind, used = array_module(device)
    shares, coefficients = np.full((m, components), np.nan), np.full((m, window - 1), np.nan)
    verticality, reconstruction = np.full(m, np.nan), np.full((m, n), np.nan)
    path = np.full((m, steps), np.nan)
    packed = packed_rows(series, counts)
    status[(status == FITTED) & without_variation(packed)] = CONSTANT
    chosen = np.flatnonzero(status == FITTED)
    step = max(1, len(chosen)) if kind == "cuda" else _CHUNK
    for first in range(0, len(chosen), step):
        at = chosen[first : first + step]
        x, size = on_device(xp, kind, packed[at]), on_device(xp, kind, counts[at])
        covariance = lag_covariances(xp, x, size, window)
        values, vectors = leading_vectors(xp, covariance, components)
        smooth = reconstruct(xp, x, size, vectors)
        recurrence, vertical = linear_recurrence(xp, vectors)
        if continuation is Continuation.RECURRENT:
            ahead = continue_recurrence(xp, newest(xp, smooth, size, window - 1), recurrence, steps)
        else:
            ahead = continue_vectors(xp, newest(xp, x, size, window), vectors, recurrence, vertical, steps)
        norm = on_host(covariance)[:, np.arange(window), np.arange(window)].sum(axis=1)
        shares[at] = on_host(values) / norm[:, None]
        coefficients[at], verticality[at] = on_host(recurrence), on_host(vertical)
        reconstruction[at], path[at] = on_host(smooth), on_host(ahead)
    status[(status == FITTED) & ~(verticality < LARGEST_VERTICALITY)] = VERTICAL
    forecasts = SpectrumForecasts(
        status, shares, verticality, coefficients, reconstruction, path, np.full(m, np.nan), used
    )
    return replace(forecasts.without_unfitted(counts), noise_std=forecasts.noise(packed, counts))


def packed_rows(series: FloatArray, counts: IntArray) -> FloatArray:
    """Series as rows, shape (m, n), C order, zeros beyond the counts."""
    return np.ascontiguousarray(np.where(np.arange(series.shape[0]) < counts[:, None], series.T, 0.0))


def root_mean_square(packed: FloatArray, counts: IntArray) -> FloatArray:
    """Of each row's values, shape (m,)."""
    return np.asarray(np.sqrt((packed**2).sum(axis=1) / np.maximum(counts, 1)))


def without_variation(packed: FloatArray) -> BoolArray:
    """Rows that are zero but for rounding: their components are of nothing."""
    return np.asarray(~(np.abs(packed).max(axis=1, initial=0.0) > SMALLEST_VARIATION))


def array_module(device: str) -> tuple[Any, str, str]:
    """The array module, the kind of device it works on, and what to record of it.

    Raises
    ------
    ConfigurationError
        For a device that does not exist, or ``torch`` without torch.
    """
    if device not in DEVICES:
        raise ConfigurationError(f"forecasting.ssa_device is '{device}'; allowed are {', '.join(DEVICES)}")
    if device == "cpu":
        return np, "cpu", "cpu"
    try:
        torch = import_module("torch")
    except ModuleNotFoundError:
        if device == "torch":
            raise ConfigurationError("ssa: device 'torch' needs torch, which is not installed; use 'cpu'") from None
        return np, "cpu", "cpu: torch is not installed"
    if device == "torch":
        return torch, "torch", "cpu by torch"
    if not torch.cuda.is_available():
        return np, "cpu", "cpu: torch finds no CUDA device"
    return torch, "cuda", "cuda"


def on_device(xp: Any, kind: str, values: NDArray[Any]) -> Any:
    """The values as an array of the module, where it works."""
    if xp is np:
        return values
    return xp.as_tensor(np.ascontiguousarray(values), device="cuda" if kind == "cuda" else "cpu")


def on_host(values: Any) -> FloatArray:
    """The values as a NumPy array."""
    return values if isinstance(values, np.ndarray) else np.asarray(values.cpu().numpy())


def _places(xp: Any, like: Any, stop: int) -> Any:
    return np.arange(stop) if xp is np else xp.arange(stop, device=like.device)


def lag_covariances(xp: Any, x: Any, counts: Any, window: int) -> Any:
    """Lag covariances ``X X'`` (not divided), shape (m, L, L), of series of shape (m, n) that end in zeros.

    The first row is of lagged products, by the Fourier transform; along a diagonal
    ``C[i+1, j+1] = C[i, j] + x[K+i] x[K+j] - x[i] x[j]``.
    """
    m, n = x.shape
    place = _places(xp, x, window)
    vectors = counts[:, None] - window + 1  # K of each series
    head, tail = x[:, :window], x[_places(xp, x, m)[:, None], vectors - 1 + place]  # tail[i] = x[K - 1 + i]
    body = x * (_places(xp, x, n) < vectors)
    size = _transform_size(n)
    products = xp.fft.irfft(xp.conj(xp.fft.rfft(body, size, 1)) * xp.fft.rfft(x, size, 1), size, 1)
    covariance = xp.zeros_like(head[:, None, :] * head[:, :, None])
    for lag in range(window):
        first = products[:, lag : lag + 1]
        width = window - lag
        change = tail[:, 1:width] * tail[:, 1 + lag :] - head[:, : width - 1] * head[:, lag : window - 1]
        diagonal = xp.cumsum(xp.concatenate((first, change), 1), 1)
        covariance[:, place[:width], place[lag:]] = diagonal
        covariance[:, place[lag:], place[:width]] = diagonal
    return covariance


def leading_vectors(xp: Any, covariance: Any, components: int) -> tuple[Any, Any]:
    """The largest eigenvalues, shape (m, components), largest first, and their vectors, (m, L, components)."""
    if xp is not np:
        values, vectors = xp.linalg.eigh(covariance)
        return xp.flip(values[:, -components:], (1,)), xp.flip(vectors[:, :, -components:], (2,))
    # NumPy's stacked eigh finds all vectors, and its threaded products of 60 x 60 wait for each other for seconds
    # where the processors are busy. This finds the leading ones only.
    from scipy.linalg.lapack import dsyevr

    m, window, _ = covariance.shape
    values, vectors = np.empty((m, components)), np.empty((m, window, components))
    for j in range(m):
        one = covariance[j].T  # the same matrix in LAPACK's order
        found, basis, _, _, info = dsyevr(one, lower=1, range="I", il=window - components + 1, iu=window)
        if info != 0:
            values[j], vectors[j] = np.nan, np.nan
            continue
        values[j], vectors[j] = found[components - 1 :: -1], basis[:, components - 1 :: -1]
    return values, vectors


def reconstruct(xp: Any, x: Any, counts: Any, vectors: Any) -> Any:
    """Average over antidiagonals of the trajectory matrix's projection on the vectors; shape (m, n).

    Between the ends every value is in L lagged vectors, and its average is a filter whose response is the vectors'
    mean power spectrum; the first and last L - 1 are in fewer and are averaged as they are.
    """
    m, n = x.shape
    window = vectors.shape[1]
    towards = xp.swapaxes(vectors, 1, 2)
    power = (abs(xp.fft.rfft(towards, 2 * window, 2)) ** 2).sum(1) / window
    taps = xp.fft.irfft(power, 2 * window, 1)  # the filter: lags 0, 1, ..., and the negative ones from the end
    size = _transform_size(n)
    whole = xp.zeros_like(x[:, :1]) * _places(xp, x, size)
    whole[:, :window], whole[:, size - window + 1 :] = taps[:, :window], taps[:, window + 1 :]
    smooth = xp.fft.irfft(xp.fft.rfft(x, size, 1) * xp.fft.rfft(whole, size, 1), size, 1)[:, :n]
    place, ends = _places(xp, x, window), _places(xp, x, window - 1)
    lagged = place[:, None] + ends  # i + k
    at, row = _places(xp, x, m)[:, None, None], _places(xp, x, m)[:, None]
    head = vectors @ (towards @ x[:, lagged])  # the first L - 1 lagged vectors, projected
    start = counts[:, None, None] - 2 * window + 2
    tail = vectors @ (towards @ x[at, start + lagged])  # the last L - 1
    down = ends[:, None] - ends  # value t of the head is in vector k at place t - k
    total = (head[:, abs(down), ends] * (down >= 0)).sum(2)
    smooth[:, : window - 1] = total / (ends + 1)
    up = window - 1 + down  # value t of the tail is in vector k at place L - 1 + t - k
    total = (tail[:, xp.where(down <= 0, up, 0), ends] * (down <= 0)).sum(2)
    smooth[row, counts[:, None] - window + 1 + ends] = total / (window - 1 - ends)
    return smooth


def _transform_size(least: int) -> int:
    """The smallest length of at least ``least`` with no prime factor above 5: its transform is quick."""
    size = least
    while True:
        rest = size
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return size
        size += 1


def newest(xp: Any, x: Any, counts: Any, size: int) -> Any:
    """The newest ``size`` values of each series, shape (m, size)."""
    return x[_places(xp, x, x.shape[0])[:, None], counts[:, None] - size + _places(xp, x, size)]


def linear_recurrence(xp: Any, vectors: Any) -> tuple[Any, Any]:
    """Coefficients of the recurrence, oldest first, shape (m, L - 1), and the verticality, (m,).

    ``R = sum pi_k U_k / (1 - nu ** 2)``, ``nu ** 2 = sum pi_k ** 2``, pi the vectors' last coordinates.
    """
    last = vectors[:, -1, :]
    verticality = (last * last).sum(1)
    weighted = (vectors[:, :-1, :] * last[:, None, :]).sum(2)
    return weighted / xp.clip(1.0 - verticality, 1e-300, None)[:, None], verticality


def continue_recurrence(xp: Any, tail: Any, recurrence: Any, steps: int) -> Any:
    """The next values of series whose newest L - 1 are ``tail``; shape (m, steps)."""
    found = []
    for _ in range(steps):
        value = (tail * recurrence).sum(1)[:, None]
        found.append(value)
        tail = xp.concatenate((tail[:, 1:], value), 1)
    return xp.concatenate(found, 1)


def continue_vectors(xp: Any, tail: Any, vectors: Any, recurrence: Any, verticality: Any, steps: int) -> Any:
    """The next values by lagged vectors that stay in the span (Golyandina et al. 2001, section 2.3.1); (m, steps).

    ``tail`` is the newest lagged vector of the series itself, shape (m, L).
    """
    window = vectors.shape[1]
    upper = vectors[:, :-1, :]
    towards, rest = xp.swapaxes(upper, 1, 2), (1.0 - verticality)[:, None]
    column = (vectors @ (xp.swapaxes(vectors, 1, 2) @ tail[:, :, None]))[:, :, 0]
    following = []
    for _ in range(steps + window - 1):
        shifted = column[:, 1:]
        ahead = (shifted * recurrence).sum(1)[:, None]
        inside = (upper @ (towards @ shifted[:, :, None]))[:, :, 0] + rest * recurrence * ahead
        column = xp.concatenate((inside, ahead), 1)
        following.append(column)
    columns = xp.stack(following, 2)
    place = _places(xp, tail, window)
    values = [columns[:, window - 1 - place, s + place].mean(1)[:, None] for s in range(steps)]
    return xp.concatenate(values, 1)
