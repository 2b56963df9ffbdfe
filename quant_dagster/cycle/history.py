"""Ranges of sessions: load vendors' rows, build bars, score quality. A daily cycle is a range of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from quant_dagster.cycle.reconciling import Reconciled, reconcile_range
from quant_dagster.errors import DataUnavailableError
from quant_dagster.market_data.ingest import BarsReport, build_bars, load_level_unknown, load_other_panels, load_panel
from quant_dagster.market_data.panel import Panel
from quant_dagster.market_data.sourcing import Sourced
from quant_dagster.quality import contracts
from quant_dagster.storage.lake import Commit

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext
    from quant_dagster.cycle.restatement import Rebuilt

_SCORE_DAYS = 550
"""Calendar days before a session that hold every session its score depends on."""


@dataclass(frozen=True)
class Backfill:
    """What a backfill did.

    Attributes
    ----------
    restated
        Restatements found and what was rebuilt because of them; None: no bar was restated.
    """

    loaded: Sourced
    bars: BarsReport
    scored: int
    reconciled: Reconciled | None
    restated: Rebuilt | None


def backfill(context: TradingContext, start: date, end: date | None = None, *, refresh: bool = False) -> Backfill:
    """Load, build, score and reconcile every session from ``start`` to ``end``, each table in one commit.

    Without ``end``, everything the vendors have: rows of sessions that have not closed are then refused by name
    instead of not being looked at. Killed at any moment, the next run completes it.

    Parameters
    ----------
    refresh
        Ask remote vendors for the whole range again, not only for what is new.
    """
    from quant_dagster.cycle.restatement import rebuild_restated  # imports the compiled kernels

    loaded = ingest_range(context, start, end or date.max, refresh=refresh)
    end = end or context.calendar.latest_completed(context.now())
    bars = build_range(context, start, end)
    context.progress("scoring quality", 0, 1)
    scored = score_range(context, start, end).height
    context.progress("scoring quality", 1, 1)
    reconciled = reconcile_range(context, start, end)
    return Backfill(loaded, bars, scored, reconciled, rebuild_restated(context))


def ingest_range(context: TradingContext, start: date, end: date, *, refresh: bool = False) -> Sourced:
    """Rows of the universe's vendors into ``raw_prices``; see `market_data.sourcing`.

    Raises
    ------
    DataUnavailableError
        No vendor had anything; the message holds what each one said.
    """
    context.ledger.upgrade()
    sourcing = replace(context.sourcing, refresh=refresh)
    return sourcing.load(context.symbols, start, end, context.now())


def build_range(context: TradingContext, start: date, end: date) -> BarsReport:
    """Bars of a range from the raw prices."""
    return build_bars(context.lake, context.universe, start, end, contract=contracts.validate)


def score_range(context: TradingContext, start: date, end: date) -> pl.DataFrame:
    """Quality scores of every session from ``start`` to ``end`` that has bars."""
    panel = load_panel(context.lake, context.symbols, end, start=start - timedelta(days=_SCORE_DAYS))
    sessions = [day for day in panel.sessions.astype(object).tolist() if start <= day <= end]
    return score_sessions(context, panel, sessions)


def score_sessions(context: TradingContext, panel: Panel, sessions: Sequence[date]) -> pl.DataFrame:
    """Quality scores of ``sessions``, stored; what a score looks at never lies after its session.

    What other vendors say of the same bars is evidence.
    """
    from quant_dagster.quality.score import QualitySettings, quality_frame

    settings = QualitySettings(volume_required=context.universe.volume_required)
    if not sessions:
        raise DataUnavailableError("every symbol", "lake table bars", None, None, "there is no session to score")
    first, last = np.searchsorted(panel.sessions, np.array([min(sessions), max(sessions)], dtype="datetime64[D]"))
    needed = panel.rows(max(0, int(first) - settings.reach - 1), int(last) + 1)
    others = load_other_panels(context.lake, needed, context.universe.vendors)
    frame = quality_frame(needed, sessions, settings, others, load_level_unknown(context.lake, needed))
    store(context, "quality", frame)
    return frame


def store(context: TradingContext, table: str, rows: pl.DataFrame) -> Commit:
    """Check rows against their contract and merge them; nothing changes when nothing is new."""
    return context.lake.merge(table, contracts.validate(table, rows))
