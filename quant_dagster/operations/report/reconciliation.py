"""What is shown of reconciliation and of the connection: in the report, by commands and as assets.

Belongs here: reading the ledger's runs, breaks, unknown orders and connection states, their tables and text. Does not:
comparing (``execution.reconciliation``), how orders were executed (``report.execution``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from quant_dagster.execution import foreign
from quant_dagster.execution.connection_log import Outage, outages
from quant_dagster.execution.reconciliation.breaks import BreakState
from quant_dagster.execution.reconciliation.record import open_breaks
from quant_dagster.operations.report.content import Period, Row
from quant_dagster.operations.report.tables import Column, Table, number
from quant_dagster.storage.ledger_tables import connection_events, reconciliation_breaks, reconciliation_runs

if TYPE_CHECKING:
    from quant_dagster.storage.ledger import Ledger

NEWEST = 200
"""Rows of each kind that are shown at most."""
_STATES = {BreakState.OPEN.value: "waiting"}


@dataclass(frozen=True)
class ReconciliationRecords:
    """The period's runs, newest first; every break that is open or was opened by one of them; what is unknown at the
    brokers; changes of the connection's state, newest first, and the times without one."""

    runs: list[Row]
    breaks: list[Row]
    unknown: list[Row]
    connection: list[Row]
    outages: list[Outage]

    @property
    def open(self) -> list[Row]:
        """Breaks that wait for a person."""
        return [row for row in self.breaks if row["state"] == BreakState.OPEN]


def newest_runs(connection: Connection, limit: int = 1, *, broker: str | None = None) -> list[Row]:
    """The newest comparisons with a broker, or with any, newest first."""
    table = reconciliation_runs
    query = select(table).order_by(table.c.recorded_at.desc(), table.c.run_id).limit(limit)
    if broker is not None:
        query = query.where(table.c.broker == broker)
    return [dict(row) for row in connection.execute(query).mappings()]


def every_break(connection: Connection, limit: int | None = None) -> list[Row]:
    """Breaks of any state, newest first."""
    table = reconciliation_breaks
    query = select(table).order_by(table.c.opened_at.desc(), table.c.break_id).limit(limit)
    return [dict(row) for row in connection.execute(query).mappings()]


def read_reconciliation(ledger: Ledger, period: Period) -> ReconciliationRecords:
    """What the ledger knows. A connection is not of a session: of it, and of what is unknown, the newest is shown."""
    runs, changes = reconciliation_runs, connection_events
    with ledger.read() as connection:
        made = select(runs).where(runs.c.session.between(period.first, period.last))
        made = made.order_by(runs.c.recorded_at.desc(), runs.c.run_id).limit(NEWEST)
        own = [dict(row) for row in connection.execute(made).mappings()]
        known = {row["run_id"] for row in own}
        waiting = open_breaks(connection)
        found = [row for row in every_break(connection, NEWEST) if row["run_id"] in known]
        moved = select(changes).order_by(changes.c.recorded_at.desc(), changes.c.sequence.desc()).limit(NEWEST)
        return ReconciliationRecords(
            runs=own,
            breaks=waiting + [row for row in found if row["state"] != BreakState.OPEN],
            unknown=foreign.unresolved(connection),
            connection=[dict(row) for row in connection.execute(moved).mappings()],
            outages=outages(connection),
        )


def reconciliation_tables(records: ReconciliationRecords) -> dict[str, Table]:
    """The section's tables by name; those without a row are left out."""
    tables = {
        "reconciliation_breaks": _break_table(records.breaks),
        "reconciliation_unknown": _unknown_table(records.unknown),
        "reconciliation_runs": _run_table(records.runs),
        "connection_outages": _outage_table(records.outages),
        "connection_changes": _connection_table(records.connection),
    }
    return {name: table for name, table in tables.items() if table.rows}


def reconciliation_section(records: ReconciliationRecords) -> str:
    """The section as HTML: its tables are filled in by the page's script."""
    tables = reconciliation_tables(records)
    lines = ["  <h2>Reconciliation and connection</h2>", f'  <p class="small">{escape(_told(records))}</p>']
    titles = {
        "reconciliation_breaks": ("Breaks", "Nothing ever disagreed in this period."),
        "reconciliation_unknown": ("Unknown at the broker", "No order and no execution without an order of ours."),
        "reconciliation_runs": ("Comparisons", "The books were not held against the broker's in this period."),
        "connection_outages": ("Times without a connection", None),
        "connection_changes": ("Connection", None),
    }
    for name, (title, none) in titles.items():
        if name in tables:
            lines += [f"  <h3>{escape(title)}</h3>", f'  <div data-table="{name}"></div>']
        elif none is not None:
            lines += [f"  <h3>{escape(title)}</h3>", f'  <p class="none">{escape(none)}</p>']
    return "\n".join(['<section id="reconciliation">', *lines, "</section>"])


def _told(records: ReconciliationRecords) -> str:
    if not records.runs:
        return "The books were not held against a broker's in this period. 'quant broker reconcile' does it now."
    newest = records.runs[0]
    counts = ", ".join(f"{count} {name}" for name, count in newest["compared"].items() if count)
    waiting = len(records.open)
    state = "no break is open" if not waiting else "1 break is open" if waiting == 1 else f"{waiting} breaks are open"
    return (
        f"{len(records.runs)} comparisons with {', '.join(sorted({row['broker'] for row in records.runs}))}; the "
        f"newest, of session {newest['session']}, compared {counts or 'nothing: both sides were empty'}; {state}. A "
        "difference of an order, a fill or a position locks its symbol, one of cash pauses the desk, until a person "
        "has concluded it."
    )


# -- tables -----------------------------------------------------------------------------------------------------------


def _break_table(found: list[Row]) -> Table:
    rows = [
        [
            _STATES.get(row["state"], row["state"]), row["kind"], row["symbol"] or row["reference"], row["ours"],
            row["theirs"], row["detail"],
            _time(row["opened_at"]), _time(row["closed_at"]), row["closed_by"], row["broker"], row["break_id"],
        ]
        for row in found
    ]  # fmt: skip
    columns = (
        Column(
            "state", "pill", "waiting: for a person; agreed: gone when compared again; balanced, accepted: by a person"
        ),
        Column("of", "code"),
        Column("about", "symbol"),
        Column("ours", "text", "what the books say"),
        Column("theirs", "text", "what the broker says"),
        Column("why"),
        Column("opened", "code", "UTC"),
        Column("closed", "code", "UTC"),
        Column("by"),
        Column("broker"),
        Column("break", "code"),
    )
    return Table(columns, rows, filters=(0, 1, 2), search=True)


def _unknown_table(found: list[Row]) -> Table:
    rows = [
        [
            row["broker"], row["kind"], row["symbol"], row["side"].upper(), number(row["quantity"]),
            number(row["price"]), row["detail"].get("reason"), _time(row["recorded_at"]), row["reference"],
        ]
        for row in found
    ]  # fmt: skip
    columns = (
        Column("broker"),
        Column("what", "code"),
        Column("symbol", "symbol"),
        Column("side", "pill"),
        Column("quantity", "quantity"),
        Column("price", "price"),
        Column("why"),
        Column("since", "code", "UTC"),
        Column("reference", "code"),
    )
    return Table(columns, rows)


def _run_table(found: list[Row]) -> Table:
    kinds = list(dict.fromkeys(kind for row in found for kind in row["compared"]))
    rows = [
        [
            row["session"].isoformat(), row["trigger"], row["broker"], _time(row["recorded_at"]), row["breaks"],
            *(row["compared"].get(kind) for kind in kinds),
        ]
        for row in found
    ]  # fmt: skip
    columns = (
        Column("session", "code"),
        Column("asked for by", "code"),
        Column("broker"),
        Column("at", "code", "UTC"),
        Column("breaks", "count"),
        *(Column(kind.replace("_", " "), "count", "compared") for kind in kinds),
    )
    return Table(columns, rows, filters=(1, 2) if len(rows) > 1 else ())


def _outage_table(found: list[Outage]) -> Table:
    ended = [one for one in found if one.ended is not None and one.lasted(one.ended) >= timedelta(seconds=1)]
    lasting = [one for one in found if one.ended is None]
    rows: list[list[Any]] = [
        [
            one.broker, _time(one.began), _time(one.ended) or "lasts still",
            None if one.ended is None else number(one.lasted(one.ended).total_seconds() / 60), one.reason,
        ]
        for one in sorted([*ended, *lasting], key=lambda one: one.began, reverse=True)
    ]  # fmt: skip
    columns = (
        Column("broker"),
        Column("from", "code", "UTC"),
        Column("until", "code", "UTC"),
        Column("minutes", "number"),
        Column("why"),
    )
    return Table(columns, rows)


def _connection_table(found: list[Row]) -> Table:
    rows = [
        [row["broker"], _time(row["recorded_at"]), row["previous"], row["state"], row["attempt"], row["reason"]]
        for row in found
    ]
    columns = (
        Column("broker"),
        Column("at", "code", "UTC"),
        Column("from", "code"),
        Column("to", "pill"),
        Column("tries", "count", "since it last worked"),
        Column("why"),
    )
    return Table(columns, rows, filters=(3,), search=len(rows) > 20)


def _time(instant: datetime | None) -> str | None:
    return None if instant is None else f"{instant:%Y-%m-%d %H:%M:%S}"
