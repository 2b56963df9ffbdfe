"""Features that compare symbols within one session: the market's return and percentile ranks.

A value at session T reads row T of its input and no other row. Arrays are symbol-major, shape (m, n).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quant_dagster.compiled import njit

FloatArray = NDArray[np.float64]


def market_return(returns: FloatArray) -> FloatArray:
    """Equal-weighted mean return of the symbols that have one; shape (n,), NaN where none has.

    Parameters
    ----------
    returns
        Log returns, shape (m, n). Symbols are added in column order, whatever the number of threads.
    """
    total, count = np.zeros(returns.shape[1]), np.zeros(returns.shape[1])
    for row in returns:
        present = ~np.isnan(row)
        np.add(total, row, out=total, where=present)
        count += present
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def percentile_rank(values: FloatArray, ranks: FloatArray) -> None:
    """Rank of each symbol within its session over the number of symbols that have a value, in (0, 1]; (m, n).

    Equal values share their mean rank (pandas' ``rank(axis=…, pct=True)``). A session with fewer than two values
    has no ranks.
    """
    by_session = np.ascontiguousarray(values.T)
    ranks_from_order(by_session, np.argsort(by_session, axis=1), ranks)


@njit(nogil=True, cache=True)
def ranks_from_order(values: FloatArray, order: NDArray[np.int64], ranks: FloatArray) -> None:
    """Fill ``ranks`` (m, n) from the ascending order (NaN last) of ``values`` (n, m)."""
    n, m = values.shape
    for t in range(n):
        count = 0
        for i in range(m):
            count += 0 if np.isnan(values[t, i]) else 1
        first = 0
        while first < m:
            last = first + 1
            while last < count and values[t, order[t, last]] == values[t, order[t, first]]:
                last += 1
            rank = (first + 1 + last) / 2.0 / count if first < count and count > 1 else np.nan
            for i in range(first, last):
                ranks[order[t, i], t] = rank
            first = last
