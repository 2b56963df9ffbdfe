"""``quant broker``: the connection, what the broker knows, what it knows and we do not, and the books against it."""

from __future__ import annotations

from typing import Annotated

import typer

from quant_dagster.cli import break_commands
from quant_dagster.cli.break_commands import ready, short
from quant_dagster.cli.control_commands import Actor
from quant_dagster.cli.options import Json, Limit, open_existing
from quant_dagster.errors import ConfigurationError

app = typer.Typer(help="The broker: connection, account, unknown orders, reconciliation.", no_args_is_help=True)
break_commands.register(app)


@app.command()
def status(limit: Limit = 10, json: Json = False) -> None:
    """Who holds the broker, whether the daemon lives, and the newest changes of its connection."""
    from quant_dagster.cli.output import print_facts, print_json, print_rows
    from quant_dagster.cycle.handover import broker_status

    context = open_existing()
    facts, changes = broker_status(context, limit)
    if json:
        print_json({**facts, "connection": changes})
        return
    print_facts(facts, title=f"Broker '{context.settings.execution.broker}'", as_json=False)
    columns = ["at", "state", "previous", "attempt", "reason"]
    print_rows([one | {"at": short(one["at"])} for one in changes], columns, title="Connection", as_json=False)


@app.command()
def account(json: Json = False) -> None:
    """Ask the broker for its account: cash, positions, open orders. Connects for a moment unless the daemon runs."""
    from quant_dagster.cli.output import print_facts, print_json, print_rows
    from quant_dagster.cycle.handover import ask_account

    context = ready()
    told, open_orders = ask_account(context)
    facts = {
        "account": told.account,
        "currency": told.currency,
        "equity": told.equity,
        **{f"cash {currency}": amount for currency, amount in told.cash.items()},
    }
    positions = [{"symbol": symbol, "quantity": quantity} for symbol, quantity in sorted(told.positions.items())]
    orders = [
        {
            "broker_order_id": one.broker_order_id,
            "client_order_id": one.client_order_id,
            "symbol": one.symbol,
            "side": one.side.value,
            "quantity": one.quantity,
            "filled": one.filled_quantity,
            "type": one.order_type,
            "limit": one.limit_price,
        }
        for one in open_orders
    ]
    if json:
        print_json({**facts, "positions": positions, "orders": orders})
        return
    print_facts(facts, title="Account", as_json=False)
    print_rows(positions, ["symbol", "quantity"], title="Positions at the broker", as_json=False)
    columns = ["broker_order_id", "client_order_id", "symbol", "side", "quantity", "filled", "type", "limit"]
    print_rows(orders, columns, title="Open orders at the broker", as_json=False)


@app.command()
def unknown(json: Json = False) -> None:
    """Orders and executions at the broker that belong to no order of ours; their instruments are locked."""
    from quant_dagster.cli.output import print_rows
    from quant_dagster.execution import foreign

    context = open_existing()
    with context.ledger.read() as connection:
        rows = foreign.unresolved(connection)
    columns = ["broker", "kind", "reference", "symbol", "side", "quantity", "price", "detail", "recorded_at"]
    print_rows(rows, columns, title="Unknown at the broker", as_json=json)


@app.command()
def settle_unknown(
    kind: Annotated[str, typer.Argument(help="order or execution")],
    reference: Annotated[str, typer.Argument(help="As 'quant broker unknown' names it.")],
    verdict: Annotated[str, typer.Argument(help="adopt (orders under an id of ours), cancel (orders) or dismiss.")],
    actor: Actor,
    json: Json = False,
) -> None:
    """Decide on something unknown. Asks for an operator's passphrase.

    The instrument stays locked: 'quant data quarantine' lists the locks, and lifts one with --release.
    """
    from quant_dagster.cli.control_commands import ask_passphrase
    from quant_dagster.cli.output import print_facts
    from quant_dagster.cycle.unknown_orders import settle_unknown as settle
    from quant_dagster.risk import operators

    if kind not in ("order", "execution") or verdict not in ("adopt", "cancel", "dismiss"):
        raise ConfigurationError("write: quant broker settle-unknown order|execution REFERENCE adopt|cancel|dismiss")
    context = ready()
    operators.authenticate(context.ledger, actor, ask_passphrase(f"Passphrase of {actor}"))
    said = settle(context, kind, reference, verdict, actor=actor)
    print_facts({"reference": reference, "outcome": said}, title="Unknown", as_json=json)
