"""What another vendor's bars say about ours: agreement, contradiction, and who is wrong as far as can be told.

Vendors adjust differently, so prices are compared by the log ratio of closes against its own recent level. Two
vendors of one market agree astonishingly well: for 498 US stocks over ten years that ratio moves by less than 1e-4 on
996 of 1,000 bars. A ratio that steps says that one of the two is wrong on that session; who, the session itself must
tell (causal: whether the ratio returns tomorrow is for ``reconciliation``):

- a bar that repeats its previous one, is crossed, or is the other vendor's bar of the session before is wrong;
- of two moves, the one that is far outside what the symbol does and the market did is wrong;
- where neither can be told, nobody is cleared: what is unknown is unsafe.

Where the vendors disagree all the time (thinly traded lines, two share classes under one name), the tolerance grows
with their usual disagreement, and such a vendor proves less.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from quant_dagster.market_data.panel import Panel
from quant_dagster.quality.comparison import (
    EvidenceSettings,
    Levels,
    bar_by_bar,
    equals_before,
    fields_unlike,
    from_level,
    odd_field,
    repeats,
    vendor_levels,
    volume_contradicted,
    volume_ratio_off,
)
from quant_dagster.quality.detectors import BoolArray, DetectorSettings
from quant_dagster.quality.moves import Day, market_steps


@dataclass(frozen=True)
class Evidence:
    """What other vendors say of each bar; shape (n, m).

    Attributes
    ----------
    compared
        Another vendor has a bar of the session, and one not long before that was ours as well.
    agreed
        Another vendor's prices moved as ours did.
    same_bar
        The same, and open, high and low stand as they do there.
    identical
        All four prices, and volume where both have it, are the other vendor's but for rounding.
    contradicted
        No vendor agrees, and ours is the wrong one, or it cannot be told who is.
    disputed
        A vendor disagrees, but it is the one that is wrong.
    shifted_date
        Contradicted, and the bar is the other vendor's bar of the session before.
    field_contradicted
        The close agrees; open, high or low is far from the other vendor's, and ours is the odd one.
    volume_contradicted
        Prices agree; volume is zero or a multiple where the other vendor has the usual one.
    unsettled
        The level between the vendors has stepped within the last sessions.
    """

    compared: BoolArray
    agreed: BoolArray
    same_bar: BoolArray
    identical: BoolArray
    contradicted: BoolArray
    disputed: BoolArray
    shifted_date: BoolArray
    field_contradicted: BoolArray
    volume_contradicted: BoolArray
    unsettled: BoolArray


def gather_evidence(
    panel: Panel,
    others: Sequence[Panel],
    day: Day,
    thresholds: DetectorSettings,
    settings: EvidenceSettings | None = None,
) -> Evidence | None:
    """Evidence of all other vendors together; None where there are none. One that agrees outweighs those that do not.

    Parameters
    ----------
    others
        Panels with the same sessions and symbols; NaN where the vendor has no bar, and where the panel's own bar is
        that vendor's (nobody is a witness to himself).

    Raises
    ------
    ValueError
        A panel is not aligned.
    """
    if not others:
        return None
    settings = settings or EvidenceSettings()
    for other in others:
        if other.symbols != panel.symbols or not np.array_equal(other.sessions, panel.sessions):
            raise ValueError("panels of other vendors must have the sessions and symbols of the panel they speak about")
    said = [_compare(panel, other, day, thresholds, settings) for other in others]
    if len(said) == 1:
        return said[0]
    agreed = _any(one.agreed for one in said)
    whole = _any(one.agreed & ~one.field_contradicted for one in said)
    measured = _any(one.agreed & ~one.volume_contradicted for one in said)
    return Evidence(
        compared=_any(one.compared for one in said),
        agreed=agreed,
        same_bar=_any(one.same_bar for one in said),
        identical=_any(one.identical for one in said),
        contradicted=_any(one.contradicted for one in said) & ~agreed,
        disputed=_any(one.disputed | (one.contradicted & agreed) for one in said),
        shifted_date=_any(one.shifted_date for one in said) & ~agreed,
        field_contradicted=_any(one.field_contradicted for one in said) & ~whole,
        volume_contradicted=_any(one.volume_contradicted for one in said) & ~measured,
        unsettled=_any(one.unsettled for one in said),
    )


def _compare(
    panel: Panel, other: Panel, day: Day, thresholds: DetectorSettings, settings: EvidenceSettings
) -> Evidence:
    levels = vendor_levels(panel, other, thresholds, settings)
    compared = ~np.isnan(levels.from_usual)
    near_last = np.abs(levels.from_last) <= levels.tolerance
    near_usual = np.abs(levels.from_usual) <= levels.tolerance
    apart = np.abs(np.where(near_last & ~near_usual, levels.from_last, levels.from_usual))
    whole_bar = ~(np.isnan(other.open) | np.isnan(other.high) | np.isnan(other.low))
    unlike = fields_unlike(panel, other, levels, settings)
    # A close may be near by chance, the more so near one of the two levels only (dates shifted for a week): most of
    # the bar must agree then, and some of it always.
    agreed = compared & ((near_last & near_usual & (unlike < 3)) | ((near_last | near_usual) & (unlike < 2)))
    volume_off = volume_ratio_off(panel, other, thresholds)
    another, identical = bar_by_bar(panel, other, levels, volume_off, settings)
    agreed = (agreed & ~another) | (compared & identical)
    against = compared & ~agreed

    rows, columns = np.nonzero(against)  # few: who is wrong is asked of these alone
    ours_wrong, theirs_wrong, late = _who(panel, other, day, levels, against, settings)
    contradicted = np.zeros_like(against)
    contradicted[rows, columns] = ours_wrong | ~theirs_wrong
    disputed = np.zeros_like(against)
    disputed[rows, columns] = ~ours_wrong & theirs_wrong
    shifted_date = np.zeros_like(against)
    shifted_date[rows, columns] = late

    # A step of the ratio that only our close made, by a power of a hundred (pence and pounds; no split does that): ours
    # stays wrong until its level has become the usual one.
    stepped = agreed & near_last & ~near_usual & (np.abs(levels.from_usual) > settings.unsettled)
    hundreds = levels.from_usual / np.log(100.0)
    units = stepped & (np.rint(hundreds) != 0) & (np.abs(hundreds - np.rint(hundreds)) < 0.02)
    if units.any():
        units &= np.abs(from_level(panel.close)) > np.abs(from_level(other.close))
        contradicted |= units
        agreed &= ~units

    gross = agreed & (apart <= levels.tolerance) & odd_field(panel, other, levels, settings)
    return Evidence(
        compared=np.asarray(compared),
        agreed=np.asarray(agreed),
        same_bar=np.asarray(agreed & (unlike == 0) & whole_bar),
        identical=np.asarray(agreed & identical),
        contradicted=np.asarray(contradicted),
        disputed=np.asarray(disputed),
        shifted_date=np.asarray(shifted_date & contradicted),
        field_contradicted=np.asarray(gross),
        volume_contradicted=volume_contradicted(panel, other, compared, volume_off, thresholds, settings),
        unsettled=np.asarray(stepped & ~units),
    )


def _who(
    panel: Panel, other: Panel, day: Day, levels: Levels, against: BoolArray, settings: EvidenceSettings
) -> tuple[BoolArray, BoolArray, BoolArray]:
    """Of the bars in ``against``: ours is wrong, theirs is wrong, ours is theirs of the session before."""
    # Both moves from the same reference: the last session both had, or the recent level, whichever disagrees less.
    by_last = np.abs(levels.from_last) <= np.abs(levels.from_usual)
    apart = np.where(by_last, levels.from_last, levels.from_usual)[against]
    ours = np.where(by_last, day.step, from_level(panel.close))[against]
    ours = np.where(np.isnan(ours), day.move[against], ours)
    theirs = ours - apart
    market = np.broadcast_to(market_steps(day.step)[:, None], against.shape)[against]
    market = np.where(np.isnan(market), 0.0, market)
    scale = np.fmax(np.where(np.isnan(day.usual[against]), 0.02, day.usual[against]), 0.005)
    surplus = (np.abs(ours - market) - np.abs(theirs - market)) / scale
    late = equals_before(panel, other, levels, against)
    ours_defect = repeats(panel)[against] | (panel.high < panel.low)[against] | late
    theirs_defect = repeats(other)[against] | (other.high < other.low)[against]
    ours_wrong = (surplus > settings.apart) | ours_defect
    theirs_wrong = (surplus < -settings.apart) | theirs_defect
    return (
        np.asarray(ours_wrong & ~(theirs_defect & ~ours_defect & (surplus <= settings.apart))),
        np.asarray(theirs_wrong & ~(surplus > settings.apart)),
        np.asarray(late),
    )


def _any(masks: Iterable[BoolArray]) -> BoolArray:
    return np.asarray(np.logical_or.reduce(list(masks)))
