"""The ledger, on SQLite and PostgreSQL alike."""

from __future__ import annotations

import multiprocessing
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import select

from quant_dagster.errors import LedgerError
from quant_dagster.observability import audit
from quant_dagster.storage.ledger import Ledger, insert_new
from quant_dagster.storage.ledger_tables import account_snapshots, alerts, metadata
from quant_dagster.storage.types import canonical_json, money

AT = datetime(2023, 1, 3, tzinfo=UTC)


def test_upgraded_schema_is_the_one_the_code_defines(ledger: Ledger) -> None:
    assert ledger.current_revision() == ledger.head_revision()
    assert ledger.differences() == []
    assert ledger.upgrade() == ledger.head_revision()


def test_the_newest_migration_is_the_one_alembic_takes(ledger: Ledger) -> None:
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(ledger._alembic_config())
    assert ledger.head_revision() == scripts.get_current_head()
    assert all(Path(one.path).name.startswith(one.revision) for one in scripts.walk_revisions())


def test_a_schema_changed_behind_our_back_is_noticed(ledger: Ledger) -> None:
    with ledger.write() as connection:
        connection.exec_driver_sql("ALTER TABLE fills ADD COLUMN surprise INTEGER")
    assert any("surprise" in difference for difference in ledger.differences())


def test_empty_ledger_names_the_command_that_makes_it(tmp_path) -> None:
    empty = Ledger(f"sqlite:///{tmp_path / 'empty.db'}")
    with pytest.raises(LedgerError, match="quant ledger upgrade"):
        empty.require_current()
    with pytest.raises(LedgerError, match="quant ledger upgrade"), empty.read() as connection:
        connection.execute(select(alerts)).all()


def test_a_transaction_that_fails_leaves_nothing(ledger: Ledger) -> None:
    def fail() -> None:
        with ledger.write() as connection:
            audit.append(connection, "a", "test", actor="t", at=AT)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with ledger.read() as connection:
        assert connection.execute(select(metadata.tables["audit_log"])).all() == []


def test_inserting_a_key_twice_is_a_no_op(ledger: Ledger) -> None:
    row = {"alert_key": "k", "severity": "info", "title": "t", "delivered": 0, "recorded_at": AT}
    with ledger.write() as connection:
        assert insert_new(connection, alerts, row)
        assert not insert_new(connection, alerts, row | {"title": "other"})
        assert connection.execute(select(alerts.c.title)).scalar_one() == "t"


@pytest.mark.parametrize("amount", ["0.000001", "-123456789.123456", "1000000000000.5", "0"])
def test_money_is_exact(ledger: Ledger, amount: str) -> None:
    names = [column.name for column in account_snapshots.columns if column.name != "session"]
    with ledger.write() as connection:
        values = dict.fromkeys(names, money(amount))
        connection.execute(account_snapshots.insert().values(session=date(2023, 1, 3), **values))
    with ledger.read() as connection:
        assert connection.execute(select(account_snapshots.c.cash)).scalar_one() == Decimal(amount)


def test_times_come_back_in_utc_and_naive_times_are_refused(ledger: Ledger) -> None:
    row = {"alert_key": "k", "severity": "info", "title": "t", "delivered": 0}
    with ledger.write() as connection:
        connection.execute(alerts.insert().values(**row, recorded_at=AT))
        assert connection.execute(select(alerts.c.recorded_at)).scalar_one() == AT
    with pytest.raises(LedgerError, match="time zone"), ledger.write() as connection:
        connection.execute(alerts.insert().values(**row | {"alert_key": "l"}, recorded_at=AT.replace(tzinfo=None)))


def test_frame_has_the_table_s_columns_even_when_empty(ledger: Ledger) -> None:
    assert ledger.frame("fills").is_empty()
    assert "execution_id" in ledger.frame("fills").columns
    with pytest.raises(LedgerError, match="it has: account_events"):
        ledger.frame("nothing")


def test_canonical_json_is_one_text_per_value() -> None:
    assert canonical_json({"b": Decimal("1.50"), "a": date(2023, 1, 3)}) == '{"a":"2023-01-03","b":"1.5"}'
    with pytest.raises(ValueError):
        canonical_json(float("nan"))


def _append_many(url: str, name: str, count: int) -> None:
    ledger = Ledger(url)
    for number in range(count):
        with ledger.write() as connection:
            audit.append(connection, f"{name}:{number}", "test", actor=name, at=AT)
    ledger.close()


@pytest.mark.slow
def test_processes_writing_at_once_keep_one_unbroken_chain(ledger: Ledger) -> None:
    context = multiprocessing.get_context("spawn")
    url = ledger.url.render_as_string(hide_password=False)
    workers = [context.Process(target=_append_many, args=(url, f"p{n}", 15)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    report = audit.verify(ledger)
    assert (report.rows, report.problems) == (45, ())


def test_a_write_within_a_write_is_refused_at_once_instead_of_waiting_for_itself(ledger: Ledger) -> None:
    with ledger.write(), pytest.raises(LedgerError, match="begun inside another"), ledger.write():
        pass
    with ledger.write():
        pass
