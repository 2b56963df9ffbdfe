"""The HTML report of a period: one file that needs no network, no server and no other file.

Belongs here: what the report says first, and putting its parts together. The same ledger, lake, settings and code
give the same bytes. The parts: ``report_content`` reads, ``report_tables`` and ``report_trades`` tabulate,
``report_figures`` draws, ``templates/`` lays out.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tempfile
from collections import Counter
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from quant_dagster.accounting.performance import hit_rate, profit_factor, turnover
from quant_dagster.operations import report_content, report_figures, report_tables, report_trades
from quant_dagster.operations.report_content import NO_COST, FillCost, Period
from quant_dagster.operations.report_figures import Series
from quant_dagster.strategies.decisions import REASONS, Action

if TYPE_CHECKING:
    import polars as pl

    from quant_dagster.market_data.universe import Universe
    from quant_dagster.operations.report_tables import Table
    from quant_dagster.settings import Settings
    from quant_dagster.storage.lake import Lake
    from quant_dagster.storage.ledger import Ledger

_TEMPLATES = Path(__file__).parent / "templates"
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


def write_report(
    ledger: Ledger,
    lake: Lake,
    home: Path,
    *,
    sessions: list[date] | None,
    universe: Universe,
    settings: Settings,
) -> Path:
    """Write ``<home>/reports/replay_<first>_<last>.html`` and return its path.

    Parameters
    ----------
    sessions
        The period is from the first to the last of them; None is everything the ledger holds.
    universe, settings
        What the desk trades with now; the report says where a cycle was decided under other settings or code.

    Raises
    ------
    LedgerError
        No cycle has been run in those sessions.
    """
    period = report_content.read_period(ledger, sessions)
    page = render(period, lake, universe, settings)
    path = home / "reports" / f"replay_{period.first}_{period.last}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(page)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    path.chmod(0o644)
    return path


def render(period: Period, lake: Lake, universe: Universe, settings: Settings) -> str:
    """The page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    bars = report_content.read_bars(lake, period)
    forecasts = report_content.read_forecasts(lake, period)
    quality = report_content.read_quality(lake, period)
    tables = {
        "profits": report_tables.profit_table(period, universe),
        "decisions": report_trades.decision_table(period, forecasts),
        "checks": report_trades.check_table(period),
        "verdicts": report_trades.verdict_table(period),
        "costs": report_trades.cost_table(period),
        "fills": report_trades.fill_table(period),
        "outcomes": report_tables.outcome_table(report_content.forecast_outcomes(forecasts, bars)),
        "quality": report_tables.quality_table(quality, settings.quality.minimum_score),
        "cycles": report_tables.cycle_table(period),
        "settings": report_tables.settings_table(settings),
    }
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (_TEMPLATES / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    strategies = sorted({row["strategy"] for row in period.cycles})
    return environment.get_template("report.html.j2").render(
        title=f"{', '.join(strategies)}, {period.first} to {period.last}",
        strategies=", ".join(strategies),
        modes=", ".join(sorted({row["mode"] for row in period.cycles})),
        period=period,
        universe=universe,
        currency=settings.portfolio.currency,
        notes=notes(period, bars, universe, settings),
        tiles=tiles(period, settings.portfolio.currency),
        performance_notes=period.performance.notes if period.performance else ("no session was closed",),
        figures={name: Markup(svg) for name, svg in figures(period).items()},
        outcomes=Counter(row["outcome"] for row in period.risk_events),
        sizes={name: len(table.rows) for name, table in tables.items()},
        expired=sum(row["status"] == "expired" for row in period.orders),
        style=Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_digest=digest,
        data=Markup(_embedded(tables)),
    )


def notes(period: Period, bars: pl.DataFrame, universe: Universe, settings: Settings) -> list[Note]:
    """What the reader must know first: are the records sound, and what are the results worth?"""
    from quant_dagster.cycle.context import code_version

    found = [_books_note(period), _audit_note(period)]
    if not period.profit_reconciles:
        found.append(Note("bad", "Profit does not add up", "per symbol it is not what equity changed by"))
    if universe.survivors_only:
        text = "the universe was drawn up with hindsight: companies that failed are not in it, results are too good"
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
                _percent(figures_of.cumulative_return, signed=True),
                f"a year: {_percent(figures_of.annualised_return, signed=True)}",
                _tone(figures_of.cumulative_return or 0.0),
            ),
            Tile(
                "Max drawdown",
                _percent(drawdown.depth if drawdown else 0.0),
                f"{drawdown.peak} to {drawdown.trough}" if drawdown else "equity never fell",
            ),
            Tile(
                "Sharpe, a year",
                _ABSENT if sharpe is None else _minus(f"{sharpe:.2f}"),
                f"± {error:.2f} standard error, {figures_of.returns} returns"
                if error is not None
                else "too few returns",
            ),
            Tile("Volatility, a year", _percent(figures_of.annualised_volatility), f"{figures_of.returns} returns"),
        ]
        used = turnover(traded, [float(row["equity"]) for row in period.snapshots])
        found.append(Tile("Turnover", _percent(used), "bought and sold over mean equity"))
    factor = profit_factor(nets)
    found += [
        Tile(
            "Closed trades won",
            _percent(hit_rate(nets), digits=0),
            f"of {len(nets)}; profit factor {_ABSENT if factor is None else f'{factor:.2f}'}",
        ),
        Tile("Decisions", f"{len(period.decisions):,}", ", ".join(f"{made[a.value]} {a.value}" for a in Action)),
        Tile("Orders", f"{len(period.orders):,}", ", ".join(f"{n} {s}" for s, n in sorted(statuses.items())) or "none"),
        Tile("Fills", f"{len(period.fills):,}", f"{traded:,.0f} {currency} traded"),
        _shortfall_tile(cost),
    ]
    return found


def figures(period: Period) -> dict[str, str]:
    """Equity, drawdown, exposure and decisions over the sessions, as SVG."""
    series = [period.opening, *period.snapshots] if period.opening else period.snapshots
    days = [row["session"] for row in series]
    equity = [float(row["equity"]) for row in series]
    drawdown = [float(row["equity"] / row["peak_equity"]) - 1.0 if row["peak_equity"] > 0 else 0.0 for row in series]

    def share(column: str) -> list[float]:
        return [float(row[column] / row["equity"]) if row["equity"] > 0 else float("nan") for row in series]

    sessions = sorted({row["session"] for row in period.cycles})
    made = Counter((row["session"], row["action"]) for row in period.decisions)
    layers = [
        Series(action.value, [float(made[session, action.value]) for session in sessions], action.value.lower())
        for action in (Action.BUY, Action.SELL, Action.REJECT, Action.HOLD)
    ]
    return {
        "equity": report_figures.line_figure("Equity", days, [Series("equity", equity, "accent")], _amount, area=True),
        "drawdown": report_figures.line_figure(
            "Drawdown from the peak",
            days,
            [Series("drawdown", drawdown, "fall")],
            _percent,
            area=True,
            zero=True,
        ),
        "exposure": report_figures.line_figure(
            "Exposure over equity",
            days,
            [
                Series("gross", share("gross_exposure"), "accent"),
                Series("net", share("net_exposure"), "second", dashed=True),
                Series("cash", share("cash"), "third"),
            ],
            lambda value: _percent(value, digits=1),
            zero=True,
        ),
        "decisions": report_figures.bar_figure("Decisions", sessions, layers, lambda value: f"{value:.0f}"),
    }


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


def _embedded(tables: dict[str, Table]) -> str:
    """The tables as JSON that can stand inside a script element: nothing in it can end the element."""
    content = {"tables": {name: table.content() for name, table in tables.items()}, "reasons": REASONS}
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def _amount(value: float) -> str:
    return _minus(f"{value:,.0f}")


def _money(value: float) -> str:
    return _minus(f"{value:,.2f}")


def _percent(fraction: float | None, *, signed: bool = False, digits: int = 2) -> str:
    if fraction is None:
        return _ABSENT
    return _minus(f"{fraction:+.{digits}%}" if signed else f"{fraction:.{digits}%}")


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


def _tone(value: float) -> str:
    return "gain" if value > 0 else "loss" if value < 0 else ""
