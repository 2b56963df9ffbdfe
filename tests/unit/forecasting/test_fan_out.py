"""Families whose fits run in other processes: those that hang are killed, and the session goes on."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from quant_dagster.forecasting.families.protocol import Reply, Request
from quant_dagster.forecasting.families.registry import FAMILIES, FamilySpec, Target
from quant_dagster.forecasting.parameters import ForecastParameters
from quant_dagster.forecasting.records import ForecastModel
from quant_dagster.forecasting.runner import forecast_session
from tests.unit.forecasting.real_returns import panel_of, stock_panel


@dataclass(frozen=True)
class Hanging(FamilySpec):
    """A family that writes down the process it hangs in."""

    folder: str = ""

    @property
    def family(self):
        folder = self.folder

        def hangs(request: Request) -> list[Reply]:
            Path(folder, str(os.getpid())).touch()
            time.sleep(600)
            return []

        return hangs


def alive(process: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False


@pytest.mark.slow
def test_processes_that_hang_are_killed_when_their_time_is_over(tmp_path: Path) -> None:
    hanging = Hanging(
        ForecastModel.ENSEMBLE, Target.MEAN, "", (ForecastModel.HISTORICAL_MEAN,), holds_interpreter=True,
        folder=str(tmp_path),
    )  # fmt: skip
    specs = [*(spec for spec in FAMILIES if spec.naive), hanging]
    panel = panel_of(stock_panel().close[-301:, :4], tuple("ABCD"))
    settings = ForecastParameters(window=300, workers=2, time_out_seconds=8.0)
    run = forecast_session(panel, data_version=1, settings=settings, families=specs)
    own = run.frame.filter(run.frame["model"] == "ensemble")
    assert own["answered_by"].unique().to_list() == ["historical_mean"]
    assert own["fallback"].unique().to_list() == ["ensemble: no answer within 8 s"]
    processes = [int(file.name) for file in tmp_path.iterdir()]
    assert processes and os.getpid() not in processes
    until = time.monotonic() + 20
    while any(map(alive, processes)) and time.monotonic() < until:
        time.sleep(0.2)
    assert not any(map(alive, processes))
