"""What is learned from: features of many symbols and sessions, and how each symbol did among them afterwards.

The outcome is the log return over the next ``horizon`` sessions. What is learned is its *rank* within the session, from
-0.5 to 0.5, and not its size: the market's own move drops out, every session counts the same whether it was quiet or
wild, and one wrong bar or one collapse weighs no more than a lost place. It is also what the model is judged by. The
size comes back in when the prediction is calibrated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quant_dagster.errors import ForecastError
from quant_dagster.features.compute import compute
from quant_dagster.features.cross_section import percentile_rank
from quant_dagster.features.definitions import TRADING_DAYS
from quant_dagster.forecasting.columns import FloatArray, IntArray
from quant_dagster.market_data.panel import Panel

MOST_ROWS = 75_000
"""Symbols times sessions that are trained on; with more, only every second, third, … session is."""
FEWEST_SYMBOLS = 5
"""Symbols with an outcome that a session must have for a rank to mean something."""
WARM_UP = 253
"""Sessions before the first training session, for features that look back a year."""
_VOLATILITY = "volatility_ewma"


@dataclass(frozen=True)
class Inputs:
    """Features as they are known at each session.

    Attributes
    ----------
    names
        k features; those without a single value are left out.
    values
        float64, shape (k, n, m); NaN is absent.
    volatility
        float64, shape (n, m): standard deviation of one session's log return; NaN where it is unknown or zero.
    """

    names: tuple[str, ...]
    values: FloatArray
    volatility: FloatArray

    def __getitem__(self, name: str) -> FloatArray:
        """One feature, shape (n, m)."""
        found: FloatArray = self.values[self.names.index(name)]
        return found


@dataclass(frozen=True)
class Dataset:
    """Inputs, and the outcomes of those sessions whose outcome is known.

    Attributes
    ----------
    inputs
        Of all n sessions of the panel.
    sessions
        int64, shape (t,), increasing: rows of the inputs that are trained on.
    outcome
        float64, shape (t, m): log return over the ``horizon`` sessions after each; NaN where a close is absent.
    label
        float64, shape (t, m): rank of the outcome within its session, centred, in (-0.5, 0.5].
    horizon
        Sessions of an outcome.
    """

    inputs: Inputs
    sessions: IntArray
    outcome: FloatArray
    label: FloatArray
    horizon: int

    @property
    def relative(self) -> FloatArray:
        """Outcomes less their session's mean over the symbols that have one; shape (t, m)."""
        return demeaned(self.outcome)


def build_inputs(panel: Panel, exchange: str, threads: int | None = None) -> Inputs:
    """The features of a panel, without those that have no value at all, as with closes only those of volume."""
    frame = compute(panel, exchange, threads)
    values = frame.values.transpose(0, 2, 1)
    known = np.array([bool(np.isfinite(one).any()) for one in values], np.bool_)
    daily = frame[_VOLATILITY] / np.sqrt(TRADING_DAYS)
    volatility = np.where(daily > 0.0, daily, np.nan)
    names = tuple(name for name, keep in zip(frame.names, known.tolist(), strict=True) if keep)
    return Inputs(names, values if known.all() else values[known], volatility)


def build_dataset(
    panel: Panel, exchange: str, horizon: int, history: int, threads: int | None = None, most_rows: int = MOST_ROWS
) -> Dataset:
    """The data set of a panel, from what was known at its last session.

    Parameters
    ----------
    panel
        Its first sessions warm the features up: ``WARM_UP``, or a quarter of what there is.
    exchange
        Calendar of the calendar features.
    horizon
        Sessions of an outcome.
    history
        Newest sessions that are trained on.
    most_rows
        With more symbols times sessions, only every k-th session is taken, counted back from the newest outcome.

    Raises
    ------
    ForecastError
        No session has ``FEWEST_SYMBOLS`` symbols with an outcome.
    """
    inputs = build_inputs(panel, exchange, threads)
    n, m = panel.close.shape
    first = max(min(WARM_UP - 1, n // 4), n - history)
    count = max(0, n - horizon - first)
    step = max(1, -(-count * m // most_rows))
    sessions = np.arange(n - horizon - 1, first - 1, -step, dtype=np.int64)[::-1] if count else np.empty(0, np.int64)
    logs = np.log(np.where(panel.close > 0.0, panel.close, np.nan))
    outcome = logs[sessions + horizon] - logs[sessions]
    enough = np.isfinite(outcome).sum(axis=1) >= FEWEST_SYMBOLS
    if not enough.any():
        raise ForecastError(
            f"no session to {panel.last_session} has {FEWEST_SYMBOLS} symbols with an outcome over {horizon} sessions: "
            "load more symbols or more history"
        )
    sessions, outcome = sessions[enough], np.ascontiguousarray(outcome[enough])
    return Dataset(inputs, sessions, outcome, centred_rank(outcome), horizon)


def centred_rank(values: FloatArray) -> FloatArray:
    """Percentile rank within each session less one half; shape (t, m), NaN where absent or alone."""
    ranks = np.empty((values.shape[1], values.shape[0]))
    percentile_rank(np.ascontiguousarray(values.T), ranks)
    return np.ascontiguousarray(ranks.T) - 0.5


def demeaned(values: FloatArray) -> FloatArray:
    """Values less the mean of their session, over the symbols that have one; shape (t, m)."""
    known = np.isfinite(values)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    mean = np.where(known, values, 0.0).sum(axis=1, keepdims=True) / count
    result: FloatArray = values - mean
    return result


def rank_correlation(first: FloatArray, second: FloatArray) -> FloatArray:
    """Spearman's rank correlation of two sets of values in each session, over the symbols that have both.

    Parameters
    ----------
    first, second
        Shape (t, m), NaN is absent.

    Returns
    -------
    FloatArray
        Shape (t,); NaN with fewer than ``FEWEST_SYMBOLS`` symbols, or where one side does not vary.
    """
    both = np.isfinite(first) & np.isfinite(second)
    x = demeaned(centred_rank(np.where(both, first, np.nan)))
    y = demeaned(centred_rank(np.where(both, second, np.nan)))
    x, y = np.where(both, x, 0.0), np.where(both, y, 0.0)
    power = np.sum(x * x, axis=1) * np.sum(y * y, axis=1)
    usable = (both.sum(axis=1) >= FEWEST_SYMBOLS) & (power > 1e-18)
    return np.where(usable, np.sum(x * y, axis=1) / np.sqrt(np.where(usable, power, 1.0)), np.nan)
