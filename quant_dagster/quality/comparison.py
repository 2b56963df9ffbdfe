"""Two vendors' bars side by side: the level of one against the other, and which prices and volumes are not alike.

Causal, whole panels. Which of the two is wrong is decided in ``evidence``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from quant_dagster.market_data.panel import FloatArray, Panel
from quant_dagster.quality.detectors import RECENT, BoolArray, DetectorSettings
from quant_dagster.quality.moves import recent_level
from quant_dagster.quality.windows import shifted, trailing_mean

_RANGE_FIELDS = ("open", "high", "low")
_MOST_HABIT = 0.03  # what one session can add to the usual disagreement
_OFTEN = 0.2  # share of sessions from which disagreeing is a habit: a week of wrong bars is none


@dataclass(frozen=True)
class EvidenceSettings:
    """How closely vendors must agree.

    Attributes
    ----------
    tolerance, tick
        A close agrees within this log distance, or this many units of money over the smaller price, whichever is
        wider: vendors round adjusted prices to between two and four decimals.
    habit
        Multiple of the vendors' usual disagreement on the symbol within which a close agrees as well.
    fine, volume_fine
        All four prices further apart than the first, or three and volumes than the second (log distances): the bars
        are not of the same session, though their closes may be near each other.
    field_tolerance, field_gross
        The same for open, high and low; and the distance at which one of them alone is a wrong price.
    volume_factor
        Factor by which the ratio of volumes must leave its usual level to contradict.
    apart
        How many usual moves further from the market's move one vendor's move must be than the other's to be the wrong
        one.
    unsettled
        Log step of the ratio within the last sessions from which the level counts as unsettled.
    """

    tolerance: float = 0.005
    fine: float = 0.0004
    volume_fine: float = 0.05
    tick: float = 0.006
    habit: float = 4.0
    field_tolerance: float = 0.006
    field_gross: float = 0.03
    volume_factor: float = 5.0
    apart: float = 3.0
    unsettled: float = 0.05


@dataclass(frozen=True)
class Levels:
    """Log ratios of closes: now, of the last session both had, recent; tolerances, the usual and a fine one."""

    ratio: FloatArray
    last: FloatArray
    usual: FloatArray
    tolerance: FloatArray
    fine: FloatArray
    from_last: FloatArray = field(init=False)
    from_usual: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "from_last", self.ratio - self.last)
        object.__setattr__(self, "from_usual", self.ratio - self.usual)


def vendor_levels(panel: Panel, other: Panel, thresholds: DetectorSettings, settings: EvidenceSettings) -> Levels:
    """Levels of a pair of vendors; a session that one of them misses keeps the last ratio there was."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.log(panel.close / other.close)
    row = np.arange(ratio.shape[0])[:, None]
    common = np.maximum.accumulate(np.where(np.isnan(ratio), -1, row), axis=0)
    recent = (common >= 0) & (row - common <= thresholds.gone_after)
    carried = np.where(recent, np.take_along_axis(ratio, np.maximum(common, 0), axis=0), np.nan)
    carried = np.asfortranarray(carried)
    last, usual = shifted(carried, 1), recent_level(carried)
    off = np.fmin(np.fmin(np.abs(ratio - last), np.abs(ratio - usual)), _MOST_HABIT)
    habit = trailing_mean(off, thresholds.window, thresholds.minimum)
    tick = settings.tick / np.fmin(panel.close, other.close)
    often = trailing_mean((off > settings.fine) + 0.0 * off, thresholds.window, thresholds.minimum) > _OFTEN
    usually = np.fmax(tick, settings.habit * np.where(often, habit, 0.0))
    tolerance = np.minimum(np.fmax(settings.tolerance, usually), 0.2)
    return Levels(ratio, last, usual, tolerance, np.fmax(settings.fine, usually))


def fields_unlike(panel: Panel, other: Panel, levels: Levels, settings: EvidenceSettings) -> FloatArray:
    """How many of open, high and low are not at the level the close is at (each vendor's own rounding allowed)."""
    limit = levels.tolerance + (settings.field_tolerance - settings.tolerance)
    count = np.zeros(levels.ratio.shape, order="F")
    for name in _RANGE_FIELDS:
        with np.errstate(invalid="ignore", divide="ignore"):
            distance = np.abs(np.log(getattr(panel, name) / getattr(other, name)) - levels.ratio)
        count += distance > limit
    return count


def odd_field(panel: Panel, other: Panel, levels: Levels, settings: EvidenceSettings) -> BoolArray:
    """One of open, high and low is far from the other vendor's, and ours is the farther from its own close."""
    odd = np.zeros(levels.ratio.shape, dtype=np.bool_, order="F")
    limit = np.fmax(settings.field_gross, 3.0 * levels.tolerance)
    theirs_impossible = (other.high < other.low) | (other.close > other.high * 1.02) | (other.close < other.low * 0.98)
    for name in _RANGE_FIELDS:
        mine, theirs = getattr(panel, name), getattr(other, name)
        with np.errstate(invalid="ignore", divide="ignore"):
            distance = np.abs(np.log(mine / theirs) - levels.ratio)
            reach, their_reach = np.abs(np.log(mine / panel.close)), np.abs(np.log(theirs / other.close))
        odd |= (distance > limit) & (reach >= their_reach) & ~theirs_impossible
    return odd


def bar_by_bar(
    panel: Panel, other: Panel, levels: Levels, volume_off: FloatArray, settings: EvidenceSettings
) -> tuple[BoolArray, BoolArray]:
    """Bars of different sessions, and identical ones.

    Different: all prices, or three and volume, differ, by however little beyond rounding, at every level. Identical:
    none differs at one of them. The levels are the last, the usual, and the usual of the week before: after a week of
    wrong bars the first two are wrong themselves.
    """
    ratios = []
    for name in (*_RANGE_FIELDS, "close"):
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios.append(np.log(getattr(panel, name) / getattr(other, name)))
    # Ratios that are one and the same are a new level (a dividend one vendor adjusts for), not another session's bar.
    spread = np.maximum.reduce(ratios) - np.minimum.reduce(ratios)
    different = ~np.isnan(levels.usual) & (spread > levels.fine)
    identical = np.zeros(different.shape, dtype=np.bool_, order="F")
    for level in (levels.last, levels.usual, shifted(levels.usual, RECENT)):
        differing = np.zeros(level.shape, dtype=np.int8, order="F")
        alike = np.zeros(level.shape, dtype=np.int8, order="F")
        for ratio in ratios:
            distance = np.abs(ratio - level)
            differing += distance > levels.fine
            alike += distance <= levels.fine
        different &= (differing == 4) | ((differing == 3) & (volume_off > settings.volume_fine)) | np.isnan(level)
        identical |= alike == 4
    return np.asarray(different), np.asarray(identical & ~(volume_off > settings.volume_fine))


def volume_ratio_off(panel: Panel, other: Panel, thresholds: DetectorSettings) -> FloatArray:
    """Log distance of the ratio of volumes from its usual level; NaN where either is absent or zero."""
    ratio = _log_volume(panel) - _log_volume(other)
    return np.asarray(np.abs(ratio - trailing_mean(ratio, thresholds.window, thresholds.minimum)))


def volume_contradicted(
    panel: Panel,
    other: Panel,
    compared: BoolArray,
    volume_off: FloatArray,
    thresholds: DetectorSettings,
    settings: EvidenceSettings,
) -> BoolArray:
    """Volume is zero, or many times the usual or a fraction of it, where the other vendor's is as usual."""
    theirs, ours = _log_volume(other), _log_volume(panel)
    off = volume_off > np.log(settings.volume_factor)
    # Of two volumes the one further from its own usual is wrong.
    ours_odd = np.abs(ours - trailing_mean(ours, thresholds.window, thresholds.minimum)) >= np.abs(
        theirs - trailing_mean(theirs, thresholds.window, thresholds.minimum)
    )
    silent = (panel.volume == 0) & (other.volume > 0)
    return np.asarray(compared & (silent | (off & ours_odd)))


def _log_volume(panel: Panel) -> FloatArray:
    values = np.full(panel.volume.shape, np.nan, order="F")
    np.log(panel.volume, out=values, where=panel.volume > 0)
    return values


def from_level(close: FloatArray) -> FloatArray:
    """Log distance of each close from its recent level."""
    log_close = np.log(close)
    return np.asarray(log_close - recent_level(log_close))


def repeats(panel: Panel) -> BoolArray:
    """The bar has the four prices of the one before."""
    same = panel.close == shifted(panel.close, 1)
    for name in _RANGE_FIELDS:
        value = getattr(panel, name)
        same &= value == shifted(value, 1)
    return np.asarray(same)


def equals_before(panel: Panel, other: Panel, levels: Levels, against: BoolArray) -> BoolArray:
    """Of the bars in ``against``: open, high, low and close are those of ``other`` on the session before."""
    equal = np.ones(int(against.sum()), dtype=np.bool_)
    # A shift lasts; so the level is that of any of the sessions before it, and only the shape is asked for.
    with np.errstate(invalid="ignore", divide="ignore"):
        offset = np.log(panel.close / shifted(other.close, 1))[against]
        for name in _RANGE_FIELDS:
            distance = np.log(getattr(panel, name) / shifted(getattr(other, name), 1))[against] - offset
            equal &= np.abs(distance) <= 0.002
    spread = np.log(panel.high / panel.low)[against]
    known = ~np.isnan(levels.usual[against])
    return np.asarray(equal & known & (spread > 0.004) & (np.abs(offset - levels.usual[against]) < 0.2))
