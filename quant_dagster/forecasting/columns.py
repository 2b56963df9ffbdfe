"""Running a compiled kernel over the symbols of a panel on several threads, with the same bits for any number."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed

import numpy as np
from numpy.typing import NDArray

from quant_dagster.compiled import njit

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

SMALLEST_VARIATION = 1e-10  # standard deviation over mean, below which it is rounding and not variation
_CHUNK = 16  # columns a worker takes at a time


def over_columns(
    kernel: Callable[[int, int], None],
    columns: int,
    workers: int,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Run ``kernel(first, stop)`` over all columns in chunks, on ``workers`` threads.

    The kernel must release the interpreter lock and treat each column on its own, so that neither the chunks nor the
    number of threads can change a bit of the result. ``progress(done, columns)`` is called on the caller's thread.
    """
    starts = range(0, columns, _CHUNK)
    done = 0
    with ThreadPoolExecutor(max_workers=workers) as pool:
        sizes = {pool.submit(kernel, at, min(at + _CHUNK, columns)): min(_CHUNK, columns - at) for at in starts}
        for finished in as_completed(sizes):
            finished.result()
            done += sizes[finished]
            if progress is not None:
                progress(done, columns)


@njit(cache=True, nogil=True, error_model="numpy")
def standardise(values: FloatArray, standardised: FloatArray) -> tuple[float, float]:
    """Values less their mean over their standard deviation into ``standardised``; the two are returned.

    The standard deviation of values that do not vary but for rounding is given as zero, and nothing is written.
    """
    n = len(values)
    total = 0.0
    for t in range(n):
        total += values[t]
    centre = total / n
    squares = 0.0
    for t in range(n):
        deviation = values[t] - centre
        squares += deviation * deviation
    scale = math.sqrt(squares / n)
    if not scale > SMALLEST_VARIATION * abs(centre):
        return centre, 0.0
    for t in range(n):
        standardised[t] = (values[t] - centre) / scale
    return centre, scale
