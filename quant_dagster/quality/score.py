"""The quality score: how far each bar can be trusted, 0 to 1, with the codes of what was found.

A bar starts at 1 and is multiplied by ``1 - penalty`` for each issue, so that several small doubts add up to a large
one. Below the desk's minimum (0.6 by default) a symbol is not traded on that session. The penalties are set so that
alone

- what makes a price useless rejects: no bar, a displaced decimal point, a huge move that volume and range
  contradict, a split not adjusted for, a bar delivered twice or under another symbol or date, prices far outside
  their own range, prices that moved without volume, no volume where the universe demands it, and a bar that another
  vendor contradicts unless that vendor is the one that is wrong;
- what is merely odd does not: a confirmed crash (0.95), an unconfirmed one in closes-only data (0.65), a stale
  price at first (0.7), a session without trades (0.7);
- two odd things together reject: a stale price without volume (0.49).

Another vendor works both ways: a move it shows too is genuine whatever range and volume say, and an unchanged price
it shows too, with volume, is not stale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_dagster.market_data.panel import FloatArray, Panel
from quant_dagster.quality import bar_errors, benford, detectors
from quant_dagster.quality.comparison import EvidenceSettings
from quant_dagster.quality.detectors import BoolArray, DetectorSettings
from quant_dagster.quality.evidence import Evidence, gather_evidence
from quant_dagster.quality.moves import Day, huge_moves, measure_day
from quant_dagster.storage.tables import TABLES

PENALTIES: dict[str, float] = {
    "missing_session": 1.0,
    "decimal_shift": 0.9,
    "contradicted_move": 0.6,
    "unconfirmed_move": 0.35,
    "large_move": 0.05,
    "ohlc_impossible": 0.5,
    "ohlc_inconsistent": 0.15,
    "repeated_bar": 0.5,
    "stale_price": 0.3,
    "zero_volume": 0.3,
    "absurd_volume": 0.2,
    "volume_missing": 0.5,
    "split_like": 0.6,
    "crossed_range": 0.5,
    "extreme_wick": 0.5,
    "repeated_prices": 0.5,
    "foreign_bar": 0.6,
    "traded_without_volume": 0.5,
    "zero_volume_run": 0.1,
    "outlying_move": 0.2,
    "volume_digits": 0.05,
    "vendor_contradiction": 0.6,
    "vendor_dispute": 0.05,
    "shifted_date": 0.6,
    "field_contradiction": 0.5,
    "volume_contradiction": 0.3,
    "unsettled_level": 0.1,
    "level_unknown": 0.5,
}
"""What each issue costs. ``stale_price`` grows to twice this at three times the length that makes a price stale."""

IMPOSSIBLE_EXCESS = 0.02
"""A price this far outside its own low to high (relative) makes the bar impossible rather than inconsistent."""

NOT_EVALUATED: dict[str, str] = {
    "ohlc": "no high and low: consistency of the bar",
    "volume": "no volume: zero and absurd volume",
    "confirmation": "neither range nor volume: a huge move can be neither confirmed nor contradicted",
    "history": "too few sessions before this one to know what is usual for the symbol",
    "second_vendor": "no other vendor's bar to compare with",
}
"""Codes of checks that could not be made."""

_ISSUES = tuple(PENALTIES)
_UNKNOWNS = tuple(NOT_EVALUATED)
BitArray = NDArray[np.uint32]


@dataclass(frozen=True)
class Scores:
    """Scores of a panel.

    Attributes
    ----------
    score
        Shape (n, m), 0 to 1; NaN where the symbol is not listed (before its first bar, long after its last).
    issues, not_evaluated
        Bit sets, shape (n, m): bit i stands for the i-th key of ``PENALTIES`` and ``NOT_EVALUATED``.
    """

    score: FloatArray
    issues: BitArray
    not_evaluated: BitArray

    def has(self, issue: str) -> NDArray[np.bool_]:
        """Where ``issue`` was found."""
        return np.asarray((self.issues & np.uint32(1 << _ISSUES.index(issue))) != 0)


@dataclass(frozen=True)
class QualitySettings:
    """How bars are scored. ``volume_required`` is the universe's."""

    volume_required: bool = True
    detectors: DetectorSettings = field(default_factory=DetectorSettings)
    evidence: EvidenceSettings = field(default_factory=EvidenceSettings)

    @property
    def reach(self) -> int:
        """Sessions before T that the score of T depends on."""
        return self.detectors.reach


def score(
    panel: Panel,
    settings: QualitySettings | None = None,
    others: Sequence[Panel] = (),
    level_unknown: BoolArray | None = None,
) -> Scores:
    """Score every bar of a panel; the score of a session uses nothing after it.

    Sessions closer than ``settings.reach`` to the start of the panel are scored from the history there is: give that
    many more for a score that does not depend on where the panel starts.

    Parameters
    ----------
    others
        What other vendors say, one panel each, with the sessions and symbols of ``panel``: NaN where a vendor has no
        bar, and where the bar in ``panel`` is that vendor's own.
    level_unknown
        Where the vendor of a symbol's bars changed without the levels of the two being known to agree.
    """
    settings = settings or QualitySettings()
    thresholds = settings.detectors
    present = ~np.isnan(panel.close)
    no_volume = present & np.isnan(panel.volume)
    day = measure_day(panel, thresholds)
    evidence = gather_evidence(panel, others, day, thresholds, settings.evidence)
    runs = detectors.stale_runs(panel)
    found = _found_alone(panel, day, runs, thresholds, evidence)
    found["volume_missing"] = no_volume if settings.volume_required else np.zeros_like(no_volume)
    if evidence is not None:
        found |= _found_together(evidence)
    if level_unknown is not None:
        found["level_unknown"] = level_unknown
    no_range = present & (np.isnan(panel.high) | np.isnan(panel.low))
    first = np.where(present.any(axis=0), present.argmax(axis=0), len(panel.sessions))
    age = np.arange(len(panel.sessions))[:, None] - first[None, :]
    unknown = {
        "ohlc": no_range,
        "volume": no_volume,
        "confirmation": no_range & no_volume,
        "history": present & (age < thresholds.minimum),
        "second_vendor": present if evidence is None else present & ~evidence.compared,
    }
    result = np.where(present | found["missing_session"], 1.0, np.nan)
    for issue, where in found.items():
        result[where] *= 1.0 - PENALTIES[issue]
    result[found["stale_price"]] *= _long_stale(runs[found["stale_price"]], thresholds.stale_after)
    return Scores(np.asfortranarray(result), _bits(found, _ISSUES), _bits(unknown, _UNKNOWNS))


def _found_alone(
    panel: Panel,
    day: Day,
    runs: NDArray[np.int64],
    thresholds: DetectorSettings,
    evidence: Evidence | None,
) -> dict[str, BoolArray]:
    """What the panel's own bars show; moves and bars that another vendor has too are cleared."""
    nobody = np.zeros(panel.close.shape, dtype=np.bool_)
    agreed = nobody if evidence is None else evidence.agreed
    same_bar = nobody if evidence is None else evidence.same_bar
    identical = nobody if evidence is None else evidence.identical
    moves = huge_moves(panel, thresholds, day, agreed)
    excess = detectors.ohlc_excess(panel)
    traded = panel.volume > 0
    repeated = detectors.repeated_bars(panel) & ~identical
    return {
        "missing_session": detectors.missing_sessions(panel, thresholds),
        "decimal_shift": moves.decimal_shift,
        "contradicted_move": moves.contradicted,
        "unconfirmed_move": moves.unconfirmed,
        "large_move": moves.confirmed,
        "split_like": moves.split_like,
        "ohlc_impossible": excess > IMPOSSIBLE_EXCESS,
        "ohlc_inconsistent": (excess > thresholds.ohlc_tolerance) & (excess <= IMPOSSIBLE_EXCESS),
        "crossed_range": bar_errors.crossed_range(panel, thresholds),
        "extreme_wick": bar_errors.extreme_wicks(panel, day, thresholds) & ~same_bar,
        "repeated_bar": repeated,
        "repeated_prices": bar_errors.repeated_prices(panel) & ~repeated & ~identical,
        "foreign_bar": bar_errors.foreign_bars(panel, day) & ~same_bar,
        "stale_price": (runs >= thresholds.stale_after) & ~(agreed & traded),
        "zero_volume": detectors.zero_volume(panel),
        "zero_volume_run": bar_errors.zero_volume_runs(panel, thresholds),
        "traded_without_volume": bar_errors.traded_without_volume(panel),
        "absurd_volume": detectors.absurd_volume(panel, thresholds),
        "outlying_move": bar_errors.outlying_moves(day, thresholds) & ~moves.contradicted & ~moves.split_like & ~agreed,
        "volume_digits": benford.unlikely_digits(panel, thresholds),
    }


def _found_together(evidence: Evidence) -> dict[str, BoolArray]:
    """What only the comparison with other vendors shows."""
    return {
        "vendor_contradiction": evidence.contradicted,
        "vendor_dispute": evidence.disputed,
        "shifted_date": evidence.shifted_date,
        "field_contradiction": evidence.field_contradicted,
        "volume_contradiction": evidence.volume_contradicted,
        "unsettled_level": evidence.unsettled,
    }


def quality_frame(
    panel: Panel,
    sessions: Sequence[date],
    settings: QualitySettings | None = None,
    others: Sequence[Panel] = (),
    level_unknown: BoolArray | None = None,
) -> pl.DataFrame:
    """Rows of lake table ``quality`` for ``sessions``, for every symbol that is listed on them; see ``score``."""
    scores = score(panel, settings, others, level_unknown)
    wanted = np.isin(panel.sessions, np.array(list(sessions), dtype="datetime64[D]"))
    rows, columns = np.nonzero(~np.isnan(scores.score) & wanted[:, None])
    frame = pl.DataFrame(
        {
            "symbol": pl.Series(panel.symbols, dtype=pl.String).gather(columns),
            "session": pl.Series(panel.sessions[rows]).cast(pl.Date),
            "score": scores.score[rows, columns],
            "issues": _spelled(scores.issues[rows, columns], _ISSUES),
            "not_evaluated": _spelled(scores.not_evaluated[rows, columns], _UNKNOWNS),
        }
    )
    return frame.select(pl.col(name).cast(dtype) for name, dtype in TABLES["quality"].schema.items())


def _long_stale(runs: NDArray[np.int64], stale_after: int) -> FloatArray:
    """Further factor for prices stale beyond the minimum: 1 at first, (1 - 2p) / (1 - p) from three times it on."""
    penalty = PENALTIES["stale_price"]
    growth = np.clip((runs - stale_after) / (2.0 * stale_after), 0.0, 1.0)
    return np.asarray((1.0 - penalty * (1.0 + growth)) / (1.0 - penalty))


def _bits(found: dict[str, NDArray[np.bool_]], codes: Sequence[str]) -> BitArray:
    shape = next(iter(found.values())).shape
    bits = np.zeros(shape, dtype=np.uint32, order="F")
    for position, code in enumerate(codes):
        if code not in found:  # what needs another vendor, and there is none
            continue
        bits[found[code]] |= np.uint32(1 << position)
    return bits


def _spelled(bits: BitArray, codes: Sequence[str]) -> pl.Series:
    distinct, where = np.unique(bits, return_inverse=True)
    texts = [",".join(code for position, code in enumerate(codes) if value >> position & 1) for value in distinct]
    return pl.Series(texts, dtype=pl.String).gather(where)
