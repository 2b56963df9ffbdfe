"""What the report says first: whether the records are sound, what the results are worth, and the headline numbers.

Belongs here: sentences and numbers of the page's top. Does not: tables, figures and the page itself.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quant_dagster.accounting.performance import hit_rate, profit_factor, turnover
from quant_dagster.operations.report.content import NO_COST, FillCost, Period
from quant_dagster.strategies.decisions import Action

if TYPE_CHECKING:
    import polars as pl

    from quant_dagster.market_data.membership import Survivorship
    from quant_dagster.market_data.universe import Universe
    from quant_dagster.settings import Settings

_ABSENT = "–"


@dataclass(frozen=True)
class Note:
    """One thing a reader must know before the numbers. ``level``: ``good``, ``caution`` or ``bad``."""

    level: str
    title: str
    text: str


@dataclass(frozen=True)
class Tile:
    """A headline number, and a line below it. ``tone``: ``gain``, ``loss`` or empty."""

    title: str
    value: str
    below: str = ""
    tone: str = ""


def notes(
    period: Period,
    bars: pl.DataFrame,
    universe: Universe,
    settings: Settings,
    survivorship: Survivorship | None = None,
) -> list[Note]:
    """What the reader must know first: are the records sound, and what are the results worth?"""
    from quant_dagster.cycle.context import code_version

    found = [_books_note(period), _audit_note(period)]
    if not period.profit_reconciles:
        found.append(Note("bad", "Profit does not add up", "per symbol it is not what equity changed by"))
    if universe.survivors_only if survivorship is None else survivorship.survivors_only:
        text = "the universe was drawn up with hindsight: companies that failed are not in it, results are too good"
        if survivorship is not None and survivorship.missing:
            named = ", ".join(survivorship.missing[:12]) + (", …" if len(survivorship.missing) > 12 else "")
            text = f"{survivorship.reason} ({named}): those that failed are not in it, results are too good"
        found.append(Note("caution", "Survivors only", text))
    if bars.height and bars["open"].null_count() == bars.height:
        found.append(_closes_note(period, bars))
    if period.control_changes and period.control_changes[-1]["mode"].lower() != "normal":
        last = period.control_changes[-1]
        found.append(Note("caution", f"Control mode {last['mode'].upper()}", f"{last['actor']}: {last['reason']}"))
    other = sum(row["settings_hash"] != settings.decision_hash() for row in period.cycles)
    if other:
        text = f"{other} of {len(period.cycles)} cycles were decided under settings other than those shown below"
        found.append(Note("caution", "Other settings", text))
    other = sum(row["code_version"] != code_version() for row in period.cycles)
    if other:
        text = f"{other} of {len(period.cycles)} cycles were decided by another version of the program"
        found.append(Note("caution", "Other code", text))
    if unfinished := [row["session"] for row in period.cycles if row["status"] != "completed"]:
        text = f"{', '.join(str(session) for session in unfinished[:5])}: run 'quant cycle' for them"
        found.append(Note("caution", f"{len(unfinished)} cycles are not completed", text))
    return found


def tiles(period: Period, currency: str) -> list[Tile]:
    """The headline numbers."""
    figures_of = period.performance
    cost = sum(period.costs, NO_COST)
    traded = float(sum(row["quantity"] * row["price"] for row in period.fills))
    nets = [float(trade.net) for trade in period.trades]
    statuses = Counter(row["status"] for row in period.orders)
    made = Counter(row["action"] for row in period.decisions)
    found = []
    if figures_of is not None:
        drawdown, sharpe = figures_of.max_drawdown, figures_of.sharpe
        error = figures_of.sharpe_error
        found = [
            Tile(
                "Final equity", f"{figures_of.final_equity:,.2f}", f"{currency}, from {figures_of.initial_equity:,.2f}"
            ),
            Tile("P&L", _minus(f"{figures_of.profit:+,.2f}"), "after costs", _tone(figures_of.profit)),
            Tile(
                "Return",
                percent(figures_of.cumulative_return, signed=True),
                f"a year: {percent(figures_of.annualised_return, signed=True)}",
                _tone(figures_of.cumulative_return or 0.0),
            ),
            Tile(
                "Max drawdown",
                percent(drawdown.depth if drawdown else 0.0),
                f"{drawdown.peak} to {drawdown.trough}" if drawdown else "equity never fell",
            ),
            Tile(
                "Sharpe, a year",
                _ABSENT if sharpe is None else _minus(f"{sharpe:.2f}"),
                f"± {error:.2f} standard error, {figures_of.returns} returns"
                if error is not None
                else "too few returns",
            ),
            Tile("Volatility, a year", percent(figures_of.annualised_volatility), f"{figures_of.returns} returns"),
        ]
        used = turnover(traded, [float(row["equity"]) for row in period.snapshots])
        found.append(Tile("Turnover", percent(used), "bought and sold over mean equity"))
    factor = profit_factor(nets)
    found += [
        Tile(
            "Closed trades won",
            percent(hit_rate(nets), digits=0),
            f"of {len(nets)}; profit factor {_ABSENT if factor is None else f'{factor:.2f}'}",
        ),
        Tile("Decisions", f"{len(period.decisions):,}", ", ".join(f"{made[a.value]} {a.value}" for a in Action)),
        Tile("Orders", f"{len(period.orders):,}", ", ".join(f"{n} {s}" for s, n in sorted(statuses.items())) or "none"),
        Tile("Fills", f"{len(period.fills):,}", f"{traded:,.0f} {currency} traded"),
        _shortfall_tile(cost),
    ]
    return found


def _books_note(period: Period) -> Note:
    if period.book_problems:
        text = f"{len(period.book_problems)} problems; the first: {period.book_problems[0]}"
        return Note("bad", "Books do not balance", text)
    return Note("good", "Books balance", "every transaction sums to zero and the fills give the same positions")


def _audit_note(period: Period) -> Note:
    if not period.audit.intact:
        text = f"{len(period.audit.problems)} problems; the first: {period.audit.problems[0]}"
        return Note("bad", "Audit chain broken", text)
    return Note("good", "Audit chain intact", f"{period.audit.rows:,} rows, each hashed with the one before it")


def _closes_note(period: Period, bars: pl.DataFrame) -> Note:
    from quant_dagster.market_data.vendors.registry import build_vendor

    vendors = bars["vendor"].unique().sort().to_list()
    embedded = [name for name in vendors if name.startswith("embedded")]
    adjusted = {name: build_vendor(name).capabilities.adjusted for name in embedded}
    known = [f"{name}: adjusted for {what}" for name, what in adjusted.items()]
    title = (
        "Adjusted closes only" if vendors == list(adjusted) and "nothing" not in adjusted.values() else "Closes only"
    )
    at_close = all(row["provenance"].get("priced_at") == "close" for row in period.fills)
    text = "no open, high, low or volume, so what needs them is not evaluated"
    return Note("caution", f"{title}{'; fills at next close' if at_close else ''}", "; ".join([text, *known]))


def _shortfall_tile(cost: FillCost) -> Tile:
    if not cost.notional:
        return Tile("Cost against decision price", _ABSENT, "no fills")
    delay, execution, commission, total = (
        float(part / cost.notional) * 10_000 for part in (cost.delay, cost.execution, cost.commission, cost.total)
    )
    return Tile(
        "Cost against decision price",
        _minus(f"{total:+.1f} bps"),
        _minus(f"delay {delay:+.1f}, execution {execution:+.1f}, commission {commission:+.1f}; minus is a gain"),
        _tone(-total),
    )


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def amount(value: float) -> str:
    """Money without decimals."""
    return _minus(f"{value:,.0f}")


def percent(fraction: float | None, *, signed: bool = False, digits: int = 2) -> str:
    """A fraction in percent; a dash for None."""
    if fraction is None:
        return _ABSENT
    return _minus(f"{fraction:+.{digits}%}" if signed else f"{fraction:.{digits}%}")


def _tone(value: float) -> str:
    return "gain" if value > 0 else "loss" if value < 0 else ""
