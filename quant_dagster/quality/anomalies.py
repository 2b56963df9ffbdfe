"""Anomalies: bars and features that are unusual for their symbol or their market. Findings, not verdicts.

A score says how far a bar can be trusted; an anomaly says that something is worth a look, also where the data is right
(a genuine crash is one). Three detectors, all causal:

``time``
    Robust z of a value against the symbol's own ``window`` sessions before: distance from their median in units of
    1.4826 times their median absolute deviation (Iglewicz and Hoaglin, 1993).
``section``
    The same against all symbols of the session: what the whole market did is usual.
``joint``
    The squared robust distance of a symbol's values together from those of all symbols of the session, with robust
    location and scale and the rank correlation between them (a whitened median/MAD z; Maronna and Zamar's pairwise
    idea): finds combinations that no value alone shows, such as a wide range without a move or volume. Given as its
    square root over the root of the number of values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from quant_dagster.market_data.panel import FloatArray, Panel
from quant_dagster.quality.windows import shifted
from quant_dagster.storage.tables import TABLES

DETECTORS = ("time", "section", "joint")
_CONSISTENT = 1.4826
_FEWEST = 20


@dataclass(frozen=True)
class AnomalySettings:
    """What counts as a finding.

    Attributes
    ----------
    window, minimum
        Sessions before T that a symbol is compared with, and the fewest that will do.
    time, section, joint
        Severity from which each detector speaks.
    per_session
        Findings kept of each session, the most severe.
    """

    window: int = 60
    minimum: int = 30
    time: float = 8.0
    section: float = 8.0
    joint: float = 6.0
    per_session: int = 20


def find_anomalies(
    panel: Panel,
    features: Mapping[str, FloatArray],
    sessions: Sequence[date],
    settings: AnomalySettings | None = None,
) -> pl.DataFrame:
    """Findings on ``sessions`` as rows of lake table ``anomalies``, sorted by session, then most severe first.

    Parameters
    ----------
    features
        Further values by name, each of shape (n, m) as the panel's fields; NaN is "absent".
    sessions
        Sessions to report on; those not in the panel have nothing to report. The panel needs ``window`` sessions
        before the first of them.
    """
    settings = settings or AnomalySettings()
    rows = np.flatnonzero(np.isin(panel.sessions, np.array(list(sessions), dtype="datetime64[D]")))
    subjects = {**measures(panel), **features}
    for name, values in subjects.items():
        if values.shape != panel.close.shape:
            raise ValueError(f"anomalies: '{name}' has shape {values.shape}, the panel {panel.close.shape}")
    if not len(rows):
        return TABLES["anomalies"].empty()
    parts = []
    for name, values in subjects.items():
        parts.append(_over_time(panel, name, values, rows, settings))
        parts.append(_across_section(panel, name, values, rows, settings))
    parts.append(_joint(panel, measures(panel), rows, settings))
    found = pl.concat(parts)
    ordered = found.sort(
        ["session", "severity", "symbol", "detector", "subject"], descending=[False, True] + 3 * [False]
    )
    kept = ordered.group_by("session", maintain_order=True).head(settings.per_session)
    return kept.select(pl.col(name).cast(dtype) for name, dtype in TABLES["anomalies"].schema.items())


def measures(panel: Panel) -> dict[str, FloatArray]:
    """What is looked at of every bar: log return, log of high over low, log volume."""
    with np.errstate(invalid="ignore", divide="ignore"):
        log_close = np.log(panel.close)
        log_volume = np.where(panel.volume > 0, np.log(panel.volume), np.nan)
        return {
            "log_return": log_close - shifted(log_close, 1),
            "log_range": np.log(panel.high / panel.low),
            "log_volume": np.asfortranarray(log_volume),
        }


def summary(findings: pl.DataFrame) -> pl.DataFrame:
    """Findings by detector and subject: columns detector, subject, findings, worst (highest severity)."""
    counts = findings.group_by("detector", "subject").agg(
        pl.len().alias("findings"), pl.col("severity").max().alias("worst")
    )
    return counts.sort("detector", "subject")


def _over_time(
    panel: Panel, name: str, values: FloatArray, rows: np.ndarray, settings: AnomalySettings
) -> pl.DataFrame:
    """Blocks of sessions at a time: each needs the windows of all symbols at once."""
    centre = np.full((len(rows), values.shape[1]), np.nan)
    scale = centre.copy()
    for position, row in enumerate(rows):
        before = values[max(0, row - settings.window) : row]
        enough = (~np.isnan(before)).sum(axis=0) >= settings.minimum
        if enough.any():
            centre[position, enough], scale[position, enough] = _median_and_scale(before[:, enough], axis=0)
    return _findings(panel, "time", name, values[rows], centre, scale, rows, settings.time, "the symbol's usual")


def _across_section(
    panel: Panel, name: str, values: FloatArray, rows: np.ndarray, settings: AnomalySettings
) -> pl.DataFrame:
    section = np.ascontiguousarray(values[rows])
    enough = (~np.isnan(section)).sum(axis=1) >= _FEWEST
    centre, scale = np.full(section.shape, np.nan), np.full(section.shape, np.nan)
    if enough.any():
        middle, width = _median_and_scale(section[enough], axis=1)
        centre[enough], scale[enough] = middle[:, None], width[:, None]
    return _findings(panel, "section", name, section, centre, scale, rows, settings.section, "the market's usual")


def _joint(
    panel: Panel, subjects: Mapping[str, FloatArray], rows: np.ndarray, settings: AnomalySettings
) -> pl.DataFrame:
    names = list(subjects)
    distance = np.full((len(rows), len(panel.symbols)), np.nan)
    for position, row in enumerate(rows):
        section = np.stack([subjects[name][row] for name in names], axis=1)
        known = ~np.isnan(section).any(axis=1)
        if known.sum() < _FEWEST:
            continue
        cloud = section[known]
        middle, width = _median_and_scale(cloud, axis=0)
        if not (width > 0).all():
            continue
        standard = (cloud - middle) / width
        # Rank correlation: one wild symbol does not turn the axes.
        ranks = standard.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
        correlation = np.corrcoef(ranks, rowvar=False) + 1e-6 * np.eye(len(names))
        whitened = np.linalg.solve(np.linalg.cholesky(correlation), standard.T)
        distance[position, known] = np.sqrt((whitened**2).sum(axis=0) / len(names))
    zero = np.zeros_like(distance)
    together = "+".join(names)
    usual = "all symbols together"
    return _findings(panel, "joint", together, distance, zero, zero + 1.0, rows, settings.joint, usual)


def _median_and_scale(values: FloatArray, axis: int) -> tuple[FloatArray, FloatArray]:
    middle = _median(values, axis)
    deviation = _median(np.abs(values - np.expand_dims(middle, axis)), axis)
    return middle, deviation * _CONSISTENT


def _median(values: FloatArray, axis: int) -> FloatArray:
    """Median of what is present. Sorting puts NaN last, which is many times faster than ``np.nanmedian``."""
    ordered = np.sort(values, axis=axis)
    count = (~np.isnan(values)).sum(axis=axis)
    low, high = np.maximum(count - 1, 0) // 2, np.maximum(count, 1) // 2
    picked = [np.take_along_axis(ordered, np.expand_dims(at, axis), axis=axis) for at in (low, high)]
    return np.asarray(np.squeeze((picked[0] + picked[1]) / 2.0, axis=axis))


def _findings(
    panel: Panel,
    detector: str,
    subject: str,
    values: FloatArray,
    centre: FloatArray,
    scale: FloatArray,
    rows: np.ndarray,
    limit: float,
    against: str,
) -> pl.DataFrame:
    with np.errstate(invalid="ignore", divide="ignore"):
        severity = np.where(scale > 0, np.abs(values - centre) / scale, np.nan)
    at, column = np.nonzero(severity > limit)
    frame = pl.DataFrame(
        {
            "symbol": pl.Series(panel.symbols, dtype=pl.String).gather(column),
            "session": pl.Series(panel.sessions[rows[at]]).cast(pl.Date),
            "detector": pl.Series([detector], dtype=pl.String).gather(np.zeros(len(at), dtype=np.int64)),
            "subject": pl.Series([subject], dtype=pl.String).gather(np.zeros(len(at), dtype=np.int64)),
            "value": values[at, column],
            "usual": centre[at, column],
            "severity": severity[at, column],
        }
    )
    detail = pl.format(
        f"{subject} {{}} is {{}} deviations from {against} {{}}", *(_short(c) for c in ("value", "severity", "usual"))
    )
    return frame.with_columns(detail=detail)


def _short(column: str) -> pl.Expr:
    return pl.col(column).round_sig_figs(4).cast(pl.String)
