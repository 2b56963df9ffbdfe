"""From a fill back to the vendor's rows, the forecasts and the settings."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from quant_dagster.errors import LedgerError
from quant_dagster.operations.lineage import fill_lineage
from quant_dagster.settings import load_settings
from quant_dagster.storage.lake import Lake
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.types import canonical_json
from tests.support.replays import SHORT_HISTORY, open_ledger


@pytest.fixture
def traded(finished_replay: Path) -> tuple[Ledger, Lake, list[str]]:
    ledger = open_ledger(finished_replay)
    return ledger, Lake(finished_replay / "lake"), ledger.frame("fills")["execution_id"].to_list()


def test_every_fill_leads_to_its_vendor_rows_forecasts_and_settings(
    traded: tuple[Ledger, Lake, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, lake, ids = traded
    for name, value in SHORT_HISTORY.items():
        monkeypatch.setenv(name, value)
    raw = lake.read("raw_prices")
    assert len(ids) >= 14
    for execution_id in ids:
        found = fill_lineage(ledger, lake, execution_id)
        fill, decision = found["fill"], found["decision"]
        assert fill["session"] > decision["session"], "an order never fills in the session it was decided in"
        for name, session in (("fill_bar", fill["session"]), ("decision_bar", decision["session"])):
            (row,) = found[name]["raw_prices"]
            (bar,) = found[name]["bar"]
            assert (bar["session"], bar["close"]) == (session, row["close"])
            hashes = raw.filter((pl.col("symbol") == fill["symbol"]) & (pl.col("session") == session))["row_hash"]
            assert row["row_hash"] in hashes.to_list()
        assert found["fill_bar"]["raw_prices"][0]["row_hash"] == fill["provenance"]["bar"]["row_hash"]
        assert {"combined"} < {row["model"] for row in found["forecasts"]}
        assert all(row["session"] == decision["session"] for row in (*found["forecasts"], *found["signals"]))
        assert found["cycle"]["settings_hash"] == load_settings().decision_hash()
        assert sum(line["amount"] for line in found["postings"]) == 0
        assert [event["kind"] for event in found["order_events"]][:3] == ["approved", "submitting", "accepted"]
        (verdict,) = found["risk"]
        assert verdict["outcome"] in ("approved", "scaled")


def test_the_beginning_of_an_id_is_enough(traded: tuple[Ledger, Lake, list[str]]) -> None:
    ledger, lake, ids = traded
    assert canonical_json(fill_lineage(ledger, lake, ids[0][:10])) == canonical_json(fill_lineage(ledger, lake, ids[0]))


@pytest.mark.parametrize("execution_id", ["nothing", "%", "_"])
def test_an_unknown_fill_is_named(traded: tuple[Ledger, Lake, list[str]], execution_id: str) -> None:
    with pytest.raises(LedgerError, match=f"there is no fill '{execution_id}'"):
        fill_lineage(traded[0], traded[1], execution_id)


def test_an_ambiguous_beginning_is_refused(traded: tuple[Ledger, Lake, list[str]]) -> None:
    with pytest.raises(LedgerError, match="give more of the id"):
        fill_lineage(traded[0], traded[1], "")
