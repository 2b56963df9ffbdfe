"""``quant intraday``: what it prints is what the parts say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from quant_dagster.cli.intraday_commands import app
from quant_dagster.errors import ConfigurationError, DataUnavailableError
from tests.support.market_data import shared_data
from tests.unit.market_data.intraday_files import us24


def run(*arguments: str) -> Any:
    result = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def load_week() -> Any:
    return run("load", "--path", str(us24().path), "--time-zone", "America/New_York", "--bar-time", "end",
               "--column", "time=bar_end_ny", "--vendor", "eqker")  # fmt: skip


def test_a_file_is_loaded_resampled_and_searched_for_gaps() -> None:
    assert load_week()["inserted"] == 43164
    assert load_week()["unchanged"] == 43164
    bars = run("resample", "AAPL", "--minutes", "60", "--session", "2019-02-14")
    assert [bar["minutes_expected"] for bar in bars] == [60.0] * 6 + [30.0]
    assert (bars[0]["bar_start"], bars[-1]["bar_end"]) == ("2019-02-14T14:30:00+00:00", "2019-02-14T21:00:00+00:00")
    found = run("gaps", "--symbols", "UGA,BAC")
    assert {row["symbol"] for row in found["gaps"]} == {"UGA"}
    assert found["gaps"][0]["minutes"] == 50.0
    assert len(found["sessions"]) == 10


def test_tables_for_people_name_the_time_zone() -> None:
    load_week()
    shown = CliRunner().invoke(app, ["resample", "AAPL", "--minutes", "60"], catch_exceptions=False).stdout
    assert "times of America/New_York" in shown
    assert "2019-02-14 09:30" in shown
    assert CliRunner().invoke(app, ["gaps"], catch_exceptions=False).stdout.count("UGA") > 3


def test_a_recording_is_rebuilt_and_compared() -> None:
    path = str(shared_data("lob_binance_spot_btcusdt_20240809.gz"))
    found = run("book", path)
    assert (found["agreement"]["compared"], found["agreement"]["equal"]) == (3043, 3041)
    assert found["started_from"] == "changes alone"
    assert [row["certain"] for row in found["disagreements"]] == [False, False]
    shown = CliRunner().invoke(app, ["book", path], catch_exceptions=False).stdout
    assert "Book at the end" in shown


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["resample", "NONE"], DataUnavailableError, "quant intraday load"),
        (["load", "--path", "x", "--time-zone", "UTC", "--kind", "news"], ConfigurationError, "bars, quotes, trades"),
        (["load", "--path", "x", "--time-zone", "UTC", "--column", "time"], ConfigurationError, "NAME=COLUMN"),
        (["load", "--path", "absent.csv", "--time-zone", "UTC"], ConfigurationError, "does not exist"),
        (["book", "absent.gz"], ConfigurationError, "does not exist"),
        (["resample", "A", "--session", "today"], ConfigurationError, "YYYY-MM-DD"),
    ],
)
def test_mistakes_are_answered_with_what_to_do(
    arguments: list[str], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
