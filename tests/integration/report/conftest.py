"""A real replay, and the report of it written and read."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from quant_dagster.market_data.universe import load_universe
from quant_dagster.operations.report.page import write_report
from quant_dagster.settings import Settings, load_settings
from quant_dagster.storage.lake import Lake
from quant_dagster.storage.ledger import Ledger
from tests.integration.report.pages import Page, Write
from tests.support.replays import finished_replay, open_ledger, replayed_home

__all__ = ["finished_replay", "replayed_home"]


@pytest.fixture
def ledger(replayed_home: Path) -> Ledger:
    return open_ledger(replayed_home)


@pytest.fixture
def lake(replayed_home: Path) -> Lake:
    return Lake(replayed_home / "lake")


@pytest.fixture
def write(replayed_home: Path, ledger: Ledger, lake: Lake) -> Write:
    """Write the report and read it."""

    def written(sessions: list[date] | None = None, settings: Settings | None = None) -> Page:
        settings = settings or load_settings()
        universe = load_universe(settings.universe)
        path = write_report(ledger, lake, replayed_home, sessions=sessions, universe=universe, settings=settings)
        assert [file.name for file in path.parent.iterdir() if file.suffix == ".tmp"] == []
        return Page(path.read_text(encoding="utf-8"))

    return written
