"""``quant validate`` and ``quant models`` over a real lake of real prices."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner, Result

from quant_dagster.cli import model_commands
from quant_dagster.errors import ConfigurationError
from tests.unit.cycle.test_validation import SYMBOLS, desk

SYMBOL_OPTIONS = ["--symbols", ",".join(SYMBOLS)]


def command(*arguments: str) -> Result:
    app = typer.Typer()
    model_commands.register(app)
    return CliRunner().invoke(app, [*arguments], catch_exceptions=False)


def test_validate_as_json_is_one_document_with_every_score() -> None:
    desk()
    answer = command("validate", "--models", "ar", "--sessions", "20", "--json", *SYMBOL_OPTIONS)
    document = json.loads(answer.stdout)
    assert answer.exit_code == 0
    assert document["session"] == "2020-06-30"
    assert document["symbols"] == list(SYMBOLS)
    assert {row["model"] for row in document["scores"]} >= {"ar", "historical_mean", "ewma"}
    assert document["events"] == 3


def test_validate_says_who_lost_and_models_lists_the_verdicts() -> None:
    desk()
    answer = command("validate", "--models", "ar,garch11", "--sessions", "25", *SYMBOL_OPTIONS)
    assert answer.exit_code == 0
    for said in ("judged by mean", "judged by variance", "garch11", "Losers over every horizon, walk forward: "):
        assert said in answer.stdout

    listed = {row["model"]: row for row in json.loads(command("models", "--json").stdout)}
    assert listed["ar"]["judged_on"] == "2020-06-30"
    assert set(listed["ar"]["verdict"]) == {"1", "5"}
    assert listed["historical_mean"]["verdict"] == {"1": "naive", "5": "naive"}
    assert listed["hmm"]["carried"] is True
    assert listed["hmm"]["judged_on"] is None
    assert listed["language_model"]["asked"] is False


def test_models_can_be_listed_before_anything_was_forecast_or_judged() -> None:
    listed = json.loads(command("models", "--json").stdout)
    assert all(row["judged_on"] is None and row["symbols"] == 0 for row in listed)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--models", "ar,nonsense"], "no model 'nonsense'; there are: ar, "),
        (["--models", ","], "names no model"),
        (["--scheme", "sideways"], "write one of walk_forward, blocked, both"),
    ],
)
def test_a_mistake_names_what_there_is(arguments: list[str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        command("validate", *arguments)
