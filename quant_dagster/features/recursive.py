"""Recursive kernels: features with memory, started at a symbol's first bar.

A session without a value is skipped: its result is NaN and the state is carried over it, so the results are those of
the series with its gaps taken out. All recursions of a symbol are advanced by one bar together (``advance``), on a
state of ``STATE_SIZE`` numbers: the dependent chains of one recursion then run beside those of the others, and the
batch and the update by one session are the same code. ``smoothed`` and ``weighted_mean`` say what the chains
compute. Windows are in ``rolling``, averages by kind of day in ``seasonal``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quant_dagster.compiled import njit
from quant_dagster.features.definitions import EWMAC_SCALARS, TRADING_DAYS, TREND_SPANS

FloatArray = NDArray[np.float64]

RESULTS = (
    *(f"ewma_trend_{span}" for span in TREND_SPANS),
    *(f"ewmac_{fast}_{slow}" for fast, slow in EWMAC_SCALARS),
    "rsi_14",
    "macd",
    "macd_signal",
    "macd_histogram",
    "volatility_ewma",
    "atr_14",
    "plus_di_14",
    "minus_di_14",
    "adx_14",
)
"""What ``advance`` gives, in order. The ``ewma_trend`` are the ratios of the close to its mean: no logarithm yet."""

_SPANS = np.array([*TREND_SPANS, *(span for pair in EWMAC_SCALARS for span in pair)], dtype=np.float64)
_DECAYS = 1.0 - 2.0 / (_SPANS + 1.0)
_TRENDS = len(TREND_SPANS)
_SCALARS = np.array(list(EWMAC_SCALARS.values()))
_PRICE_DECAY = 1.0 - 2.0 / (35.0 + 1.0)
_ANNUAL = np.sqrt(TRADING_DAYS)
_N = len(_SPANS)
# Places in a symbol's state: the means, their weights, then single numbers.
_MEANS, _WEIGHTS, _FIRST = 0, _N, 2 * _N
(
    _BARS, _CHANGE_MEAN, _CHANGE_VARIANCE, _CHANGE_WEIGHT, _CHANGE_SQUARES, _CLOSE, _LOG_CLOSE, _GAINS, _LOSSES,
    _FAST, _SLOW, _SIGNAL, _VARIANCE, _TRUE_RANGE, _RANGES, _HIGH, _LOW, _MOVES, _MOVED_RANGE, _PLUS, _MINUS, _ADX,
) = range(_FIRST, _FIRST + 22)  # fmt: skip
STATE_SIZE = _FIRST + 22


@njit(nogil=True, cache=True, error_model="numpy")
def smoothed(state: float, value: float, alpha: float, seed: int, seen: float) -> float:
    """The next average: s + alpha (x - s), begun with the mean of the first ``seed`` values.

    ``seen`` counts the values, this one included. ``seed=1`` is pandas' ``ewm(alpha=alpha, adjust=False,
    ignore_na=True)``; ``alpha=1/14, seed=14`` is Wilder's smoothing (New Concepts in Technical Trading Systems, 1978).
    """
    return state + (value - state) / seen if seen <= seed else state + alpha * (value - state)


@njit(nogil=True, cache=True, error_model="numpy")
def weighted_mean(mean: float, older: float, value: float, weight: float) -> float:
    """The next exponentially weighted mean with the weights (1 - 2/(span+1))^age, normalised from the first value on.

    ``older`` is the weight of everything before, ``weight = older + 1``: there is no start-up bias. pandas'
    ``ewm(span=span, adjust=True, ignore_na=True)``.
    """
    return (older * mean + value) / weight


@njit(nogil=True, cache=True, error_model="numpy")
def advance(state: FloatArray, high: float, low: float, close: float, log_close: float, result: FloatArray) -> None:
    """Take one session of one symbol into ``state`` (zeros before the first) and give its ``RESULTS``.

    ewmac: difference of two weighted means over the weighted standard deviation of price changes (unbiased, span
    35), scaled, within ±20. rsi_14: averages of gains and losses by 1/14, begun with plain means (Wilder 1978); 50
    when the price did not move at all. True range: the largest of high - low and both distances to the previous
    bar's close. Directional movement, indicators and index: Wilder 1978; from the symbol's second bar with high, low
    and close on, 0 where nothing moved.
    """
    result[:] = np.nan
    if np.isnan(close):
        return
    bars = state[_BARS] + 1.0
    state[_BARS] = bars
    for i in range(_N):
        older = state[_WEIGHTS + i] * _DECAYS[i]
        state[_WEIGHTS + i] = older + 1.0
        state[_MEANS + i] = weighted_mean(state[_MEANS + i], older, close, older + 1.0)
    state[_FAST] = smoothed(state[_FAST], close, 2.0 / 13.0, 1, bars)
    state[_SLOW] = smoothed(state[_SLOW], close, 2.0 / 27.0, 1, bars)
    previous = state[_CLOSE]
    if bars > 1.0:
        _changed(state, close - previous, log_close - state[_LOG_CLOSE], bars - 1.0)
    if not (np.isnan(high) or np.isnan(low)):
        widest = high - low
        if bars > 1.0:
            widest = max(widest, abs(high - previous), abs(low - previous))
        state[_RANGES] += 1.0
        state[_TRUE_RANGE] = smoothed(state[_TRUE_RANGE], widest, 1.0 / 14.0, 14, state[_RANGES])
        if state[_RANGES] >= 14.0:
            result[_TRENDS + 9] = state[_TRUE_RANGE] / close
        if state[_RANGES] > 1.0:
            _moved(state, high, low, widest, result)
        state[_HIGH] = high
        state[_LOW] = low
    state[_CLOSE] = close
    state[_LOG_CLOSE] = log_close

    for i in range(_TRENDS):
        if bars >= _SPANS[i]:
            result[i] = close / state[_MEANS + i]
    spread = state[_CHANGE_VARIANCE] * state[_CHANGE_WEIGHT] * state[_CHANGE_WEIGHT]
    price_std = np.sqrt(spread / (state[_CHANGE_WEIGHT] * state[_CHANGE_WEIGHT] - state[_CHANGE_SQUARES]))
    for i in range(_SCALARS.size):
        fast = _MEANS + _TRENDS + 2 * i
        if bars >= _SPANS[_TRENDS + 2 * i + 1] and price_std != 0.0:
            forecast = (state[fast] - state[fast + 1]) * _SCALARS[i] / price_std
            result[_TRENDS + i] = min(max(forecast, -20.0), 20.0)
    if bars > 14.0:
        total = state[_GAINS] + state[_LOSSES]
        result[_TRENDS + 4] = 100.0 * state[_GAINS] / total if total > 0.0 else 50.0
    if bars >= 26.0:
        macd = state[_FAST] - state[_SLOW]
        state[_SIGNAL] = smoothed(state[_SIGNAL], macd, 2.0 / 10.0, 1, bars - 25.0)
        result[_TRENDS + 5] = macd
        if bars >= 34.0:
            result[_TRENDS + 6] = state[_SIGNAL]
            result[_TRENDS + 7] = macd - state[_SIGNAL]
    if bars > 20.0:
        result[_TRENDS + 8] = np.sqrt(state[_VARIANCE]) * _ANNUAL


@njit(nogil=True, cache=True, error_model="numpy")
def _changed(state: FloatArray, change: float, log_change: float, seen: float) -> None:
    """What follows from the step from the previous bar's close, however many sessions ago that was."""
    older = state[_CHANGE_WEIGHT] * _PRICE_DECAY
    weight = older + 1.0
    previous = state[_CHANGE_MEAN]
    average = weighted_mean(previous, older, change, weight)
    spread = older * (state[_CHANGE_VARIANCE] + (previous - average) ** 2) + (change - average) ** 2
    state[_CHANGE_SQUARES] = state[_CHANGE_SQUARES] * _PRICE_DECAY * _PRICE_DECAY + 1.0
    state[_CHANGE_WEIGHT] = weight
    state[_CHANGE_MEAN] = average
    state[_CHANGE_VARIANCE] = spread / weight
    share = 1.0 / min(seen, 14.0)
    state[_GAINS] += (max(change, 0.0) - state[_GAINS]) * share
    state[_LOSSES] += (max(-change, 0.0) - state[_LOSSES]) * share
    state[_VARIANCE] = smoothed(state[_VARIANCE], log_change * log_change, 0.06, 20, seen)


@njit(nogil=True, cache=True, error_model="numpy")
def _moved(state: FloatArray, high: float, low: float, true_range: float, result: FloatArray) -> None:
    """Directional movement since the previous bar: the larger of the two outward moves counts, the other is 0."""
    up, down = high - state[_HIGH], state[_LOW] - low
    state[_MOVES] += 1.0
    seen = state[_MOVES]
    state[_MOVED_RANGE] = smoothed(state[_MOVED_RANGE], true_range, 1.0 / 14.0, 14, seen)
    state[_PLUS] = smoothed(state[_PLUS], up if up > down and up > 0.0 else 0.0, 1.0 / 14.0, 14, seen)
    state[_MINUS] = smoothed(state[_MINUS], down if down > up and down > 0.0 else 0.0, 1.0 / 14.0, 14, seen)
    if seen >= 14.0:
        moving = state[_MOVED_RANGE] > 0.0
        plus = 100.0 * state[_PLUS] / state[_MOVED_RANGE] if moving else 0.0
        minus = 100.0 * state[_MINUS] / state[_MOVED_RANGE] if moving else 0.0
        index = 100.0 * abs(plus - minus) / (plus + minus) if plus + minus > 0.0 else 0.0
        state[_ADX] = smoothed(state[_ADX], index, 1.0 / 14.0, 14, seen - 13.0)
        result[_TRENDS + 10] = plus
        result[_TRENDS + 11] = minus
        if seen >= 27.0:
            result[_TRENDS + 12] = state[_ADX]


@njit(nogil=True, cache=True, error_model="numpy")
def advance_all(
    state: FloatArray,
    high: FloatArray,
    low: FloatArray,
    close: FloatArray,
    log_close: FloatArray,
    results: FloatArray,
    keep: int,
) -> None:
    """Take all sessions of some symbols in.

    Parameters
    ----------
    state
        (b, STATE_SIZE), changed in place.
    high, low, close, log_close
        (b, n); not available is NaN.
    results
        (len(RESULTS), b, n) to be filled; with ``keep=0`` left alone, and only the state is advanced.
    """
    result = np.empty(results.shape[0])
    for j in range(close.shape[0]):
        for t in range(close.shape[1]):
            advance(state[j], high[j, t], low[j, t], close[j, t], log_close[j, t], result)
            if keep:
                for r in range(result.size):
                    results[r, j, t] = result[r]
