"""Heartbeats: silence, and anything that cannot be told from it."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select, text

from quant_dagster.risk.kill_switch.heartbeat import Silence, beat, required, silent
from quant_dagster.settings import KillSwitchSettings, RiskSettings
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import heartbeats
from tests.unit.risk.kill_switch.desks import START


def watching(**required: float) -> RiskSettings:
    return RiskSettings(clock_tolerance_seconds=2, kill_switch=KillSwitchSettings(heartbeats=required))


def ask(ledger: Ledger, settings: RiskSettings, seconds: float) -> list[str]:
    with ledger.read() as connection:
        return [one.reason for one in silent(connection, settings, START + timedelta(seconds=seconds))]


def say(ledger: Ledger, name: str, *, state: str = "ok", detail: str = "fine", seconds: float = 0) -> None:
    with ledger.write() as connection:
        beat(connection, name, state=state, detail=detail, at=START + timedelta(seconds=seconds))


def test_nobody_has_to_beat_by_default(books: Ledger) -> None:
    assert required(KillSwitchSettings()) == {}
    assert ask(books, watching(), 0) == []


def test_the_hardware_switch_has_to_beat_where_there_is_one() -> None:
    settings = KillSwitchSettings(hardware=True, silence_seconds=7, heartbeats={"feed": 3, "hardware_switch": 99})
    assert required(settings) == {"feed": 3, "hardware_switch": 7}


def test_the_newest_beat_is_kept(ledger: Ledger) -> None:
    say(ledger, "feed")
    say(ledger, "feed", state="slow", detail="1 s behind", seconds=9)
    with ledger.read() as connection:
        (row,) = connection.execute(select(heartbeats)).all()
    assert (row.name, row.state, row.detail, row.beat_at) == (
        "feed",
        "slow",
        "1 s behind",
        START + timedelta(seconds=9),
    )


def test_silence_of_the_allowed_length_is_allowed_and_no_more(books: Ledger) -> None:
    say(books, "feed")
    assert ask(books, watching(feed=10), 10) == []
    assert ask(books, watching(feed=10), 10.5) == ["feed is silent for 10.5 s, allowed are 10 s"]


def test_a_name_that_never_beat_is_silent_and_all_are_told_by_name(books: Ledger) -> None:
    say(books, "feed")
    with books.read() as connection:
        found = silent(connection, watching(zebra=5, feed=10, ant=5), START)
    assert found == [
        Silence("ant", "ant never gave a sign of life"),
        Silence("zebra", "zebra never gave a sign of life"),
    ]


def test_a_beat_from_the_future_is_silence(books: Ledger) -> None:
    say(books, "feed", seconds=2)
    assert ask(books, watching(feed=10), 0) == []  # clocks of two machines, within the tolerance
    say(books, "feed", seconds=2.5)
    assert ask(books, watching(feed=10), 0) == ["feed: its last heartbeat is 2.5 s in the future"]


def test_a_state_that_is_not_ok_is_as_bad_as_silence(books: Ledger) -> None:
    say(books, "feed", state="OK", detail="but in capitals")
    assert ask(books, watching(feed=10), 1) == ["feed says OK: but in capitals"]


def test_a_beat_that_cannot_be_read_is_silence(books: Ledger) -> None:
    say(books, "feed")
    say(books, "other")
    with books.write() as connection:
        connection.execute(text("UPDATE heartbeats SET beat_at = 'yesterday' WHERE name = 'feed'"))
    (said,) = ask(books, watching(feed=10, other=10), 1)
    assert said.startswith("feed: its heartbeat cannot be read (") and "yesterday" in said
