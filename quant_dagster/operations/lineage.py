"""From a fill back to everything that led to it: order, risk verdict, decision, signals, forecasts, vendor rows."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import polars as pl
from sqlalchemy import Connection, Table, select

from quant_dagster.errors import LedgerError
from quant_dagster.storage.lake import Lake
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import (
    cycles,
    decisions,
    fills,
    order_events,
    orders,
    postings,
    risk_events,
    vendor_switches,
)
from quant_dagster.storage.tables import SUPERSEDED


def fill_lineage(ledger: Ledger, lake: Lake, execution_id: str, known_on: date | None = None) -> dict[str, Any]:
    """Everything behind one fill, from its postings to the vendor's rows.

    Parameters
    ----------
    execution_id
        A fill's id, or an unambiguous beginning of it.
    known_on
        Refuse a fill of a later session, and show the vendors' rows as they were known on that day.

    Returns
    -------
    dict
        ``fill``, ``postings``, ``order``, ``order_events``, ``risk``, ``decision``, ``cycle`` (settings hash, code
        version, lake versions), ``signals``, ``forecasts`` (model, parameters, data version), ``quality``,
        ``decision_bar`` and ``fill_bar`` with the vendor's raw rows, every value they ever had included, and
        ``vendors``: the changes of vendor up to then.

    Raises
    ------
    LedgerError
        No fill, or more than one, has that id.
    """
    with ledger.read() as connection:
        fill = _one_fill(connection, execution_id)
        order = _row(connection, orders, orders.c.client_order_id == fill["client_order_id"])
        decision = _row(connection, decisions, decisions.c.decision_id == order["decision_id"])
        cycle = _row(connection, cycles, cycles.c.cycle_id == decision["cycle_id"])
        risk = _rows(connection, risk_events, risk_events.c.event_id == f"risk:{order['client_order_id']}")
        events = _rows(connection, order_events, order_events.c.client_order_id == order["client_order_id"])
        posted = _rows(connection, postings, postings.c.execution_id == fill["execution_id"])
        changes = _rows(connection, vendor_switches, vendor_switches.c.recorded_at <= order["created_at"])
    if known_on is not None and fill["session"] > known_on:
        raise LedgerError(f"fill {fill['execution_id']} of {fill['session']} was not known on {known_on}")
    symbol, session = decision["symbol"], decision["session"]
    versions = cycle["inputs"].get("lake_versions", {})

    def lake_rows(table: str, at: Any) -> list[dict[str, Any]]:
        version = versions.get(table) if at == session else None
        return lake.read(table, symbols=[symbol], start=at, end=at, version=version).to_dicts()

    bar = fill["provenance"]["bar"]
    return {
        "fill": fill,
        "postings": posted,
        "order": order,
        "order_events": events,
        "risk": risk,
        "decision": decision,
        "cycle": cycle,
        "signals": lake_rows("signals", session),
        "forecasts": [
            row | {name: json.loads(row[name]) for name in ("parameters", "diagnostics")}
            for row in lake_rows("forecasts", session)
        ],
        "quality": lake_rows("quality", session),
        "decision_bar": _bar(lake, symbol, lake_rows("bars", session), known_on),
        "fill_bar": _bar(
            lake,
            symbol,
            lake.read(
                "bars", symbols=[symbol], start=fill["session"], end=fill["session"], version=bar["lake_version"]
            ).to_dicts(),
            known_on,
        ),
        "vendors": changes,
    }


def _bar(lake: Lake, symbol: str, bars: list[dict[str, Any]], known_on: date | None) -> dict[str, Any]:
    """A bar, the vendor's raw rows whose content it is (restated since or not), and what vendors say of it."""
    raw: list[dict[str, Any]] = []
    said: list[dict[str, Any]] = []
    for bar in bars:
        at = {"symbols": [symbol], "start": bar["session"], "end": bar["session"]}
        found = lake.read("raw_prices", known_on=known_on, **at)
        said += found.to_dicts()
        earlier = lake.read("raw_prices" + SUPERSEDED, known_on=known_on, **at)
        every = pl.concat([found, earlier.select(found.columns)])
        raw += every.filter((pl.col("vendor") == bar["vendor"]) & (pl.col("row_hash") == bar["row_hash"])).to_dicts()
    return {"bar": bars, "raw_prices": raw, "vendors_say": said}


def _one_fill(connection: Connection, execution_id: str) -> dict[str, Any]:
    found = _rows(connection, fills, fills.c.execution_id.startswith(execution_id, autoescape=True))
    if len(found) == 1:
        return found[0]
    if not found:
        raise LedgerError(f"there is no fill '{execution_id}'; 'quant fills' lists them")
    raise LedgerError(f"'{execution_id}' begins {len(found)} fills: give more of the id")


def _rows(connection: Connection, table: Table, where: Any) -> list[dict[str, Any]]:
    query = select(table).where(where).order_by(*table.primary_key.columns)
    return [dict(row) for row in connection.execute(query).mappings()]


def _row(connection: Connection, table: Table, where: Any) -> dict[str, Any]:
    found = _rows(connection, table, where)
    if len(found) != 1:
        raise LedgerError(f"expected one row in {table.name}, found {len(found)}: run 'quant verify ledger'")
    return found[0]
