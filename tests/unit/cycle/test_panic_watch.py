"""Panic conditions from a real ledger and lake: what counts as evidence, each piece of which stops the desk once."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from sqlalchemy import select, update

from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.panic_watch import watch_panic
from quant_dagster.market_data.intraday.load import load_files
from quant_dagster.quality.contracts import validate
from quant_dagster.resilience import health
from quant_dagster.resilience.outcomes import Outcome
from quant_dagster.risk import operators
from quant_dagster.risk.control import ControlMode, current, history, set_mode
from quant_dagster.storage.ledger_tables import audit_log, fills
from tests.support.replays import finished_replay, replayed_home
from tests.unit.market_data.intraday_files import at, lean_quotes

__all__ = ["finished_replay", "replayed_home"]

LAST = date(2022, 12, 28)
EVENING = datetime(2022, 12, 28, 22, 30, tzinfo=UTC)
PASSPHRASE = "correct horse battery"


def desk(now: datetime = EVENING) -> TradingContext:
    return TradingContext(clock=lambda: now)


def state(context: TradingContext) -> tuple[str, str, int]:
    """The mode, who set it, and how often it was changed."""
    with context.ledger.read() as connection:
        now = current(connection)
        return now.mode.name, now.actor, len(history(connection, 100))


def loosen(context: TradingContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator has looked and goes on."""
    monkeypatch.setitem(operators._SCRYPT, "n", 4)
    operators.add(context.ledger, "ada", PASSPHRASE)
    set_mode(
        context.ledger, ControlMode.NORMAL, person="ada", reason="looked", passphrase=PASSPHRASE,
        settings=context.settings,
    )  # fmt: skip


# -- fills ------------------------------------------------------------------------------------------------------------


def slippage_by_hand(context: TradingContext) -> float:
    rows = context.ledger.frame("fills").filter(pl.col("session") == LAST)
    sign = pl.when(pl.col("side") == "buy").then(1).otherwise(-1)
    one = sign * (pl.col("price") - pl.col("reference_price")) / pl.col("reference_price") * 1e4
    return float(rows.select(one.mean()).item())


def tight(monkeypatch: pytest.MonkeyPatch, limit: float) -> TradingContext:
    monkeypatch.setenv("QUANT_RISK__PANIC__SLIPPAGE__LIMIT", str(limit))
    monkeypatch.setenv("QUANT_RISK__PANIC__SLIPPAGE__LEAST", "1")
    return desk()


def test_a_quiet_evening_leaves_the_mode_alone(replayed_home: Path) -> None:
    assert watch_panic(desk()) == []
    assert state(desk())[0] == "NORMAL"


def test_slippage_of_the_last_day_is_measured_against_reference_prices(
    replayed_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mean = slippage_by_hand(desk())
    assert mean > 1.0
    assert watch_panic(tight(monkeypatch, mean + 0.001)) == []
    (condition,) = watch_panic(tight(monkeypatch, mean - 0.001))
    assert (condition.name, condition.code, condition.mode) == ("slippage", "panic_slippage", ControlMode.PAUSE)
    assert condition.value == pytest.approx(mean)
    assert state(desk()) == ("PAUSE", "panic:slippage", 1)


def test_fills_count_from_their_sessions_close_for_a_day(replayed_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT_RISK__PANIC__SLIPPAGE__LIMIT", "0.001")
    monkeypatch.setenv("QUANT_RISK__PANIC__SLIPPAGE__LEAST", "1")
    newest = datetime(2022, 12, 28, 20, 59, 59, tzinfo=UTC)
    assert [one.name for one in watch_panic(desk(newest + timedelta(seconds=86_399)))] == ["slippage"]
    assert watch_panic(desk(newest + timedelta(seconds=86_400))) == []


def test_the_same_evidence_stops_the_desk_once_and_newer_evidence_again(
    replayed_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = tight(monkeypatch, 0.001)
    for _ in range(2):
        assert [one.name for one in watch_panic(context)] == ["slippage"]
    assert state(context) == ("PAUSE", "panic:slippage", 1)
    loosen(context, monkeypatch)
    assert [one.name for one in watch_panic(context)] == ["slippage"], "it holds, but an operator has seen it"
    assert state(context) == ("NORMAL", "ada", 2)
    with context.ledger.write() as connection:
        newest = connection.execute(select(fills.c.execution_id).order_by(fills.c.sequence.desc()).limit(1)).scalar()
        connection.execute(update(fills).where(fills.c.execution_id == newest).values(correction=1))
    watch_panic(context)
    assert state(context) == ("PAUSE", "panic:slippage", 3)
    with context.ledger.read() as connection:
        rows = connection.execute(select(audit_log).where(audit_log.c.action == "panic")).all()
    assert [row.event_key for row in rows] == [f"panic:slippage:{newest}:0", f"panic:slippage:{newest}:1"]
    said = json.loads(rows[0].payload)
    assert (said["name"], said["mode"], said["limit"], said["day"]) == ("slippage", "PAUSE", 0.001, "2022-12-28")
    assert said["reason"].startswith("mean slippage of ")


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def failing() -> Callable[[TradingContext, Outcome, int, datetime], None]:
    def fail(context: TradingContext, outcome: Outcome, count: int, when: datetime) -> None:
        for _ in range(count):
            health.record(context.ledger, "vendor:yfinance", "daily_bars", outcome, 0.1, "", when)

    return fail


Fail = Callable[[TradingContext, Outcome, int, datetime], None]


def empty_desk(now: datetime = EVENING) -> TradingContext:
    context = desk(now)
    context.ledger.upgrade()
    return context


def test_more_failed_requests_than_allowed_within_a_minute(failing: Fail) -> None:
    context = empty_desk()
    failing(context, Outcome.UNREACHABLE, 20, EVENING - timedelta(seconds=59))
    assert watch_panic(context) == []
    failing(context, Outcome.RATE_LIMITED, 1, EVENING)
    (condition,) = watch_panic(context)
    assert (condition.code, condition.value, condition.limit) == ("panic_errors", 21.0, 20.0)
    assert condition.reason == "21 requests failed (yfinance 21) within 60 s, allowed are 20"
    assert state(context) == ("PAUSE", "panic:errors", 1)


def test_old_failures_and_answers_without_data_are_no_failures(failing: Fail) -> None:
    context = empty_desk()
    failing(context, Outcome.UNREACHABLE, 30, EVENING - timedelta(seconds=60))
    for outcome in (Outcome.OK, Outcome.EMPTY, Outcome.UNKNOWN_SYMBOL):
        failing(context, outcome, 30, EVENING)
    assert watch_panic(context) == []


def test_an_error_after_an_operator_has_looked_stops_again(failing: Fail, monkeypatch: pytest.MonkeyPatch) -> None:
    context = empty_desk()
    failing(context, Outcome.FAILED, 21, EVENING - timedelta(seconds=30))
    watch_panic(context)
    loosen(context, monkeypatch)
    watch_panic(context)
    assert state(context)[0] == "NORMAL"
    failing(context, Outcome.FAILED, 1, EVENING - timedelta(seconds=1))
    watch_panic(context)
    assert state(context)[0] == "PAUSE"


# -- quotes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("present", "stale"), [(10, False), (9, True)])
def test_bars_stand_for_quotes_where_there_are_none(replayed_home: Path, present: int, stale: bool) -> None:
    context = desk()
    bars = context.lake.read("bars", start=LAST, end=LAST)
    assert bars.height == 20
    context.lake.replace("bars", bars.sort("symbol").head(present), [LAST])
    found = watch_panic(context)
    assert [one.code for one in found] == (["panic_stale_quotes"] if stale else [])
    if stale:
        assert found[0].value == 0.55
        assert found[0].reason.startswith("11 of 20 symbols have no quote (")
        assert state(context) == ("PAUSE", "panic:stale_quotes", 1)


def test_a_desk_whose_newest_bars_are_old_is_not_live(replayed_home: Path) -> None:
    context = desk(EVENING + timedelta(days=30))
    bars = context.lake.read("bars", start=LAST, end=LAST)
    context.lake.replace("bars", bars.head(1), [LAST])
    assert watch_panic(context) == []


@pytest.fixture
def quoted() -> Callable[[str], TradingContext]:
    """A desk at a moment of a day in which AAPL was quoted every minute, knowing what was quoted by then."""

    def at_moment(text: str, until: str | None = None) -> TradingContext:
        context = empty_desk(at(text))
        load_files(
            context.lake, lean_quotes(), calendar=context.calendar, now=at("2024-01-02 12:00"), contract=validate
        )
        rows = context.lake.read("intraday_quotes", symbols=["AAPL"])
        day = date.fromisoformat(text[:10])
        ends = pl.col("bar_start") + pl.duration(seconds=pl.col("seconds"))
        known = rows.filter((pl.col("session") < day) | (ends <= at(until or text)))
        days = rows["session"].unique().to_list()
        context.lake.replace("intraday_quotes", known, days)
        return context

    return at_moment


def test_quotes_every_minute_are_fresh_and_silence_of_a_minute_is_stale(quoted: Callable[..., TradingContext]) -> None:
    assert watch_panic(quoted("2014-06-06 15:00:59")) == []
    silent = quoted("2014-06-06 15:01:00", until="2014-06-06 15:00:00")
    (condition,) = watch_panic(silent)
    assert condition.reason == "1 of 1 symbols have no quote (AAPL) within 60 s, allowed are 0.5"
    assert (condition.value, state(silent)) == (1.0, ("PAUSE", "panic:stale_quotes", 1))
    with silent.ledger.read() as connection:
        key = connection.execute(select(audit_log.c.event_key).where(audit_log.c.action == "panic")).scalar()
    assert key == "panic:stale_quotes:2014-06-06T15:00:00+00:00", "the last sign of life is the evidence"


def test_before_the_first_minute_is_over_nobody_is_late(quoted: Callable[..., TradingContext]) -> None:
    # At 13:30:59 UTC the session is 59 seconds old: the one before it is judged, at its close.
    assert watch_panic(quoted("2014-06-06 13:30:59")) == []


def test_a_spread_is_held_against_the_hour_before(
    quoted: Callable[..., TradingContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = "2014-06-06 15:00:00"
    monkeypatch.setenv("QUANT_RISK__PANIC__SPREAD__LEAST", "5")
    rows = quoted(moment).lake.read("intraday_quotes", symbols=["AAPL"])
    ends = (pl.col("bar_start") + pl.duration(seconds=pl.col("seconds"))).alias("end")
    spread = (pl.col("ask_close") - pl.col("bid_close")) / (pl.col("ask_close") + pl.col("bid_close")) * 2
    known = rows.select(ends, spread.alias("spread")).filter(pl.col("end") <= at(moment))
    newest = known.filter(pl.col("end") > at("2014-06-06 14:55"))["spread"]
    before = known.filter(pl.col("end").is_between(at("2014-06-06 13:55"), at("2014-06-06 14:55"), closed="right"))
    assert (newest.len(), before.height) == (5, 60)
    ratio = newest.median() / before["spread"].median()
    for limit, holds in ((ratio * 1.001, False), (ratio * 0.999, True)):
        monkeypatch.setenv("QUANT_RISK__PANIC__SPREAD__LIMIT", str(limit))
        found = watch_panic(quoted(moment))
        assert [one.code for one in found] == (["panic_spread"] if holds else [])
    assert found[0].value == pytest.approx(ratio)
