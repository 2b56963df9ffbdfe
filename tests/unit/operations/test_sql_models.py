"""The SQL models as text: order, templating, lineage, descriptions, and what is said about mistakes in them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from quant_dagster.operations.sql.project import SQL_FOLDER, SqlProject
from quant_dagster.operations.sql.templates import SqlModelError
from quant_dagster.operations.sql.tests import Severity
from quant_dagster.settings import load_settings

Editor = Callable[[str, str, str], Path]


@pytest.fixture(scope="module")
def project() -> SqlProject:
    return SqlProject.load()


@pytest.fixture
def edited(tmp_path: Path) -> Editor:
    """``edited(file, old, new)``: a copy of the real project with one text replaced, or a new file (``old`` empty)."""
    folder = tmp_path / "dbt_like_sql"
    shutil.copytree(SQL_FOLDER, folder, ignore=shutil.ignore_patterns("target", "logs"))

    def edit(file: str, old: str, new: str) -> Path:
        path = folder / file
        text = path.read_text() if old else ""
        assert old in text
        path.write_text(text.replace(old, new, 1) if old else new)
        return folder

    return edit


class TestOrder:
    def test_every_model_comes_after_what_it_reads(self, project: SqlProject) -> None:
        seen: set[str] = set(project.sources)
        for name in project.models:
            assert set(project.depends_on(name)) <= seen, name
            seen.add(name)

    def test_blotter_reads_costs_lifecycle_and_cycles(self, project: SqlProject) -> None:
        assert project.depends_on("trade_blotter") == ("int_fill_costs", "int_order_lifecycle", "stg_cycles")

    def test_only_staging_reads_sources_and_reads_one_each(self, project: SqlProject) -> None:
        for model in project.models.values():
            assert len(model.sources) == (1 if model.layer == "staging" else 0), model.name

    def test_every_source_is_read(self, project: SqlProject) -> None:
        assert {source for model in project.models.values() for source in model.sources} == set(project.sources)

    def test_upstream_is_closed_and_in_order(self, project: SqlProject) -> None:
        assert project.upstream(["alpha_performance"]) == (
            "stg_bars", "stg_quality", "stg_signals", "int_closes", "int_signal_outcomes", "signal_quality",
            "alpha_performance",
        )  # fmt: skip


class TestDescriptions:
    def test_every_model_and_every_mart_column_is_described(self, project: SqlProject) -> None:
        for model in project.models.values():
            assert model.description, model.name
            if model.layer == "marts":
                assert [c for c in project.output_columns[model.name] if not model.columns.get(c)] == [], model.name

    def test_no_column_is_described_that_does_not_exist(self, project: SqlProject) -> None:
        for model in project.models.values():
            assert set(model.columns) <= set(project.output_columns[model.name]), model.name

    def test_every_model_but_raw_refusals_has_a_uniqueness_test(self, project: SqlProject) -> None:
        without = [n for n in project.models if not any(t.kind == "unique" and t.model == n for t in project.tests)]
        assert without == ["stg_rejected_rows"]

    def test_every_test_says_what_it_checks(self, project: SqlProject) -> None:
        assert [test.name for test in project.tests if not test.description] == []

    def test_a_failing_test_is_an_error_unless_it_says_warn(self, project: SqlProject) -> None:
        warns = [test.name for test in project.tests if test.severity is Severity.WARN]
        assert warns == ["accepted_values_daily_positions_is_price_stale"]


class TestVariables:
    def test_default_score_is_the_desk_s_setting(self, project: SqlProject) -> None:
        minimum = load_settings().quality.minimum_score
        assert f"score < {minimum} as is_rejected" in project.model("stg_quality").sql

    def test_a_variable_given_wins(self) -> None:
        project = SqlProject.load(variables={"minimum_quality_score": 0.25})
        assert "score < 0.25 as is_rejected" in project.model("stg_quality").sql

    def test_a_variable_nobody_declared_is_refused(self) -> None:
        with pytest.raises(SqlModelError, match=r"dbt_project\.yml: no variable \['minimum_score'\]"):
            SqlProject.load(variables={"minimum_score": 0.25})


class TestLineage:
    def test_renamed_column(self, project: SqlProject) -> None:
        assert project.column_lineage("stg_orders")["decision_session"] == [("ledger.orders", "session")]

    def test_column_taken_out_of_json(self, project: SqlProject) -> None:
        assert project.column_lineage("stg_fills")["bar_row_hash"] == [("ledger.fills", "provenance")]

    def test_computed_column_names_all_it_is_made_of(self, project: SqlProject) -> None:
        assert project.column_lineage("int_fill_costs")["slippage_vs_decision_bps"] == [
            ("stg_fills", "decision_price"), ("stg_fills", "price"), ("stg_fills", "side_sign")
        ]  # fmt: skip

    def test_two_sides_of_a_join_to_the_same_model(self, project: SqlProject) -> None:
        assert project.column_lineage("int_signal_outcomes")["forward_return"] == [("int_closes", "close")]

    def test_through_common_table_expressions_and_windows(self, project: SqlProject) -> None:
        lineage = project.column_lineage("daily_pnl")
        assert lineage["daily_pnl"] == [("stg_account_snapshots", "equity"), ("stg_postings", "amount")]
        assert lineage["fills"] == [("int_daily_trading", "fills")]

    def test_count_of_rows_is_made_of_no_column(self, project: SqlProject) -> None:
        assert project.column_lineage("signal_quality")["symbols"] == []

    def test_blotter_leads_back_to_the_ledger(self, project: SqlProject) -> None:
        def origins(model: str, column: str) -> set[tuple[str, str]]:
            found: set[tuple[str, str]] = set()
            for upstream, name in project.column_lineage(model)[column]:
                found |= origins(upstream, name) if upstream in project.models else {(upstream, name)}
            return found

        assert origins("trade_blotter", "bar_vendor") == {("ledger.fills", "provenance")}
        assert origins("trade_blotter", "slippage_usd") == {
            ("ledger.fills", "decision_price"), ("ledger.fills", "price"), ("ledger.fills", "quantity"),
            ("ledger.fills", "side"),
        }  # fmt: skip
        assert origins("alpha_performance", "hit_rate") >= {("lake.bars", "close"), ("lake.signals", "direction")}

    def test_every_parent_exists(self, project: SqlProject) -> None:
        for name in project.models:
            for parents in project.column_lineage(name).values():
                for upstream, column in parents:
                    assert upstream in project.depends_on(name)
                    assert column in project.output_columns[upstream]


class TestMistakes:
    """Every message names the file, the line where there is one, and what to do."""

    def refused(self, folder: Path, *parts: str) -> None:
        with pytest.raises(SqlModelError) as refusal:
            SqlProject.load(folder).output_columns  # noqa: B018
        for part in parts:
            assert part in str(refusal.value)

    def test_unknown_model(self, edited: Editor) -> None:
        folder = edited("models/marts/trade_blotter.sql", "ref('int_fill_costs')", "ref('int_fil_costs')")
        line = (folder / "models/marts/trade_blotter.sql").read_text().split("ref('int_fil_costs')")[0].count("\n") + 1
        self.refused(
            folder, f"dbt_like_sql/models/marts/trade_blotter.sql:{line}: ", "ref('int_fil_costs')",
            "did you mean 'int_fill_costs'?",
        )  # fmt: skip

    def test_unknown_source(self, edited: Editor) -> None:
        folder = edited("models/staging/stg_bars.sql", "source('lake', 'bars')", "source('lake', 'bar')")
        self.refused(folder, "stg_bars.sql:16: ", "sources.yml", "did you mean 'lake.bars'?")

    def test_source_that_lake_and_ledger_do_not_have(self, edited: Editor) -> None:
        folder = edited("models/sources.yml", "- name: fills\n", "- name: trades\n")
        edited("models/staging/stg_fills.sql", "'fills'", "'trades'")
        self.refused(folder, "sources.yml declares ledger.trades")

    def test_unknown_variable(self, edited: Editor) -> None:
        folder = edited("models/staging/stg_quality.sql", "var('minimum_quality_score')", "var('minimum_score')")
        self.refused(folder, "stg_quality.sql:11: ", "did you mean 'minimum_quality_score'?")

    def test_unknown_setting(self, edited: Editor) -> None:
        folder = edited("models/staging/stg_bars.sql", "materialized='view'", "materialised='view'")
        self.refused(folder, "stg_bars.sql:1: ", "materialised", "allowed: materialized")

    def test_unknown_materialization(self, edited: Editor) -> None:
        folder = edited("models/staging/stg_bars.sql", "'view'", "'incremental'")
        self.refused(folder, "stg_bars.sql", "'incremental'", "allowed: view, table")

    def test_template_that_does_not_parse(self, edited: Editor) -> None:
        folder = edited("models/staging/stg_bars.sql", "{{ source('lake', 'bars') }}", "{{ source('lake', 'bars' }}")
        self.refused(folder, "stg_bars.sql:16: ")

    def test_anything_else_of_dbt_or_python(self, edited: Editor) -> None:
        folder = edited("models/staging/stg_bars.sql", "volume,", "{{ this.schema }},")
        self.refused(folder, "stg_bars.sql:10: ", "templates know ref(), source(), config() and var()")
        edited("models/staging/stg_bars.sql", "this.schema", "ref.__globals__")
        self.refused(folder, "stg_bars.sql:10: ")

    def test_line_numbers_survive_expressions_of_several_lines(self, edited: Editor) -> None:
        folder = edited("models/staging/stg_bars.sql", "{{ config(materialized='view') }}", "{{ config(\n) }}")
        edited("models/staging/stg_bars.sql", "source('lake', 'bars')", "source('lake', 'bar')")
        self.refused(folder, "stg_bars.sql:18: ")  # one line of the call, and its line again after it

    def test_circle(self, edited: Editor) -> None:
        folder = edited("models/staging/stg_bars.sql", "{{ source('lake', 'bars') }}", "{{ ref('int_closes') }}")
        self.refused(folder, "circle", "int_closes", "stg_bars")

    def test_sql_that_does_not_parse(self, edited: Editor) -> None:
        folder = edited("models/staging/stg_bars.sql", "from ", "form form ")
        self.refused(folder, "dbt_like_sql/models/staging/stg_bars.sql:16: model 'stg_bars'")

    def test_column_that_upstream_does_not_have(self, edited: Editor) -> None:
        folder = edited("models/intermediate/int_closes.sql", "bars.vendor", "bars.vender")
        self.refused(folder, "dbt_like_sql/models/intermediate/int_closes.sql", "vender")

    def test_description_of_a_model_that_does_not_exist(self, edited: Editor) -> None:
        folder = edited("models/marts/schema.yml", "- name: daily_pnl\n", "- name: dayly_pnl\n")
        self.refused(folder, "models/marts/schema.yml", "'dayly_pnl'", "did you mean 'daily_pnl'?")

    def test_unknown_test(self, edited: Editor) -> None:
        folder = edited("models/marts/schema.yml", "[not_null, unique]", "[not_nul, unique]")
        self.refused(folder, "models/marts/schema.yml", "did you mean 'not_null'?")

    def test_unknown_argument_and_severity(self, edited: Editor) -> None:
        folder = edited("models/marts/schema.yml", "field: session}", "field: session, where: x}")
        self.refused(folder, "test 'relationships' of model 'daily_positions' has no argument 'where'")
        edited("models/marts/schema.yml", "field: session, where: x}", "field: session}")
        edited("models/marts/schema.yml", "severity: warn", "severity: fatal")
        self.refused(folder, "severity 'fatal'; allowed: error, warn")

    def test_test_that_reads_nothing(self, edited: Editor) -> None:
        folder = edited("tests/new.sql", "", "select 1")
        self.refused(folder, "dbt_like_sql/tests/new.sql: test 'new' reads no model: use ref()")

    def test_yaml_that_does_not_parse(self, edited: Editor) -> None:
        self.refused(edited("models/marts/schema.yml", "models:", "models: ["), "models/marts/schema.yml", "YAML")

    def test_asking_for_a_model_that_does_not_exist(self, project: SqlProject) -> None:
        with pytest.raises(SqlModelError, match=re.escape("no SQL model 'daily_pln' (did you mean 'daily_pnl'?)")):
            project.upstream(["daily_pln"])
