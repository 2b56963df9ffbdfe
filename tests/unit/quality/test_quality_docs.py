"""The page about data quality lists every code with what it costs."""

from __future__ import annotations

from pathlib import Path

import pytest

from quant_dagster.quality.reconciliation import CLASSES
from quant_dagster.quality.score import NOT_EVALUATED, PENALTIES
from tests.unit.quality.planted_faults import KINDS

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "data_quality.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("issue", "penalty"), PENALTIES.items())
def test_page_names_each_issue_with_its_penalty(issue: str, penalty: float) -> None:
    assert f"| `{issue}` | {penalty:g}" in PAGE or f"| `{issue}` | {penalty:.1f}" in PAGE


def test_page_names_what_cannot_be_checked_the_classes_of_breaks_and_the_planted_kinds() -> None:
    assert all(f"`{code}`" in PAGE for code in (*NOT_EVALUATED, *CLASSES))
    assert all(f"| {kind} | 200 |" in PAGE for kind in KINDS)
