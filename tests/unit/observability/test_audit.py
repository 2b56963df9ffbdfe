"""The audit chain finds any change."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from quant_dagster.errors import AuditError
from quant_dagster.observability import audit
from quant_dagster.storage.ledger import Ledger

AT = datetime(2023, 1, 3, 12, tzinfo=UTC)


@pytest.fixture
def chain(ledger: Ledger) -> Ledger:
    with ledger.write() as connection:
        for number in range(1, 6):
            audit.append(
                connection, f"event:{number}", "test", actor="t", at=AT, session=date(2023, 1, 3), payload={"n": number}
            )
    return ledger


def change(ledger: Ledger, statement: str) -> None:
    with ledger.write() as connection:
        connection.exec_driver_sql(statement)


def test_an_untouched_chain_is_intact(chain: Ledger) -> None:
    assert audit.verify(chain) == audit.AuditReport(rows=5, problems=())


def test_an_event_is_audited_once(chain: Ledger) -> None:
    with chain.write() as connection:
        assert not audit.append(connection, "event:3", "test", actor="other", at=AT)
    assert audit.verify(chain).rows == 5


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("event_key", "'event:x'"),
        ("session", "'2023-01-04'"),
        ("action", "'tesT'"),
        ("actor", "'u'"),
        ("payload", """'{"n":4}'"""),
        ("recorded_at", "'2023-01-03 12:00:01.000000'"),
        ("previous_hash", f"'{'1' * 64}'"),
        ("hash", f"'{'2' * 64}'"),
    ],
)
def test_a_change_in_any_column_names_the_row(chain: Ledger, column: str, value: str) -> None:
    change(chain, f"UPDATE audit_log SET {column} = {value} WHERE sequence = 3")
    problems = audit.verify(chain).problems
    assert any("audit row 3" in problem for problem in problems)
    with pytest.raises(AuditError):
        audit.require_intact(chain)


def test_a_removed_row_is_noticed(chain: Ledger) -> None:
    change(chain, "DELETE FROM audit_log WHERE sequence = 3")
    assert "a row is missing" in audit.verify(chain).problems[0]
