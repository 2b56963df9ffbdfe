"""Trading days change at 17:00 in Chicago, in summer and in winter, once each."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from quant_dagster.risk.account_rules.trading_day import TradingDays, begin, newest_day
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import audit_log, daily_resets
from quant_dagster.storage.types import canonical_json
from tests.unit.risk.account_rules.scenarios import LATER, quick_ledger

CHICAGO = TradingDays("17:00", "America/Chicago")
MOMENT = timedelta(microseconds=1)

# Central time is UTC-6 in winter and UTC-5 in summer; in 2023 summer ran from 12 March, 02:00 to 5 November, 02:00.
RESETS = [
    (date(2023, 3, 11), "2023-03-10T23:00", "Friday before the clocks go forward"),
    (date(2023, 3, 12), "2023-03-11T23:00", "a day of 23 hours begins"),
    (date(2023, 3, 13), "2023-03-12T22:00", "Sunday after they went forward"),
    (date(2023, 11, 5), "2023-11-04T22:00", "a day of 25 hours begins"),
    (date(2023, 11, 6), "2023-11-05T23:00", "Sunday after they went back"),
    (date(2024, 1, 1), "2023-12-31T23:00", "the last hours of a year belong to the next"),
    (date(2024, 3, 1), "2024-02-29T23:00", "a leap day"),
]


@pytest.mark.parametrize(("day", "begins", "what"), RESETS, ids=[row[2] for row in RESETS])
def test_a_day_begins_at_five_in_the_afternoon_before(day: date, begins: str, what: str) -> None:
    instant = datetime.fromisoformat(begins).replace(tzinfo=UTC)
    assert CHICAGO.begins(day) == instant
    assert CHICAGO.begins(day).tzinfo is UTC
    assert CHICAGO.day_of(instant) == day
    assert CHICAGO.day_of(instant - MOMENT) == day - timedelta(days=1)


def test_days_around_the_changes_of_the_clock_have_23_and_25_hours() -> None:
    lengths = {day: CHICAGO.begins(day + timedelta(days=1)) - CHICAGO.begins(day)
               for day in (date(2023, 3, 11), date(2023, 3, 12), date(2023, 11, 5), date(2023, 11, 6))}  # fmt: skip
    assert [length.total_seconds() / 3600 for length in lengths.values()] == [24, 23, 25, 24]


@pytest.mark.parametrize(("reset", "zone", "instant", "day"), [
    ("00:00", "UTC", "2023-06-01T00:00", date(2023, 6, 1)),
    ("00:00", "UTC", "2023-06-01T23:59", date(2023, 6, 1)),
    ("09:30", "America/New_York", "2023-06-01T13:29", date(2023, 6, 1)),
    ("09:30", "America/New_York", "2023-06-01T13:30", date(2023, 6, 2)),
    # Where it is already tomorrow: 01:30 on 2 January.
    ("01:00", "Pacific/Auckland", "2023-01-01T12:30", date(2023, 1, 3)),
    # 02:30 does not exist on 12 March: the day begins when 03:30 is shown instead.
    ("02:30", "America/Chicago", "2023-03-12T08:29", date(2023, 3, 12)),
    ("02:30", "America/Chicago", "2023-03-12T08:30", date(2023, 3, 13)),
    # 01:30 comes twice on 5 November (06:30 and 07:30 UTC): the day begins at the first and does not end again.
    ("01:30", "America/Chicago", "2023-11-05T06:29", date(2023, 11, 5)),
    ("01:30", "America/Chicago", "2023-11-05T06:30", date(2023, 11, 6)),
    ("01:30", "America/Chicago", "2023-11-05T07:10", date(2023, 11, 6)),
])  # fmt: skip
def test_other_reset_times(reset: str, zone: str, instant: str, day: date) -> None:
    assert TradingDays(reset, zone).day_of(datetime.fromisoformat(instant).replace(tzinfo=UTC)) == day


def test_a_day_is_begun_once_and_an_earlier_one_never_again(desk: Ledger) -> None:
    def attempt(day: date) -> bool:
        with desk.write() as connection:
            return begin(connection, day, due=CHICAGO.begins(day), now=LATER)

    with desk.read() as connection:
        assert newest_day(connection) is None
    assert [attempt(date(2023, 3, d)) for d in (8, 8, 7, 13, 9)] == [True, False, False, True, False]
    with desk.read() as connection:
        assert newest_day(connection) == date(2023, 3, 13)
        rows = connection.execute(select(daily_resets).order_by(daily_resets.c.trading_day)).all()
        audited = connection.execute(select(audit_log).order_by(audit_log.c.sequence)).all()
    # Nobody was there from 9 to 12 March: one row, which says what came before it.
    assert [tuple(row) for row in rows] == [
        (date(2023, 3, 8), datetime(2023, 3, 7, 23, tzinfo=UTC), LATER),
        (date(2023, 3, 13), datetime(2023, 3, 12, 22, tzinfo=UTC), LATER),
    ]
    assert [(row.event_key, row.action, row.actor, row.payload, row.recorded_at) for row in audited] == [
        (f"daily_reset:{day}", "daily_reset", "account_rules", canonical_json(payload), LATER)
        for day, payload in [
            ("2023-03-08", {"trading_day": "2023-03-08", "previous": None, "due": "2023-03-07T23:00:00+00:00"}),
            ("2023-03-13", {"trading_day": "2023-03-13", "previous": "2023-03-08", "due": "2023-03-12T22:00:00+00:00"}),
        ]
    ]


def test_of_several_that_begin_a_day_at_once_one_does(tmp_path: Path) -> None:
    quick_ledger(tmp_path / "ledger.db").close()
    barrier, begun = threading.Barrier(4), []

    def run() -> None:
        ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
        barrier.wait()
        with ledger.write() as connection:
            begun.append(begin(connection, date(2023, 3, 8), due=LATER, now=LATER))
        ledger.close()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(begun) == [False, False, False, True]
