"""``quant features serve``: Feast's server, started and asked as a user would."""

from __future__ import annotations

import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import httpx
import polars as pl
import pytest

from quant_dagster.features.compute import compute, to_long
from quant_dagster.features.services import SERVICE, SERVICES
from quant_dagster.features.store import FeatureStore
from tests.support.replays import PROJECT, environment
from tests.unit.features.real_panels import mixed_panel

LAST = date(2006, 6, 30)
NOW = datetime(2006, 7, 1, tzinfo=UTC)
PATIENCE = 90.0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which one real session is served."""
    home = tmp_path_factory.mktemp("served")
    store = FeatureStore(PROJECT / "feature_repo", home / "features")
    store.apply()
    store.write_offline(to_long(compute(mixed_panel()), slice(-1, None)), NOW)
    store.push_online(LAST)
    return home


@pytest.fixture(scope="module")
def port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@pytest.fixture(scope="module")
def servers() -> Iterator[list[subprocess.Popen[str]]]:
    """Those that were started; none outlives this module."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for one in started:
        one.kill()
        one.wait()


@pytest.fixture
def server(servers: list[subprocess.Popen[str]], home: Path, port: int) -> subprocess.Popen[str]:
    """The server at work; a new one where a test has ended the last."""
    if not servers or servers[-1].poll() is not None:
        command = [sys.executable, "-m", "quant_dagster.cli.main", "features", "serve", "--port", str(port)]
        servers.append(subprocess.Popen(command, env=environment(home), cwd=PROJECT, stdout=subprocess.PIPE, text=True))
        begun = time.monotonic()
        while not answers(port):
            assert servers[-1].poll() is None, "the server ended before it answered"
            assert time.monotonic() - begun < PATIENCE, "the server never answered"
            time.sleep(0.2)
    return servers[-1]


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=5.0).status_code == 200
    except httpx.TransportError:
        return False


def asked(port: int, service: str, symbols: list[str]) -> tuple[pl.DataFrame, dict[str, list[str]]]:
    """Values and event times that the server answers with."""
    body = {"feature_service": service, "entities": {"symbol": symbols}}
    answer = httpx.post(f"http://127.0.0.1:{port}/get-online-features", json=body, timeout=30.0)
    assert answer.status_code == 200, answer.text
    document = answer.json()
    results = dict(zip(document["metadata"]["feature_names"], document["results"], strict=True))
    names = list(SERVICES[service].features)
    values = pl.DataFrame({name: results[name]["values"] for name in names}, schema=dict.fromkeys(names, pl.Float64))
    return values, {name: results[name]["event_timestamps"] for name in names}


@pytest.mark.parametrize("service", ["trend_v1", "us_equity_daily_v1", SERVICE])
def test_over_http_as_in_process(server: subprocess.Popen[str], home: Path, port: int, service: str) -> None:
    symbols = ["IBM", "GOOG", "XOM"]
    values, times = asked(port, service, symbols)
    store = FeatureStore(PROJECT / "feature_repo", home / "features")
    expected = store.get_online(symbols, service, now=NOW).select(values.columns)
    assert values.equals(expected)
    assert expected["ewmac_64_256"].null_count() == 0
    assert set(times["ewmac_64_256"]) == {"2006-06-30T20:00:00Z"}


def test_a_symbol_nobody_knows_is_not_found(server: subprocess.Popen[str], port: int) -> None:
    values, _ = asked(port, "trend_v1", ["NOBODY"])
    assert values.row(0) == (None,) * 4


def test_it_says_how_to_ask_and_stops_when_interrupted(server: subprocess.Popen[str], port: int) -> None:
    server.send_signal(signal.SIGINT)
    printed, _ = server.communicate(timeout=30)
    assert server.returncode == 0
    example = shlex.split(next(line for line in printed.splitlines() if line.strip().startswith("curl")))
    assert f"http://127.0.0.1:{port}/get-online-features" in example
    assert SERVICE in example[-1]
    assert not answers(port)
