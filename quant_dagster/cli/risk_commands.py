"""``quant risk``, looking: how much can be lost, how much of each limit is used, what the gate said.

Locking, closing and watching are in ``intervention_commands``; who may trade at all is in ``control_commands``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from quant_dagster.cli import intervention_commands
from quant_dagster.cli.options import Json, Limit, SessionOption, open_existing, parse_day

if TYPE_CHECKING:
    from datetime import date

    import polars as pl

    from quant_dagster.cycle.context import TradingContext

app = typer.Typer(help="Risk: measures, stress, limits, account rules, lockouts, automatic actions.")
intervention_commands.register(app)

OfSession = Annotated[str | None, typer.Argument(metavar="[SESSION]", help="YYYY-MM-DD; default: the newest valued.")]


# -- how much can be lost ---------------------------------------------------------------------------------------------


@app.command()
def report(
    session: OfSession = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Largest contributions shown.")] = 10,
    json: Json = False,
) -> None:
    """VaR and expected shortfall of what is held, who contributes to them, concentration, liquidity and margin."""
    from dataclasses import asdict

    from quant_dagster.cli.output import console, print_facts, print_json, print_rows
    from quant_dagster.cycle.risk_report import risk_report

    context = open_existing()
    done = risk_report(context, _session(context, session))
    measures, parts = done.measures.to_dicts(), _contributions(done.contributions)
    facts: dict[str, Any] = {
        "heat": None if done.heat is None else asdict(done.heat),
        "margin": None if done.margin is None else asdict(done.margin),
        "counterparties": [asdict(one) for one in done.counterparties],
        "liquidation_var": done.liquidation_var,
    }
    positions = done.positions.sort("sessions_to_sell", descending=True, nulls_last=True).to_dicts()
    if json:
        said = {"statement": done.statement, "problems": list(done.problems), "not_measured": list(done.not_measured)}
        print_json(said | facts | {"measures": measures, "contributions": parts, "positions": positions})
        return
    console.print(done.statement, markup=False)
    for problem in done.problems:
        console.print(problem, style="yellow", markup=False)
    columns = ["method", "confidence", "horizon", "value_at_risk", "expected_shortfall", "volatility", "of_equity"]
    rows = [row | {"of_equity": row["expected_shortfall"] / row["equity"]} for row in measures]
    print_rows(rows, columns, title="Value at risk and expected shortfall", as_json=False)
    print_rows(parts[:top], list(parts[0]) if parts else [], title="Largest contributions", as_json=False)
    shown = ["symbol", "sector", "value", "weight", "average_traded", "sessions_to_sell"]
    print_rows(positions[:top], shown, title="Positions, the slowest to sell first", as_json=False)
    for title in ("heat", "margin"):
        if facts[title] is not None:
            print_facts(facts[title], title=title.capitalize(), as_json=False)


@app.command()
def stress(session: OfSession = None, json: Json = False) -> None:
    """What the positions would have lost in real crashes, and would lose under shocks and in simulation."""
    from quant_dagster.cli.output import console, print_json, print_rows
    from quant_dagster.cycle.stress_report import stress_report

    context = open_existing()
    done = stress_report(context, _session(context, session))
    rows = [
        row | {"of_equity": None if row["profit"] is None else row["profit"] / row["equity"]}
        for row in done.results.sort("kind", "scenario").to_dicts()
    ]
    if json:
        print_json({"statement": done.statement, "not_covered": list(done.not_covered), "results": rows})
        return
    columns = ["kind", "scenario", "profit", "of_equity", "worst", "value_at_risk", "expected_shortfall", "symbols",
               "not_evaluated"]  # fmt: skip
    console.print(done.statement, markup=False)
    print_rows(rows, columns, title="Stress", as_json=False)


@app.command()
def backtest(
    session: OfSession = None,
    account: Annotated[bool, typer.Option("--account", help="The account as it went, not the universe.")] = False,
    start: Annotated[str | None, typer.Option("--start", metavar="YYYY-MM-DD", help="First session forecast.")] = None,
    json: Json = False,
) -> None:
    """Value at risk forecast session by session against what was lost: exceedances and the tests on them."""
    from quant_dagster.cli.output import print_rows, progress_bar
    from quant_dagster.cycle.var_backtest import var_backtest

    first = parse_day(start, "--start")
    portfolio: Literal["account", "equal_weight"] = "account" if account else "equal_weight"
    with progress_bar(quiet=json) as progress:
        context = open_existing(progress=progress)
        frame = var_backtest(context, _newest_bars(context, session), portfolio, first)
    columns = ["method", "confidence", "sessions", "missing", "exceedances", "expected", "kupiec_p", "independence_p",
               "conditional_coverage_p", "zone", "shortfall_statistic", "shortfall_p"]  # fmt: skip
    rows = frame.drop("path").to_dicts()
    title = f"Backtest of value at risk, {portfolio}"
    if rows:
        title += f", {rows[0]['first']} to {rows[0]['session']}"
    print_rows(rows, columns, title=title, as_json=json)


# -- how much is used -------------------------------------------------------------------------------------------------


@app.command()
def limits(session: OfSession = None, json: Json = False) -> None:
    """Every limit of the gate and its present use, by what is held and on order."""
    from dataclasses import asdict

    from quant_dagster.cli.output import print_rows
    from quant_dagster.cycle.limit_use import limit_use

    context = open_existing()
    day = _session(context, session)
    rows = [asdict(one) | {"used": one.used} for one in limit_use(context, day)]
    columns = ["code", "about", "value", "limit", "used", "setting"]
    print_rows(rows, columns, title=f"Use of the gate's limits, session {day}", as_json=json)


@app.command()
def rules(json: Json = False) -> None:
    """The thirteen account rules: obeyed or not, their settings, what they see, and the lockouts they have imposed."""
    from dataclasses import asdict

    from quant_dagster.cli.output import console, print_rows
    from quant_dagster.cycle.limit_use import as_of, rule_use

    context = open_existing()
    at = as_of(context)
    rows = [asdict(one) for one in rule_use(context, at)]
    columns = ["rule", "enabled", "settings", "value", "lockouts"]
    print_rows(rows, columns, title=f"Account rules as of {at:%Y-%m-%d %H:%M:%S} UTC", as_json=json)
    if not json and not any(row["enabled"] for row in rows):
        console.print("No rule is enabled, so the account is not watched: set risk.account_rules.<rule>.enabled.")


@app.command()
def verdicts(
    session: SessionOption = None,
    symbol: Annotated[str | None, typer.Option("--symbol", help="Only this one.")] = None,
    rejected: Annotated[bool, typer.Option("--rejected", help="Only what was refused.")] = False,
    limit: Limit = 40,
    json: Json = False,
) -> None:
    """What the risk gate said of orders, and why in words."""
    from sqlalchemy import select

    from quant_dagster.cli.output import print_rows
    from quant_dagster.risk.gate import Outcome
    from quant_dagster.risk.reasons import words
    from quant_dagster.storage.ledger_tables import risk_events as table

    query = select(table)
    if (day := parse_day(session, "--session")) is not None:
        query = query.where(table.c.session == day)
    if symbol is not None:
        query = query.where(table.c.symbol == symbol.upper())
    if rejected:
        query = query.where(table.c.outcome == Outcome.REJECTED.value)
    query = query.order_by(table.c.session.desc(), table.c.recorded_at.desc(), table.c.symbol.desc()).limit(limit)
    with open_existing().ledger.read() as connection:
        rows = [dict(row) for row in connection.execute(query).mappings()][::-1]
    for row in rows:
        row["because"] = [words(code) for code in row["reasons"]]
    columns = ["session", "symbol", "origin", "outcome", "requested_quantity", "approved_quantity", "reasons",
               "because"]  # fmt: skip
    print_rows(rows, columns, title="Verdicts of the risk gate", as_json=json)


# -- parts ------------------------------------------------------------------------------------------------------------


def _session(context: TradingContext, text: str | None) -> date:
    """The session asked for, or the newest the account was valued at."""
    from quant_dagster.cycle.account_watch import newest_valued

    return parse_day(text, "SESSION") or newest_valued(context)


def _newest_bars(context: TradingContext, text: str | None) -> date:
    """The session asked for, or the newest with bars."""
    from quant_dagster.cycle.session import newest_session

    return parse_day(text, "SESSION") or newest_session(context, context.now())


def _contributions(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Shares of one-session ES at the largest confidence, one column a method, the largest first."""
    import polars as pl

    one = frame.filter((pl.col("horizon") == 1) & (pl.col("confidence") == pl.col("confidence").max()))
    if one.is_empty():
        return []
    wide = one.pivot("method", index=["symbol", "value"], values="component_es")
    methods = [name for name in wide.columns if name not in ("symbol", "value")]
    return wide.sort(pl.mean_horizontal(methods), "symbol", descending=[True, False]).to_dicts()
