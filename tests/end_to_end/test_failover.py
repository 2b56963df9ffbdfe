"""A vendor fails in every way a vendor can: the session is complete from the next one, once told, and back later."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from sqlalchemy import select

from quant_dagster.cycle import history
from quant_dagster.cycle.context import TradingContext
from quant_dagster.errors import DataUnavailableError
from quant_dagster.market_data.failover import active_vendor, record_switch
from quant_dagster.market_data.vendors.embedded import EmbeddedVendor
from quant_dagster.operations.alerts.notifications import Notifier
from quant_dagster.settings import load_settings
from quant_dagster.storage.ledger_tables import audit_log, vendor_switches
from sensors.failover import tick as failover_tick
from tests.support.slack_server import TOKEN, SlackServer, slack_server
from tests.support.vendor_servers.base import KEY, VendorServer
from tests.support.vendor_servers.finnhub import FinnhubServer
from tests.support.vendor_servers.yahoo import YahooServer

SYMBOLS = ["AAPL", "MSFT"]
ROWS = EmbeddedVendor("embedded_bokeh").daily_bars(SYMBOLS, date(2012, 6, 1), date(2013, 3, 1)).rows
HISTORY_START = date(2012, 12, 3)
WEDNESDAY, THURSDAY, FRIDAY = date(2013, 2, 20), date(2013, 2, 21), date(2013, 2, 22)
FAULTS = ["429", "429_bare", "500", "503", "hang", "cut", "truncated", "empty", "empty_object", "html", "partial",
          "unauthorised"]  # fmt: skip


@dataclass
class Look:
    """What a tick of the sensor came to."""

    context: TradingContext
    answer: dg.SensorResult | dg.SkipReason

    @property
    def active(self) -> str:
        with self.context.ledger.read() as connection:
            return active_vendor(connection, "equity", ["yfinance", "finnhub"]) or ""

    @property
    def switched(self) -> bool:
        return isinstance(self.answer, dg.SensorResult)

    @property
    def requested(self) -> list[str | None]:
        return [request.partition_key for request in self.answer.run_requests or []]


@dataclass
class Desk:
    """A desk whose first vendor is Yahoo and whose second is Finnhub, both on loopback, and a clock to set."""

    primary: VendorServer
    secondary: VendorServer
    slack: SlackServer
    home: Path
    time: datetime = datetime(2013, 2, 20, 22, tzinfo=UTC)

    def context(self) -> TradingContext:
        """A fresh process, as it were."""
        live = {"api_key": KEY, "timeout_seconds": 0.5, "requests_per_minute": None, "requests_per_day": None}
        settings = load_settings(
            {
                "home": self.home,
                "market_data": {
                    "vendors": ["yfinance", "finnhub"],
                    "live": {
                        "yfinance": live | {"base_url": self.primary.base_url},
                        "finnhub": live | {"base_url": self.secondary.base_url},
                    },
                },
                "resilience": {
                    "attempts": 2, "first_wait_seconds": 0.0, "longest_wait_seconds": 0.0, "failures_to_open": 2,
                    "open_seconds": 120.0, "successes_to_close": 1,
                },
                "notifications": {"slack_token": TOKEN, "slack_base_url": self.slack.base_url},
            }
        )  # fmt: skip
        return TradingContext(settings, symbols=SYMBOLS, clock=lambda: self.time)

    def load(self, session: date) -> TradingContext:
        """The evening of a session: ask the vendors, build its bars, score them."""
        self.time = datetime(session.year, session.month, session.day, 22, tzinfo=UTC)
        context = self.context()
        history.ingest_range(context, session, session)
        history.build_range(context, session, session)
        history.score_range(context, session, session)
        return context

    def look(self) -> Any:
        """What the failover sensor does at a tick."""
        context = self.context()
        answer = failover_tick(context, Notifier(context.settings.notifications, context.ledger))
        return Look(context, answer)

    def told(self) -> list[str]:
        """What Slack heard of changes of vendor."""
        texts = [str(message["text"]) for message in self.slack.messages]
        return [text for text in texts if "prices now come from" in text]


@pytest.fixture
def desk(quant_home: Path) -> Iterator[Desk]:
    with ExitStack() as stack:
        servers = [stack.enter_context(kind(ROWS)) for kind in (YahooServer, FinnhubServer)]
        desk = Desk(*servers, stack.enter_context(slack_server()), quant_home)
        context = desk.context()
        history.backfill(context, HISTORY_START, WEDNESDAY)
        yield desk


def bars(context: TradingContext, session: date) -> list[tuple[Any, ...]]:
    frame = context.lake.read("bars", start=session, end=session)
    return frame.select("symbol", "vendor", "close", "volume", "vendor_change").rows()


def truth(session: date) -> dict[str, tuple[float, float]]:
    rows = ROWS.filter(pl.col("session") == session)
    return {symbol: (close, volume) for symbol, close, volume in rows.select("symbol", "close", "volume").iter_rows()}


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_the_first_vendor_does_the_session_is_complete_from_the_second(desk: Desk, fault: str) -> None:
    desk.primary.fault(fault, times=math.inf)
    context = desk.load(THURSDAY)
    expected = truth(THURSDAY)
    assert bars(context, THURSDAY) == [
        (symbol, "finnhub", pytest.approx(expected[symbol][0]), expected[symbol][1], "agreed") for symbol in SYMBOLS
    ], "every symbol has the second vendor's own row, and nothing else"
    found = desk.look()
    desk.look()
    assert (found.switched, found.active, found.requested) == (True, "finnhub", [])
    assert len(desk.told()) == 1, "told once, however often it is looked for"
    # The second vendor is asked first from now on, and the failing one is left in peace.
    desk.primary.requests.clear()
    assert [row[1] for row in bars(desk.load(FRIDAY), FRIDAY)] == ["finnhub", "finnhub"]
    assert desk.primary.requests == []
    # It is well again: back after the quiet period, not before.
    desk.primary.clear()
    for _ in range(2):
        desk.time += timedelta(minutes=40)
        assert not desk.look().switched
    desk.time += timedelta(minutes=30)
    back = desk.look()
    assert (back.switched, back.active) == (True, "yfinance")
    assert len(desk.told()) == 2
    monday = date(2013, 2, 25)
    assert [row[1] for row in bars(desk.load(monday), monday)] == ["yfinance", "yfinance"]


def test_a_vendor_that_says_it_has_nothing_is_stood_in_for_and_not_left_at_once(desk: Desk) -> None:
    desk.primary.fault("no_data", times=math.inf)
    assert [row[1] for row in bars(desk.load(THURSDAY), THURSDAY)] == ["finnhub", "finnhub"]
    assert not desk.look().switched, "it answered: one evening without data is no failure"


def test_both_vendors_fail_and_nothing_is_invented(desk: Desk) -> None:
    desk.primary.fault("500", times=math.inf)
    desk.secondary.fault("hang", times=math.inf)
    with pytest.raises(DataUnavailableError, match="yfinance"):
        desk.load(THURSDAY)
    context = desk.context()
    assert context.lake.read("raw_prices", start=THURSDAY).is_empty()
    assert bars(context, THURSDAY) == []


def test_sessions_nobody_had_are_asked_for_again_after_the_change(desk: Desk) -> None:
    """Both vendors were down that evening; the second is back first, and the sensor starts a run for the session."""
    desk.primary.fault("503", times=math.inf)
    desk.secondary.fault("503", times=math.inf)
    with pytest.raises(DataUnavailableError):
        desk.load(THURSDAY)
    desk.secondary.clear()
    desk.time += timedelta(minutes=10)
    found = desk.look()
    assert (found.active, found.requested) == ("finnhub", [THURSDAY.isoformat()])
    history.ingest_range(found.context, THURSDAY, THURSDAY)
    history.build_range(found.context, THURSDAY, THURSDAY)
    assert [row[1] for row in bars(found.context, THURSDAY)] == ["finnhub", "finnhub"]


def test_one_symbol_failing_is_taken_from_the_second_vendor_and_the_other_is_not(desk: Desk) -> None:
    desk.primary.fault("unknown_symbol", times=1)
    rows = bars(desk.load(THURSDAY), THURSDAY)
    assert sorted(row[1] for row in rows) == ["finnhub", "yfinance"]
    assert not desk.look().switched, "one unknown symbol is no reason to leave a vendor"


def test_the_second_vendors_other_level_is_adjusted_and_the_bar_says_so(quant_home: Path) -> None:
    fourfold = ROWS.with_columns(
        *(pl.col(name) * 4.0 for name in ("open", "high", "low", "close")), pl.col("volume") / 4.0
    )
    with YahooServer(ROWS) as primary, FinnhubServer(fourfold) as secondary, slack_server() as slack:
        desk = Desk(primary, secondary, slack, quant_home)
        history.backfill(desk.context(), HISTORY_START, WEDNESDAY)
        primary.fault("503", times=math.inf)
        frame = desk.load(THURSDAY).lake.read("bars", start=THURSDAY, end=THURSDAY)
    expected = truth(THURSDAY)
    assert frame["vendor_change"].to_list() == ["adjusted", "adjusted"]
    assert frame["level_factor"].to_list() == pytest.approx([0.25, 0.25])
    assert frame["close"].to_list() == pytest.approx([expected[symbol][0] for symbol in frame["symbol"]])
    assert frame["volume"].to_list() == pytest.approx([expected[symbol][1] for symbol in frame["symbol"]])


def test_a_person_who_chose_a_vendor_is_not_overruled_by_a_better_one(desk: Desk) -> None:
    context = desk.context()
    with context.ledger.write() as connection:
        record_switch(
            connection, "equity", "finnhub", "yfinance", actor="ada", reason="contract", sessions=(), at=context.now()
        )
    desk.time += timedelta(hours=5)
    for _ in range(3):
        desk.time += timedelta(hours=2)
        assert desk.look().active == "finnhub"
    desk.secondary.fault("503", times=math.inf)
    desk.load(THURSDAY)
    assert desk.look().active == "yfinance", "but the chosen one is left when it fails"


def test_a_vendor_of_an_unknown_level_that_takes_over_is_not_traded_on_that_day(quant_home: Path) -> None:
    """The better vendor turns up late, at another level, and has no session in common with the one until then."""
    until = date(2013, 2, 15)
    fourfold = ROWS.filter(pl.col("session") > until).with_columns(pl.col("open", "high", "low", "close") * 4.0)
    early = ROWS.filter(pl.col("session") <= until)
    with YahooServer(fourfold) as primary, FinnhubServer(early) as secondary, slack_server() as slack:
        desk = Desk(primary, secondary, slack, quant_home)
        primary.fault("unknown_symbol", times=math.inf)
        history.backfill(desk.context(), HISTORY_START, until)
        primary.clear()
        context = desk.context()
        history.backfill(context, HISTORY_START, WEDNESDAY)
    change = date(2013, 2, 19)
    frame = context.lake.read("bars", start=change, end=change)
    assert frame.select("vendor", "vendor_change").rows() == [("yfinance", "unconfirmed")] * 2
    scores = context.lake.read("quality", start=change, end=change)
    assert all("level_unknown" in issues for issues in scores["issues"])
    assert scores["score"].max() < 0.6


def test_every_change_of_vendor_is_in_the_audit_log(desk: Desk) -> None:
    desk.primary.fault("503", times=math.inf)
    desk.load(THURSDAY)
    desk.look()
    with desk.context().ledger.read() as connection:
        (row,) = connection.execute(select(vendor_switches)).all()
        actions = connection.execute(select(audit_log.c.action)).scalars().all()
    assert (row.vendor, row.previous, row.actor) == ("finnhub", "yfinance", "failover")
    assert "vendor_switch" in actions


def test_a_backfill_asks_only_for_what_it_does_not_have(desk: Desk) -> None:
    desk.primary.requests.clear()
    history.backfill(desk.context(), HISTORY_START, WEDNESDAY)
    charts = [request for request in desk.primary.requests if "chart" in request.path]
    assert charts == [], "everything up to that session is stored"
    desk.load(THURSDAY)
    asked = [request.params for request in desk.primary.requests if "chart" in request.path]
    assert len(asked) == len(SYMBOLS)
    begin = datetime.fromtimestamp(int(asked[0]["period1"]), UTC).date()
    assert date(2013, 2, 1) < begin < THURSDAY, "a few sessions again, to see restatements, and not the whole history"
