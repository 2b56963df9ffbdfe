"""The HTML report of a real replay: what it says is what the ledger and the lake hold."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from sqlalchemy import select, update

from quant_dagster.accounting import books
from quant_dagster.errors import LedgerError
from quant_dagster.operations.report.content import forecast_outcomes, read_bars, read_forecasts, read_period
from quant_dagster.settings import load_settings
from quant_dagster.storage.lake import Lake
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import account_snapshots, decisions, fills, postings, risk_events
from quant_dagster.storage.tables import TABLES
from quant_dagster.strategies.decisions import REASONS
from tests.integration.report.pages import THREE, Write
from tests.support.replays import ledger_rows

HOSTILE = "</script><img src=x onerror=alert(1)>&\"'\u2028"


class TestTheFile:
    def test_it_is_one_file_named_after_its_period(self, replayed_home: Path, write: Write) -> None:
        page = write()
        assert (replayed_home / "reports" / "replay_2022-12-23_2022-12-28.html").read_text(encoding="utf-8") == page.raw

    def test_it_loads_nothing_and_forbids_itself_to(self, write: Write) -> None:
        page = write()
        assert all(target.startswith("#") and target[1:] in page.ids for target in page.loads)
        assert not re.search(r"url\(|@import|fetch\(|XMLHttp|https?://", page.raw)
        policy = next(attrs["content"] for tag, attrs in page.found if "http-equiv" in attrs)
        script = page.scripts[-1]
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" == policy

    def test_the_same_ledger_gives_the_same_bytes(self, write: Write) -> None:
        assert write().raw == write().raw

    def test_every_table_has_its_place(self, write: Write) -> None:
        page = write()
        assert {attrs["data-table"] for _, attrs in page.found if "data-table" in attrs} == set(page.data["tables"])

    def test_a_validation_has_its_section_and_without_one_the_page_says_so(self, lake: Lake, write: Write) -> None:
        assert "No validation has been run" in write().raw
        losing = dict.fromkeys(TABLES["validation_scores"].schema) | {
            "session": THREE[0], "scheme": "walk_forward", "model": "ar", "target": "mean", "horizon": 1,
            "origins": 20, "forecasts": 400, "fallbacks": 0, "naive": "historical_mean", "loss": 2e-4,
            "naive_loss": 1e-4, "verdict": "loser", "weight": 0.0, "data_version": 1, "code_version": "x",
        }  # fmt: skip
        lake.merge("validation_scores", pl.DataFrame([losing], schema=TABLES["validation_scores"].schema))
        page = write()
        assert "validation" in {attrs["data-table"] for _, attrs in page.found if "data-table" in attrs}
        (row,) = page.data["tables"]["validation"]["rows"]
        assert row[2:5] == ["ar", "loser", 0.0]
        assert row[8] == 2.0  # loss over the naive one's

    def test_text_from_the_ledger_cannot_become_markup(self, ledger: Ledger, write: Write) -> None:
        with ledger.write() as connection:
            hostile = HOSTILE[:32]
            for table in (decisions, risk_events):
                connection.execute(update(table).where(table.c.symbol == "AAPL").values(symbol=hostile))
        before = Counter(tag for tag, _ in write().found)
        page = write()
        assert Counter(tag for tag, _ in page.found) == before and before["img"] == 0 and before["script"] == 2
        assert "<img" not in page.raw
        assert hostile in {row["symbol"] for row in page.table("decisions")}

    def test_a_replay_without_sessions_has_nothing_to_report(self, write: Write) -> None:
        with pytest.raises(LedgerError, match="no session was asked for"):
            write([])
        with pytest.raises(LedgerError, match="no cycle between 2001-01-02 and 2001-01-03"):
            write([date(2001, 1, 2), date(2001, 1, 3)])


class TestWhatItSays:
    def test_headline(self, ledger: Ledger, write: Write) -> None:
        text = write().text
        rows = ledger_rows(ledger)
        equity = rows["account_snapshots"][-1][3]
        assert f"Final equity {equity:,.2f}" in text
        assert f"{float(equity) - 1_000_000:+,.2f}".replace("-", "−") in text
        assert f"Decisions {len(rows['decisions'])}" in text
        assert f"Orders {len(rows['orders'])}" in text
        assert f"Fills {len(rows['fills'])}" in text
        assert "Books balance" in text and "Audit chain intact" in text
        assert "Survivors only" in text and "Adjusted closes only; fills at next close" in text
        assert "2 returns are too few for a volatility" in text
        assert "Other settings" not in text and "Other code" not in text

    def test_every_decision_with_its_reasons(self, ledger: Ledger, write: Write) -> None:
        page = write()
        with ledger.read() as connection:
            stored = connection.execute(select(decisions)).mappings().all()
        shown = {(row["session"], row["symbol"]): row for row in page.table("decisions")}
        assert len(shown) == len(stored) == 60
        for row in stored:
            cells = shown[row["session"].isoformat(), row["symbol"]]
            assert (cells["action"], cells["why"]) == (row["action"], row["reasons"])
            assert cells["change"] == row["target_quantity"] - row["current_quantity"]
            assert cells["confidence"] == (None if row["confidence"] is None else round(row["confidence"], 6))
            assert cells["E[r] bps"] == pytest.approx(row["expected_return"] * 10_000, abs=1e-3)
        assert page.data["reasons"] == REASONS
        assert {code for row in stored for code in row["reasons"]} <= set(REASONS)

    def test_what_unfolds_below_a_decision(self, lake: Lake, write: Write) -> None:
        page = write()
        content = page.data["tables"]["decisions"]
        assert len(content["details"]) == len(content["rows"])
        row, detail = next(pair for pair in zip(page.table("decisions"), content["details"], strict=True)
                           if pair[0]["action"] == "BUY")  # fmt: skip
        assert detail["size"]["weight"] == row["weight"]
        assert (detail["gate"]["outcome"], detail["gate"]["requested"]) == ("approved", row["change"])
        assert [signal[0] for signal in detail["signals"]] == [
            "composite", "learned", "mean_reversion", "pairs", "trend"
        ]  # fmt: skip
        chosen = (pl.col("model") == "combined") & (pl.col("symbol") == row["symbol"])
        day = date.fromisoformat(row["session"])
        stored = lake.read("forecasts", start=day, end=day, where=chosen).sort("horizon")
        assert [line[0] for line in detail["forecasts"]] == stored["horizon"].to_list()
        assert [line[1] for line in detail["forecasts"]] == pytest.approx((stored["mean"] * 1e4).to_list(), abs=1e-3)

    def test_profit_per_symbol_adds_up(self, ledger: Ledger, write: Write) -> None:
        page = write()
        change = ledger_rows(ledger)["account_snapshots"][-1][3] - 1_000_000
        assert sum(Decimal(str(row["net"])) for row in page.table("profits")) == change != 0
        assert "adds up, to the last decimal" in page.text

    def test_a_later_period_starts_from_the_close_before_it(self, ledger: Ledger, write: Write) -> None:
        page = write(THREE[1:])
        equity = [row[3] for row in ledger_rows(ledger)["account_snapshots"]]
        assert sum(Decimal(str(row["net"])) for row in page.table("profits")) == equity[2] - equity[0]
        assert f"from {equity[0]:,.2f}" in page.text
        assert {row["session"] for row in page.table("decisions")} == {str(day) for day in THREE[1:]}

    def test_costs_are_what_fills_paid_over_the_decision_price(self, ledger: Ledger, write: Write) -> None:
        page = write()
        with ledger.read() as connection:
            booked = books.fills_of(connection)
        paid = sum((fill.price - fill.decision_price) * fill.quantity * fill.side.sign for fill in booked)
        commission = sum(fill.commission for fill in booked)
        notional = sum(fill.decision_price * fill.quantity for fill in booked)
        everything = page.table("costs")[-1]
        assert (everything["side"], everything["fills"]) == ("ALL", len(booked))
        assert everything["total"] == pytest.approx(float(paid + commission))
        assert everything["total bps"] == pytest.approx(float((paid + commission) / notional) * 1e4, abs=1e-3)
        assert everything["delay"] + everything["execution"] == pytest.approx(float(paid))
        # The paper broker fills at the reference and half a spread, never better.
        assert all(row["execution bps"] > 0 and row["priced at"] == "close" for row in page.table("fills"))
        assert all(row["decided"] < row["session"] for row in page.table("fills"))

    def test_the_gate_and_its_checks(self, ledger: Ledger, write: Write) -> None:
        page = write()
        events = len(ledger_rows(ledger)["risk_events"])
        assert len(page.table("verdicts")) == events and f"{events} approved, 0 scaled, 0 rejected" in page.text
        checks = {row["check"]: row for row in page.table("checks")}
        assert (checks["participation"]["not evaluated"], checks["symbol_limit"]["passed"]) == (events, events)
        assert 0 < checks["symbol_limit"]["most used"] < 1

    def test_a_verdict_that_was_not_plain_comes_first_with_what_bound_it(self, ledger: Ledger, write: Write) -> None:
        with ledger.write() as connection:
            event = connection.execute(select(risk_events).order_by(risk_events.c.session)).mappings().first()
            assert event is not None
            checks = [c | ({"verdict": "failed"} if c["code"] == "cvar_breach" else {}) for c in event["checks"]]
            connection.execute(
                update(risk_events)
                .where(risk_events.c.event_id == event["event_id"])
                .values(outcome="rejected", approved_quantity=0, checks=checks)
            )
        first = write().table("verdicts")[0]
        assert (first["symbol"], first["outcome"], first["bound by"]) == (event["symbol"], "rejected", ["cvar_breach"])

    def test_quality_cycles_and_settings(self, lake: Lake, write: Write) -> None:
        page = write()
        quality = page.table("quality")
        assert {row["bars"] for row in quality} == {3} and len(quality) == 20
        assert all("volume" in row["not evaluated"] for row in quality)
        cycles = page.table("cycles")
        assert [row["session"] for row in cycles] == [str(day) for day in THREE]
        assert cycles[-1]["bars"] == lake.version("bars") and cycles[-1]["settings"] == load_settings().decision_hash()
        settings = {row["setting"]: row["value"] for row in page.table("settings")}
        assert settings["risk.max_symbol_weight"] == "0.05"
        assert not any(name.startswith(("notifications", "storage", "home")) for name in settings)


class TestCaution:
    def test_no_fills(self, write: Write) -> None:
        page = write(THREE[:1])
        assert page.table("fills") == [] and page.table("profits") == []
        assert "No fills in this period." in page.text and "equity never fell" in page.text

    def test_books_that_do_not_balance_are_said_first(self, ledger: Ledger, write: Write) -> None:
        with ledger.write() as connection:
            connection.execute(update(postings).where(postings.c.line == 1).values(amount=postings.c.amount + 1))
        assert "Books do not balance" in write().text

    def test_a_changed_fill_breaks_the_chain(self, ledger: Ledger, write: Write) -> None:
        with ledger.write() as connection:
            connection.execute(update(fills).where(fills.c.sequence == 1).values(price=1))
        text = write().text
        assert "Audit chain broken" in text and "Books do not balance" in text

    def test_profit_that_does_not_add_up_is_said(self, ledger: Ledger, write: Write) -> None:
        with ledger.write() as connection:
            connection.execute(update(account_snapshots).values(equity=account_snapshots.c.equity + 1_000_000))
            connection.execute(
                update(account_snapshots).where(account_snapshots.c.session == THREE[-1]).values(equity=Decimal(5))
            )
        assert "Profit does not add up" in write().text

    def test_settings_other_than_the_cycles_are_said(self, write: Write) -> None:
        text = write(settings=load_settings({"risk": {"cvar_limit": 0.5}})).text
        assert "3 of 3 cycles were decided under settings other than those shown below" in text


class TestForecastOutcomes:
    def test_against_counting_by_hand(self, ledger: Ledger, lake: Lake) -> None:
        period = read_period(ledger, None)
        bars, forecasts = read_bars(lake, period), read_forecasts(lake, period)
        close = {(row["symbol"], row["session"]): row["close"] for row in bars.iter_rows(named=True)}
        known, inside = 0, 0
        for row in forecasts.filter((pl.col("model") == "combined") & (pl.col("horizon") == 1)).iter_rows(named=True):
            position = THREE.index(row["session"])
            if position + 1 < len(THREE):
                grown = close[row["symbol"], THREE[position + 1]] / close[row["symbol"], row["session"]]
                known += 1
                inside += 2.718281828459045 ** row["q05"] <= grown <= 2.718281828459045 ** row["q95"]
        found = forecast_outcomes(forecasts, bars).filter((pl.col("model") == "combined") & (pl.col("horizon") == 1))
        assert found["known"].item() == known == 40
        assert found["inside_90"].item() == pytest.approx(inside / known)

    def test_a_horizon_that_reaches_beyond_the_period_has_no_outcome(self, ledger: Ledger, lake: Lake) -> None:
        period = read_period(ledger, None)
        found = forecast_outcomes(read_forecasts(lake, period), read_bars(lake, period))
        far = found.filter(pl.col("horizon") == 5)
        assert far["known"].sum() == 0 and far["inside_90"].null_count() == far.height > 0
