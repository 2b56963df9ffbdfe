"""The tests of the SQL models: a real replay passes them all, and each finds what was broken on purpose."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from sqlalchemy import delete, select

from quant_dagster.operations.sql.database import run_tests
from quant_dagster.operations.sql.project import SqlProject
from quant_dagster.operations.sql.templates import SqlModelError
from quant_dagster.operations.sql.tests import Severity
from quant_dagster.storage.lake import Lake
from quant_dagster.storage.ledger_tables import fills, postings
from tests.integration.sql_models.marts import changed
from tests.support.replays import open_ledger


class TestTests:
    def test_a_real_replay_passes_them_all(self, project: SqlProject, finished_replay: Path) -> None:
        results = run_tests(project, Lake(finished_replay / "lake"), open_ledger(finished_replay))
        assert [result.name for result in results] == [test.name for test in project.tests]
        assert [result.name for result in results if not result.passed] == []

    def failing(self, project: SqlProject, home: Path) -> dict[str, int]:
        results = run_tests(project, Lake(home / "lake"), open_ledger(home))
        return {result.name: result.failing_rows for result in results if not result.passed}

    def test_row_delivered_twice_breaks_the_key(self, replayed_home: Path, tmp_path: Path) -> None:
        file, old = "models/staging/stg_fills.sql", "from {{ source('ledger', 'fills') }}"
        project = changed(tmp_path / "dbt_like_sql", file, old, f"{old} cross join (values (1), (2))")
        number = open_ledger(replayed_home).frame("fills").height
        found = self.failing(project, replayed_home)
        assert number > 0
        assert found["unique_stg_fills_execution_id"] == found["unique_trade_blotter_execution_id"] == number
        results = run_tests(project, Lake(replayed_home / "lake"), open_ledger(replayed_home), ["stg_fills"])
        [result] = [result for result in results if result.name == "unique_stg_fills_execution_id"]
        assert result.severity is Severity.ERROR
        assert result.sample.columns == ["value", "occurrences"] and set(result.sample["occurrences"]) == {2}
        assert result.sample.height == min(5, number)

    def test_fill_that_vanished_from_the_ledger_is_missed(self, project: SqlProject, replayed_home: Path) -> None:
        ledger = open_ledger(replayed_home)
        with ledger.write() as connection:
            gone = connection.execute(select(fills.c.execution_id).order_by(fills.c.sequence)).scalars().first()
            connection.execute(delete(fills).where(fills.c.execution_id == gone))
        assert self.failing(project, replayed_home) == {"positions_are_the_sum_of_fills": 1}

    def test_posting_that_vanished_unbalances_the_books(self, project: SqlProject, replayed_home: Path) -> None:
        with open_ledger(replayed_home).write() as connection:
            last = (
                connection.execute(select(postings.c.transaction_id).where(postings.c.account == "cash"))
                .scalars()
                .all()[-1]
            )
            connection.execute(delete(postings).where(postings.c.transaction_id == last, postings.c.account == "cash"))
        assert self.failing(project, replayed_home) == {"books_balance": 1}

    def test_order_without_its_decision_is_found(self, replayed_home: Path, tmp_path: Path) -> None:
        file, old = "models/staging/stg_decisions.sql", "from {{ source('ledger', 'decisions') }}"
        project = changed(tmp_path / "dbt_like_sql", file, old, f"{old} where action <> 'BUY'")
        found = self.failing(project, replayed_home)
        orders = open_ledger(replayed_home).frame("orders")
        assert found["relationships_stg_orders_decision_id"] == orders.filter(pl.col("side") == "buy").height > 0

    def test_value_that_is_not_accepted_is_found(self, replayed_home: Path, tmp_path: Path) -> None:
        file = "models/staging/schema.yml"
        project = changed(tmp_path / "dbt_like_sql", file, "[BUY, SELL, HOLD, REJECT]", "[BUY, SELL, REJECT]")
        assert self.failing(project, replayed_home) == {"accepted_values_stg_decisions_action": 1}

    def test_test_whose_sql_is_wrong_names_its_file(self, replayed_home: Path, tmp_path: Path) -> None:
        project = changed(tmp_path / "dbt_like_sql", "tests/books_balance.sql", "sum(amount)", "sum(amounts)")
        with pytest.raises(
            SqlModelError, match=r"dbt_like_sql/tests/books_balance\.sql: test 'books_balance' failed: "
        ):
            run_tests(project, Lake(replayed_home / "lake"), open_ledger(replayed_home), ["stg_postings"])
