"""Ranges of sessions: load vendors' rows, build bars, score quality. A daily cycle is a range of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from quant_dagster.errors import DataUnavailableError
from quant_dagster.market_data.ingest import BarsReport, IngestReport, build_bars, ingest, load_panel
from quant_dagster.market_data.panel import Panel
from quant_dagster.quality import contracts
from quant_dagster.storage.lake import Commit

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext


@dataclass(frozen=True)
class Loaded:
    """What loading a range did, per vendor."""

    reports: tuple[IngestReport, ...]

    @property
    def changed(self) -> int:
        """Rows that are new or restated."""
        return sum(report.inserted + report.updated for report in self.reports)


@dataclass(frozen=True)
class Backfill:
    """What a backfill did."""

    loaded: Loaded
    bars: BarsReport
    scored: int


def backfill(context: TradingContext, start: date, end: date | None = None) -> Backfill:
    """Load, build and score every session from ``start`` to ``end``, each table in one commit.

    Without ``end``, everything the vendors have: rows of sessions that have not closed are then refused by name
    instead of not being looked at.
    """
    loaded = ingest_range(context, start, end or date.max)
    end = end or context.calendar.latest_completed(context.now())
    bars = build_range(context, start, end)
    context.progress("scoring quality", 0, 1)
    panel = load_panel(context.lake, context.symbols, end)
    sessions = [day for day in panel.sessions.astype(object).tolist() if start <= day <= end]
    scored = score_sessions(context, panel, sessions).height
    context.progress("scoring quality", 1, 1)
    return Backfill(loaded, bars, scored)


def ingest_range(context: TradingContext, start: date, end: date) -> Loaded:
    """Rows of every vendor of the universe into ``raw_prices``.

    Raises
    ------
    DataUnavailableError
        No vendor had anything; the message holds what each one said.
    """
    reports = []
    refusals: list[str] = []
    for vendor in context.vendors:
        try:
            report = ingest(
                context.lake,
                vendor,
                context.symbols,
                start,
                end,
                calendar=context.calendar,
                now=context.now(),
                contract=contracts.validate,
                progress=context.progress,
            )
            reports.append(report)
        except DataUnavailableError as error:
            refusals.append(str(error))
    if not reports:
        if len(refusals) == 1:
            names = context.symbols if len(context.symbols) <= 5 else (*context.symbols[:5], "…")
            vendor_names = ", ".join(vendor.name for vendor in context.vendors)
            raise DataUnavailableError(", ".join(names), vendor_names, start, end, refusals[0])
        raise DataUnavailableError("every symbol", "every vendor", start, end, "; ".join(refusals))
    return Loaded(tuple(reports))


def build_range(context: TradingContext, start: date, end: date) -> BarsReport:
    """Bars of a range from the raw prices."""
    return build_bars(context.lake, context.universe, start, end, contract=contracts.validate)


def score_sessions(context: TradingContext, panel: Panel, sessions: Sequence[date]) -> pl.DataFrame:
    """Quality scores of ``sessions``, stored; what a score looks at never lies after its session."""
    from quant_dagster.quality.score import QualitySettings, quality_frame

    settings = QualitySettings(volume_required=context.universe.volume_required)
    if not sessions:
        raise DataUnavailableError("every symbol", "lake table bars", None, None, "there is no session to score")
    first, last = np.searchsorted(panel.sessions, np.array([min(sessions), max(sessions)], dtype="datetime64[D]"))
    needed = panel.rows(max(0, int(first) - settings.reach - 1), int(last) + 1)
    frame = quality_frame(needed, sessions, settings)
    store(context, "quality", frame)
    return frame


def store(context: TradingContext, table: str, rows: pl.DataFrame) -> Commit:
    """Check rows against their contract and merge them; nothing changes when nothing is new."""
    return context.lake.merge(table, contracts.validate(table, rows))
