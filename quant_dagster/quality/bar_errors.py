"""Errors inside one bar, or between the bars of one session: what contradicts itself or belongs to another symbol.

Like ``detectors``: boolean arrays, sessions by symbols, causal. What needs a second vendor is in ``evidence``.
"""

from __future__ import annotations

import numpy as np

from quant_dagster.market_data.panel import Panel
from quant_dagster.quality.detectors import BoolArray, DetectorSettings, relative_volume
from quant_dagster.quality.moves import Day, market_steps
from quant_dagster.quality.windows import shifted

_MIX = np.uint64(0x9E3779B97F4A7C15)


def crossed_range(panel: Panel, settings: DetectorSettings) -> BoolArray:
    """High below low: the two were swapped, or belong to different bars."""
    return np.asarray(panel.high < panel.low * (1.0 - settings.ohlc_tolerance))


def extreme_wicks(panel: Panel, day: Day, settings: DetectorSettings) -> BoolArray:
    """A high or low, or an open, far from all other prices of the bar, while volume is that of an ordinary day.

    A decimal point displaced in one price leaves the others where they were. Where the open alone is wrong the bar
    mostly contradicts its range already.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        above = np.log(panel.high / np.fmax(panel.open, panel.close))
        below = np.log(np.fmin(panel.open, panel.close) / panel.low)
    wick = np.fmax(above, below)
    ordinary = ~(relative_volume(panel, settings) >= np.log(settings.confirming))
    unlikely = ~(day.wide < settings.wick_multiple)
    absurd = wick > 4.0 * settings.extreme_wick  # no volume explains a price at a third of every other one
    return np.asarray((wick > settings.extreme_wick) & unlikely & (ordinary | absurd))


def repeated_prices(panel: Panel) -> BoolArray:
    """Open, high, low and close all exactly those of the previous session, in a bar that has a range."""
    same = panel.high > panel.low
    for field in (panel.open, panel.high, panel.low, panel.close):
        same &= field == shifted(field, 1)
    return np.asarray(same)


def foreign_bars(panel: Panel, day: Day) -> BoolArray:
    """All five fields those of another symbol's bar of the session, and this symbol's move is the larger of the two."""
    whole = (panel.volume > 0) & (panel.high > panel.low)
    key = np.zeros(panel.close.shape, dtype=np.uint64)
    for field in (panel.open, panel.high, panel.low, panel.close, panel.volume):
        bits = np.ascontiguousarray(field).view(np.uint64)
        key = (key ^ (bits >> np.uint64(17)) ^ bits) * _MIX
    # Keys of absent bars are made different from each other, so that only bars can be alike.
    cells = np.arange(key.size, dtype=np.uint64).reshape(key.shape)
    key = np.where(whole, key | np.uint64(1), cells << np.uint64(1))
    ordered = np.sort(key, axis=1)
    alike = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
    found = np.zeros(key.shape, dtype=np.bool_, order="F")
    size = np.abs(np.where(np.isnan(day.move), np.inf, day.move))
    for row in np.flatnonzero(alike):  # sessions on which two bars are alike: few or none
        _, member, count = np.unique(key[row], return_inverse=True, return_counts=True)
        smallest = np.full(len(count), np.inf)
        np.minimum.at(smallest, member, size[row])
        found[row] = (count[member] > 1) & ((size[row] > smallest[member]) | np.isinf(size[row]))
    return found


def traded_without_volume(panel: Panel) -> BoolArray:
    """Volume is zero though prices differ within the bar, or the close is not the one before."""
    before = shifted(panel.close, 1)
    moved = (panel.high > panel.low) | (~np.isnan(before) & (panel.close != before))
    return np.asarray((panel.volume == 0) & moved)


def zero_volume_runs(panel: Panel, settings: DetectorSettings) -> BoolArray:
    """At least ``zero_run`` sessions in a row in which nothing traded."""
    none = panel.volume == 0
    run = none.copy()
    for lag in range(1, settings.zero_run):
        earlier = np.zeros_like(none)
        earlier[lag:] = none[:-lag]
        run &= earlier
    return np.asarray(run)


def outlying_moves(day: Day, settings: DetectorSettings) -> BoolArray:
    """Moves that stand out of the session's moves and the symbol's own, with neither range nor volume to show for it.

    The session's moves are centred on their median and scaled by their median absolute deviation (Iglewicz and
    Hoaglin, 1993: 0.6745 (x - median) / MAD), so that a move the whole market made stands out of nothing.
    """
    centre = market_steps(day.step)[:, None]
    apart = np.abs(day.step - centre)
    scale = market_steps(apart)[:, None] / 0.6745
    with np.errstate(invalid="ignore", divide="ignore"):
        across, own = apart / scale, np.abs(day.move) / day.usual
    quiet = (day.wide < settings.confirming) & (day.busy < settings.confirming)
    return np.asarray((across > settings.outlying) & (own > 0.5 * settings.outlying) & quiet)
