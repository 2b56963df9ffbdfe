"""What the tables of risk, stress and backtests may not hold."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from quant_dagster.cycle.risk_report import measured
from quant_dagster.quality import contracts
from quant_dagster.risk.measures.measure import Method
from quant_dagster.storage.tables import TABLES
from tests.unit.cycle.measured_desk import (
    LAST,
    desk,
)


class TestContracts:
    """What may not be stored."""

    def test_the_contract_knows_every_method(self) -> None:
        assert set(contracts.RISK_METHODS) == {str(method) for method in Method}

    @pytest.mark.parametrize(
        ("column", "value", "check"),
        [
            ("method", "guess", "known code"),
            ("confidence", 0.5, "above 0.5, below 1"),
            ("confidence", 1.0, "above 0.5, below 1"),
            ("horizon", 0, "from 1"),
            ("volatility", -0.1, "not negative"),
            ("gross", 0.0, "above 0"),
            ("symbols", 0, "from 1"),
            ("not_measured", -1, "not negative"),
            ("diagnostics", "[]", "JSON object"),
            ("expected_shortfall", 0.0, "shortfall is not below value at risk"),
        ],
    )
    def test_a_measure_that_cannot_be_is_refused(self, column: str, value: object, check: str) -> None:
        row = {
            "session": LAST, "method": "historical", "confidence": 0.99, "horizon": 1, "value_at_risk": 2.0,
            "expected_shortfall": 3.0, "volatility": 1.0, "equity": 9.0, "gross": 9.0, "symbols": 1, "not_measured": 0,
            "diagnostics": "{}",
        }  # fmt: skip
        rows = pl.DataFrame([row], schema=TABLES["risk_measures"].schema)
        assert contracts.check("risk_measures", rows).passed
        assert broken("risk_measures", rows, column, value) == check

    @pytest.mark.parametrize(
        ("column", "value", "check"),
        [
            ("kind", "dream", "known code"),
            ("scenario", "", "not empty"),
            ("symbols", -1, "not negative"),
            ("symbols", 0, "without a symbol there is no result"),
            ("not_evaluated", -1, "not negative"),
            ("detail", "", "JSON object"),
            ("worst", 1.0, "the worst is not better than the end"),
            ("expected_shortfall", 1.0, "shortfall is not below value at risk"),
        ],
    )
    def test_a_stress_that_cannot_be_is_refused(self, column: str, value: object, check: str) -> None:
        row = {
            "session": LAST, "kind": "shock", "scenario": "x", "profit": -1.0, "worst": -1.0, "value_at_risk": 2.0,
            "expected_shortfall": 3.0, "equity": 1.0, "symbols": 1, "not_evaluated": 0, "detail": "{}",
        }  # fmt: skip
        rows = pl.DataFrame([row], schema=TABLES["stress_results"].schema)
        assert contracts.check("stress_results", rows).passed
        assert check in broken("stress_results", rows, column, value)

    @pytest.mark.parametrize(
        ("column", "value", "check"),
        [
            ("portfolio", "mine", "known code"),
            ("sessions", 1, "from 2"),
            ("missing", -1, "not negative"),
            ("exceedances", -1, "not negative"),
            ("exceedances", 11, "exceedances are sessions"),
            ("kupiec_p", 1.1, "between 0 and 1"),
            ("zone", "blue", "known code"),
            ("path", "", "JSON object"),
            ("first", LAST, "begins before it ends"),
        ],
    )
    def test_a_backtest_that_cannot_be_is_refused(self, column: str, value: object, check: str) -> None:
        row = {
            "session": LAST, "portfolio": "account", "method": "historical", "confidence": 0.99,
            "first": date(2020, 6, 1), "sessions": 10, "missing": 0, "exceedances": 1, "expected": 0.1, "zone": "green",
            "path": "{}",
        }  # fmt: skip
        rows = pl.DataFrame([row], schema=TABLES["var_backtests"].schema)
        assert contracts.check("var_backtests", rows).passed
        assert check in broken("var_backtests", rows, column, value)

    def test_a_part_of_nothing_is_refused(self) -> None:
        rows = measured(desk(), LAST).contributions.head(1)
        assert contracts.check("risk_contributions", rows).passed
        assert broken("risk_contributions", rows, "value", 0.0) == "not 0"
        assert broken("risk_contributions", rows, "symbol", "") == "not empty"


def broken(table: str, rows: pl.DataFrame, column: str, value: object) -> str:
    """The checks that fail when a column has another value."""
    changed = rows.with_columns(pl.lit(value).cast(rows.schema[column]).alias(column))
    return ", ".join(failure.check for failure in contracts.check(table, changed).failures)
