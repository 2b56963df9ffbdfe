"""``quant costs``: what orders cost, what the next one will probably cost, and the evidence of best execution."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quant_dagster.cli.options import Json, Limit, SessionOption, open_existing, parse_day

if TYPE_CHECKING:
    from pathlib import Path

    from quant_dagster.cycle.context import TradingContext

app = typer.Typer(help="Execution quality: what orders cost, estimates, the cost model, best execution.")

Since = Annotated[str | None, typer.Option("--since", metavar="YYYY-MM-DD", help="First trading session.")]


class Grouping(StrEnum):
    """What ``show --by`` puts orders together by."""

    SYMBOL = "symbol"
    ALGORITHM = "algorithm"
    VENUE = "venue"
    BROKER = "broker"
    SIDE = "side"
    HOUR = "hour"


class Format(StrEnum):
    """How ``report`` writes."""

    JSON = "json"
    CSV = "csv"


@app.command()
def show(
    session: SessionOption = None,
    since: Since = None,
    by: Annotated[Grouping | None, typer.Option("--by", help="Put orders together by this.")] = None,
    limit: Limit = 40,
    json: Json = False,
) -> None:
    """What measured orders cost against their decision: each, or put together."""
    from quant_dagster.cli.output import print_rows
    from quant_dagster.execution.quality.best_execution import By, summary

    rows = _rows(open_existing(), session, since)
    if by is not None:
        columns = ["group", "orders", "fills", "value", "filled", "cost_bps", "arrival_bps", "arrival_low",
                   "arrival_high", "vwap_bps", "close_bps", "improved", "partly_filled", "unfilled"]  # fmt: skip
        print_rows(summary(rows, By(by.value)).to_dicts(), columns, title=f"Execution by {by}", as_json=json)
        return
    columns = ["session", "symbol", "side", "algorithm", "ordered", "filled", "delay_bps", "spread_bps", "impact_bps",
               "fees_bps", "opportunity_bps", "total_bps", "estimated_bps", "vwap_slippage_bps"]  # fmt: skip
    print_rows(rows[-limit:], columns, title="What orders cost, basis points of the decision's value", as_json=json)


@app.command()
def measure(
    session: SessionOption = None,
    since: Since = None,
    json: Json = False,
) -> None:
    """Measure the orders of trading sessions again, by ledger and lake as they are now; default: the newest."""
    from quant_dagster.cli.output import print_rows
    from quant_dagster.cycle.execution_quality import measure_execution
    from quant_dagster.cycle.session import newest_session

    context = open_existing()
    last = parse_day(session, "--session") or newest_session(context, context.now())
    first = parse_day(since, "--since") or last
    done = [
        {"session": day, "orders": frame.height, "total_known": frame.height - frame["total_bps"].null_count()}
        for day in context.calendar.session_dates(first, last)
        for frame in [measure_execution(context, day)]
    ]
    print_rows(done, ["session", "orders", "total_known"], title="Measured", as_json=json)


@app.command()
def estimate(
    symbol: Annotated[str, typer.Argument(help="Ticker.")],
    side: Annotated[str, typer.Argument(help="buy or sell.")],
    quantity: Annotated[str, typer.Argument(help="Shares.")],
    session: SessionOption = None,
    json: Json = False,
) -> None:
    """What an order will probably cost against its arrival price, by the model learned from own orders."""
    from dataclasses import asdict

    from quant_dagster.cli.output import print_facts
    from quant_dagster.cycle.execution_quality import cost_facts, estimate_order
    from quant_dagster.cycle.session import newest_session

    name, direction, shares = symbol.upper(), _side(side), _shares(quantity)
    context = open_existing()
    day = parse_day(session, "--session") or newest_session(context, context.now())
    done = estimate_order(context, name, direction, shares, day)
    facts: dict[str, Any] = asdict(done) | {"session": day, **asdict(cost_facts(context, name, day))}
    if done.impact_bps is None:
        facts["unknown"] = "impact: the symbol's volume, or its volatility, is not known"
    print_facts(facts, title="Expected cost, basis points", as_json=json)


@app.command()
def model(json: Json = False) -> None:
    """The cost model: coefficients and their standard errors, and how much of it is still the settings'."""
    from dataclasses import asdict

    from quant_dagster.cli.output import print_facts
    from quant_dagster.cycle.execution_quality import cost_model

    formula = "spread * half spread + impact * volatility * sqrt(quantity / daily volume), basis points"
    facts = asdict(cost_model(open_existing())) | {"cost": formula}
    print_facts(facts, title="Cost model", as_json=json)


@app.command()
def report(
    session: SessionOption = None,
    since: Since = None,
    form: Annotated[Format, typer.Option("--format", help="json: summaries and orders; csv: a row an order.")] = (
        Format.JSON
    ),
    json: Json = False,
) -> None:
    """Write the evidence of best execution to QUANT_HOME/reports: every order with its benchmarks, and summaries."""
    from quant_dagster.cli.output import console, print_json
    from quant_dagster.cycle.execution_quality import as_frame
    from quant_dagster.errors import LedgerError
    from quant_dagster.execution.quality.best_execution import summaries, worst
    from quant_dagster.storage.types import canonical_json

    context = open_existing()
    rows = _rows(context, session, since)
    if not rows:
        raise LedgerError("no order of those sessions was measured: run 'quant costs measure' for them")
    path = _report_path(context, rows, form.value)
    if form is Format.CSV:
        text = as_frame(rows).write_csv()
    else:
        content = {name: frame.to_dicts() for name, frame in summaries(rows).items()}
        text = canonical_json({"summaries": content, "worst": worst(rows), "orders": rows}) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    if json:
        print_json({"path": str(path), "orders": len(rows)})
    else:
        console.print(f"{len(rows)} orders: {path}", markup=False)


# -- parts ------------------------------------------------------------------------------------------------------------


def _rows(context: TradingContext, session: str | None, since: str | None) -> list[dict[str, Any]]:
    from quant_dagster.cycle.execution_quality import quality_rows

    with context.ledger.read() as connection:
        return quality_rows(connection, session=parse_day(session, "--session"), since=parse_day(since, "--since"))


def _report_path(context: TradingContext, rows: list[dict[str, Any]], ending: str) -> Path:
    return context.home / "reports" / f"best_execution_{rows[0]['session']}_{rows[-1]['session']}.{ending}"


def _side(text: str) -> Any:
    from quant_dagster.accounting.books import Side
    from quant_dagster.errors import ConfigurationError

    try:
        return Side(text.lower())
    except ValueError:
        raise ConfigurationError(f"SIDE '{text}' is neither buy nor sell") from None


def _shares(text: str) -> Any:
    from decimal import Decimal, InvalidOperation

    from quant_dagster.errors import ConfigurationError

    try:
        shares = Decimal(text)
    except InvalidOperation:
        shares = Decimal(0)
    if not shares.is_finite() or shares <= 0:
        raise ConfigurationError(f"QUANTITY '{text}' is not a number of shares above zero")
    return shares
