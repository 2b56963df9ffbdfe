"""The lead-lag graph of the desk's universe at a session, from the sessions up to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from quant_dagster.cycle import history
from quant_dagster.features.information import lead_lag_graph
from quant_dagster.market_data.panel import Panel
from quant_dagster.storage.tables import TABLES

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext

SESSIONS = 500
"""Newest sessions looked at."""


def store_lead_lag(context: TradingContext, panel: Panel) -> pl.DataFrame:
    """Find who leads whom over the newest sessions of the panel, store and return the edges; none is a finding too."""
    close = np.where(panel.close > 0.0, panel.close, np.nan)[-(SESSIONS + 1) :]
    edges = lead_lag_graph(np.diff(np.log(close), axis=0), panel.symbols)
    rows = [
        {
            "session": panel.last_session, "leader": edge.leader, "follower": edge.follower, "lag": edge.lag,
            "transfer_entropy": edge.bits, "p_value": edge.p_value, "correlation": edge.correlation,
        }
        for edge in edges
    ]  # fmt: skip
    frame = pl.DataFrame(rows, schema=TABLES["lead_lag"].schema)
    history.store(context, "lead_lag", frame)
    return frame
