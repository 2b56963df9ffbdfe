"""The pairs of a session, from the rows of the session before and the panel; stored in lake table ``pairs``."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl

from quant_dagster.market_data.panel import Panel
from quant_dagster.quality import contracts
from quant_dagster.storage.tables import TABLES
from quant_dagster.strategies.pairs import pairs_at

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext


def follow_pairs(context: TradingContext, panel: Panel) -> pl.DataFrame:
    """Bring the pairs to the panel's last session, form them anew where that is due, store them; returns the rows.

    The same session again gives the same rows, which replace what the table holds for it.
    """
    rows = pairs_at(panel, earlier_pairs(context, panel), context.settings.signals.pairs)
    if not rows.equals(context.lake.read("pairs", start=panel.last_session, end=panel.last_session)):
        context.lake.replace("pairs", contracts.validate("pairs", rows), [panel.last_session])
    return rows


def earlier_pairs(context: TradingContext, panel: Panel) -> pl.DataFrame:
    """Rows of the newest session before the panel's last one that has any, within one formation window."""
    reach = min(len(panel.sessions), context.settings.signals.pairs.formation_sessions)
    start = panel.sessions[-reach].astype("datetime64[D]").astype(object)
    rows = context.lake.read("pairs", start=start, end=panel.last_session - timedelta(days=1))
    if rows.is_empty():
        return TABLES["pairs"].empty()
    return rows.filter(pl.col("session") == pl.col("session").max())
