"""Singular spectrum analysis of groups of series that share their leading components.

The trajectory matrices of a group's series are set side by side (horizontal stacking, ``[X1 : X2 : ...]``), so that
they share their left singular vectors, those of the *sum* of their lag covariances: a group costs one eigenproblem,
and series of different lengths may be in it. Each is continued from its own reconstruction by the recurrence they
share (Golyandina, Korobeynikov, Shlemov & Usevich 2015, "Multivariate and 2D extensions of SSA with the Rssa package":
the column forecast). Which series go together is found here too; what a forecast of prices is made of is in
``families.spectrum``.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from quant_dagster.errors import ConfigurationError
from quant_dagster.forecasting.columns import FloatArray, IntArray
from quant_dagster.forecasting.spectrum.singular import (
    CONSTANT,
    FITTED,
    LARGEST_VERTICALITY,
    NOT_TRIED,
    TOO_SHORT,
    VERTICAL,
    SpectrumForecasts,
    array_module,
    continue_recurrence,
    lag_covariances,
    leading_vectors,
    linear_recurrence,
    newest,
    on_device,
    on_host,
    packed_rows,
    reconstruct,
    root_mean_square,
    without_variation,
)

_CHUNK = 64  # series at a time
_ITERATIONS = 60  # orthogonal iterations: an order is wanted, not digits


def forecast_groups(
    series: FloatArray,
    counts: IntArray,
    groups: IntArray,
    *,
    window: int,
    components: int,
    steps: int,
    device: str = "cpu",
) -> SpectrumForecasts:
    """Keep the components that lead each group, and continue its series by their recurrence.

    Parameters
    ----------
    series, counts, window, components, device
        As in :func:`quant_dagster.forecasting.spectrum.singular.forecast_spectrum`. Series end on the same session;
        each counts in its group with its root mean square taken to 1.
    groups
        int64, shape (m,): the group of each column, from 0; -1 is in none and is not forecast.

    Returns
    -------
    SpectrumForecasts
        ``shares``, ``verticality`` and ``coefficients`` are the group's, on each of its columns.

    Raises
    ------
    ConfigurationError
        For components, a window or a device out of range.
    """
    if window < 2 or not 1 <= components < window:
        raise ConfigurationError(f"mssa: {components} components of lagged vectors of {window}; allowed are 1 to L - 1")
    n, m = series.shape
    status = np.where(counts < 2 * window - 1, TOO_SHORT, FITTED).astype(np.int8)
    status[groups < 0] = NOT_TRIED
    packed = packed_rows(series, counts)
    status[(status == FITTED) & without_variation(packed)] = CONSTANT
    scale = root_mean_square(packed, counts)
    xp, kind, used = array_module(device)
    chosen = np.flatnonzero(status == FITTED)
    parts = [chosen[at : at + _CHUNK] for at in range(0, len(chosen), _CHUNK)]
    of_all = np.zeros((int(groups.max(initial=-1)) + 1, window, window))
    held = []
    for at in parts:
        x = on_device(xp, kind, packed[at] / scale[at, None])
        size = on_device(xp, kind, counts[at])
        held.append((x, size))
        np.add.at(of_all, groups[at], on_host(lag_covariances(xp, x, size, window)))
    values, vectors = leading_vectors(xp, on_device(xp, kind, of_all), components)
    recurrence, vertical = linear_recurrence(xp, vectors)
    shares, coefficients = np.full((m, components), np.nan), np.full((m, window - 1), np.nan)
    verticality, reconstruction, path = np.full(m, np.nan), np.full((m, n), np.nan), np.full((m, steps), np.nan)
    norm = of_all[:, np.arange(window), np.arange(window)].sum(axis=1)
    group_shares = on_host(values) / np.where(norm > 0.0, norm, np.nan)[:, None]
    for at, (x, size) in zip(parts, held, strict=True):
        group = groups[at]
        own, shared = vectors[on_device(xp, kind, group)], recurrence[on_device(xp, kind, group)]
        smooth = reconstruct(xp, x, size, own)
        ahead = continue_recurrence(xp, newest(xp, smooth, size, window - 1), shared, steps)
        reconstruction[at] = on_host(smooth) * scale[at, None]
        path[at] = on_host(ahead) * scale[at, None]
        shares[at], verticality[at] = group_shares[group], on_host(vertical)[group]
        coefficients[at] = on_host(shared)
    status[(status == FITTED) & ~(verticality < LARGEST_VERTICALITY)] = VERTICAL
    forecasts = SpectrumForecasts(
        status, shares, verticality, coefficients, reconstruction, path, np.full(m, np.nan), used
    )
    return replace(forecasts.without_unfitted(counts), noise_std=forecasts.noise(packed, counts))


def correlation_blocks(returns: FloatArray, size: int) -> IntArray:
    """Which of the columns go together: blocks of about ``size``, cut from their order by correlation.

    The columns are ordered by the angle between the two leading eigenvectors of their correlations (Friendly 2002,
    "Corrgrams"), in which neighbours are correlated alike, starting after the widest empty angle.

    Parameters
    ----------
    returns
        float64, shape (n, m), without NaN; a column that does not vary correlates with none.

    Returns
    -------
    int64, shape (m,)
        Blocks from 0, whose sizes differ by one at most.
    """
    m = returns.shape[1]
    blocks = max(1, round(m / size))
    if blocks == 1:
        return np.zeros(m, np.int64)
    centred = returns - returns.mean(axis=0)
    length = np.sqrt((centred**2).sum(axis=0))
    unit = centred / np.where(length > 0.0, length, np.inf)
    vectors = np.ones((m, 2))
    vectors[:, 1] = np.linspace(-1.0, 1.0, m)
    for _ in range(_ITERATIONS):  # of 2 vectors: all of them would take longer than the forecasts
        vectors, _ = np.linalg.qr(unit.T @ (unit @ vectors))
    angle = np.arctan2(vectors[:, 0], vectors[:, 1])
    order = np.argsort(angle, kind="stable")
    turn = np.diff(angle[order], append=angle[order[0]] + 2.0 * np.pi)
    order = np.roll(order, -int(turn.argmax()) - 1)
    found = np.empty(m, np.int64)
    found[order] = np.arange(m) * blocks // m
    return found
