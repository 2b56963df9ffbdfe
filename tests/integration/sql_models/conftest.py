"""The project of SQL models, a real replay, and the marts of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from quant_dagster.operations.sql.database import run
from quant_dagster.operations.sql.project import SqlProject
from quant_dagster.storage.lake import Lake
from tests.support.replays import finished_replay, open_ledger, replayed_home

__all__ = ["finished_replay", "replayed_home"]


@pytest.fixture(scope="session")
def project() -> SqlProject:
    return SqlProject.load()


@pytest.fixture(scope="session")
def built(project: SqlProject, finished_replay: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The marts of the replay. Copy them, do not write to them."""
    out = tmp_path_factory.mktemp("marts")
    run(project, Lake(finished_replay / "lake"), open_ledger(finished_replay), out)
    return out
