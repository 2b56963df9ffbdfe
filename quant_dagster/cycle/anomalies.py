"""What is unusual about a session: bars and a few telling features, looked at by the anomaly detectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from quant_dagster.features.compute import compute
from quant_dagster.quality import contracts
from quant_dagster.quality.anomalies import AnomalySettings, find_anomalies

if TYPE_CHECKING:
    from quant_dagster.cycle.session import SessionCycle

_LONGEST_WINDOW = 25
WATCHED = ("return_z_20", "volume_z_20", "relative_return_20", "distance_mean_20")
"""Features that are looked at beside the bars' own return, range and volume; those there are."""


def record_anomalies(cycle: SessionCycle) -> pl.DataFrame:
    """Findings of a session, stored in place of earlier ones of it; returns them, most severe first."""
    settings = AnomalySettings()
    reach = settings.window + 2
    panel = cycle.panel.last(reach)
    # Window features: the sessions before the first one looked at are all they depend on.
    frame = compute(cycle.panel.last(reach + _LONGEST_WINDOW), cycle.context.universe.exchange)
    features = {name: frame[name][-reach:] for name in WATCHED if name in frame.names}
    found = find_anomalies(panel, features, [cycle.session], settings)
    cycle.context.lake.replace("anomalies", contracts.validate("anomalies", found), [cycle.session])
    return found.sort("severity", descending=True)
