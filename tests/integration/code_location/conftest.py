"""A home with the packaged history, loaded once by the code location itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import dagster as dg
import pytest

from quant_dagster.definitions import build_defs
from tests.support.replays import SHORT_HISTORY


@pytest.fixture(scope="session")
def loaded_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the packaged history loaded by the load_history job. Copy it, do not write to it."""
    home = tmp_path_factory.mktemp("loaded")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUANT_HOME", str(home))
        with dg.DagsterInstance.ephemeral() as instance:
            assert build_defs().resolve_job_def("load_history").execute_in_process(instance=instance).success
    return home


@pytest.fixture
def home(loaded_home: Path, quant_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of ``loaded_home`` that may be written to; it is QUANT_HOME."""
    monkeypatch.setenv("QUANT_FORECASTING__FAMILIES", SHORT_HISTORY["QUANT_FORECASTING__FAMILIES"])
    shutil.copytree(loaded_home, quant_home)
    return quant_home
