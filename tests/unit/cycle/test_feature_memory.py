"""Features of one session after the other: the bits of a computation over everything, whatever was remembered."""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

import numpy as np

from quant_dagster.cycle.feature_memory import FeatureMemory
from quant_dagster.features.compute import compute
from quant_dagster.features.incremental import FeatureState
from tests.unit.features.real_panels import mixed_panel


def same(memory: FeatureMemory, panel) -> bool:
    newest, whole = memory.newest(panel, "XNYS"), compute(panel)
    return np.array_equal(newest.values[:, :, 0], whole.values[:, :, -1], equal_nan=True) and np.array_equal(
        newest.present[0], whole.present[-1]
    )


def test_sessions_are_updated_and_not_computed_again() -> None:
    whole, memory = mixed_panel(), FeatureMemory()
    n = len(whole.sessions)
    with mock.patch.object(FeatureState, "of", side_effect=FeatureState.of) as built:
        for stop in range(n - 5, n + 1):
            assert same(memory, whole.rows(0, stop))
    assert built.call_count == 1


def test_a_restatement_however_long_ago_starts_anew() -> None:
    whole, memory = mixed_panel(), FeatureMemory()
    n = len(whole.sessions)
    assert same(memory, whole.rows(0, n - 1))
    close = whole.close.copy(order="F")
    close[3] *= 1.5  # more than a year before the last session: only the recursions remember it
    assert same(memory, replace(whole, close=close))


def test_a_session_asked_for_again_or_left_out_and_other_members_start_anew() -> None:
    whole, memory = mixed_panel(), FeatureMemory()
    n = len(whole.sessions)
    for panel in (whole.rows(0, n - 3), whole.rows(0, n - 3), whole.rows(0, n - 1), whole.columns([1, 0, 2])):
        assert same(memory, panel)
