"""A model that raises, hangs or says nothing sensible: the session is completed, the stand-in recorded, Slack told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from quant_dagster.storage.lake import Lake
from tests.support.replays import PROJECT, SHORT_HISTORY, environment
from tests.support.slack_server import TOKEN, slack_server

SESSION = "2022-12-23"

_CYCLE_WITH_A_FAULT = """
import sys, time
fault, sys.argv[1:] = sys.argv[1], sys.argv[2:]
from dataclasses import replace
from quant_dagster.forecasting.families import conditional_variance

def raises(request):
    raise ZeroDivisionError("no such luck")

def hangs(request):
    time.sleep(3600)

garch = conditional_variance.garch_family
def says_nan(request):
    return [a if isinstance(a, str) else replace(a, std=a.std * float("nan")) for a in garch(request)]

conditional_variance.garch_family = {"raises": raises, "hangs": hangs, "nan": says_nan}[fault]
from quant_dagster.cli.main import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        pytest.param("raises", "garch11: ZeroDivisionError: no such luck", marks=pytest.mark.soak),
        ("hangs", "garch11: no answer within 5 s"),
        pytest.param("nan", "garch11: the forecast is not finite or has no spread", marks=pytest.mark.soak),
    ],
)
def test_a_cycle_is_completed_although_a_model_is_broken(tmp_path: Path, fault: str, said: str) -> None:
    home = tmp_path / "desk"
    with slack_server() as slack:
        settings = SHORT_HISTORY | {
            "QUANT_NOTIFICATIONS__SLACK_TOKEN": TOKEN,
            "QUANT_NOTIFICATIONS__SLACK_BASE_URL": slack.base_url,
            "QUANT_FORECASTING__FAMILIES": json.dumps(["ar", "garch11", "hmm"]),
            "QUANT_FORECASTING__TIME_OUT_SECONDS": "5" if fault == "hangs" else "60",
        }
        command = [sys.executable, "-c", _CYCLE_WITH_A_FAULT, fault]
        for name in ("backfill", "cycle", "cycle"):
            options = ["--end", SESSION] if name == "backfill" else ["--session", SESSION]
            done = subprocess.run(
                [*command, name, *options, "--json"], env=environment(home, settings), cwd=PROJECT,
                capture_output=True, text=True, timeout=300, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
        told = [message for message in slack.messages if "garch11" in json.dumps(message)]
    report = json.loads(done.stdout)
    assert report["repeated"] is True  # the second cycle found the first completed
    assert len(told) == 1
    assert "model garch11 failed for 20 of 20 symbols" in json.dumps(told[0])
    rows = Lake(home / "lake").read("forecasts")
    broken = rows.filter((pl.col("model") == "garch11") & (pl.col("horizon") == 1))
    assert broken.height == 20
    assert broken["status"].unique().to_list() == ["fallback"]
    assert broken["answered_by"].unique().to_list() == ["ewma"]
    assert broken["fallback"].unique().to_list() == [said]
    others = rows.filter(pl.col("model").is_in(["ar", "hmm"]))
    assert (others["status"] == "fitted").all()
    combined = rows.filter((pl.col("model") == "combined") & (pl.col("horizon") == 1))
    assert combined["mean"].is_not_null().all()
    assert combined["fallback"].str.contains(said, literal=True).all()
