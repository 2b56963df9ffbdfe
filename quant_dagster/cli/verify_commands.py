"""``quant verify``: is what is stored complete and right? Exit code 1 when it is not."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from quant_dagster.cli.options import AsKnownOn, Json, open_context, open_existing, parse_day, parse_symbols

app = typer.Typer(help="Check the store, the ledger and the audit chain; exit code 1 when something is wrong.")


@app.command()
def backfill(
    min_symbols: Annotated[int, typer.Option("--min-symbols", min=1, help="Symbols that must have enough.")] = 20,
    min_sessions: Annotated[int, typer.Option("--min-sessions", min=1, help="Sessions each must have.")] = 1260,
    as_known_on: AsKnownOn = None,
    json: Json = False,
) -> None:
    """Are there enough symbols with enough sessions?"""
    from quant_dagster.cli.output import print_facts
    from quant_dagster.market_data.verification import verify_backfill

    result = verify_backfill(open_context().lake, min_symbols, min_sessions, parse_day(as_known_on, "--as-known-on"))
    facts = asdict(result)
    if not json:
        facts["short"] = f"{len(result.short)} symbols have fewer than {min_sessions} sessions"
    print_facts(facts, title="Backfill verified" if result.passed else "Backfill falls short", as_json=json)
    _exit(result.passed)


@app.command()
def symbols(
    names: Annotated[str, typer.Argument(metavar="A,B", help="Symbols to check.")],
    as_known_on: AsKnownOn = None,
    json: Json = False,
) -> None:
    """Is there a bar for every session of these symbols' lives?"""
    from quant_dagster.cli.output import print_rows
    from quant_dagster.market_data.verification import verify_symbols

    context = open_context()
    results = verify_symbols(
        context.lake, parse_symbols(names) or [], context.calendar, parse_day(as_known_on, "--as-known-on")
    )
    rows = [asdict(result) | {"complete": result.complete} for result in results]
    columns = ["symbol", "sessions", "first", "last", "missing", "complete"]
    print_rows(rows, columns, title="Symbols", as_json=json)
    _exit(all(result.complete for result in results))


@app.command()
def data(
    docs: Annotated[bool, typer.Option("--docs", help="Also write Great Expectations' data docs.")] = False,
    json: Json = False,
) -> None:
    """Does every stored row keep its contract, and do bars look as bars usually do?

    A broken contract or a critical expectation that is not met fails; other expectations warn.
    """
    from quant_dagster.cli.output import print_json, print_rows
    from quant_dagster.quality import contracts
    from quant_dagster.quality.expectations import Outcome, Severity, build_data_docs, run_expectations

    context = open_context()
    checked = [contracts.check(name, context.lake.read(name)) for name in context.lake.tables() if _has_contract(name)]
    bars = context.lake.read("bars")
    outcomes = run_expectations(bars) if bars.height else []
    page = build_data_docs(bars, context.home / "reports" / "data_docs") if docs and bars.height else None
    tables = [{"table": one.table, "rows": one.rows, "kept": one.passed, "failures": [str(f) for f in one.failures]}
              for one in checked]  # fmt: skip
    unmet = [asdict(one) for one in outcomes if one.outcome is not Outcome.MET]
    passed = all(one.passed for one in checked) and not any(
        one.outcome is not Outcome.MET and one.severity is Severity.CRITICAL for one in outcomes
    )
    if json:
        docs_path = str(page) if page else None
        print_json(
            {"passed": passed, "contracts": tables, "expectations": len(outcomes), "unmet": unmet, "docs": docs_path}
        )
    else:
        print_rows(tables, ["table", "rows", "kept", "failures"], title="Contracts", as_json=False)
        columns = ["name", "severity", "outcome", "unexpected", "observed", "error"]
        print_rows(unmet, columns, title=f"Of {len(outcomes)} expectations, not met", as_json=False)
        if page:
            print_rows([{"data docs": str(page)}], ["data docs"], title="Data docs", as_json=False)
    _exit(passed)


def _has_contract(table: str) -> bool:
    from quant_dagster.storage.tables import SUPERSEDED

    return not table.endswith(SUPERSEDED)


@app.command()
def ledger(json: Json = False) -> None:
    """Do the books balance, are positions the sum of fills, are orders what their events say?"""
    from quant_dagster.cli.output import print_facts
    from quant_dagster.operations.verification import verify_ledger

    report = verify_ledger(open_context().ledger)
    facts = {
        "sound": report.sound,
        "counts": report.counts,
        "problems": list(report.problems),
        "open_items": list(report.open_items),
    }
    print_facts(facts, title="Ledger", as_json=json)
    _exit(report.sound)


@app.command()
def audit(json: Json = False) -> None:
    """Is the audit chain intact, and do orders, fills and decisions agree with it?"""
    from quant_dagster.cli.output import print_facts
    from quant_dagster.observability.audit import verify

    context = open_existing()
    report = verify(context.ledger)
    facts = {"intact": report.intact, "rows": report.rows, "problems": list(report.problems)}
    print_facts(facts, title="Audit log", as_json=json)
    _exit(report.intact)


def _exit(passed: bool) -> None:
    if not passed:
        raise typer.Exit(1)
