"""``quant features``: past sessions into the feature store, what is served online, factors, and who leads whom."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Any

import typer

from quant_dagster.cli.options import (
    EndOption,
    Json,
    SessionOption,
    Sources,
    Symbols,
    UniverseOption,
    open_context,
    parse_day,
    parse_symbols,
)

app = typer.Typer(help="The feature store.")
_FEW = 8
"""Most symbols that are shown side by side; more go down the page."""


@app.command()
def build(
    start: Annotated[str, typer.Option("--start", metavar="YYYY-MM-DD", help="First session.")],
    end: EndOption = None,
    symbols: Symbols = None,
    universe: UniverseOption = None,
    source: Sources = None,
    json: Json = False,
) -> None:
    """Compute and store the features of past sessions. What is stored and comes out the same is left alone."""
    from quant_dagster.cli.output import print_facts
    from quant_dagster.cycle.feature_history import build_features
    from quant_dagster.cycle.session import newest_session
    from quant_dagster.errors import ConfigurationError

    context = open_context(symbols, universe=universe, sources=source)
    first = parse_day(start, "--start")
    if first is None:
        raise ConfigurationError("--start names the first session")
    last = parse_day(end, "--end") or newest_session(context, context.now())
    rows, news = build_features(context, first, last)
    facts = {"first": first, "last": last, "rows": rows, "new_or_changed": news}
    print_facts(facts, title="Features", as_json=json)


@app.command()
def get(
    symbols: Annotated[str, typer.Argument(metavar="SYMBOL[,SYMBOL]", help="Symbols to ask about.")],
    service: Annotated[
        str | None, typer.Option("--service", help="A feature service, or an alpha; default: every feature.")
    ] = None,
    features: Annotated[str | None, typer.Option("--features", metavar="A,B", help="Only these features.")] = None,
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", metavar="YYYY-MM-DD", help="Judge age at that session's close, not now."),
    ] = None,
    json: Json = False,
) -> None:
    """The values served online and the time they are of. A value that is too old is absent, and said to be."""
    from quant_dagster.cli.output import console, print_json
    from quant_dagster.errors import ConfigurationError
    from quant_dagster.features.services import SERVICE, service_of
    from quant_dagster.features.store import MAX_AGE
    from quant_dagster.strategies.alphas import ALPHAS

    if service is not None and features is not None:
        raise ConfigurationError("--service and --features both say what to show: give one of them")
    asked = parse_symbols(symbols) or []
    wanted: str | list[str] = service or SERVICE
    if service is not None and service in ALPHAS:
        wanted = service_of(service)
    if features is not None:
        wanted = [name.strip() for name in features.split(",") if name.strip()]
        if not wanted:
            raise ConfigurationError("--features names no feature; write them as rsi_14,return_1")
    context = open_context()
    now = _moment(context, as_of)
    store = context.feature_store
    events = store.served_since(asked, wanted)
    unknown = [symbol for symbol, event in zip(asked, events, strict=True) if event is None]
    if unknown:
        raise ConfigurationError(
            f"nothing is served of {', '.join(unknown)}: either universe '{context.universe.name}' has no such symbol, "
            f"or no session of it was pushed online yet ('quant cycle' does that)"
        )
    frame = store.get_online(asked, wanted, now=now)
    rows = [{**row, "served_from": event} for row, event in zip(frame.to_dicts(), events, strict=True)]
    if json:
        print_json(rows)
        return
    _print_values(rows, [name for name in frame.columns if name not in ("symbol", "event_timestamp")])
    for row in rows:
        if row["event_timestamp"] is None:
            side = "after" if row["served_from"] > now else f"more than {MAX_AGE.days} days before"
            console.print(
                f"{row['symbol']}: absent. What is served is of {row['served_from']:%Y-%m-%d %H:%M} UTC, {side} "
                f"{now:%Y-%m-%d %H:%M}; --as-of {row['served_from']:%Y-%m-%d} judges age at that session's close."
            )


@app.command("list")
def list_(json: Json = False) -> None:
    """Views, features and services of the feature store."""
    from quant_dagster.cli.output import print_json, print_rows
    from quant_dagster.features.definitions import FEATURES

    contents = open_context().feature_store.contents()
    definitions = [
        {
            "feature": feature.name,
            "view": feature.view.value,
            "unit": feature.unit,
            "bars": feature.warm_up,
            "description": feature.description,
        }
        for feature in FEATURES.values()
    ]
    if json:
        print_json({"contents": contents, "features": definitions})
        return
    print_rows(definitions, ["feature", "view", "unit", "bars", "description"], title="Features", as_json=False)
    for kind in ("view", "service"):
        rows = [{**row, "count": len(row["features"])} for row in contents if row["kind"] == kind]
        print_rows(rows, ["name", "count", "description"], title=f"{kind.capitalize()}s", as_json=False)


@app.command()
def serve(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")] = 6566,
) -> None:
    """Run Feast's own feature server over this store until interrupted (Ctrl-C)."""
    from quant_dagster.cli.output import console
    from quant_dagster.features.services import SERVICE

    context = open_context()
    store = context.feature_store
    url = f"http://{host}:{port}/get-online-features"
    example = f'{{"feature_service": "{SERVICE}", "entities": {{"symbol": ["{context.symbols[0]}"]}}}}'
    console.print(f"Feast's feature server over {store.root}, until interrupted. Ask it with:", markup=False)
    console.print(f"  curl -s {url} -H 'content-type: application/json' -d '{example}'", markup=False, soft_wrap=True)
    console.print(
        "It answers with what is served, however old: look at event_timestamps. It has no passwords, and who can reach "
        "it can also write to the store.",
        markup=False,
        soft_wrap=True,
    )
    store.serve(host, port)


@app.command()
def factors(session: SessionOption = None, symbols: Symbols = None, json: Json = False) -> None:
    """What each factor earned in a session, what the portfolio has of it, and the exposures of what is held."""
    from quant_dagster.cli.output import print_json, print_rows
    from quant_dagster.cycle.factors import portfolio_factors
    from quant_dagster.errors import StorageError

    context = open_context(symbols)
    day = _stored_session(context, "factor_returns", session, "'quant cycle' stores them")
    earned = context.lake.read("factor_returns", start=day, end=day)
    exposures = context.lake.read("factor_exposures", start=day, end=day)
    portfolio = portfolio_factors(context, day)
    asked = parse_symbols(symbols) or _held(context, day)
    mine = exposures.filter(exposures["symbol"].is_in(asked))
    missing = sorted(set(asked) - set(mine["symbol"])) if symbols else []
    if missing:
        raise StorageError(f"no exposures of {', '.join(missing)} are stored at {day}: not a member then, or no prices")
    wide = mine.pivot("factor", index=["symbol", "specific_volatility"], values="exposure").sort("symbol")
    if json:
        document = {"session": day, "factor_returns": earned.drop("session").to_dicts()}
        print_json({**document, "portfolio": portfolio.to_dicts(), "exposures": wide.to_dicts()})
        return
    columns = ["factor", "value", "standard_error", "explained"]
    print_rows(earned.to_dicts(), columns, title=f"Factor returns of {day}", as_json=False)
    print_rows(portfolio.to_dicts(), portfolio.columns, title=f"The portfolio by factor, {day}", as_json=False)
    what = "Exposures" if symbols else "Exposures of what is held"
    print_rows(wide.to_dicts(), wide.columns, title=f"{what}, {day}", as_json=False)


@app.command("lead-lag")
def lead_lag(
    session: SessionOption = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Strongest edges shown.")] = 20,
    compute: Annotated[bool, typer.Option("--compute", help="Look for them first, at the session.")] = False,
    symbols: Symbols = None,
    json: Json = False,
) -> None:
    """Who leads whom: symbols whose past says something about another beyond its own, by transfer entropy."""
    from quant_dagster.cli.output import print_rows
    from quant_dagster.cycle.lead_lag import store_lead_lag
    from quant_dagster.cycle.session import newest_session
    from quant_dagster.market_data.ingest import load_panel

    context = open_context(symbols)
    if compute:
        end = parse_day(session, "--session") or newest_session(context, context.now())
        panel = load_panel(context.lake, context.symbols, end)
        day, frame = panel.last_session, store_lead_lag(context, panel)
    else:
        day = _stored_session(
            context, "lead_lag", session, "none stood out from chance, or nobody looked; --compute looks"
        )
        frame = context.lake.read("lead_lag", start=day, end=day)
    rows = frame.sort(["transfer_entropy", "leader", "follower"], descending=[True, False, False]).head(top).to_dicts()
    columns = ["leader", "follower", "lag", "transfer_entropy", "p_value", "correlation"]
    print_rows(rows, columns, title=f"Lead and lag at {day}, bits a session", as_json=json)


def _moment(context: Any, as_of: str | None) -> datetime:
    """When age is judged: now, or a session's close."""
    day = parse_day(as_of, "--as-of")
    moment: datetime = context.now() if day is None else context.calendar.close_time(day)
    return moment


def _stored_session(context: Any, table: str, asked: str | None, what_to_do: str) -> date:
    """The session asked for, or the newest there is, of those a table has rows of."""
    from quant_dagster.errors import StorageError

    day = parse_day(asked, "--session")
    stored = context.lake.read(table, columns=["session"], start=day, end=day, ordered=False)["session"].max()
    if not isinstance(stored, date):
        raise StorageError(f"lake table {table} has no rows{f' of {day}' if day else ''}: {what_to_do}")
    return stored


def _held(context: Any, session: date) -> list[str]:
    positions = context.ledger.frame("positions")
    return list(positions.filter(positions["session"] == session)["symbol"])


def _print_values(rows: Sequence[dict[str, Any]], features: Sequence[str]) -> None:
    """A column for each symbol where they are few, else a row for each."""
    from quant_dagster.cli.output import print_rows

    if len(rows) > _FEW:
        print_rows(rows, ["symbol", "event_timestamp", *features], title="Features online", as_json=False)
        return
    table = [{"feature": name, **{row["symbol"]: row[name] for row in rows}} for name in features]
    moments = {row["symbol"]: f"{row['served_from']:%Y-%m-%d %H:%M} UTC" for row in rows}
    print_rows([{"feature": "of", **moments}, *table], ["feature", *moments], title="Features online", as_json=False)
