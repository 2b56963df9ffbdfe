"""The HTML report of a period: one file that needs no network, no server and no other file.

Belongs here: putting the parts together. The same ledger, lake, settings and code give the same bytes. ``templates/``
lays out.
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

from quant_dagster.operations.report import models, tables, trades
from quant_dagster.operations.report.content import (
    Period,
    forecast_outcomes,
    read_bars,
    read_forecasts,
    read_period,
    read_quality,
)
from quant_dagster.operations.report.execution import (
    execution_section,
    execution_tables,
    read_execution,
)
from quant_dagster.operations.report.figures import Series, bar_figure, line_figure
from quant_dagster.operations.report.headline import amount, notes, percent, tiles
from quant_dagster.operations.report.reconciliation import (
    read_reconciliation,
    reconciliation_section,
    reconciliation_tables,
)
from quant_dagster.operations.report.risk import read_risk, risk_figures, risk_tables
from quant_dagster.strategies.decisions import REASONS, Action

if TYPE_CHECKING:
    from quant_dagster.market_data.membership import Survivorship
    from quant_dagster.market_data.universe import Universe
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
    period = read_period(ledger, sessions)
    page = _render(ledger, lake, period, universe, settings, survivorship)
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


def _render(
    ledger: Ledger,
    lake: Lake,
    period: Period,
    universe: Universe,
    settings: Settings,
    survivorship: Survivorship | None,
) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    bars = read_bars(lake, period)
    forecasts = read_forecasts(lake, period)
    quality = read_quality(lake, period)
    judgement = models.read_judgement(lake, period)
    records = read_risk(ledger, lake, period)
    executed = read_execution(ledger, period, settings.execution)
    reconciled = read_reconciliation(ledger, period)
    shown = {
        "profits": tables.profit_table(period, universe),
        "decisions": trades.decision_table(period, forecasts),
        "checks": trades.check_table(period),
        "verdicts": trades.verdict_table(period),
        "costs": trades.cost_table(period),
        "fills": trades.fill_table(period),
        "outcomes": tables.outcome_table(forecast_outcomes(forecasts, bars)),
        "quality": tables.quality_table(quality, settings.quality.minimum_score),
        "cycles": tables.cycle_table(period),
        "settings": tables.settings_table(settings),
    }
    shown |= models.model_tables(judgement)
    shown |= risk_tables(period, records)
    shown |= execution_tables(executed)
    shown |= reconciliation_tables(reconciled)
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
        figures={name: Markup(svg) for name, svg in (_figures(period) | models.skill_figures(judgement)).items()},
        judged=judgement.session,
        risk_figures={name: Markup(svg) for name, svg in risk_figures(records).items()},
        risk=records,
        execution=Markup(execution_section(executed)),
        reconciliation=Markup(reconciliation_section(reconciled)),
        outcomes=Counter(row["outcome"] for row in period.risk_events),
        sizes={name: len(table.rows) for name, table in shown.items()},
        expired=sum(row["status"] == "expired" for row in period.orders),
        style=Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_digest=digest,
        data=Markup(_embedded(shown)),
    )


def _figures(period: Period) -> dict[str, str]:
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
        "equity": line_figure("Equity", days, [Series("equity", equity, "accent")], amount, area=True),
        "drawdown": line_figure(
            "Drawdown from the peak",
            days,
            [Series("drawdown", drawdown, "fall")],
            percent,
            area=True,
            zero=True,
        ),
        "exposure": line_figure(
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
        "decisions": bar_figure("Decisions", sessions, layers, lambda value: f"{value:.0f}"),
    }


def _embedded(shown: dict[str, tables.Table]) -> str:
    """The tables as JSON that can stand inside a script element: nothing in it can end the element."""
    content = {"tables": {name: table.content() for name, table in shown.items()}, "reasons": REASONS}
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text
