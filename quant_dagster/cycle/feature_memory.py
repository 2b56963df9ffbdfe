"""The features of the newest session, taken as one step from those of the session before wherever that is sound."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from quant_dagster.features.compute import FeatureFrame
from quant_dagster.market_data.panel import FIELDS, Panel

if TYPE_CHECKING:
    from quant_dagster.features.incremental import FeatureState


class FeatureMemory:
    """Keeps the state of the features between the sessions of one process.

    A replay, or a long-lived process, then updates instead of computing again. The numbers are the same to the last
    bit; a panel whose history differs in any bar from the one remembered starts anew.
    """

    def __init__(self) -> None:
        self._state: FeatureState | None = None
        self._panel: Panel | None = None

    def newest(self, panel: Panel, exchange: str) -> FeatureFrame:
        """Every feature at the panel's last session, as a frame of that one session."""
        from quant_dagster.features.incremental import advanced

        state = self._state if self._panel is not None and _continues(self._panel, panel) else None
        self._state, values = advanced(state, panel, exchange)
        self._panel = panel
        return FeatureFrame(
            sessions=panel.sessions[-1:],
            symbols=panel.symbols,
            values=np.ascontiguousarray(values)[:, :, None],
            present=np.asarray(panel.close[-1:] > 0.0),
        )


def _continues(before: Panel, panel: Panel) -> bool:
    """Is the panel the one remembered and one session more, every older bar the same?"""
    n = len(before.sessions)
    if len(panel.sessions) != n + 1 or panel.symbols != before.symbols:
        return False
    if not np.array_equal(panel.sessions[:n], before.sessions):
        return False
    return all(np.array_equal(getattr(panel, f)[:n], getattr(before, f), equal_nan=True) for f in FIELDS)
