"""Expectations: what bars usually look like, as a Great Expectations suite, and its data docs.

A contract refuses rows; an expectation warns about a distribution: too many missing volumes, too many unchanged
closes. The library is imported where it is used (seconds), runs in an ephemeral context and writes nothing but the
data docs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl

from quant_dagster.errors import ContractError

SUITE = "bars"
_SITE = "data_docs"
_MOST_EXAMPLES = 5


class Severity(StrEnum):
    """How bad it is that an expectation is not met."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Outcome(StrEnum):
    """How an expectation went. An error means it could not be evaluated: nothing is known about the data."""

    MET = "met"
    NOT_MET = "not_met"
    ERROR = "error"


EXPECTATIONS = {
    "bars_are_present": "there is at least one bar",
    "symbol_and_session_are_unique": "one bar per symbol and session",
    "symbol_is_known": "symbol is never null",
    "session_is_known": "session is never null",
    "close_is_known": "close is never null",
    "close_is_positive": "close is above zero",
    "known_at_is_known": "known_at is never null",
    "returns_are_plausible": "99.99 % of one-session log returns lie within ±0.7",
    "median_return_is_near_zero": "the median one-session log return lies within ±0.005",
    "volatility_is_usual": "the standard deviation of log returns lies between 0.003 and 0.08",
    "few_closes_are_unchanged": "at most 5 % of closes equal the close before",
    "symbols_are_many": "there is at least one symbol",
    "vendors_are_few": "bars come from one to ten vendors",
    "high_is_not_below_low": "high is at or above low, where both are known",
    "close_is_not_above_high": "close is at or below high in 99.9 % of bars, where both are known",
    "range_is_usual": "the mean log range lies between 0.002 and 0.15, where it is known",
    "volume_is_known": "99 % of volumes are known, where a vendor has any",
    "volume_is_not_negative": "volume is not negative",
    "volume_is_traded": "99 % of volumes are above zero",
}
"""Every expectation and what it says. Those about fields that the data has nowhere are not evaluated."""


@dataclass(frozen=True)
class ExpectationOutcome:
    """One expectation, held against the data.

    Attributes
    ----------
    name
        A key of ``EXPECTATIONS``.
    unexpected
        Rows that do not meet it, where it is about rows.
    observed
        What was found, where it is about the whole.
    examples
        A few unexpected values.
    error
        Why it could not be evaluated.
    """

    name: str
    expectation: str
    column: str
    severity: Severity
    outcome: Outcome
    unexpected: int | None
    observed: str
    examples: tuple[str, ...]
    error: str


def run_expectations(frame: pl.DataFrame) -> list[ExpectationOutcome]:
    """Hold bars (rows of lake table ``bars``) against the suite.

    Returns
    -------
    list of ExpectationOutcome
        One for each expectation, in the suite's order.
    """
    context = _context()
    checkpoint = _checkpoint(context, frame)
    (result,) = checkpoint.run(batch_parameters={"dataframe": _prepared(frame)}).run_results.values()
    return [_outcome(entry) for entry in result.results]


def build_data_docs(frame: pl.DataFrame, folder: Path) -> Path:
    """Run the suite and write its data docs, a static HTML site, into ``folder``; returns its start page.

    The pages load their styles from the web: offline they are readable, but plain.
    """
    folder.mkdir(parents=True, exist_ok=True)
    context = _context()
    context.add_data_docs_site(
        site_name=_SITE,
        site_config={
            "class_name": "SiteBuilder",
            "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder.resolve())},
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        },
    )
    _checkpoint(context, frame).run(batch_parameters={"dataframe": _prepared(frame)})
    context.build_data_docs(site_names=[_SITE])
    start = folder / "index.html"
    if not start.is_file():
        raise ContractError(f"data docs were built, but {start} does not exist: see the log of Great Expectations")
    return start


def _library(part: str = "") -> Any:
    """Great Expectations, or a part of it: untyped, and seconds to import the first time. It reports to nobody."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    return import_module("great_expectations" + part)


def _context() -> Any:
    context = _library().get_context(mode="ephemeral")
    quiet = _library(".data_context.types.base").ProgressBarsConfig(globally=False)
    context.variables.progress_bars = quiet
    return context


def _checkpoint(context: Any, frame: pl.DataFrame) -> Any:
    gx = _library()
    asset = context.data_sources.add_pandas("lake").add_dataframe_asset("bars")
    batch = asset.add_batch_definition_whole_dataframe("all")
    suite = context.suites.add(gx.ExpectationSuite(name=SUITE, expectations=_expectations(frame)))
    definition = context.validation_definitions.add(gx.ValidationDefinition(name=SUITE, data=batch, suite=suite))
    result_format = {"result_format": "SUMMARY", "partial_unexpected_count": _MOST_EXAMPLES}
    return context.checkpoints.add(
        gx.Checkpoint(name=SUITE, validation_definitions=[definition], result_format=result_format)
    )


def _prepared(frame: pl.DataFrame) -> Any:
    """The bars as pandas, with the columns derived from them that the suite speaks about."""
    ordered = frame.sort("symbol", "session")
    compact = pl.col("symbol", "vendor").cast(pl.Categorical), pl.col("session").cast(pl.Datetime("us"))
    step = (pl.col("close") / pl.col("close").shift(1).over("symbol")).log()
    derived = ordered.with_columns(
        step.alias("log_return"),
        (pl.col("high") / pl.col("low")).log().alias("log_range"),
        (step == 0.0).cast(pl.Float64).alias("unchanged_close"),
    )
    return derived.drop("row_hash").with_columns(*compact).to_pandas()


def _expectations(frame: pl.DataFrame) -> list[Any]:
    """The suite. Expectations about fields the data has nowhere are left out: closes-only data is no failure."""
    gxe = _library(".expectations")
    critical, warning, info = "critical", "warning", "info"
    has = {name: frame[name].null_count() < frame.height for name in ("open", "high", "low", "volume")}
    suite: dict[str, Any] = {
        "bars_are_present": gxe.ExpectTableRowCountToBeBetween(min_value=1, severity=critical),
        "symbol_and_session_are_unique": gxe.ExpectCompoundColumnsToBeUnique(
            column_list=["symbol", "session"], severity=critical
        ),
        "symbol_is_known": gxe.ExpectColumnValuesToNotBeNull(column="symbol", severity=critical),
        "session_is_known": gxe.ExpectColumnValuesToNotBeNull(column="session", severity=critical),
        "close_is_known": gxe.ExpectColumnValuesToNotBeNull(column="close", severity=critical),
        "close_is_positive": gxe.ExpectColumnValuesToBeBetween(
            column="close", min_value=0, strict_min=True, severity=critical
        ),
        "known_at_is_known": gxe.ExpectColumnValuesToNotBeNull(column="known_at", severity=critical),
        "returns_are_plausible": gxe.ExpectColumnValuesToBeBetween(
            column="log_return", min_value=-0.7, max_value=0.7, mostly=0.9999, severity=warning
        ),
        "median_return_is_near_zero": gxe.ExpectColumnMedianToBeBetween(
            column="log_return", min_value=-0.005, max_value=0.005, severity=warning
        ),
        "volatility_is_usual": gxe.ExpectColumnStdevToBeBetween(
            column="log_return", min_value=0.003, max_value=0.08, severity=warning
        ),
        "few_closes_are_unchanged": gxe.ExpectColumnMeanToBeBetween(
            column="unchanged_close", max_value=0.05, severity=warning
        ),
        "symbols_are_many": gxe.ExpectColumnUniqueValueCountToBeBetween(column="symbol", min_value=1, severity=info),
        "vendors_are_few": gxe.ExpectColumnUniqueValueCountToBeBetween(
            column="vendor", min_value=1, max_value=10, severity=info
        ),
    }
    if has["high"] and has["low"]:
        suite["high_is_not_below_low"] = gxe.ExpectColumnPairValuesAToBeGreaterThanB(
            column_A="high", column_B="low", or_equal=True, ignore_row_if="either_value_is_missing", severity=critical
        )
        suite["close_is_not_above_high"] = gxe.ExpectColumnPairValuesAToBeGreaterThanB(
            column_A="high",
            column_B="close",
            or_equal=True,
            ignore_row_if="either_value_is_missing",
            mostly=0.999,
            severity=warning,
        )
        suite["range_is_usual"] = gxe.ExpectColumnMeanToBeBetween(
            column="log_range", min_value=0.002, max_value=0.15, severity=warning
        )
    if has["volume"]:
        suite["volume_is_known"] = gxe.ExpectColumnValuesToNotBeNull(column="volume", mostly=0.99, severity=warning)
        suite["volume_is_not_negative"] = gxe.ExpectColumnValuesToBeBetween(
            column="volume", min_value=0, severity=critical
        )
        suite["volume_is_traded"] = gxe.ExpectColumnValuesToBeBetween(
            column="volume", min_value=0, strict_min=True, mostly=0.99, severity=warning
        )
    for name, expectation in suite.items():
        expectation.meta = {"name": name}
    return list(suite.values())


def _outcome(entry: Any) -> ExpectationOutcome:
    config = entry.expectation_config
    arguments, result = config.kwargs, entry.result or {}
    error = _error_in(entry.exception_info or {})
    columns = [arguments.get("column"), arguments.get("column_A"), arguments.get("column_B")]
    columns += arguments.get("column_list") or []
    outcome = Outcome.ERROR if error else Outcome.MET if entry.success else Outcome.NOT_MET
    unexpected = result.get("unexpected_count")
    return ExpectationOutcome(
        name=str((config.meta or {}).get("name", config.type)),
        expectation=str(config.type),
        column=",".join(str(column) for column in columns if column),
        severity=Severity(str(getattr(config.severity, "value", config.severity))),
        outcome=outcome,
        unexpected=None if unexpected is None else int(unexpected),
        observed=str(result.get("observed_value", "")),
        examples=tuple(_shown(value) for value in result.get("partial_unexpected_list", ())[:_MOST_EXAMPLES]),
        error=error,
    )


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " / ".join(_shown(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _error_in(info: dict[str, Any]) -> str:
    """The message in ``exception_info``, which is one record or one record for each metric that failed."""
    records = [info] if "raised_exception" in info else [entry for entry in info.values() if isinstance(entry, dict)]
    messages = [str(record.get("exception_message")) for record in records if record.get("raised_exception")]
    return "; ".join(dict.fromkeys(messages))
