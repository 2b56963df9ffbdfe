"""The HTML report of a period: one file that needs no network, no server and no other file.

Belongs here: putting the parts together. The same ledger, lake, settings and code
give the same bytes. The parts: ``report_content`` reads, ``report_tables`` and ``report_trades`` tabulate,
``report_figures`` draws, ``report_headline`` sums up, ``report_models``, ``report_risk``, ``report_execution`` and
``report_reconciliation`` are sections of their own, ``templates/`` lays out.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tempfile
from collections import Counter
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from quant_dagster.operations import (
    report_content,
    report_execution,
    report_figures,
    report_models,
    report_reconciliation,
    report_risk,
    report_tables,
    report_trades,
)
from quant_dagster.operations.report_content import Period
from quant_dagster.operations.report_figures import Series
from quant_dagster.operations.report_headline import amount, notes, percent, tiles
from quant_dagster.strategies.decisions import REASONS, Action

if TYPE_CHECKING:
    from quant_dagster.market_data.membership import Survivorship
    from quant_dagster.market_data.universe import Universe
    from quant_dagster.operations.report_tables import Table
    from quant_dagster.settings import Settings
    from quant_dagster.storage.lake import Lake
    from quant_dagster.storage.ledger import Ledger

_TEMPLATES = Path(__file__).parent / "templates"


def write_report(
    ledger: Ledger,
    lake: Lake,
    home: Path,
    *,
    sessions: list[date] | None,
    universe: Universe,
    settings: Settings,
    survivorship: Survivorship | None = None,
) -> Path:
    """Write ``<home>/reports/replay_<first>_<last>.html`` and return its path.

    Parameters
    ----------
    sessions
        The period is from the first to the last of them; None is everything the ledger holds.
    survivorship
        How much of the universe's membership the data covers; default: what the universe says of itself.
    universe, settings
        What the desk trades with now; the report says where a cycle was decided under other settings or code.

    Raises
    ------
    LedgerError
        No cycle has been run in those sessions.
    """
    period = report_content.read_period(ledger, sessions)
    records = report_risk.read_risk(ledger, lake, period)
    executed = report_execution.read_execution(ledger, period, settings.execution)
    reconciled = report_reconciliation.read_reconciliation(ledger, period)
    page = render(period, lake, records, universe, settings, survivorship, executed=executed, reconciled=reconciled)
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


def render(
    period: Period,
    lake: Lake,
    records: report_risk.RiskRecords,
    universe: Universe,
    settings: Settings,
    survivorship: Survivorship | None = None,
    *,
    executed: report_execution.ExecutionRecords,
    reconciled: report_reconciliation.ReconciliationRecords,
) -> str:
    """The page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    bars = report_content.read_bars(lake, period)
    forecasts = report_content.read_forecasts(lake, period)
    quality = report_content.read_quality(lake, period)
    judgement = report_models.read_judgement(lake, period)
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
    judged = {
        "validation": report_models.validation_table(judgement),
        "drift": report_models.drift_table(judgement),
    }
    tables |= {name: table for name, table in judged.items() if table.rows}
    tables |= report_risk.risk_tables(period, records)
    tables |= report_execution.execution_tables(executed)
    tables |= report_reconciliation.reconciliation_tables(reconciled)
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
        notes=notes(period, bars, universe, settings, survivorship),
        tiles=tiles(period, settings.portfolio.currency),
        performance_notes=period.performance.notes if period.performance else ("no session was closed",),
        figures={name: Markup(svg) for name, svg in (figures(period) | _skill(judgement)).items()},
        judged=judgement.session,
        risk_figures={name: Markup(svg) for name, svg in report_risk.risk_figures(records).items()},
        risk=records,
        execution=Markup(report_execution.execution_section(executed)),
        reconciliation=Markup(report_reconciliation.reconciliation_section(reconciled)),
        outcomes=Counter(row["outcome"] for row in period.risk_events),
        sizes={name: len(table.rows) for name, table in tables.items()},
        expired=sum(row["status"] == "expired" for row in period.orders),
        style=Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_digest=digest,
        data=Markup(_embedded(tables)),
    )


def _skill(judgement: report_models.Judgement) -> dict[str, str]:
    return {f"{target}_skill": report_models.skill_figure(judgement, target) for target in ("mean", "variance")}


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
        "equity": report_figures.line_figure("Equity", days, [Series("equity", equity, "accent")], amount, area=True),
        "drawdown": report_figures.line_figure(
            "Drawdown from the peak",
            days,
            [Series("drawdown", drawdown, "fall")],
            percent,
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
            lambda value: percent(value, digits=1),
            zero=True,
        ),
        "decisions": report_figures.bar_figure("Decisions", sessions, layers, lambda value: f"{value:.0f}"),
    }


def _embedded(tables: dict[str, Table]) -> str:
    """The tables as JSON that can stand inside a script element: nothing in it can end the element."""
    content = {"tables": {name: table.content() for name, table in tables.items()}, "reasons": REASONS}
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text
