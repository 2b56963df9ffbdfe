"""``quant vendors``: how the vendors are, which one serves, and a person's hand on them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from quant_dagster.cli.options import Json, UniverseOption, open_context

app = typer.Typer(help="The vendors: health, circuit breakers, budgets, which one is in force.")


@app.command()
def status(universe: UniverseOption = None, json: Json = False) -> None:
    """Every vendor in priority order: in force or not, breaker, health, requests in the newest window."""
    from quant_dagster.cli.output import print_rows

    context = open_context(universe=universe)
    context.ledger.upgrade()
    columns = ["vendor", "active", "remote", "well", "breaker", "score", "error_rate", "median_seconds", "observations"]
    print_rows(_rows(context), [*columns, "why"], title="Vendors", as_json=json)


@app.command()
def watch(universe: UniverseOption = None, json: Json = False) -> None:
    """Judge the vendors now as the failover sensor does: probe, change the one in force if called for, tell Slack."""
    from dataclasses import asdict

    from quant_dagster.cli.output import print_facts
    from quant_dagster.cycle.vendor_watch import watch_vendors
    from quant_dagster.operations.alerts.market import market_alerts
    from quant_dagster.operations.alerts.notifications import Notifier

    context = open_context(universe=universe)
    found = watch_vendors(context)
    notifier = Notifier(context.settings.notifications, context.ledger)
    alerts = market_alerts(context, context.calendar.latest_completed(context.now()))
    told = sum(notifier.send(alert) for alert in alerts)
    facts: dict[str, Any] = {
        "active": found.active,
        "switch": asdict(found.switch) if found.switch else None,
        "incomplete_sessions": [str(day) for day in found.incomplete],
        "vendors": {state.name: "well" if state.well else state.why for state in found.states},
        "alerts_sent": told,
    }
    print_facts(facts, title="Vendors watched", as_json=json)


@app.command()
def switch(
    vendor: Annotated[str, typer.Argument(help="The vendor that is to serve.")],
    actor: Annotated[str, typer.Option("--actor", help="Who decides it.")],
    reason: Annotated[str, typer.Option("--reason", help="Why.")],
    universe: UniverseOption = None,
) -> None:
    """Put a vendor in force by hand; audited."""
    from quant_dagster.cli.output import console
    from quant_dagster.cycle.vendor_watch import incomplete_sessions
    from quant_dagster.errors import ConfigurationError
    from quant_dagster.market_data import failover

    context = open_context(universe=universe)
    names = [one.name for one in context.vendors]
    if vendor not in names:
        raise ConfigurationError(f"vendor '{vendor}' is not one of the universe's: {', '.join(names)}")
    context.ledger.upgrade()
    asset_class = context.universe.asset_class
    sessions = incomplete_sessions(context)
    with context.ledger.write() as connection:
        before = failover.active_vendor(connection, asset_class, names)
        failover.record_switch(
            connection, asset_class, vendor, before, actor=actor, reason=reason, sessions=sessions, at=context.now()
        )
    console.print(f"{asset_class}: {vendor} is in force (was {before}).")


@app.command()
def breaker(
    name: Annotated[str, typer.Argument(help="vendor:NAME, or 'network' to stop every request to every vendor.")],
    state: Annotated[str, typer.Argument(help="open or closed.")],
    actor: Annotated[str, typer.Option("--actor", help="Who decides it.")],
    reason: Annotated[str, typer.Option("--reason", help="Why.")],
) -> None:
    """Open or close a circuit breaker by hand; one opened by hand stays open until a person closes it."""
    from quant_dagster.cli.output import console
    from quant_dagster.cycle.context import NETWORK
    from quant_dagster.errors import ConfigurationError
    from quant_dagster.market_data.failover import GUARD_PREFIX
    from quant_dagster.resilience.breaker_state import BreakerStatus, breaker_states, force
    from quant_dagster.settings import LiveVendorsSettings

    if state not in (BreakerStatus.OPEN.value, BreakerStatus.CLOSED.value):
        raise ConfigurationError(f"a breaker can be set 'open' or 'closed', not '{state}'")
    context = open_context()
    context.ledger.upgrade()
    known = {NETWORK, *(GUARD_PREFIX + vendor for vendor in LiveVendorsSettings.model_fields)}
    known |= {one.name for one in breaker_states(context.ledger)}
    if name not in known:
        raise ConfigurationError(f"there is no breaker '{name}'; known: {', '.join(sorted(known))}")
    now = force(context.ledger, name, BreakerStatus(state), actor, reason, context.now())
    console.print(f"breaker {name} is {now.status.value}")


def _rows(context: Any) -> list[dict[str, Any]]:
    from quant_dagster.cycle.vendor_watch import vendor_states
    from quant_dagster.market_data import failover

    names = [vendor.name for vendor in context.vendors]
    with context.ledger.read() as connection:
        active = failover.active_vendor(connection, context.universe.asset_class, names)
    remote = {vendor.name: vendor.capabilities.remote for vendor in context.vendors}
    return [
        {
            "vendor": state.name,
            "active": state.name == active,
            "remote": remote[state.name],
            "well": state.well,
            "why": state.why,
            "breaker": state.breaker.status.value if state.breaker else "closed",
            "score": state.health.score if state.health else None,
            "error_rate": state.health.error_rate if state.health else None,
            "median_seconds": state.health.median_seconds if state.health else None,
            "observations": state.health.observations if state.health else 0,
        }
        for state in vendor_states(context)
    ]
