"""Latency of online features, in process and over HTTP, beside Feast with its default settings over the same data.

    python benchmarks/online_features.py [--rounds N]

Reads ../shared/data/us_daily_yahoo_2014_2024.parquet, or that file in QUANT_TEST_DATA, and serves its newest session:
every daily feature, and the trend strategy's service. The other side is ``feast.FeatureStore`` with a plain
configuration (file registry, SQLite) asked with ``to_dict``, and ``feast serve`` with its defaults; it is asked for the
same service of the same rows, by name as its documentation shows. The sides take turns in blocks, so that
whatever else the machine does falls on both. Values are compared before anything is timed.

The server answers over one kept connection. Nothing here reads the online tables past Feast.
"""

from __future__ import annotations

import argparse
import gc
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from quant_dagster.features.compute import latest  # noqa: E402
from quant_dagster.features.definitions import View  # noqa: E402
from quant_dagster.features.services import SERVICE, SERVICES  # noqa: E402
from quant_dagster.features.store import FeatureStore  # noqa: E402
from quant_dagster.market_data.panel import Panel  # noqa: E402

COUNTS = (1, 10, 50, 500)
SERVED = (SERVICE, "trend_v1")
ROUNDS = {1: 400, 10: 150, 50: 60, 500: 12}
"""Answers timed of each number of symbols."""
BLOCKS = 4
"""The sides take turns this often."""
Ask = Callable[[str, list[str]], Any]


def main() -> None:
    """Serve one session in both ways and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=float, default=1.0, help="factor on the number of answers timed")
    factor = parser.parse_args().rounds
    data = Path(os.environ.get("QUANT_TEST_DATA", PROJECT.parent / "shared" / "data"))
    source = data / "us_daily_yahoo_2014_2024.parquet"
    if not source.exists():
        sys.exit(f"{source} is not there: set QUANT_TEST_DATA to the folder that holds it")
    panel = Panel.from_bars(pl.read_parquet(source).rename({"date": "session"})).last(700)
    with tempfile.TemporaryDirectory() as folder:
        home, plain_repo = Path(folder) / "home", Path(folder) / "plain"
        store, now = filled(home, panel)
        plain = plain_feast(plain_repo, store, panel.last_session)
        with (
            server([sys.executable, "-m", "quant_dagster.cli.main", "features", "serve"], home) as ours,
            server([str(Path(sys.executable).with_name("feast")), "-c", str(plain_repo), "serve"], home) as theirs,
        ):
            ways: dict[str, Ask] = {
                "in process": lambda service, symbols: store.get_online(symbols, service, now=now),
                "plain Feast": lambda service, symbols: plain.get_online_features(
                    features=plain.get_feature_service(service), entity_rows=[{"symbol": name} for name in symbols]
                ).to_dict(),
                "quant features serve": ours,
                "feast serve": theirs,
            }
            agree(ways, list(panel.symbols))
            for service in SERVED:
                print(f"\n{service}: {len(SERVICES[service].features)} features, milliseconds")
                print(f"{'symbols':>7}  {'':22}{'p50':>9}{'p95':>9}{'p99':>9}")
                for count in COUNTS:
                    measure(ways, service, list(panel.symbols[:count]), max(5, int(ROUNDS[count] * factor)))


def filled(home: Path, panel: Panel) -> tuple[FeatureStore, datetime]:
    """A store that serves the panel's newest session, and a time at which that is fresh."""
    store = FeatureStore(PROJECT / "feature_repo", home / "features")
    store.apply()
    now = datetime.fromisoformat(f"{panel.last_session}T23:00:00+00:00")
    store.write_offline(latest(panel), now)
    store.push_online(panel.last_session)
    return store, now + timedelta(hours=1)


def plain_feast(repo: Path, store: FeatureStore, session: Any) -> Any:
    """The same views, services and rows in Feast as ``feast init`` sets it up."""
    import feast

    repo.mkdir()
    (repo / "feature_store.yaml").write_text(
        "project: quant_dagster\nprovider: local\nregistry: registry.db\nonline_store:\n  type: sqlite\n"
        "  path: online.db\nentity_key_serialization_version: 3\n"
    )
    plain = feast.FeatureStore(repo_path=str(repo))
    sys.path.insert(0, str(store.repo))
    from equity_features import repository

    plain.apply(repository(store.root).objects())
    close = datetime.fromisoformat(f"{session}T00:00:00+00:00")
    for view in View:
        rows = store.offline.known(view, close, close + timedelta(days=1))
        plain.write_to_online_store(view.value, rows.to_pandas())
    return plain


@contextmanager
def server(command: list[str], home: Path) -> Iterator[Ask]:
    """A running server and how to ask it; ends with the block."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    surroundings = {**os.environ, "QUANT_HOME": str(home), "PYTHONPATH": str(PROJECT)}
    with tempfile.TemporaryFile() as said:
        running = subprocess.Popen(
            [*command, "--port", str(port)], env=surroundings, cwd=PROJECT, stdout=said, stderr=subprocess.STDOUT
        )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60.0) as client:
                for _ in range(600):
                    if running.poll() is not None or healthy(client):
                        break
                    time.sleep(0.2)
                if running.poll() is not None:
                    said.seek(0)
                    sys.exit(f"the server ended: {said.read().decode()[-2000:]}")
                yield lambda service, symbols: client.post(
                    "/get-online-features", json={"feature_service": service, "entities": {"symbol": symbols}}
                ).json()
        finally:
            running.terminate()
            try:
                running.wait(10)
            except subprocess.TimeoutExpired:
                running.kill()


def healthy(client: httpx.Client) -> bool:
    """Whether the server answers."""
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False


def agree(ways: dict[str, Ask], symbols: list[str]) -> None:
    """Stop unless every way gives the same values of every symbol and feature."""
    names = list(SERVICES[SERVICE].features)
    ours = ways["in process"](SERVICE, symbols).select(names)
    plain = ways["plain Feast"](SERVICE, symbols)
    found = {"plain Feast": pl.DataFrame({name: plain[name] for name in names}, schema=ours.schema)}
    for way in ("quant features serve", "feast serve"):
        answer = ways[way](SERVICE, symbols)
        values = dict(zip(answer["metadata"]["feature_names"], answer["results"], strict=True))
        found[way] = pl.DataFrame({name: values[name]["values"] for name in names}, schema=ours.schema)
    differ = [way for way, frame in found.items() if not frame.equals(ours)]
    if differ:
        sys.exit(f"not the same values as in process: {differ}")
    print(f"{len(symbols)} symbols x {len(names)} features: all ways give the same values")


def measure(ways: dict[str, Ask], service: str, symbols: list[str], rounds: int) -> None:
    """Time every way in turn, and print its quantiles."""
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(BLOCKS):
        for way, ask in ways.items():
            gc.collect()  # one way's garbage is not another's time
            ask(service, symbols)
            for _ in range(-(-rounds // BLOCKS)):
                begun = time.perf_counter()
                ask(service, symbols)
                times[way].append(1e3 * (time.perf_counter() - begun))
    for way, taken in times.items():
        p50, p95, p99 = np.quantile(taken, [0.5, 0.95, 0.99])
        print(f"{len(symbols):>7}  {way:22}{p50:>9.2f}{p95:>9.2f}{p99:>9.2f}")


if __name__ == "__main__":
    main()
