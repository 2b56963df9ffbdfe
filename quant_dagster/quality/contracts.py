"""Contracts: what every row of a lake table must satisfy, as pandera schemas built from the table's definition.

A contract is broken or kept; there is no score. What is merely unlikely is a matter for ``score`` (row by row) and
``expectations`` (distributions).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import polars as pl

from quant_dagster.errors import ContractError
from quant_dagster.market_data.intraday.screening import INTRADAY_REASONS
from quant_dagster.market_data.screening import REASONS
from quant_dagster.quality.anomalies import DETECTORS
from quant_dagster.quality.breaks import UNKNOWN
from quant_dagster.quality.reconciliation import CLASSES
from quant_dagster.quality.score import NOT_EVALUATED, PENALTIES
from quant_dagster.storage.tables import LakeTable, lake_table

if TYPE_CHECKING:
    import pandera.polars

_EXAMPLES = 3
RISK_METHODS = (
    "historical", "parametric", "student_t", "filtered_historical", "extreme_value", "conditional_extreme_value",
)  # fmt: skip
_STRUCTURAL = ("column_in_dataframe", "dtype(")


@dataclass(frozen=True)
class ContractFailure:
    """One check that did not hold: on which column (or ``row`` for several), how many rows, and a few of them."""

    check: str
    column: str
    count: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.column}: {self.check} fails on {self.count} rows, e.g. {'; '.join(self.examples)}"


@dataclass(frozen=True)
class ContractResult:
    """Outcome of holding a frame against a table's contract."""

    table: str
    rows: int
    failures: tuple[ContractFailure, ...]

    @property
    def passed(self) -> bool:
        """Whether every row satisfies every check."""
        return not self.failures


def check(table: str, frame: pl.DataFrame) -> ContractResult:
    """Hold ``frame`` against the contract of lake table ``table``; every failing check is reported."""
    import pandera.errors

    definition = lake_table(table)
    try:
        _schema(table).validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as error:
        cases = pl.DataFrame(error.failure_cases)
        return ContractResult(table, frame.height, _summarise(definition, frame, cases))
    return ContractResult(table, frame.height, ())


def validate(table: str, frame: pl.DataFrame) -> pl.DataFrame:
    """``frame`` itself where it keeps the contract of ``table``; else a ContractError listing what fails."""
    result = check(table, frame)
    if not result.passed:
        listed = "\n  ".join(str(failure) for failure in result.failures)
        raise ContractError(f"{frame.height} rows for table '{table}' break its contract, nothing stored:\n  {listed}")
    return frame


@cache
def _schema(table: str) -> pandera.polars.DataFrameSchema:
    import pandera.polars as pa

    definition = lake_table(table)
    columns = {}
    for column in definition.columns:
        checks = [pa.Check(_holds(rule), name=name) for name, rule in _COLUMN_RULES.get((table, column.name), ())]
        if column.dtype == pl.Float64:
            checks.insert(0, pa.Check(_holds(pl.col(column.name).is_finite()), name="finite"))
        columns[column.name] = pa.Column(column.dtype, checks, nullable=column.nullable)
    rows = [pa.Check(_holds(rule), name=name) for name, rule in _ROW_RULES.get(table, ())]
    return pa.DataFrameSchema(columns, checks=rows, unique=list(definition.key), name=table)


def _holds(rule: pl.Expr) -> Callable[[pandera.polars.PolarsData], pl.LazyFrame]:
    def run(data: pandera.polars.PolarsData) -> pl.LazyFrame:
        return data.lazyframe.select(rule.fill_null(True))  # absent values are judged by nullability alone

    return run


def _codes_in(column: str, known: dict[str, str] | dict[str, float]) -> pl.Expr:
    codes = pl.col(column).str.split(",")
    return (pl.col(column) == "") | codes.list.eval(pl.element().is_in(list(known))).list.all()


def _is_json_object(column: str) -> pl.Expr:
    return pl.col(column).str.starts_with("{") & pl.col(column).str.ends_with("}")


def _one_of(column: str, codes: tuple[str, ...]) -> tuple[str, pl.Expr]:
    return "known code", pl.col(column).is_in(list(codes))


def _unit(column: str) -> tuple[str, pl.Expr]:
    return "between 0 and 1", pl.col(column).is_between(0.0, 1.0)


Rules = tuple[tuple[str, pl.Expr], ...]

_PRICE_RULES: dict[str, Rules] = {
    **{name: (("above 0", pl.col(name) > 0.0),) for name in ("open", "high", "low", "close")},
    "volume": (("not negative", pl.col("volume") >= 0.0),),
    "row_hash": (("16 hex digits", pl.col("row_hash").str.contains("^[0-9a-f]{16}$")),),
}

_COLUMN_RULES: dict[tuple[str, str], Rules] = {
    **{(table, name): rules for table in ("raw_prices", "bars") for name, rules in _PRICE_RULES.items()},
    **{("intraday_bars", name): rules for name, rules in _PRICE_RULES.items() if name != "row_hash"},
    **{
        ("intraday_quotes", f"{side}_{name}"): (("above 0", pl.col(f"{side}_{name}") > 0.0),)
        for side in ("bid", "ask")
        for name in ("open", "high", "low", "close")
    },
    **{
        ("intraday_quotes", f"{side}_size"): (("not negative", pl.col(f"{side}_size") >= 0.0),)
        for side in ("bid", "ask")
    },
    **{
        (table, name): (("not empty", pl.col(name).str.len_chars() > 0),)
        for table, name in (
            ("raw_prices", "symbol"),
            ("raw_prices", "vendor"),
            ("bars", "symbol"),
            ("bars", "vendor"),
            ("quality", "symbol"),
            ("forecasts", "symbol"),
            ("forecasts", "model"),
            ("signals", "symbol"),
            ("signals", "alpha"),
            ("rejected_rows", "vendor"),
            ("rejected_rows", "source"),
            ("corporate_actions", "vendor"),
            ("corporate_actions", "symbol"),
            ("reconciliation", "symbol"),
            ("reconciliation", "vendor"),
            ("reconciliation", "other"),
            ("reconciliation", "detail"),
            ("anomalies", "symbol"),
            ("anomalies", "subject"),
            ("anomalies", "detail"),
            ("intraday_bars", "vendor"),
            ("intraday_bars", "symbol"),
            ("intraday_quotes", "vendor"),
            ("intraday_quotes", "symbol"),
            ("trades", "vendor"),
            ("trades", "symbol"),
            ("trades", "trade_id"),
            ("risk_contributions", "symbol"),
            ("stress_results", "scenario"),
        )
    },
    ("rejected_rows", "row"): (("from 1", pl.col("row") >= 1),),
    ("rejected_rows", "reason"): (("known code", pl.col("reason").is_in([*REASONS, *INTRADAY_REASONS])),),
    ("quality", "score"): (_unit("score"),),
    ("quality", "issues"): (("known codes", _codes_in("issues", PENALTIES)),),
    ("quality", "not_evaluated"): (("known codes", _codes_in("not_evaluated", NOT_EVALUATED)),),
    ("forecasts", "horizon"): (("from 1", pl.col("horizon") >= 1),),
    ("forecasts", "std"): (("above 0", pl.col("std") > 0.0),),
    ("forecasts", "data_version"): (("from 0", pl.col("data_version") >= 0),),
    ("forecasts", "diagnostics"): (("JSON object", _is_json_object("diagnostics")),),
    ("forecasts", "parameters"): (("JSON object", _is_json_object("parameters")),),
    ("forecasts", "status"): (_one_of("status", ("fitted", "carried", "fallback", "refused")),),
    ("validation_scores", "scheme"): (_one_of("scheme", ("walk_forward", "blocked")),),
    ("validation_scores", "target"): (_one_of("target", ("mean", "variance", "regime")),),
    ("validation_scores", "verdict"): (_one_of("verdict", ("winner", "no_better", "loser", "naive", "not_judged")),),
    **{
        ("validation_scores", name): (_unit(name),)
        for name in ("weight", "coverage_50", "coverage_90", "hit_rate", "deflated_sharpe", "diebold_mariano_p")
    },
    ("forecast_scores", "coverage_90"): (_unit("coverage_90"),),
    ("model_drift", "p_value"): (_unit("p_value"),),
    ("lead_lag", "p_value"): (_unit("p_value"),),
    ("pairs", "state"): (_one_of("state", ("flat", "long", "short", "broken")),),
    ("alpha_performance", "state"): (_one_of("state", ("sound", "decaying", "dead", "unknown")),),
    ("alpha_performance", "allocation"): (_unit("allocation"),),
    ("signals", "direction"): (("-1, 0 or 1", pl.col("direction").is_between(-1, 1)),),
    ("signals", "strength"): (_unit("strength"),),
    ("signals", "confidence"): (_unit("confidence"),),
    ("signals", "risk"): (_unit("risk"),),
    ("bars", "level_factor"): (("above 0", pl.col("level_factor") > 0.0),),
    ("bars", "vendor_change"): (_one_of("vendor_change", ("agreed", "adjusted", "unconfirmed")),),
    ("corporate_actions", "kind"): (_one_of("kind", ("split", "dividend", "spin_off")),),
    ("corporate_actions", "ratio"): (("above 0", pl.col("ratio") > 0.0),),
    ("corporate_actions", "amount"): (("above 0", pl.col("amount") > 0.0),),
    ("corporate_actions", "origin"): (_one_of("origin", ("reported", "inferred")),),
    ("reconciliation", "break_class"): (_one_of("break_class", CLASSES),),
    ("anomalies", "detector"): (_one_of("detector", DETECTORS),),
    ("anomalies", "severity"): (("not negative", pl.col("severity") >= 0.0),),
    **{
        (table, "seconds"): (("within a session", pl.col("seconds").is_between(1, 86_400)),)
        for table in ("intraday_bars", "intraday_quotes")
    },
    ("trades", "price"): (("above 0", pl.col("price") > 0.0),),
    ("trades", "size"): (("above 0", pl.col("size") > 0.0),),
    ("trades", "side"): (_one_of("side", ("buy", "sell")),),
    **{
        (table, "method"): (_one_of("method", RISK_METHODS),)
        for table in ("risk_measures", "risk_contributions", "var_backtests")
    },
    **{
        (table, "confidence"): (("above 0.5, below 1", pl.col("confidence").is_between(0.5, 1.0, closed="none")),)
        for table in ("risk_measures", "risk_contributions", "var_backtests")
    },
    **{(table, "horizon"): (("from 1", pl.col("horizon") >= 1),) for table in ("risk_measures", "risk_contributions")},
    ("risk_measures", "volatility"): (("not negative", pl.col("volatility") >= 0.0),),
    ("risk_measures", "gross"): (("above 0", pl.col("gross") > 0.0),),
    ("risk_measures", "symbols"): (("from 1", pl.col("symbols") >= 1),),
    ("risk_measures", "not_measured"): (("not negative", pl.col("not_measured") >= 0),),
    ("risk_measures", "diagnostics"): (("JSON object", _is_json_object("diagnostics")),),
    ("risk_contributions", "value"): (("not 0", pl.col("value") != 0.0),),
    ("stress_results", "kind"): (_one_of("kind", ("episode", "shock", "simulation")),),
    ("stress_results", "symbols"): (("not negative", pl.col("symbols") >= 0),),
    ("stress_results", "not_evaluated"): (("not negative", pl.col("not_evaluated") >= 0),),
    ("stress_results", "detail"): (("JSON object", _is_json_object("detail")),),
    ("var_backtests", "portfolio"): (_one_of("portfolio", ("equal_weight", "account")),),
    ("var_backtests", "sessions"): (("from 2", pl.col("sessions") >= 2),),
    ("var_backtests", "missing"): (("not negative", pl.col("missing") >= 0),),
    ("var_backtests", "exceedances"): (("not negative", pl.col("exceedances") >= 0),),
    **{
        ("var_backtests", name): (_unit(name),)
        for name in ("kupiec_p", "independence_p", "conditional_coverage_p", "shortfall_p")
    },
    ("var_backtests", "zone"): (_one_of("zone", ("green", "yellow", "red")),),
    ("var_backtests", "path"): (("JSON object", _is_json_object("path")),),
}

_WRONG = (pl.col("wrong") == pl.col("vendor")) | (pl.col("wrong") == pl.col("other")) | (pl.col("wrong") == UNKNOWN)

_KNOWN_AFTER: tuple[str, pl.Expr] = (
    "known on or after its session",
    pl.col("known_at").dt.date() >= pl.col("session"),
)
_SHORTFALL: tuple[str, pl.Expr] = (
    "shortfall is not below value at risk",
    pl.col("expected_shortfall") >= pl.col("value_at_risk") - 1e-9 * pl.col("value_at_risk").abs(),
)
_QUANTILES = ("q05", "q25", "q50", "q75", "q95")

# A bar's own time lies in its session or the night before it (venues that open on the eve, time zones ahead of UTC).
_IN_SESSION = (pl.col("bar_start").dt.date() - pl.col("session")).dt.total_days().is_between(-1, 1)
_BAR_TIME: Rules = (
    ("starts within a day of its session", _IN_SESSION),
    (
        "known after it began",
        pl.col("known_at") >= pl.col("bar_start"),
    ),
)

_ROW_RULES: dict[str, Rules] = {
    "intraday_bars": _BAR_TIME,
    "intraday_quotes": _BAR_TIME,  # a bid above the ask is odd, and happens
    "trades": (("known after it was made", pl.col("known_at") >= pl.col("traded_at")),),
    "corporate_actions": (
        (
            "a split has a ratio, a dividend an amount, a spin-off one of them",
            pl.when(pl.col("kind") == "split")
            .then(pl.col("ratio").is_not_null())
            .when(pl.col("kind") == "dividend")
            .then(pl.col("amount").is_not_null())
            .otherwise(pl.col("ratio").is_not_null() | pl.col("amount").is_not_null()),
        ),
    ),
    "reconciliation": (
        ("two vendors", pl.col("vendor") != pl.col("other")),
        ("one of the two is wrong, or unknown", _WRONG),
    ),
    "raw_prices": (_KNOWN_AFTER,),
    "bars": (_KNOWN_AFTER,),
    "forecasts": (
        (
            "quantiles rise",
            (pl.col("status") == "refused")
            | pl.all_horizontal([pl.col(low) <= pl.col(high) for low, high in pairwise(_QUANTILES)]),
        ),
        (
            "without numbers it is refused, and says why",
            pl.col("mean").is_not_null() | ((pl.col("status") == "refused") & pl.col("fallback").is_not_null()),
        ),
        ("a stand-in says why", (pl.col("answered_by") == pl.col("model")) | pl.col("fallback").is_not_null()),
    ),
    "validation_scores": (
        ("losers weigh nothing", (pl.col("verdict") != "loser") | (pl.col("weight").fill_null(0.0) == 0.0)),
    ),
    "risk_measures": (_SHORTFALL,),
    "stress_results": (
        _SHORTFALL,
        ("the worst is not better than the end", pl.col("worst") <= pl.col("profit")),
        ("without a symbol there is no result", (pl.col("symbols") > 0) | pl.col("profit").is_null()),
    ),
    "var_backtests": (
        ("exceedances are sessions", pl.col("exceedances") <= pl.col("sessions")),
        ("begins before it ends", pl.col("first") < pl.col("session")),
    ),
    "lead_lag": (("nobody leads itself", pl.col("leader") != pl.col("follower")),),
    "signals": (
        (
            "a direction has a strength",
            (pl.col("direction") == 0) | pl.col("strength").is_not_null(),
        ),
    ),
}


def _summarise(definition: LakeTable, frame: pl.DataFrame, cases: pl.DataFrame) -> tuple[ContractFailure, ...]:
    of_row = pl.col("column").is_null() | (pl.col("schema_context") == "DataFrameSchema")
    absent = pl.col("check") == "column_in_dataframe"
    column = (
        pl.when(absent)
        .then(pl.col("failure_case").cast(pl.String))
        .when(of_row)
        .then(pl.lit("row"))
        .otherwise("column")
    )
    text = cases.with_columns(pl.col("failure_case").cast(pl.String), column.alias("column"))
    structural = pl.any_horizontal([pl.col("check").str.starts_with(name) for name in _STRUCTURAL])
    if (wrong := text.filter(structural)).height:  # checks of values cannot run on a frame of another shape
        text = wrong
    failures = []
    for (column, name), group in text.group_by(["column", "check"], maintain_order=True):
        shown = [_example(definition, frame, case) for case in group.head(_EXAMPLES).iter_rows(named=True)]
        failures.append(ContractFailure(_PLAIN.get(str(name), str(name)), str(column), group.height, tuple(shown)))
    return tuple(failures)


_PLAIN = {
    "multiple_fields_uniqueness": "key is unique",
    "not_nullable": "not null",
    "column_in_dataframe": "column exists",
}


def _example(definition: LakeTable, frame: pl.DataFrame, case: dict[str, object]) -> str:
    position = case["index"]
    if not isinstance(position, int) or any(name not in frame.columns for name in definition.key):
        return str(case["failure_case"])
    row = frame.row(position, named=True)
    where = " ".join(str(row[name]) for name in definition.key)
    if case["column"] == "row":
        return where
    return f"{case['failure_case']} at {where}"
