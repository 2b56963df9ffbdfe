"""Commands that do something: backfill, cycle, replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quant_dagster.cli.options import (
    AsKnownOn,
    EndOption,
    Json,
    Mode,
    SessionOption,
    Sources,
    StartOption,
    Symbols,
    UniverseOption,
    Vendor,
    VendorPath,
    Workers,
    open_context,
    open_existing,
    parse_day,
)

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext
    from quant_dagster.operations.alerts.notifications import Alert


def register(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    app.command()(backfill)
    app.command()(cycle)
    app.command()(replay)
    app.command()(report)
    app.command()(marts)


def backfill(
    vendor: Vendor = None,
    path: VendorPath = None,
    universe: UniverseOption = None,
    symbols: Symbols = None,
    start: StartOption = None,
    end: EndOption = None,
    source: Sources = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask live vendors for the whole range again, to see what they restated.")
    ] = False,
    json: Json = False,
) -> None:
    """Load history from the vendors, build bars, score their quality, compare vendors. Safe to interrupt.

    Repeating it loads only what is new or was restated.
    """
    from quant_dagster.cli.output import errors, print_facts, progress_bar
    from quant_dagster.cycle.history import backfill as load

    with progress_bar(quiet=json) as progress:
        context = open_context(symbols, progress, vendor=vendor, path=path, universe=universe, sources=source)
        first = parse_day(start, "--start") or context.settings.market_data.history_start
        done = load(context, first, parse_day(end, "--end"), refresh=refresh)
    loaded = [asdict(report) for report in done.loaded.reports]
    facts = {
        "symbols": len(context.symbols),
        "vendors": loaded if json else ", ".join(f"{r['vendor']} ({r['source']})" for r in loaded),
        "rows": sum(r["rows"] for r in loaded),
        "inserted": sum(r["inserted"] for r in loaded),
        "updated": sum(r["updated"] for r in loaded),
        "unchanged": sum(r["unchanged"] for r in loaded),
        "restated": sum(r["restated"] for r in loaded),
        "rejected": {reason: count for r in loaded for reason, count in r["rejected"].items()},
        "missing_symbols": sorted({symbol for r in loaded for symbol in r["missing_symbols"]}),
        "bars": done.bars.rows,
        "bars_changed": done.bars.inserted + done.bars.updated,
        "stand_ins": done.bars.stand_ins,
        "level_adjusted": done.bars.adjusted,
        "level_refused": done.bars.refused_stand_ins,
        "scored": done.scored,
        "vendor_failures": {vendor: len(said) for vendor, said in done.loaded.failures.items() if said},
        "compared": done.reconciled.compared if done.reconciled else None,
        "breaks": done.reconciled.breaks if done.reconciled else None,
        "quarantined": list(done.reconciled.quarantined) if done.reconciled else [],
        "restatement": asdict(done.restated) if done.restated else None,
    }
    print_facts(facts, title="Backfill", as_json=json)
    if facts["rejected"] and not json:
        errors.print("rows were refused: 'quant data rejected' says which and why", style="yellow")
    if done.loaded.failures and not json:
        for said in done.loaded.failures.values():
            for message in list(dict.fromkeys(said.values()))[:3]:
                errors.print(message, style="yellow", markup=False)


def cycle(
    session: SessionOption = None,
    symbols: Symbols = None,
    workers: Workers = None,
    mode: Mode = None,
    vendor: Vendor = None,
    path: VendorPath = None,
    universe: UniverseOption = None,
    source: Sources = None,
    json: Json = False,
) -> None:
    """Run one session through every stage. A session is decided once: running it again changes nothing.

    Without --session it is the newest session there are bars for.
    """
    from quant_dagster.cli.output import errors, print_facts, print_json, print_rows, progress_bar
    from quant_dagster.cycle.run import run_cycle
    from quant_dagster.cycle.session import newest_session
    from quant_dagster.operations.alerts.execution import execution_alerts
    from quant_dagster.operations.alerts.models import model_alerts
    from quant_dagster.operations.alerts.risk import risk_alerts

    with progress_bar(quiet=json) as progress:
        context = open_context(
            symbols, progress, workers=workers, mode=mode, vendor=vendor, path=path, universe=universe, sources=source
        )
        day = parse_day(session, "--session") or newest_session(context, context.now())
        done = run_cycle(context, day)
        alerts = [*model_alerts(context, day), *risk_alerts(context), *execution_alerts(context)]
    told = tell(context, alerts)
    if json:
        print_json(asdict(done) | {"alerts": [alert.title for alert in alerts], "alerts_sent": told})
        return
    for alert in alerts:
        errors.print(f"{alert.title}: {alert.details[0]}", style="yellow", markup=False)
    facts = {name: value for name, value in asdict(done).items() if name not in ("seconds", "actions")}
    print_facts(facts | done.actions, title=f"Cycle of {day}", as_json=False)
    if done.seconds:
        stages = [{"stage": name, "seconds": value} for name, value in done.seconds.items()]
        stages.append({"stage": "total", "seconds": sum(done.seconds.values())})
        print_rows(stages, ["stage", "seconds"], title="Time of each stage", as_json=False)


def replay(
    sessions: Annotated[int, typer.Option("--sessions", min=1, help="How many sessions to trade.")] = 20,
    end: EndOption = None,
    symbols: Symbols = None,
    workers: Workers = None,
    vendor: Vendor = None,
    path: VendorPath = None,
    universe: UniverseOption = None,
    source: Sources = None,
    html: Annotated[bool, typer.Option("--report/--no-report", help="Write the HTML report.")] = True,
    json: Json = False,
) -> None:
    """Trade past sessions on paper, one after the other, exactly as they would have been traded. Safe to interrupt."""
    from quant_dagster.cli.output import console, print_json, print_rows, progress_bar
    from quant_dagster.cycle.run import replay as run

    with progress_bar(quiet=json) as progress:
        context = open_context(
            symbols, progress, workers=workers, vendor=vendor, path=path, universe=universe, sources=source
        )
        reports = run(context, sessions, parse_day(end, "--end"))
        page = None
        if html:
            progress("writing the report", 0, 1)
            page = _write_report(context, [report.session for report in reports])
            progress("writing the report", 1, 1)
    rows = [asdict(report) | report.actions for report in reports]
    if json:
        print_json({"cycles": rows, "report": str(page) if page else None})
        return
    columns = ["session", "repeated", "BUY", "SELL", "HOLD", "REJECT", "orders", "fills", "expired", "equity"]
    print_rows(rows, columns, title=f"Replay of {len(rows)} sessions, {len(context.symbols)} symbols", as_json=False)
    console.print("Orders of a session fill from the next session on.")
    done = sum(not report.repeated for report in reports)
    if not done:
        console.print("Every session had been traded before: nothing was decided, ordered or filled again.")
    first = context.settings.portfolio.initial_cash
    final = reports[-1].equity
    console.print(f"Equity {final:,.2f} {context.settings.portfolio.currency}, P&L {final - first:+,.2f}.")
    if page:
        console.print(f"Report: {page}")


def report(
    sessions: Annotated[int | None, typer.Option("--sessions", min=1, help="Newest sessions; default all.")] = None,
    universe: UniverseOption = None,
    as_known_on: AsKnownOn = None,
    json: Json = False,
) -> None:
    """Write the HTML report of what the ledger holds."""
    from sqlalchemy import select

    from quant_dagster.cli.output import print_facts
    from quant_dagster.storage.ledger_tables import cycles

    context = open_existing(universe=universe)
    with context.ledger.read() as connection:
        upto = parse_day(as_known_on, "--as-known-on") or date.max
        query = select(cycles.c.session).where(cycles.c.session <= upto).order_by(cycles.c.session)
        days = list(connection.execute(query).scalars())
    page = _write_report(context, days[-sessions:] if sessions else days)
    print_facts({"report": str(page), "sessions": len(days)}, title="Report", as_json=json)


def marts(
    export_sources: Annotated[
        bool, typer.Option("--export-sources", help="Also write what the dbt command reads the models' sources from.")
    ] = False,
    json: Json = False,
) -> None:
    """Rebuild the SQL models under QUANT_HOME/marts and run their tests; exit code 1 when a test fails."""
    from quant_dagster.cli.output import print_rows
    from quant_dagster.operations.sql import database
    from quant_dagster.operations.sql.project import SqlProject
    from quant_dagster.operations.sql.tests import Severity

    context = open_existing()
    folder = context.home / "marts"
    project = SqlProject.load(variables={"minimum_quality_score": context.settings.quality.minimum_score})
    built = database.run(project, context.lake, context.ledger, folder)
    tests = database.run_tests(project, context.lake, context.ledger)
    failed = [test for test in tests if not test.passed]
    if export_sources:
        database.export_sources(project, context.lake, context.ledger, folder / "sources")
    rows = [
        {
            "model": model.name,
            "rows": model.rows,
            "tests": sum(test.model == model.name for test in tests),
            "failed": [test.name for test in failed if test.model == model.name],
            "file": str(model.path) if model.path else "",
        }
        for model in built
    ]
    print_rows(rows, ["model", "rows", "tests", "failed", "file"], title="SQL models", as_json=json)
    if any(test.severity is Severity.ERROR for test in failed):
        raise typer.Exit(1)


def tell(context: TradingContext, alerts: Sequence[Alert]) -> int:
    """Send what people should hear; the cycle does not fail because Slack does. Returns how many were sent."""
    from quant_dagster.cli.output import errors
    from quant_dagster.operations.alerts.notifications import NotificationError, Notifier

    notifier = Notifier(context.settings.notifications, context.ledger)
    told = 0
    for alert in alerts:
        try:
            told += notifier.send(alert)
        except NotificationError as error:
            errors.print(f"not told: {error}; the same command again tells it", style="yellow", markup=False)
    return told


def _write_report(context: TradingContext, days: list[date]) -> Path:
    from quant_dagster.operations.report.page import write_report

    return write_report(
        context.ledger,
        context.lake,
        context.home,
        sessions=days,
        universe=context.universe,
        settings=context.settings,
        survivorship=context.survivorship(min(days), max(days)) if days else None,
    )
