"""What every source was worth lately: information, how fast it fades, and the factor its priority gets.

Only outcomes known at the session are used: a signal of session t counts over h sessions once t + h is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_dagster.market_data.panel import Panel
from quant_dagster.storage.tables import TABLES

FloatArray = NDArray[np.float64]
HORIZONS = (1, 5, 10)
_FEWEST_SYMBOLS = 5
"""Of a session whose rank correlation counts."""


class AlphaState(StrEnum):
    """Whether a source's information is there."""

    SOUND = "sound"
    DECAYING = "decaying"
    DEAD = "dead"
    UNKNOWN = "unknown"


ALLOCATION = {AlphaState.SOUND: 1.0, AlphaState.DECAYING: 0.5, AlphaState.DEAD: 0.0, AlphaState.UNKNOWN: 1.0}


@dataclass(frozen=True)
class Information:
    """One source over one horizon; arrays have one entry per origin, oldest first, NaN where nothing could be said."""

    signals: int
    correlations: FloatArray
    returns: FloatArray
    hits: int


def alpha_performance(
    signals: pl.DataFrame, panel: Panel, alphas: Sequence[str], window: int, horizons: Sequence[int] = HORIZONS
) -> pl.DataFrame:
    """Performance of every source at the panel's last session, as lake table ``alpha_performance`` has it.

    Parameters
    ----------
    signals
        Stored rows of ``signals``; those of sessions outside the panel are passed over.
    window
        Newest sessions with a known outcome that are looked at, per horizon.
    """
    rows = []
    for alpha in alphas:
        strengths = _signed_strength(signals.filter(pl.col("alpha") == alpha), panel)
        found = {h: information(strengths, panel.close, h, window) for h in horizons}
        means = {h: _mean(one.correlations) for h, one in found.items()}
        half_life = information_half_life(means)
        for h, one in found.items():
            state = judged(one.correlations, window)
            rows.append(
                {
                    "session": panel.last_session,
                    "alpha": alpha,
                    "horizon": h,
                    "signals": one.signals,
                    "information_coefficient": means[h],
                    "hit_rate": one.hits / one.signals if one.signals else None,
                    "mean_return": _mean(one.returns),
                    "t_statistic": t_of_mean(one.returns, h - 1),
                    "half_life": half_life,
                    "state": state.value,
                    "allocation": ALLOCATION[state],
                }
            )
    return pl.DataFrame(rows, schema=TABLES["alpha_performance"].schema).sort("alpha", "horizon")


def allocations(performance: pl.DataFrame, holding_sessions: int) -> Mapping[str, float]:
    """Factor on each source's priority: its allocation at the longest measured horizon up to the holding period."""
    reached = sorted({h for h in performance["horizon"].to_list() if h <= holding_sessions})
    if not reached:
        return {}
    chosen = performance.filter(pl.col("horizon") == reached[-1])
    return dict(zip(chosen["alpha"].to_list(), chosen["allocation"].to_list(), strict=True))


def information(strengths: FloatArray, close: FloatArray, horizon: int, window: int) -> Information:
    """Rank correlations, mean returns and hits of the newest ``window`` origins whose outcome is known.

    Parameters
    ----------
    strengths
        Direction times strength, shape (n, m) like ``close``; NaN where there was no signal.
    """
    last = len(close) - horizon
    origins = range(max(0, last - window), max(0, last))
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(np.where(close > 0.0, close, np.nan))
    correlations, returns = np.full(len(origins), np.nan), np.full(len(origins), np.nan)
    signals = hits = 0
    for k, t in enumerate(origins):
        outcome = logs[t + horizon] - logs[t]
        known = np.isfinite(outcome) & np.isfinite(strengths[t])
        correlations[k] = rank_correlation(strengths[t][known], outcome[known])
        spoken = known & (strengths[t] != 0.0)
        if spoken.any():
            side = np.sign(strengths[t][spoken])
            returns[k] = np.mean(side * outcome[spoken])
            signals += int(spoken.sum())
            hits += int((side == np.sign(outcome[spoken])).sum())
    return Information(signals, correlations, returns, hits)


def judged(correlations: FloatArray, window: int) -> AlphaState:
    """The state of a source from its rank correlations, oldest first.

    Unknown below half a window of them; dead when neither the older nor the newer half averages above zero; decaying
    when only the older one does; else sound.
    """
    known = correlations[np.isfinite(correlations)]
    if len(known) < window / 2:
        return AlphaState.UNKNOWN
    older, newer = np.array_split(known, 2)
    if newer.mean() > 0.0:
        return AlphaState.SOUND
    return AlphaState.DECAYING if older.mean() > 0.0 else AlphaState.DEAD


def information_half_life(means: Mapping[int, float | None]) -> float | None:
    """Sessions over which the mean rank correlation halves: a log-linear fit over the horizons where it is positive.

    None where it is positive at fewer than two horizons, or does not fall.
    """
    points = [(h, value) for h, value in means.items() if value is not None and value > 0.0]
    if len(points) < 2:
        return None
    horizons, values = np.array(points).T
    slope = float(np.polyfit(horizons, np.log(values), 1)[0])
    return float(-np.log(2.0) / slope) if slope < -1e-6 else None


def rank_correlation(one: FloatArray, other: FloatArray) -> float:
    """Spearman's rank correlation, ties at their mean rank; NaN for fewer than five values or without variation."""
    if len(one) < _FEWEST_SYMBOLS:
        return float("nan")
    a, b = _ranks(one), _ranks(other)
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b / size) if size > 0.0 else float("nan")


def t_of_mean(values: FloatArray, lags: int) -> float | None:
    """t statistic of a mean, its variance after Newey & West (1987): overlapping outcomes are correlated."""
    known = values[np.isfinite(values)]
    n = len(known)
    if n < max(3, lags + 2):
        return None
    deviations = known - known.mean()
    variance = float(deviations @ deviations) / n
    for lag in range(1, lags + 1):
        variance += 2.0 * (1.0 - lag / (lags + 1)) * float(deviations[lag:] @ deviations[:-lag]) / n
    return float(known.mean() / np.sqrt(variance / n)) if variance > 0.0 else None


def _signed_strength(signals: pl.DataFrame, panel: Panel) -> FloatArray:
    place = np.full((len(panel.sessions), len(panel.symbols)), np.nan)
    if signals.is_empty():
        return place
    first, last = panel.sessions[0].astype(object), panel.last_session
    column_of = {name: i for i, name in enumerate(panel.symbols)}
    known = signals.filter(pl.col("session").is_between(first, last) & pl.col("symbol").is_in(list(panel.symbols)))
    days = known["session"].to_numpy().astype("datetime64[D]")
    rows = np.searchsorted(panel.sessions, days)
    on_calendar = panel.sessions[rows] == days
    columns = np.array([column_of[symbol] for symbol in known["symbol"].to_list()], dtype=np.int64)
    values = (known["direction"].cast(pl.Float64) * known["strength"]).fill_null(0.0).to_numpy()
    place[rows[on_calendar], columns[on_calendar]] = values[on_calendar]
    return place


def _ranks(values: FloatArray) -> FloatArray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2.0)[inverse], dtype=np.float64)


def _mean(values: FloatArray) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None
