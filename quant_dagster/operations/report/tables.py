"""The report's tables as plain values the page's script lays out; here those about profit, data and cycles.

Reason codes stay codes here; the page spells them out. Numbers are floats rounded to what a reader can use,
absent ones None.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from quant_dagster.operations.report.content import Period, SymbolProfit

if TYPE_CHECKING:
    import polars as pl

    from quant_dagster.market_data.universe import Universe
    from quant_dagster.settings import Settings


@dataclass(frozen=True)
class Column:
    """A column: its title, how its values are written (``kind``), and what they mean.

    Kinds: ``text``, ``code``, ``pill``, ``reasons`` (codes), ``count``, ``quantity``, ``money``, ``signed`` (money with
    sign and bar), ``price``, ``percent`` (of a fraction), ``bps`` (already in basis points), ``number``, ``strip``
    (a list of scores).
    """

    title: str
    kind: str = "text"
    hint: str = ""


@dataclass(frozen=True)
class Table:
    """A table of the report. ``filters`` are columns with a choice; ``sort`` is a column, ``~column`` descending.

    ``details`` holds, per row, what unfolds below it; empty for a table without.
    """

    columns: tuple[Column, ...]
    rows: list[list[Any]]
    filters: tuple[int, ...] = ()
    sort: int | None = None
    details: tuple[dict[str, Any], ...] = ()
    search: bool = False

    def content(self) -> dict[str, Any]:
        """The table as JSON values."""
        return {
            "columns": [{"title": c.title, "kind": c.kind, "hint": c.hint} for c in self.columns],
            "rows": self.rows,
            "filters": list(self.filters),
            "sort": self.sort,
            "details": list(self.details),
            "search": self.search,
        }


def profit_table(period: Period, universe: Universe) -> Table:
    """Profit per symbol, the largest first, and their sum."""
    filled = Counter(row["symbol"] for row in period.fills)
    rows = [
        _profit_row(profit, _sector(universe, profit.symbol), filled[profit.symbol]) for profit in period.symbol_profits
    ]
    columns = (
        Column("symbol", "symbol"),
        Column("sector"),
        Column("held", "quantity"),
        Column("value", "money", "at the last close of the period"),
        Column("fills", "count"),
        Column("realised", "signed", "average cost, before commission"),
        Column("unrealised", "signed", "change over the period"),
        Column("commission", "money"),
        Column("net", "signed", "realised + unrealised - commission"),
    )
    return Table(columns, rows, sort=~8)


def quality_table(quality: pl.DataFrame, minimum: float) -> Table:
    """Quality per symbol over the period, the lowest first."""
    rows = []
    for (symbol,), part in sorted(quality.sort("session").group_by("symbol"), key=lambda group: str(group[0][0])):
        scores = part["score"].to_list()
        rows.append(
            [
                symbol,
                len(scores),
                number(sum(scores) / len(scores)),
                min(scores),
                sum(score < minimum for score in scores),
                [round(score, 3) for score in scores],
                _counted(part["issues"].to_list()),
                ", ".join(sorted({code for text in part["not_evaluated"] for code in text.split(",") if code})) or None,
            ]
        )
    rows.sort(key=lambda row: (row[3], row[2], row[0]))
    columns = (
        Column("symbol", "symbol"),
        Column("bars", "count"),
        Column("mean", "number"),
        Column("lowest", "number"),
        Column("rejected", "count", "sessions below quality.minimum_score"),
        Column("by session", "strip", "score of each session: pale is 1, dark is 0"),
        Column("issues", "text", "codes found, and in how many sessions"),
        Column("not evaluated", "text", "checks the data does not allow"),
    )
    return Table(columns, rows)


def outcome_table(outcomes: pl.DataFrame) -> Table:
    """How forecasts fared where the outcome is known."""
    rows = [
        [
            row["model"],
            row["horizon"],
            row["forecasts"],
            row["fallbacks"],
            row["known"],
            *(number(row[name]) for name in ("inside_50", "inside_90", "same_sign")),
            bps(row["bias"]),
            bps(row["rmse"]),
        ]
        for row in outcomes.iter_rows(named=True)
    ]
    columns = (
        Column("model", "code"),
        Column("horizon", "count", "sessions ahead"),
        Column("forecasts", "count"),
        Column("fallbacks", "count", "made by a simpler model than asked for"),
        Column("outcomes", "count", "known by the end of the period"),
        Column("in 25-75 %", "percent", "should be 50 %"),
        Column("in 5-95 %", "percent", "should be 90 %"),
        Column("same sign", "percent", "outcome has the sign of the mean"),
        Column("bias", "bps", "mean of outcome minus forecast"),
        Column("RMSE", "bps"),
    )
    return Table(columns, rows)


def cycle_table(period: Period) -> Table:
    """What each cycle was a function of."""
    made: dict[str, Counter[str]] = defaultdict(Counter)
    for row in period.decisions:
        made[row["cycle_id"]][row["action"]] += 1
    tables = sorted({name for row in period.cycles for name in row["inputs"].get("lake_versions", {})})
    rows = []
    for row in period.cycles:
        seconds = (row["completed_at"] - row["started_at"]).total_seconds() if row["completed_at"] else None
        versions = row["inputs"].get("lake_versions", {})
        rows.append(
            [
                row["session"].isoformat(),
                row["strategy"],
                row["mode"],
                row["status"],
                row["started_at"].strftime("%Y-%m-%d %H:%M:%S"),
                number(seconds),
                sum(made[row["cycle_id"]].values()),
                row["settings_hash"],
                row["code_version"],
                *(versions.get(name) for name in tables),
            ]
        )
    columns = (
        Column("session", "code"),
        Column("strategy"),
        Column("mode"),
        Column("status", "pill"),
        Column("started, UTC", "code"),
        Column("seconds", "number"),
        Column("decisions", "count"),
        Column("settings", "code", "hash of every setting that can change a decision"),
        Column("code", "code", "hash of the program's sources"),
        *(Column(name, "count", f"version of lake table {name} it read") for name in tables),
    )
    return Table(columns, rows)


def settings_table(settings: Settings) -> Table:
    """Every setting that can change a decision (and no secret), with what it means."""
    outside = {"home", "notifications", "storage", "orchestration"}
    rows = [row for row in _settings_rows(settings, ()) if row[0].split(".")[0] not in outside]
    if "language_model" not in (settings.forecasting.families or ()):
        rows = [row for row in rows if not row[0].startswith("forecasting.language_model.")]
    if settings.execution.broker != "binance_spot":
        rows = [row for row in rows if not row[0].startswith("execution.binance_spot.")]
    columns = (Column("setting", "code"), Column("value", "code"), Column("meaning"))
    return Table(columns, rows)


def _settings_rows(section: BaseModel, path: tuple[str, ...]) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            rows += _settings_rows(value, (*path, name))
        else:
            plain = section.model_dump(mode="json", include={name})[name]
            rows.append([".".join((*path, name)), json.dumps(plain, ensure_ascii=False), field.description or ""])
    return rows


def _profit_row(profit: SymbolProfit, sector: str, fills: int) -> list[Any]:
    return [
        profit.symbol,
        sector,
        number(profit.quantity),
        number(profit.market_value),
        fills,
        number(profit.realised),
        number(profit.unrealised),
        number(profit.commission),
        number(profit.net),
    ]


def _sector(universe: Universe, symbol: str) -> str:
    if universe.symbols == "all":
        return "unknown"
    return next((one.sector for one in universe.symbols if one.symbol == symbol), "not in universe")


def _counted(texts: Iterable[str]) -> str | None:
    found = Counter(code for text in texts for code in text.split(",") if code)
    return ", ".join(f"{code} {count}x" for code, count in sorted(found.items())) or None


def number(value: Decimal | float | None, digits: int = 6) -> float | None:
    """A float a page can carry; None for what is absent or not finite."""
    if value is None or not math.isfinite(value):
        return None
    return round(float(value), digits)


def bps(fraction: Decimal | float | None) -> float | None:
    """A fraction in basis points; None for what is absent or not finite."""
    return None if fraction is None or not math.isfinite(fraction) else round(float(fraction) * 10_000, 3)
