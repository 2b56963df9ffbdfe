"""Detectors of gaps, stale and repeated bars, impossible ranges and volumes, as boolean arrays, sessions by symbols.

Causal: what is said of session T uses nothing after T, so a score given on the evening of T is the score a replay
gives. Huge moves are in ``moves``, contradictions within one bar or between symbols in ``bar_errors``, what another
vendor says in ``evidence``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_dagster.market_data.panel import FloatArray, Panel
from quant_dagster.quality.windows import shifted, trailing_mean

BoolArray = NDArray[np.bool_]
RECENT = 5
"""Sessions whose median is a symbol's recent level."""


@dataclass(frozen=True)
class DetectorSettings:
    """Thresholds of the detectors.

    Attributes
    ----------
    window, minimum
        Sessions a symbol's usual move, range and volume are taken from, and the fewest that will do.
    gone_after
        A symbol without a bar for this many sessions is no longer listed: its absence is no gap.
    stale_after
        Identical closes in a row that make a price stale.
    move, move_sigmas
        A move is huge beyond both: log return, and multiples of the symbol's usual one.
    confirming
        Volume or range, as multiples of the usual, that confirm a move.
    market_move
        Median log return of all symbols that, with a move of at most six times it, confirms the move.
    decimal_tolerance
        Distance from a power of ten, in log10, within which a ratio of closes may be a displaced decimal point: wide
        enough for one displaced on a day of large moves.
    extreme, extreme_range, extreme_volume
        Moves beyond ``extreme`` (log) are believed only with both this multiple of the usual range and this multiple
        of the usual money traded; between a huge move and an extreme one, either of ``confirming`` is enough.
    split_sigmas, split_tolerance, split_range, split_volume
        A move within this many usual ones, and this log distance, of a split's ratio may be a split that was not
        adjusted for (or twice): it is believed only with both these multiples of range and money.
    range_share
        The least range of the day, as a share of an extreme move, with which it is believed.
    decimal_range, decimal_volume
        What it takes to believe such a move all the same: a range of the day (log high over low) of at least this
        share of the move, and this multiple of the usual volume.
    absurd_volume
        Multiple of the usual volume, and its inverse, beyond which volume is not believed.
    ohlc_tolerance
        Relative distance a price may lie outside low to high before the bar contradicts itself (float32 sources).
    extreme_wick, wick_multiple
        A high or low further than this (log) from both open and close, and than this multiple of the usual range, is
        not believed on a session whose volume is ordinary.
    zero_run
        Sessions without trades in a row that make a run.
    outlying
        Robust z of a move against all moves of the session, and half as many of the symbol's own usual moves, beyond
        which a move that neither range nor volume bears out is outlying.
    digits_window, digits_minimum, digits_deviation
        Sessions, and the fewest, whose volumes' first digits are held against Benford's law, and the mean absolute
        deviation from it that is too far.
    """

    window: int = 60
    minimum: int = 20
    gone_after: int = 20
    stale_after: int = 5
    move: float = 0.15
    move_sigmas: float = 6.0
    confirming: float = 2.0
    extreme: float = 0.3
    extreme_range: float = 1.5
    extreme_volume: float = 1.3
    split_sigmas: float = 2.5
    split_tolerance: float = 0.06
    split_range: float = 2.0
    split_volume: float = 2.0
    range_share: float = 0.05
    market_move: float = 0.02
    decimal_tolerance: float = 0.15
    decimal_range: float = 0.1
    decimal_volume: float = 5.0
    absurd_volume: float = 200.0
    ohlc_tolerance: float = 1e-5
    extreme_wick: float = 0.25
    wick_multiple: float = 8.0
    zero_run: int = 3
    outlying: float = 8.0
    digits_window: int = 252
    digits_minimum: int = 120
    digits_deviation: float = 0.13

    @property
    def reach(self) -> int:
        """Sessions before T that what is said of T depends on."""
        habit = self.window + self.gone_after + 2 * RECENT + 4  # the vendors' usual disagreement needs the most
        return max(habit, 3 * self.stale_after, self.digits_window + 1)


def missing_sessions(panel: Panel, settings: DetectorSettings) -> BoolArray:
    """No bar, though the symbol had one within the last ``gone_after`` sessions."""
    absent = np.isnan(panel.close)
    row = np.arange(panel.close.shape[0])[:, None]
    last_bar = np.maximum.accumulate(np.where(absent, -1, row), axis=0)
    return np.asarray(absent & (last_bar >= 0) & (row - last_bar <= settings.gone_after))


def stale_runs(panel: Panel) -> NDArray[np.int64]:
    """How many closes in a row, this one included, are identical; 1 for a fresh close, 0 without a bar."""
    close = panel.close
    row = np.arange(close.shape[0])[:, None]
    changed = ~(close == shifted(close, 1))
    run = row - np.maximum.accumulate(np.where(changed, row, 0), axis=0) + 1
    return np.where(np.isnan(close), 0, run)


def stale_prices(panel: Panel, settings: DetectorSettings) -> BoolArray:
    """At least ``stale_after`` identical closes in a row."""
    return np.asarray(stale_runs(panel) >= settings.stale_after)


def repeated_bars(panel: Panel) -> BoolArray:
    """All five fields exactly those of the previous session, with volume: one bar was delivered twice."""
    same = panel.volume > 0
    for field in (panel.open, panel.high, panel.low, panel.close, panel.volume):
        same &= field == shifted(field, 1)
    return np.asarray(same)


def ohlc_excess(panel: Panel) -> FloatArray:
    """How far open or close lie outside low to high, or low above high, relative to the price; NaN without a range."""
    with np.errstate(invalid="ignore", divide="ignore"):
        top = np.fmax(np.fmax(panel.open, panel.close), panel.low)
        bottom = np.fmin(np.fmin(panel.open, panel.close), panel.high)
        excess = np.fmax(np.fmax(top / panel.high - 1.0, 1.0 - bottom / panel.low), 0.0)
    return np.asarray(np.where(np.isnan(panel.high) | np.isnan(panel.low), np.nan, excess))


def zero_volume(panel: Panel) -> BoolArray:
    """A bar in which nothing traded."""
    return np.asarray(panel.volume == 0)


def absurd_volume(panel: Panel, settings: DetectorSettings) -> BoolArray:
    """Volume ``absurd_volume`` times the usual, or that fraction of it."""
    distance = np.abs(relative_volume(panel, settings))
    return np.asarray(distance > np.log(settings.absurd_volume))


def relative_volume(panel: Panel, settings: DetectorSettings) -> FloatArray:
    """Log of volume over its usual level (geometric mean of the window); NaN where either is absent or zero."""
    log_volume = np.full(panel.volume.shape, np.nan, order="F")
    np.log(panel.volume, out=log_volume, where=panel.volume > 0)
    return np.asarray(log_volume - trailing_mean(log_volume, settings.window, settings.minimum))
