"""Every model family through the command: nothing is left out of a session, and each is judged against naive."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from quant_dagster.forecasting.families.registry import FAMILIES
from quant_dagster.storage.lake import Lake
from tests.support.replays import quant

SETTINGS = {"QUANT_MARKET_DATA__HISTORY_START": "2018-01-02"}
SYMBOLS = "AAPL,GE,JPM,KO,PFE,WMT,XOM"


@pytest.mark.soak
def test_every_model_answers_in_a_session_is_carried_into_the_next_and_judged(tmp_path: Path) -> None:
    home = tmp_path / "desk"
    done = quant(
        "replay", "--sessions", "2", "--symbols", SYMBOLS, "--no-report", "--json", home=home, settings=SETTINGS
    )
    assert done.returncode == 0, done.stderr
    rows = Lake(home / "lake").read("forecasts")
    asked = {spec.model.value for spec in FAMILIES if not spec.opt_in} | {"combined"}
    assert set(rows["model"]) == asked
    assert rows.height == 2 * 7 * len(asked) * 2  # sessions, symbols, models, horizons: one row each
    answered = rows.filter(pl.col("answered_by") == pl.col("model"))
    assert set(answered["model"]) == asked  # every model answered for some symbol itself
    unanswered = rows.filter(pl.col("status").is_in(["fallback", "refused"]))
    assert unanswered["fallback"].is_not_null().all()
    carried = {spec.model.value for spec in FAMILIES if spec.carried}
    second = rows.filter(pl.col("session") == rows["session"].max())
    assert set(second.filter(pl.col("status") == "carried")["model"]) == carried

    judged = quant(
        "validate", "--models", "all", "--sessions", "20", "--symbols", SYMBOLS, "--json", home=home, settings=SETTINGS
    )
    assert judged.returncode == 0, judged.stderr
    scores = Lake(home / "lake").read("validation_scores")
    assert set(scores["model"]) == asked - {"combined"}
    losers = scores.filter(pl.col("verdict") == "loser")
    assert (losers["weight"].fill_null(0.0) == 0.0).all()
    sums = scores.drop_nulls("weight").group_by("target", "horizon").agg(pl.col("weight").sum())
    assert sums["weight"].to_list() == pytest.approx([1.0] * sums.height)

    listed = quant("models", "--json", home=home, settings=SETTINGS)
    assert {row["model"] for row in json.loads(listed.stdout)} >= asked - {"combined"}
    wrong = quant("validate", "--models", "garhc", home=home, settings=SETTINGS)
    assert wrong.returncode == 2
    assert "garch11" in wrong.stderr
