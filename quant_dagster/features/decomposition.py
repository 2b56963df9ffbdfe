"""What kinds of days have been worth: seasonal means and calendar effects of a symbol's own past returns.

A log return is taken apart as trend + weekday + month + residual, each part from the past alone: the trend is the
slope of a line through the last log closes (``filters``), the seasonal parts are how far the mean return of earlier
sessions of the same weekday, or month, stood from the mean of all earlier ones. The effects compare special sessions
(before a holiday, Ariel 1990; the turn of the month, Lakonishok and Smidt 1988; the end of the quarter) with all,
this one included. Arrays are symbol-major; a session without a return is skipped, its results are NaN.

Which day is which is in ``calendar``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quant_dagster.compiled import njit
from quant_dagster.features.definitions import SEASONAL_MINIMUM

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

RESULTS = ("seasonal_weekday", "seasonal_month", "holiday_effect", "month_turn_effect", "quarter_end_effect")
"""What ``take_return`` gives, in order."""
_WEEKDAYS, _MONTHS, _EVENTS, _KINDS = 1, 8, 20, 23
STATE_SIZE = 2 * _KINDS
"""Sums of all returns, by weekday, month and kind of special session; then their counts."""


@njit(nogil=True, cache=True, error_model="numpy")
def take_return(state: FloatArray, value: float, day: IntArray, result: FloatArray) -> None:
    """Give the ``RESULTS`` of one session of one symbol and take its return into ``state`` (zeros before the first).

    ``day`` is the session's row of ``calendar.day_kinds``: weekday, month, and three flags.
    """
    result[:] = np.nan
    if np.isnan(value):
        return
    weekday, month = _WEEKDAYS + day[0], _MONTHS + day[1]
    ready = state[_KINDS] + 1.0 >= SEASONAL_MINIMUM
    if ready:
        mean = state[0] / state[_KINDS]
        result[0] = state[weekday] / state[_KINDS + weekday] - mean
        result[1] = state[month] / state[_KINDS + month] - mean
    for kind in (0, weekday, month):
        state[kind] += value
        state[_KINDS + kind] += 1.0
    for event in range(3):
        if day[2 + event]:
            state[_EVENTS + event] += value
            state[_KINDS + _EVENTS + event] += 1.0
        if ready:
            average = state[_EVENTS + event] / state[_KINDS + _EVENTS + event]
            result[2 + event] = average - state[0] / state[_KINDS]


@njit(nogil=True, cache=True, error_model="numpy")
def take_returns(state: FloatArray, returns: FloatArray, days: IntArray, results: FloatArray, keep: int) -> None:
    """All sessions of some symbols.

    Parameters
    ----------
    state
        (b, STATE_SIZE), changed in place.
    returns
        Log returns, (b, n); NaN is absent.
    days
        (n, 5), from ``calendar.day_kinds``.
    results
        (len(RESULTS), b, n) to be filled; with ``keep=0`` left alone, and only the state is advanced.
    """
    result = np.empty(results.shape[0])
    for j in range(returns.shape[0]):
        for t in range(returns.shape[1]):
            take_return(state[j], returns[j, t], days[t], result)
            if keep:
                for r in range(result.size):
                    results[r, j, t] = result[r]
