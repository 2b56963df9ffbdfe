"""Means from denoised returns: autoregression by wavelet scale, and continued harmonics; for all symbols at once.

Both take what is slow and drop what cannot be told from noise. Both use the past only: the wavelet filters are the
one-sided ones of ``features.filters``, the harmonics are fitted to the newest returns and continued.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_dagster.features.filters import Wavelet, wavelet_detail_weights, wavelet_filter, wavelet_weights
from quant_dagster.forecasting.autoregression import forecast_totals, is_stationary, least_squares
from quant_dagster.forecasting.columns import SMALLEST_VARIATION, BoolArray, FloatArray, IntArray

FITTED, NOT_TRIED, SINGULAR, EXPLOSIVE = 0, 1, 2, 3
REASONS = {
    NOT_TRIED: "not fitted",
    SINGULAR: "the returns do not vary enough to be filtered",
    EXPLOSIVE: "the estimated autoregression is not stationary",
}
LEVELS = 3
"""Wavelet levels of the autoregression: it reaches back 8 sessions."""
HARMONICS_WINDOW = 512
SHORTEST_CYCLE = 10
"""Sessions; faster harmonics are noise by definition."""
SIGNIFICANCE = 0.01


@dataclass(frozen=True)
class FilteredForecasts:
    """Forecasts of m symbols.

    Attributes
    ----------
    status
        int8, shape (m,): 0 fitted, else a key of ``REASONS`` (the other entries are then NaN or 0).
    kept
        int64, shape (m,): scales, or harmonics, that the forecast uses; 0 leaves the mean.
    observations
        int64, shape (m,): returns it was fitted to.
    constant, coefficients
        Shape (m,) and (m, p). Wavelet: those of the autoregression that the scales add up to, newest return first.
        Harmonics: the mean; cycles a window, cosine and sine of each kept harmonic in turn, padded with zeros.
    residual_variance
        Shape (m,): sum of squared one-step errors over observations less estimated numbers.
    total_mean, total_std
        Shape (m, steps): of the log return over the next 1, 2, … sessions together.
    """

    status: NDArray[np.int8]
    kept: IntArray
    observations: IntArray
    constant: FloatArray
    coefficients: FloatArray
    residual_variance: FloatArray
    total_mean: FloatArray
    total_std: FloatArray


def fit_wavelet_scales(
    returns: FloatArray, counts: IntArray, *, steps: int, tried: BoolArray | None = None
) -> FilteredForecasts:
    """Regress the next return on the causal Haar parts of the returns so far, coarse before fine; keep by BIC.

    The multiscale autoregression of Renaud, Starck and Murtagh (2005, IEEE Transactions on Systems, Man, and
    Cybernetics B 35) with one coefficient a scale. The candidates are nested: the mean alone, then the smooth, then
    one detail after the other from the slowest to the fastest; BIC says where signal ends and noise begins. The scales
    are weighted sums of the last 8 returns, so the result is an autoregression with restricted coefficients, and is
    forecast as one: psi weights, as in ``autoregression``.
    """
    columns, reach = returns.shape[1], 2**LEVELS
    result = _empty(columns, reach, steps)
    asked = np.flatnonzero((counts > 4 * reach) & (True if tried is None else tried))
    series, centre, scale = _standardised(returns, counts, asked)
    result.status[asked[scale == 0.0]] = SINGULAR
    varies = scale > 0.0
    asked, series, centre, scale = asked[varies], series[:, varies], centre[varies], scale[varies]
    if not len(asked):
        return result
    parts = wavelet_filter(series, Wavelet.HAAR, LEVELS)
    scales = np.concatenate([parts.smooth[None], parts.details[::-1]])  # coarse to fine
    filters = np.zeros((LEVELS + 1, reach))
    filters[0] = wavelet_weights(Wavelet.HAAR, LEVELS)
    for i, level in enumerate(range(LEVELS, 0, -1), start=1):
        filters[i, : 2**level] = wavelet_detail_weights(Wavelet.HAAR, level)
    inside = (np.arange(reach, len(series))[:, None] < counts[asked]).T
    design = np.empty((len(asked), len(series) - reach, LEVELS + 2))
    design[:, :, 0] = inside
    design[:, :, 1:] = np.where(inside[:, :, None], scales[:, reach - 1 : -1].transpose(2, 1, 0), 0.0)
    target = np.where(inside, series[reach:].T, 0.0)
    used = (counts[asked] - reach).astype(np.float64)
    explained = least_squares(design, target, LEVELS + 1)[1]
    squares = np.maximum(np.sum(target**2, axis=1)[:, None] - np.cumsum(explained, axis=1), 1e-300)
    criterion = used[:, None] * np.log(squares / used[:, None]) + np.arange(LEVELS + 2) * np.log(used)[:, None]
    kept = np.argmin(np.where(np.isfinite(criterion), criterion, np.inf), axis=1)
    for size in np.unique(kept).tolist():
        here = kept == size
        estimates, _, sound = least_squares(design[here, :, : size + 1], target[here], size)
        errors = target[here] - np.einsum("mti,mi->mt", design[here, :, : size + 1], estimates)
        coefficients = np.sum(estimates[:, 1:, None] * filters[:size], axis=1)
        stationary = is_stationary(coefficients)
        index = asked[here]
        variance = np.sum(errors**2, axis=1) / (used[here] - size - 1.0) * scale[here] ** 2
        sound &= variance > 1e-12 * scale[here] ** 2
        result.status[index] = np.where(sound, np.where(stationary, FITTED, EXPLOSIVE), SINGULAR)
        good = sound & stationary
        index, coefficients, variance = index[good], coefficients[good], variance[good]
        constant = estimates[good, 0] * scale[here][good] + centre[here][good] * (1.0 - coefficients.sum(axis=1))
        newest = returns[counts[index, None] - 1 - np.arange(reach), index[:, None]]
        totals = forecast_totals(constant, coefficients, variance, newest, steps)[2:]
        _set(result, index, size, counts[index], constant, coefficients, variance, totals[0], totals[1])
    return result


def fit_harmonics(
    returns: FloatArray, counts: IntArray, *, steps: int, tried: BoolArray | None = None
) -> FilteredForecasts:
    """Continue the slow harmonics of the newest returns that are stronger than noise.

    The newest ``HARMONICS_WINDOW`` returns (or all there are) are transformed. In white noise the power of each
    harmonic over the mean power is exponential with mean 1 (Brockwell and Davis 1991, section 10.1), so a harmonic of
    at least ``SHORTEST_CYCLE`` sessions is kept where that has less than ``SIGNIFICANCE``, divided by the number of
    harmonics looked at, of happening by chance. Mostly none is: then the forecast is the mean. The errors around the
    harmonics are taken as independent.
    """
    columns = returns.shape[1]
    result = _empty(columns, 3 * (HARMONICS_WINDOW // SHORTEST_CYCLE), steps)
    asked = np.flatnonzero((counts >= 4 * SHORTEST_CYCLE) & (True if tried is None else tried))
    sizes = np.minimum(counts, HARMONICS_WINDOW)
    ahead = np.arange(1, steps + 1)
    for size in np.unique(sizes[asked]).tolist():
        here = asked[sizes[asked] == size]
        newest = returns[counts[here, None] - size + np.arange(size), here[:, None]]
        centre = newest.mean(axis=1)
        scale = newest.std(axis=1)
        varies = scale > SMALLEST_VARIATION * np.abs(centre)
        result.status[here[~varies]] = SINGULAR
        here, newest, centre, scale = here[varies], newest[varies], centre[varies], scale[varies]
        slow = size // SHORTEST_CYCLE
        spectrum = np.fft.rfft(newest - centre[:, None], axis=1)[:, 1 : slow + 1] * (2.0 / size)
        power = np.abs(spectrum) ** 2 * size / (4.0 * scale[:, None] ** 2)
        kept = power > np.log(slow / SIGNIFICANCE)
        spectrum = np.where(kept, spectrum, 0.0)
        cycles = np.arange(1, slow + 1)
        angle = 2.0 * np.pi * cycles[:, None] * (size - 1 + ahead) / size
        waves = np.sum(spectrum.real[:, :, None] * np.cos(angle) - spectrum.imag[:, :, None] * np.sin(angle), axis=1)
        left = scale**2 * size - np.sum(np.abs(spectrum) ** 2, axis=1) * size / 2.0
        number = kept.sum(axis=1)
        variance = left / (size - 1.0 - 2.0 * number)
        sound = variance > 1e-12 * scale**2
        result.status[here] = np.where(sound, FITTED, SINGULAR)
        coefficients = np.zeros((len(here), result.coefficients.shape[1]))
        for row, columns_kept in enumerate(kept):
            for place, k in enumerate(np.flatnonzero(columns_kept).tolist()):
                wave = spectrum[row, k]
                coefficients[row, 3 * place : 3 * place + 3] = k + 1, wave.real, -wave.imag
        mean = np.cumsum(centre[:, None] + waves, axis=1)
        spread = np.sqrt(np.maximum(variance, 0.0)[:, None] * ahead)
        observations = np.full(len(here), size)
        _set(
            result, here[sound], number[sound], observations[sound], centre[sound], coefficients[sound],
            variance[sound], mean[sound], spread[sound],
        )  # fmt: skip
    return result


def _empty(columns: int, coefficients: int, steps: int) -> FilteredForecasts:
    return FilteredForecasts(
        status=np.full(columns, NOT_TRIED, np.int8),
        kept=np.zeros(columns, np.int64),
        observations=np.zeros(columns, np.int64),
        constant=np.full(columns, np.nan),
        coefficients=np.full((columns, coefficients), np.nan),
        residual_variance=np.full(columns, np.nan),
        total_mean=np.full((columns, steps), np.nan),
        total_std=np.full((columns, steps), np.nan),
    )


def _set(
    result: FilteredForecasts,
    index: IntArray,
    kept: int | IntArray,
    observations: IntArray,
    constant: FloatArray,
    coefficients: FloatArray,
    variance: FloatArray,
    mean: FloatArray,
    std: FloatArray,
) -> None:
    """Write what was found for some columns."""
    result.kept[index] = kept
    result.observations[index] = observations
    result.constant[index] = constant
    result.coefficients[index] = coefficients
    result.residual_variance[index] = variance
    result.total_mean[index] = mean
    result.total_std[index] = std


def _standardised(returns: FloatArray, counts: IntArray, asked: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Columns less their mean over their standard deviation, NaN beyond the count; means; deviations, 0 if none."""
    series = returns[:, asked]
    inside = np.arange(len(returns))[:, None] < counts[asked]
    centre = np.sum(np.where(inside, series, 0.0), axis=0) / counts[asked]
    deviations = np.where(inside, series - centre, 0.0)
    scale = np.sqrt(np.sum(deviations**2, axis=0) / counts[asked])
    scale = np.where(scale > SMALLEST_VARIATION * np.abs(centre), scale, 0.0)
    return np.where(inside, deviations / np.where(scale > 0.0, scale, 1.0), np.nan), centre, scale
