"""Huge moves: which of them are genuine.

Causal, which forbids the usual test of an outlier ("did it reverse the next day?"). A huge move is instead judged by
what T itself shows. Real crashes come with volume and a wide range, or with the whole market; a misprint copies an
ordinary day at a wrong level. Of the 33 moves beyond 40 % in 498 US stocks, 2014 to 2024, each had at least twice
its usual volume and twice its usual range, and a second vendor agreed wherever it had both sessions; a price with its
decimal point displaced has neither. Where a vendor has closes only, nothing can confirm a move: it is marked as
unconfirmed, which costs score but does not reject, unless the ratio is a power of ten. Where a second
vendor shows the same move it is genuine, whatever volume says (``evidence``).

Volume counts in money: a price that a missed split halved comes with twice the shares, a price that fell by half with
many times the money. Moves beyond ``extreme`` need both range and money; moves as large as a split's need more of both.

The reference for a move is the previous close *or* the median of the five before: after a misprint the return to the
old level is therefore no outlier, and after a crash the next session is none either.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_dagster.market_data.panel import FloatArray, Panel
from quant_dagster.quality.detectors import RECENT, BoolArray, DetectorSettings, relative_volume
from quant_dagster.quality.windows import shifted, trailing_mean

SPLIT_RATIOS = (1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 15.0, 20.0, 25.0, 30.0, 50.0)
"""New shares per old (or old per new) of splits; a ratio below 1.5 is no larger than what good news does."""


@dataclass(frozen=True)
class Day:
    """What each session's bar amounts to, against what is usual for its symbol; shape (n, m), NaN where unknown.

    Attributes
    ----------
    step, move
        Log return from the previous close; and from that or from the recent level, whichever is nearer.
    usual
        The symbol's usual move (standard deviation of a normal with the same mean absolute move).
    spread, wide
        Log of high over low, and as a multiple of the usual.
    busy
        Money traded, as a multiple of the usual; for a rise, shares traded (the smaller of the two).
    """

    step: FloatArray
    move: FloatArray
    usual: FloatArray
    spread: FloatArray
    wide: FloatArray
    busy: FloatArray


def measure_day(panel: Panel, settings: DetectorSettings) -> Day:
    """Moves, ranges and volumes of a panel, each against the ``window`` sessions before."""
    log_close = np.log(panel.close)
    step = log_close - shifted(log_close, 1)
    from_level = log_close - recent_level(log_close)
    move = np.where(np.abs(from_level) < np.abs(step), from_level, step)
    move = np.where(np.isnan(step), from_level, move)
    usual = trailing_mean(np.minimum(np.abs(step), 0.25), settings.window, settings.minimum) * np.sqrt(np.pi / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.log(panel.high / panel.low)
        wide = spread / trailing_mean(np.maximum(spread, 0.0), settings.window, settings.minimum)
    busy = np.exp(np.minimum(relative_volume(panel, settings) + np.fmin(move, 0.0), 50.0))
    return Day(step, move, usual, spread, wide, busy)


@dataclass(frozen=True)
class Moves:
    """Huge moves by what speaks for them; a cell is True in at most one.

    Attributes
    ----------
    confirmed
        Volume, range, the market or another vendor bear it out.
    unconfirmed
        The vendor has neither volume nor range.
    contradicted
        Volume and range (those the vendor has) are those of an ordinary day.
    split_like
        The same, and the ratio of closes is one of a split: not adjusted for, or twice.
    decimal_shift
        The ratio of closes is about a power of ten, and the day's range and volume are not those of such a collapse.
    """

    confirmed: BoolArray
    unconfirmed: BoolArray
    contradicted: BoolArray
    split_like: BoolArray
    decimal_shift: BoolArray


def huge_moves(
    panel: Panel, settings: DetectorSettings, day: Day | None = None, agreed: BoolArray | None = None
) -> Moves:
    """Classify every move that is huge for its symbol.

    Parameters
    ----------
    day
        ``measure_day`` of the panel, where it is at hand.
    agreed
        Where another vendor shows the same move.
    """
    day = day or measure_day(panel, settings)
    size = np.abs(day.move)
    huge = size > np.fmax(settings.move, settings.move_sigmas * np.where(np.isnan(day.usual), 0.0, day.usual))
    rows, columns = np.nonzero(huge)  # few: everything from here on is about them alone
    move, size, spread = day.move[huge], size[huge], day.spread[huge]
    wide, busy, usual = day.wide[huge], day.busy[huge], day.usual[huge]
    trusted = _with_the_market(day.step, settings)[huge]
    if agreed is not None:
        trusted |= agreed[huge]
    silent = np.isnan(wide) & np.isnan(busy)
    tens = move / np.log(10.0)
    power_of_ten = (np.rint(tens) != 0) & (np.abs(tens - np.rint(tens)) < settings.decimal_tolerance)
    collapse = (spread >= settings.decimal_range * size) & (busy >= settings.decimal_volume)
    decimal_shift = power_of_ten & ~collapse & ~trusted
    either = (wide >= settings.confirming) | (busy >= settings.confirming)
    known_range, known_volume = ~np.isnan(wide), ~np.isnan(busy)

    def both(range_multiple: float, volume_multiple: float) -> BoolArray:
        ranged = ~known_range | ((wide >= range_multiple) & (spread >= settings.range_share * size))
        return np.asarray(ranged & (~known_volume | (busy >= volume_multiple)) & ~silent)

    borne_out = np.where(size > settings.extreme, both(settings.extreme_range, settings.extreme_volume), either)
    distance = np.abs(size[:, None] - np.log(np.array(SPLIT_RATIOS))[None, :]).min(axis=1)
    near = np.minimum(settings.split_sigmas * np.where(np.isnan(usual), 1.0, usual), settings.split_tolerance)
    by_split = ~silent & (size > settings.extreme) & (distance <= near)
    borne_out &= ~by_split | both(settings.split_range, settings.split_volume)
    plain = ~decimal_shift
    doubtful = plain & ~(borne_out | trusted)
    found = (
        plain & (borne_out | trusted),
        doubtful & silent,
        doubtful & ~silent & ~by_split,
        doubtful & by_split,
        decimal_shift,
    )
    return Moves(*(_spread_out(mask, rows, columns, huge.shape) for mask in found))


def recent_level(values: FloatArray) -> FloatArray:
    """Median of the five values before each session (of those there are)."""
    one, two, three, four, five = (shifted(values, lag) for lag in range(1, RECENT + 1))
    # Of two pairs, the larger of the smaller ones and the smaller of the larger ones: the median of the five is the
    # median of these two and the fifth. Many times faster than a partition; NaN wherever one of the five is.
    low = np.maximum(np.minimum(one, two), np.minimum(three, four))
    high = np.minimum(np.maximum(one, two), np.maximum(three, four))
    level = np.maximum(np.minimum(low, five), np.minimum(np.maximum(low, five), high))
    rows, columns = np.nonzero(np.isnan(level))
    earlier = np.stack([lagged[rows, columns] for lagged in (one, two, three, four, five)])
    partly = ~np.isnan(earlier).all(axis=0)
    level[rows[partly], columns[partly]] = np.nanmedian(earlier[:, partly], axis=0)
    return np.asfortranarray(level)


def market_steps(step: FloatArray) -> FloatArray:
    """Median log return of all symbols on each session, shape (n,); NaN where nothing is known."""
    known = ~np.isnan(step).all(axis=1)
    market = np.full(step.shape[0], np.nan)
    market[known] = np.nanmedian(step[known], axis=1)
    return market


def _spread_out(
    mask: BoolArray, rows: NDArray[np.intp], columns: NDArray[np.intp], shape: tuple[int, ...]
) -> BoolArray:
    whole = np.zeros(shape, dtype=np.bool_, order="F")
    whole[rows[mask], columns[mask]] = True
    return whole


def _with_the_market(step: FloatArray, settings: DetectorSettings) -> BoolArray:
    """The median of all symbols moved the same way, and the move is at most six times it."""
    middle = market_steps(step)[:, None]
    same_way = np.sign(step) == np.sign(middle)
    return np.asarray(same_way & (np.abs(middle) >= settings.market_move) & (np.abs(step) <= 6.0 * np.abs(middle)))
