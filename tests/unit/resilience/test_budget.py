from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select, text

from quant_dagster.errors import BudgetExhaustedError, VendorError
from quant_dagster.resilience.budget import DAY, MINUTE, RequestBudget, window_start
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import request_budgets
from tests.unit.resilience.conftest import StillClock


def rows(ledger: Ledger) -> list[tuple[object, ...]]:
    with ledger.read() as connection:
        order = (request_budgets.c.name, request_budgets.c.window_seconds, request_budgets.c.window_start)
        return [tuple(row) for row in connection.execute(select(request_budgets).order_by(*order))]


def test_windows_are_aligned_to_utc() -> None:
    now = datetime(2024, 3, 14, 15, 9, 26, 500_000, tzinfo=UTC)
    assert window_start(now, MINUTE) == datetime(2024, 3, 14, 15, 9, tzinfo=UTC)
    assert window_start(now, DAY) == datetime(2024, 3, 14, tzinfo=UTC)


def test_a_used_up_minute_refuses_until_it_ends(ledger: Ledger, still: StillClock) -> None:
    budget = RequestBudget(ledger, "vendor:v", per_minute=2, per_day=None, clock=still)
    budget.take()
    budget.take()
    with pytest.raises(BudgetExhaustedError, match="vendor 'v': not asked: budget of 2 requests a minute") as refused:
        budget.take()
    assert refused.value.retry_after == 34.0, "it is 15:09:26"
    still.forward(33.9)
    with pytest.raises(BudgetExhaustedError):
        budget.take()
    still.forward(0.1)
    budget.take()


def test_a_request_refused_by_one_window_is_not_counted_in_the_other(ledger: Ledger, still: StillClock) -> None:
    budget = RequestBudget(ledger, "v", per_minute=5, per_day=2, clock=still)
    budget.take()
    budget.take()
    with pytest.raises(BudgetExhaustedError, match=r"a day \(UTC\)") as refused:
        budget.take()
    assert refused.value.retry_after == 86_400 - (15 * 3600 + 9 * 60 + 26)
    assert {row[1]: row[3] for row in rows(ledger)} == {MINUTE: 2, DAY: 2}


def test_budgets_of_two_services_are_apart(ledger: Ledger, still: StillClock) -> None:
    for name in ("a", "b"):
        RequestBudget(ledger, name, per_minute=1, per_day=None, clock=still).take()
    assert [row[3] for row in rows(ledger)] == [1, 1]


def test_two_desks_on_one_ledger_share_the_budget(ledger: Ledger, still: StillClock) -> None:
    other = Ledger(ledger.url.render_as_string(hide_password=False), ledger.now)
    one, two = (RequestBudget(each, "v", per_minute=3, per_day=None, clock=still) for each in (ledger, other))
    one.take()
    two.take()
    one.take()
    with pytest.raises(BudgetExhaustedError):
        two.take()
    other.close()


def test_windows_that_ended_are_deleted(ledger: Ledger, still: StillClock) -> None:
    budget = RequestBudget(ledger, "v", per_minute=5, per_day=None, clock=still)
    for _ in range(6):
        budget.take()
        still.forward(60.0)
    assert len(rows(ledger)) == 2, "this window and the one before it"


def test_without_limits_the_ledger_is_not_touched(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path / 'never.db'}")
    RequestBudget(ledger, "v", per_minute=None, per_day=None).take()
    assert not (tmp_path / "never.db").exists()


def test_a_budget_that_cannot_be_read_refuses(ledger: Ledger, still: StillClock) -> None:
    budget = RequestBudget(ledger, "v", per_minute=5, per_day=5, clock=still)
    budget.take()
    with ledger.write() as connection:
        connection.execute(request_budgets.update().values(used=-3))
    with pytest.raises(VendorError, match="cannot be read"):
        budget.take()
    with ledger.write() as connection:
        connection.execute(text("DROP TABLE request_budgets"))
    with pytest.raises(VendorError, match="cannot be read"):
        budget.take()
