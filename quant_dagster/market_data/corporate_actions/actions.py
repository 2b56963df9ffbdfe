"""What vendors report: loaded into lake table ``corporate_actions``, and what was known of it on any day.

An error is never "no actions": a symbol whose vendor failed keeps what is stored of it and is named. What a vendor
affirms is believed, an empty answer too, with one exception: when it drops several stored actions at once, they are
kept and named, for an answer cut short looks just like that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Protocol

import polars as pl

from quant_dagster.errors import ContractError, DataUnavailableError, MalformedDataError, VendorError
from quant_dagster.market_data.corporate_actions.adjustment import unadjusted_amounts
from quant_dagster.market_data.corporate_actions.confirmation import KEY
from quant_dagster.market_data.ingest import Contract, Progress
from quant_dagster.market_data.vendors.protocol import ACTION_SCHEMA, ActionsVendor, RowsAnswer
from quant_dagster.storage.lake import Lake
from quant_dagster.storage.tables import TABLES, TIMESTAMP

TABLE = "corporate_actions"

AMOUNTS_OF_TODAY = frozenset({"yfinance"})
"""Vendors that state dividends per share of today, every later split taken into account."""

_MOST_WITHDRAWN = 2
_RELATIVE = 1e-6  # a vendor that sends 0.57 once and 0.5700000000000001 the next time has changed nothing


class Guard(Protocol):
    """What asks a remote vendor: `resilience.guard.ServiceGuard`."""

    def call(self, operation: str, work: Callable[[], RowsAnswer]) -> RowsAnswer:
        """Run ``work`` under the service's protection."""


@dataclass(frozen=True)
class ActionsReport:
    """What loading one vendor's actions did.

    Attributes
    ----------
    answered
        Symbols the vendor answered for, with or without actions.
    none
        Of these, the symbols for which it affirmed that there are none.
    changed
        Stored actions whose values the vendor has changed; the earlier ones are in the superseded table.
    withdrawn
        Stored actions the vendor lists no more, taken out of the table and kept in the superseded one.
    doubted
        Stored actions the vendor lists no more, too many at once to be believed: kept.
    failures
        Why nothing is known of a symbol.
    """

    vendor: str
    answered: tuple[str, ...]
    none: tuple[str, ...]
    rows: int
    inserted: int
    changed: int
    unchanged: int
    withdrawn: pl.DataFrame
    doubted: pl.DataFrame
    failures: Mapping[str, str]


def load_reported(
    lake: Lake,
    vendors: Sequence[Any],
    symbols: Sequence[str],
    start: date,
    end: date,
    *,
    guards: Mapping[str, Guard],
    now: datetime,
    contract: Contract,
    progress: Progress | None = None,
) -> list[ActionsReport]:
    """Ask every vendor that offers corporate actions, and store what it answers.

    An action counts as known from the beginning of its ex-date (UTC), one that is only announced from ``now``, and a
    changed value from ``now``.

    Parameters
    ----------
    vendors
        `Vendor` objects; those without ``corporate_actions`` in their offers are passed over.
    guards
        By vendor name; a remote vendor without one is asked directly.
    contract
        ``quality.contracts.validate``.

    Raises
    ------
    ContractError
        A vendor's rows break the table's contract, or it names another symbol; nothing of that vendor was written.
    """
    asked = [vendor for vendor in vendors if TABLE in vendor.capabilities.offers]
    reports = []
    for place, vendor in enumerate(asked):
        answers: dict[str, pl.DataFrame] = {}
        failures: dict[str, str] = {}
        for count, symbol in enumerate(symbols):
            if progress is not None:
                progress(f"{vendor.name}: {symbol}", place * len(symbols) + count, len(asked) * len(symbols))
            try:
                answers[symbol] = _ask(vendor, guards.get(vendor.name), symbol, start, end, now.date())
            except (VendorError, MalformedDataError, DataUnavailableError) as error:
                failures[symbol] = f"{type(error).__name__}: {error}"
        reports.append(_store(lake, vendor.name, answers, failures, start, end, now, contract))
    return reports


def actions_known(
    lake: Lake,
    symbols: Sequence[str] | None = None,
    *,
    start: date | None = None,
    end: date | None = None,
    known_on: date | None = None,
) -> pl.DataFrame:
    """Stored actions; with ``known_on``, those known at the end of that day, as they were then.

    An action withdrawn by its vendor counts until the day it was withdrawn.
    """
    return lake.read(TABLE, symbols=symbols, start=start, end=end, known_on=known_on)


def _ask(vendor: ActionsVendor, guard: Guard | None, symbol: str, start: date, end: date, today: date) -> pl.DataFrame:
    restate = vendor.name in AMOUNTS_OF_TODAY
    until = max(end, today) if restate else end  # every split up to today is in its amounts

    def work() -> RowsAnswer:
        return vendor.corporate_actions(symbol, start, until)

    rows = (work() if guard is None else guard.call(TABLE, work)).rows
    if foreign := sorted(set(rows["symbol"].to_list()) - {symbol}):
        raise ContractError(f"vendor '{vendor.name}' was asked for the actions of {symbol} and answered {foreign[:3]}")
    if restate:
        rows = unadjusted_amounts(rows)
    inside = rows.filter(pl.col("session").is_between(start, end))
    # Two dividends on one ex-date are one amount of cash.
    return inside.group_by("symbol", "session", "kind", maintain_order=True).agg(
        pl.when(pl.col("ratio").count() > 0).then(pl.col("ratio").product()).alias("ratio"),
        pl.when(pl.col("amount").count() > 0).then(pl.col("amount").sum()).alias("amount"),
    )


def _store(
    lake: Lake,
    name: str,
    answers: Mapping[str, pl.DataFrame],
    failures: Mapping[str, str],
    start: date,
    end: date,
    now: datetime,
    contract: Contract,
) -> ActionsReport:
    empty = pl.DataFrame(schema=ACTION_SCHEMA)
    found = pl.concat([empty, *(rows.select(empty.columns) for rows in answers.values())])
    mine = (pl.col("vendor") == name) & (pl.col("origin") == "reported")
    stored = lake.read(TABLE, symbols=list(answers), start=start, end=end, where=mine)
    said = found.with_columns(pl.lit(name).alias("vendor"), pl.lit("reported").alias("origin"))
    rows = contract(TABLE, dated(said, stored, now))
    gone = stored.join(rows, on=list(KEY), how="anti")
    many = pl.len().over("symbol") > _MOST_WITHDRAWN
    doubted, withdrawn = gone.filter(many), gone.filter(~many)
    commit = lake.merge(TABLE, rows)
    withdraw(lake, withdrawn, now)
    return ActionsReport(
        vendor=name,
        answered=tuple(answers),
        none=tuple(symbol for symbol, actions in answers.items() if actions.is_empty()),
        rows=rows.height,
        inserted=commit.inserted,
        changed=commit.updated,
        unchanged=commit.unchanged,
        withdrawn=withdrawn,
        doubted=doubted,
        failures=dict(failures),
    )


def dated(rows: pl.DataFrame, stored: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Rows of the table's shape: unchanged ones keep what is stored of them, others say since when they are known.

    ``rows`` may have ``known_at``: when the action could first be known; else it is the beginning of the ex-date. A
    row that is not stored yet counts as known from then, or from ``now`` if that is earlier; a changed one from
    ``now``.
    """
    moment = pl.lit(now).cast(TIMESTAMP)
    ex_date = pl.col("session").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    stated = pl.col("known_at") if "known_at" in rows.columns else ex_date
    old = stored.select(
        *KEY,
        *(pl.col(name).alias(f"{name}_stored") for name in ("ratio", "amount", "confirmed_by", "known_at")),
    )
    joined = rows.join(old, on=list(KEY), how="left", maintain_order="left")
    known = pl.col("known_at_stored").is_not_null()
    same = known & _near("ratio") & _near("amount")
    return joined.with_columns(
        *(pl.when(same).then(f"{name}_stored").otherwise(name).alias(name) for name in ("ratio", "amount")),
        pl.col("confirmed_by_stored").fill_null("").alias("confirmed_by"),
        pl.when(same)
        .then("known_at_stored")
        .when(known)
        .then(moment)
        .otherwise(pl.min_horizontal(stated.cast(TIMESTAMP), moment))
        .alias("known_at"),
    ).select(list(TABLES[TABLE].schema))


def withdraw(lake: Lake, rows: pl.DataFrame, now: datetime) -> None:
    """Take actions out of the table; the superseded table keeps them, with the time until which they counted."""
    if rows.is_empty():
        return
    lake.remove(TABLE, rows, at=now)


def _near(name: str) -> pl.Expr:
    new, old = pl.col(name), pl.col(f"{name}_stored")
    return ((new - old).abs() <= _RELATIVE * old.abs()).fill_null(value=False) | (new.is_null() & old.is_null())
