"""``quant gateway simulate``: a real process, real bars, the unmodified client."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from quant_dagster.cli.gateway_commands import app
from quant_dagster.errors import ConfigurationError, DataUnavailableError
from tests.support.market_data import shared_data
from tests.support.replays import PROJECT, environment
from tests.support.tws_gateway import InsyncClient, tws_gateway, wait_until

FILE = "intraday_1min_us24_2019-02-11_15.parquet"
COLUMN = ("--column", "bar_end=bar_end_ny")


@contextmanager
def simulating(home: Path, *options: str) -> Iterator[tuple[Any, subprocess.Popen[str]]]:
    """The command in a process of its own; where it listens, and the process."""
    command = [sys.executable, "-u", "-c", "from quant_dagster.cli.gateway_commands import app; app()", "simulate",
               "--port", "0", *options]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=PROJECT, env=environment(home)
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        match = re.search(r"on ([\d.]+):(\d+)", line)
        if match is None:
            process.kill()
            raise AssertionError(line + process.stderr.read())
        try:
            yield SimpleNamespace(host=match[1], port=int(match[2]), line=line), process
        finally:
            process.kill()


@pytest.mark.slow
def test_a_day_of_real_minutes_is_traded_and_the_summary_says_what_was_done(tmp_path: Path) -> None:
    import ib_insync

    options = ("--bars", str(shared_data(FILE)), *COLUMN, "--session", "2019-02-13", "--speed", "1200", "--log")
    with simulating(tmp_path, *options) as (served, process), InsyncClient() as client:
        assert "24 symbols" in served.line and "session 2019-02-13" in served.line
        client.connect(served)
        (contract,) = client.ask(lambda: client.ib.qualifyContractsAsync(ib_insync.Stock("AAPL", "SMART", "USD")))
        order = ib_insync.MarketOrder("BUY", 100, orderRef="one", tif="DAY")
        trade = client.do(lambda: client.ib.placeOrder(contract, order))
        wait_until(lambda: trade.orderStatus.status == "Filled", 20)
        (fill,) = trade.fills
        assert datetime(2019, 2, 13, 14, 30, tzinfo=UTC) <= fill.execution.time < datetime(2019, 2, 13, 21, tzinfo=UTC)

        def bar_it_traded_in() -> Any:
            """Only finished bars are history, so it takes a market minute."""
            bars = client.ask(
                lambda: client.ib.reqHistoricalDataAsync(contract, "", "1 D", "1 min", "TRADES", True, formatDate=2)
            )
            return next((bar for bar in bars if bar.date == fill.execution.time), None)

        traded = wait_until(bar_it_traded_in)
        # The open, and half of the two basis points that a market order pays.
        assert 0 <= fill.execution.price / traded.open - 1 < 1.1e-4
        days = client.ask(lambda: client.ib.reqHistoricalDataAsync(contract, "", "3 D", "1 day", "TRADES", True))
        assert [str(bar.date) for bar in days] == ["2019-02-11", "2019-02-12", "2019-02-13"]
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "order one buy 100 AAPL MKT Filled, 100 filled" in said
    assert "1 orders, 1 trades, commissions 1.00" in said and "holds 100 AAPL" in said


def refusal(*options: str) -> Exception:
    result = CliRunner().invoke(app, ["simulate", "--port", "0", *options])
    assert result.exception is not None and not isinstance(result.exception, SystemExit), result.output
    assert isinstance(result.exception, Exception)
    return result.exception


def test_an_address_that_others_reach_is_refused() -> None:
    error = refusal("--host", "0.0.0.0")
    assert isinstance(error, ConfigurationError) and "--allow-remote" in str(error)


def test_a_port_that_is_taken_is_named() -> None:
    with tws_gateway() as gateway:
        options = ("--bars", str(shared_data(FILE)), *COLUMN, "--port", str(gateway.port))
        error = refusal(*options)
    assert isinstance(error, ConfigurationError) and str(gateway.port) in str(error)


def test_a_session_without_bars_names_those_that_have_some() -> None:
    error = refusal("--bars", str(shared_data(FILE)), *COLUMN, "--session", "2019-02-20")
    assert isinstance(error, DataUnavailableError) and "2019-02-15" in str(error)


def test_columns_that_are_not_there_are_named() -> None:
    error = refusal("--bars", str(shared_data(FILE)))
    assert isinstance(error, ConfigurationError) and "bar_end_ny" in str(error)


def test_an_empty_lake_says_how_to_go_on() -> None:
    error = refusal()
    assert isinstance(error, DataUnavailableError) and "--bars" in str(error)


@pytest.mark.parametrize(("option", "value"), [("--cash", "much"), ("--cash", "0"), ("--start", "noon"),
                                               ("--participation", "0"), ("--column", "x")])  # fmt: skip
def test_an_option_that_cannot_be_meant_is_refused(option: str, value: str) -> None:
    error = refusal("--bars", str(shared_data(FILE)), *COLUMN, option, value)
    assert isinstance(error, ConfigurationError) and (option in str(error) or value in str(error))
