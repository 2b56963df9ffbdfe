"""Who tells whom: transfer entropy between all pairs of symbols, and the lead-lag graph of what stands out.

Transfer entropy (Schreiber 2000, "Measuring information transfer") is what the past of one series says of the next
value of another beyond what that one's own past says. Returns are put into equally frequent bins; the joint counts of
all pairs are one matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

BINS = 3


@dataclass(frozen=True)
class TransferEntropy:
    """Transfer entropy of all ordered pairs of m series at one lag.

    Attributes
    ----------
    bits
        Shape (m, m): from the row's series to the column's, in bits a step, bias taken off (Miller & Madow 1955): about
        zero without information. NaN on the diagonal.
    p_value
        Shape (m, m): of the likelihood-ratio test that the row's past says nothing; ``2 n ln 2`` times the raw transfer
        entropy is chi-squared with ``(b - 1) ** 2 b`` degrees of freedom for b bins.
    """

    bits: FloatArray
    p_value: FloatArray


@dataclass(frozen=True)
class Edge:
    """A leader whose past says something of a follower, ``lag`` sessions later."""

    leader: str
    follower: str
    lag: int
    bits: float
    p_value: float
    correlation: float


def quantile_bins(values: FloatArray, bins: int = BINS) -> IntArray:
    """Each column's values as ranks in ``bins`` equally frequent bins, 0 the lowest; shape (n, m). Ties by order."""
    n = len(values)
    ranks = np.empty(values.shape, np.int64)
    np.put_along_axis(ranks, np.argsort(values, axis=0, kind="stable"), np.arange(n)[:, None], axis=0)
    return ranks * bins // n


def transfer_entropy(states: IntArray, lag: int = 1, bins: int = BINS) -> TransferEntropy:
    """Transfer entropy between all columns of ``states``, shape (n, m), integers below ``bins``."""
    from scipy.special import chdtrc

    m = states.shape[1]
    target, own, other = states[lag:], states[lag - 1 : -1], states[:-lag]
    size = len(target)
    joint = _one_hot(target * bins + own, bins * bins).T @ _one_hot(other, bins)
    # follower, its next and own value, leader, the leader's value
    counts = joint.reshape(m, bins, bins, m, bins)
    with_leader = counts.sum(axis=1, keepdims=True)
    own_pair = counts.sum(axis=4, keepdims=True)
    own_alone = own_pair.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = counts * np.log2(counts * own_alone / (with_leader * own_pair))
    raw = np.where(counts > 0, terms, 0.0).sum(axis=(1, 2, 4)).T / size
    degrees = (bins - 1) ** 2 * bins
    p_value = chdtrc(degrees, np.maximum(raw, 0.0) * 2.0 * size * np.log(2.0))
    bits = raw - degrees / (2.0 * size * np.log(2.0))
    np.fill_diagonal(bits, np.nan)
    np.fill_diagonal(p_value, np.nan)
    return TransferEntropy(bits, np.asarray(p_value, dtype=np.float64))


def lead_lag_graph(
    returns: FloatArray, symbols: tuple[str, ...], lags: tuple[int, ...] = (1, 2, 3), level: float = 0.05
) -> list[Edge]:
    """Pairs whose transfer entropy stands out from chance, the most informative first.

    The market's return is taken off each session, so that what all share at once leads nobody. Of each pair the lag of
    least p-value counts, times the number of lags; edges are those that pass Benjamini and Hochberg's (1995) procedure
    at ``level`` over all pairs.

    Parameters
    ----------
    returns
        Shape (n, m), the newest last. A symbol without a return on every session is left out.
    """
    complete = np.isfinite(returns).all(axis=0) & (np.nanstd(np.where(np.isfinite(returns), returns, 0.0), axis=0) > 0)
    names = [symbol for symbol, keep in zip(symbols, complete, strict=True) if keep]
    used = returns[:, complete]
    if len(names) < 2 or len(used) < 10 * BINS**3:
        return []
    relative = used - used.mean(axis=1, keepdims=True)
    states = quantile_bins(relative)
    found = [transfer_entropy(states, lag) for lag in lags]
    p_values = np.stack([one.p_value for one in found])
    best = np.nanargmin(np.where(np.isnan(p_values), np.inf, p_values), axis=0)
    least = np.minimum(np.take_along_axis(p_values, best[None], axis=0)[0] * len(lags), 1.0)
    bits = np.take_along_axis(np.stack([one.bits for one in found]), best[None], axis=0)[0]
    passed = false_discovery(least, level)
    edges = []
    for i, j in zip(*np.nonzero(passed), strict=True):
        lag = lags[int(best[i, j])]
        together = float(np.corrcoef(relative[:-lag, i], relative[lag:, j])[0, 1])
        edges.append(Edge(names[i], names[j], lag, float(bits[i, j]), float(least[i, j]), together))
    return sorted(edges, key=lambda edge: (-edge.bits, edge.leader, edge.follower))


def false_discovery(p_values: FloatArray, level: float) -> NDArray[np.bool_]:
    """Which of many tests are significant when at most ``level`` of those are to be false; NaN is no test."""
    known = np.isfinite(p_values)
    passed = np.zeros(p_values.shape, np.bool_)
    passed[known] = false_discovery_rates(p_values[known]) <= level
    return passed


def false_discovery_rates(p_values: FloatArray) -> FloatArray:
    """Benjamini and Hochberg's (1995) adjusted p-values: the share of luck among what is at least as significant."""
    order = np.argsort(p_values, kind="stable")
    count = len(p_values)
    adjusted = p_values[order] * count / np.arange(1, count + 1)
    smallest = np.minimum.accumulate(adjusted[::-1])[::-1]
    rates = np.empty(count)
    rates[order] = np.minimum(smallest, 1.0)
    return rates


def _one_hot(states: IntArray, values: int) -> FloatArray:
    """Indicators of each column's states side by side, shape (n, m * values)."""
    n, m = states.shape
    out = np.zeros((n, m, values))
    np.put_along_axis(out, states[:, :, None], 1.0, axis=2)
    return out.reshape(n, m * values)
