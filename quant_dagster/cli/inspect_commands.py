"""Commands that only look: status, decisions, orders, fills, positions, pnl, lineage."""

from __future__ import annotations

from collections import Counter
from datetime import date
from typing import Annotated, Any

import typer
from sqlalchemy import Select, Table, func, select

from quant_dagster.cli.options import (
    AsKnownOn,
    Json,
    Limit,
    SessionOption,
    Symbols,
    open_existing,
    parse_day,
    parse_symbols,
)


def register(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    for command in (status, decisions, orders, fills, positions, pnl, lineage):
        app.command()(command)


def status(as_known_on: AsKnownOn = None, json: Json = False) -> None:
    """Where the desk stands: newest session, equity, control mode, open orders, data."""
    from quant_dagster.cli.output import print_facts
    from quant_dagster.execution import order_log
    from quant_dagster.risk.permission import read_permission
    from quant_dagster.storage import ledger_tables as t

    context = open_existing()
    known_on = parse_day(as_known_on, "--as-known-on")
    upto = known_on or date.max
    allowed = read_permission(context.ledger, context.settings, context.home)
    with context.ledger.read() as connection:

        def newest(table: Table) -> Any:
            query = select(table).where(table.c.session <= upto).order_by(table.c.session.desc()).limit(1)
            return connection.execute(query).mappings().first()

        last, snapshot = newest(t.cycles), newest(t.account_snapshots)
        orders = order_log.as_known_on(connection, upto)
        counts = {
            table.name: connection.execute(
                select(func.count()).select_from(table).where(table.c.session <= upto)
            ).scalar_one()
            for table in (t.cycles, t.decisions, t.orders, t.fills)
        }
    by_status = dict(Counter(order.status.value for order in orders if order.status is not None))
    bars = context.lake.read("bars", columns=["session", "symbol"], known_on=known_on, ordered=False)
    facts: dict[str, Any] = {
        "as_known_on": known_on,
        "home": str(context.home),
        "strategy": context.settings.strategy,
        "mode": context.settings.mode,
        "universe": context.universe.name,
        "control_mode": allowed.mode.name,
        "control_reason": "; ".join(allowed.reasons) or "nothing holds trading back",
        "control_codes": list(allowed.codes),
        "newest_cycle": last["session"] if last else None,
        "newest_cycle_status": last["status"] if last else None,
        "equity": snapshot["equity"] if snapshot else None,
        "cash": snapshot["cash"] if snapshot else None,
        "gross_exposure": snapshot["gross_exposure"] if snapshot else None,
        "orders_by_status": by_status,
        "counts": counts,
        "bars": bars.height,
        "bars_symbols": bars["symbol"].n_unique(),
        "bars_newest": bars["session"].max(),
    }
    shown = facts if json else {name: value for name, value in facts.items() if value not in (None, [], {})}
    print_facts(shown, title="Status", as_json=json)


def decisions(
    session: SessionOption = None,
    symbols: Symbols = None,
    action: Annotated[str | None, typer.Option("--action", help="BUY, SELL, HOLD or REJECT.")] = None,
    as_known_on: AsKnownOn = None,
    limit: Limit = 40,
    json: Json = False,
) -> None:
    """What was decided and why."""
    from quant_dagster.errors import ConfigurationError
    from quant_dagster.storage.ledger_tables import decisions as table
    from quant_dagster.strategies.decisions import Action

    query = select(table)
    if action is not None:
        if action.upper() not in Action.__members__:
            raise ConfigurationError(f"--action '{action}' is unknown; choose from {', '.join(Action.__members__)}")
        query = query.where(table.c.action == action.upper())
    columns = ["session", "symbol", "action", "current_quantity", "target_quantity", "decision_price", "confidence",
               "risk", "expected_return", "quality_score", "reasons"]  # fmt: skip
    _list(query, table, columns, "Decisions", session, symbols, limit, json, as_known_on)


def orders(
    session: SessionOption = None,
    symbols: Symbols = None,
    as_known_on: AsKnownOn = None,
    limit: Limit = 40,
    json: Json = False,
) -> None:
    """Orders and where they stand (or stood, from their events)."""
    from quant_dagster.cli.output import print_rows
    from quant_dagster.execution import order_log
    from quant_dagster.storage.ledger_tables import orders as table

    columns = ["session", "symbol", "side", "quantity", "status", "filled_quantity", "average_fill_price",
               "decision_price", "client_order_id"]  # fmt: skip
    known_on = parse_day(as_known_on, "--as-known-on")
    if known_on is None:
        _list(select(table), table, columns, "Orders", session, symbols, limit, json)
        return
    day, names = parse_day(session, "--session"), parse_symbols(symbols)
    with open_existing().ledger.read() as connection:
        found = [
            order
            for order in order_log.as_known_on(connection, known_on)
            if day in (None, order.session) and (names is None or order.symbol in names)
        ]
    rows = [
        {name: getattr(order, name) for name in columns} | {"status": order.status, "side": order.side.value}
        for order in found
    ]
    print_rows(rows[-limit:], columns, title=f"Orders as known on {known_on}", as_json=json)


def fills(
    session: SessionOption = None,
    symbols: Symbols = None,
    as_known_on: AsKnownOn = None,
    limit: Limit = 40,
    json: Json = False,
) -> None:
    """Executions, with what was paid against the price decided on."""
    from quant_dagster.storage.ledger_tables import fills as table

    columns = ["session", "symbol", "side", "quantity", "price", "decision_price", "reference_price", "commission",
               "execution_id"]  # fmt: skip
    _list(select(table), table, columns, "Fills", session, symbols, limit, json, as_known_on)


def positions(
    session: SessionOption = None,
    symbols: Symbols = None,
    as_known_on: AsKnownOn = None,
    limit: Limit = 600,
    json: Json = False,
) -> None:
    """Positions at a session's close; by default the newest."""
    from quant_dagster.storage.ledger_tables import positions as table

    query = select(table)
    if session is None:
        upto = parse_day(as_known_on, "--as-known-on") or date.max
        newest = select(func.max(table.c.session)).where(table.c.session <= upto)
        query = query.where(table.c.session == newest.scalar_subquery())
    columns = ["session", "symbol", "quantity", "cost", "price", "market_value", "unrealised_pnl", "realised_pnl",
               "commission"]  # fmt: skip
    _list(query, table, columns, "Positions", session, symbols, limit, json, as_known_on)


def pnl(as_known_on: AsKnownOn = None, limit: Limit = 60, json: Json = False) -> None:
    """Equity and profit or loss per session."""
    from quant_dagster.cli.output import print_rows
    from quant_dagster.storage.ledger_tables import account_snapshots as table

    context = open_existing()
    upto = parse_day(as_known_on, "--as-known-on") or date.max
    query = select(table).where(table.c.session <= upto).order_by(table.c.session)
    with context.ledger.read() as connection:
        rows = [dict(row) for row in connection.execute(query).mappings()]
    previous = None
    for row in rows:
        row["pnl"] = None if previous is None else row["equity"] - previous
        row["drawdown"] = float(1 - row["equity"] / row["peak_equity"]) if row["peak_equity"] else None
        previous = row["equity"]
    columns = ["session", "equity", "pnl", "realised_pnl", "unrealised_pnl", "commission", "cash", "gross_exposure",
               "drawdown"]  # fmt: skip
    print_rows(rows[-limit:], columns, title="Profit and loss", as_json=json)


def lineage(
    fill_id: Annotated[str, typer.Argument(help="Execution id of a fill, or its beginning; see 'quant fills'.")],
    as_known_on: AsKnownOn = None,
    json: Json = False,
) -> None:
    """Everything that led to a fill: order, risk, decision, signals, forecasts, settings, vendor rows."""
    from quant_dagster.cli.output import console, print_json
    from quant_dagster.operations.lineage import fill_lineage

    context = open_existing()
    found = fill_lineage(context.ledger, context.lake, fill_id, parse_day(as_known_on, "--as-known-on"))
    if json:
        print_json(found)
        return
    console.print(_lineage_tree(found))


def _lineage_tree(found: dict[str, Any]) -> Any:
    from rich.tree import Tree

    fill, order, decision, cycle = found["fill"], found["order"], found["decision"], found["cycle"]
    tree = Tree(
        f"[bold]fill {fill['execution_id']}[/bold]: {fill['side']} {float(fill['quantity']):g} {fill['symbol']} at "
        f"{float(fill['price']):.4f} in {fill['session']} ({fill['provenance']['priced_at']}), "
        f"commission {float(fill['commission']):.2f}"
    )
    _bar_branch(tree.add("filled against"), found["fill_bar"])
    entries = tree.add("booked as")
    for line in found["postings"]:
        entries.add(f"{line['account']}: {float(line['amount']):+,.2f}")
    branch = tree.add(
        f"order {order['client_order_id']}: {order['side']} {float(order['quantity']):g}, {order['status']}"
    )
    for event in found["order_events"]:
        branch.add(f"{event['sequence']}. {event['kind']} in {event['session']}")
    for verdict in found["risk"]:
        risk = branch.add(
            f"risk gate: {verdict['outcome']}, {float(verdict['approved_quantity']):g} of "
            f"{float(verdict['requested_quantity']):g} {' '.join(verdict['reasons'])}"
        )
        for check in verdict["checks"]:
            value = "-" if check["value"] is None else f"{check['value']:.6g}"
            risk.add(f"{check['code']}: {check['verdict']} (value {value}, limit {check['limit']:.6g})")
    decided = tree.add(
        f"decision of {decision['session']}: {decision['action']} because {', '.join(decision['reasons'])}"
    )
    for signal in found["signals"]:
        decided.add(
            f"signal {signal['alpha']}: direction {signal['direction']:+d}, confidence {signal['confidence']:.3f}, "
            f"risk {signal['risk']:.3f}, priority {signal['priority']:.3f} ({signal['reasons']})"
        )
    for forecast in found["forecasts"]:
        if forecast["mean"] is None:
            decided.add(f"forecast {forecast['model']}, {forecast['horizon']} sessions: none, {forecast['fallback']}")
            continue
        fallback = f", fallback: {forecast['fallback']}" if forecast["fallback"] else ""
        decided.add(
            f"forecast {forecast['model']}, {forecast['horizon']} sessions: mean {forecast['mean']:+.5f}, standard "
            f"deviation {forecast['std']:.5f}, bars version {forecast['data_version']}{fallback}"
        )
    for score in found["quality"]:
        decided.add(f"data quality {score['score']:.2f} {score['issues']} {score['not_evaluated']}")
    _bar_branch(decided.add("decided on"), found["decision_bar"])
    tree.add(
        f"cycle {cycle['cycle_id']}: settings {cycle['settings_hash']}, code {cycle['code_version']}, "
        f"lake {cycle['inputs'].get('lake_versions')}"
    )
    return tree


def _bar_branch(branch: Any, found: dict[str, Any]) -> None:
    for bar in found["bar"]:
        branch.add(f"bar of {bar['session']}: close {bar['close']:.4f}, volume {bar['volume']}, vendor {bar['vendor']}")
    for raw in found["raw_prices"]:
        branch.add(f"vendor row {raw['row_hash']} of {raw['vendor']}, known at {raw['known_at']:%Y-%m-%d %H:%M %Z}")


def _list(
    query: Select[Any],
    table: Table,
    columns: list[str],
    title: str,
    session: str | None,
    symbols: str | None,
    limit: int,
    as_json: bool,
    as_known_on: str | None = None,
) -> None:
    """The newest rows of a ledger table, oldest first; what belongs to later sessions was not known."""
    from quant_dagster.cli.output import print_rows

    known_on = parse_day(as_known_on, "--as-known-on")
    if known_on is not None:
        query = query.where(table.c.session <= known_on)
        title = f"{title} as known on {known_on}"
    day, names = parse_day(session, "--session"), parse_symbols(symbols)
    if day is not None:
        query = query.where(table.c.session == day)
    if names is not None:
        query = query.where(table.c.symbol.in_(names))
    query = query.order_by(table.c.session.desc(), table.c.symbol.desc()).limit(limit)
    with open_existing().ledger.read() as connection:
        rows = [dict(row) for row in connection.execute(query).mappings()]
    print_rows(rows[::-1], columns, title=title, as_json=as_json)
