"""What a person does about a break: enter what is missing, or accept that it stays. Nobody else can do either.

Who it is is proved with an operator's passphrase (`risk.operators`); the name, the reason and the entry are audited.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, func, select

from quant_dagster.accounting import actions, cash
from quant_dagster.accounting.books import Side
from quant_dagster.accounting.events import Adjustment, CommissionAdjustment
from quant_dagster.accounting.fills import booked
from quant_dagster.errors import BooksError, ControlError
from quant_dagster.execution import foreign, order_log
from quant_dagster.execution.adoption import STRATEGY, adopt_order
from quant_dagster.execution.booking import book_one
from quant_dagster.execution.broker import BrokerOrder, Execution
from quant_dagster.execution.orders import client_order_id
from quant_dagster.execution.reconciliation import record
from quant_dagster.execution.reconciliation.breaks import NOTHING, BreakKind, BreakState
from quant_dagster.risk import operators
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import audit_log, broker_quarantine
from quant_dagster.storage.ledger_tables import reconciliation_breaks as table
from quant_dagster.storage.ledger_tables import reconciliation_runs as runs

_WITH_AMOUNTS = (BreakKind.POSITION, BreakKind.CASH, BreakKind.COMMISSION)


@dataclass(frozen=True)
class BalancingEntry:
    """What would make the books agree. ``possible`` is false where no entry can: the broker must be told, or the
    difference accepted. ``needs_price``: a person must say at what price shares come in or go."""

    break_id: str
    kind: BreakKind
    description: str
    possible: bool
    needs_price: bool = False


def propose(connection: Connection, break_id: str) -> BalancingEntry:
    """The entry that would balance an open break; nothing is posted.

    Raises
    ------
    ControlError
        There is no open break of that id.
    """
    row = _open(connection, break_id)
    kind, terms = BreakKind(row["kind"]), _terms(connection, row)
    match kind:
        case BreakKind.POSITION:
            more = Decimal(row["theirs"]) - Decimal(row["ours"])
            said = f"add {more} {row['symbol']} to the books at a price you give, against 'adjustment'; no cash moves"
            return BalancingEntry(break_id, kind, said, possible=True, needs_price=True)
        case BreakKind.CASH:
            more = Decimal(row["theirs"]) - Decimal(row["ours"])
            return BalancingEntry(break_id, kind, f"add {more} {row['reference']} to cash", possible=True)
        case BreakKind.COMMISSION:
            more = Decimal(row["theirs"]) - Decimal(row["ours"])
            possible = bool(terms.get("same_currency"))
            said = f"pay {more} more commission for {row['symbol']}"
            return BalancingEntry(break_id, kind, said, possible=possible)
        case BreakKind.FILL if row["theirs"] == NOTHING:
            return BalancingEntry(break_id, kind, f"take fill {row['reference']} out of the books", possible=True)
        case BreakKind.FILL:
            verb = "book" if row["ours"] == NOTHING else "correct to"
            said = f"{verb} execution {row['reference']} ({row['theirs']} {row['symbol']})"
            return BalancingEntry(break_id, kind, said, possible="execution" in terms)
        case BreakKind.ORDER:
            said = "no entry: cancel it at the broker, take it up with 'quant broker adopt', or accept the difference"
            return BalancingEntry(break_id, kind, said, possible=False)


def balance(
    ledger: Ledger,
    break_id: str,
    *,
    operator: str,
    passphrase: str,
    reason: str,
    session: date,
    currency: str,
    price: Decimal | None = None,
) -> BalancingEntry:
    """Post the entry that balances a break, close it and release its lock: all of it or nothing.

    Parameters
    ----------
    session
        The session it is entered in.
    currency
        Code of the account's currency.
    price
        Of a share, in the symbol's currency, where the entry needs one.

    Raises
    ------
    ControlError
        This is no operator, no reason is given, the break is not open, no entry can balance it, or a fill was entered
        since the newest comparison that may have changed its amount.
    BooksError
        The entry contradicts the books; nothing was posted.
    """
    _authenticate(ledger, operator, passphrase, reason)
    with ledger.write() as connection:
        at = ledger.now()
        entry, row = propose(connection, break_id), _open(connection, break_id)
        _require_fresh(connection, row)
        if not entry.possible:
            raise ControlError(f"break {break_id} cannot be balanced by an entry: {entry.description}")
        if entry.needs_price and (price is None or price <= 0):
            raise ControlError(f"break {break_id}: give the price of a share ({entry.description})")
        _post(connection, row, price, session=session, base=currency, operator=operator, reason=reason, at=at)
        _conclude(connection, row, BreakState.BALANCED, operator, reason, session, at)
    return entry


def accept(ledger: Ledger, break_id: str, *, operator: str, passphrase: str, reason: str, session: date) -> None:
    """A difference stays as it is, and why is known: the break is closed and its lock released, nothing is posted.

    The same difference is no break any more; a larger or smaller one is.

    Raises
    ------
    ControlError
        This is no operator, no reason is given, or the break is not open.
    """
    _authenticate(ledger, operator, passphrase, reason)
    with ledger.write() as connection:
        row = _open(connection, break_id)
        _conclude(connection, row, BreakState.ACCEPTED, operator, reason, session, ledger.now())


def _authenticate(ledger: Ledger, operator: str, passphrase: str, reason: str) -> None:
    if not reason.strip():
        raise ControlError("a break is concluded with a reason: say why")
    operators.authenticate(ledger, operator, passphrase)


def _open(connection: Connection, break_id: str) -> Mapping[str, Any]:
    row = connection.execute(select(table).where(table.c.break_id == break_id)).mappings().first()
    if row is None or row["state"] != BreakState.OPEN:
        state = "unknown" if row is None else row["state"]
        raise ControlError(f"break {break_id} is not open but {state}; the reconciliation lists those that are")
    return dict(row)


def _require_fresh(connection: Connection, row: Mapping[str, Any]) -> None:
    """Refuse an amount that an entry made since the newest comparison may have changed.

    A fill that is booked or taken out moves the position and the cash; whoever balances those as well as they were
    before enters the same difference twice.
    """
    compared = connection.execute(select(func.max(runs.c.recorded_at)).where(runs.c.broker == row["broker"])).scalar()
    if row["kind"] not in _WITH_AMOUNTS or compared is None:
        return
    entered = select(table.c.reference).where(
        table.c.broker == row["broker"],
        table.c.kind == BreakKind.FILL,
        table.c.state == BreakState.BALANCED,
        table.c.closed_at >= compared,
    )
    if row["kind"] != BreakKind.CASH:
        entered = entered.where(table.c.symbol == row["symbol"])
    fill = connection.execute(entered.order_by(table.c.opened_at.desc(), table.c.break_id)).scalars().first()
    if fill is not None:
        raise ControlError(
            f"fill {fill} was corrected after the newest comparison, so this {row['kind']} may agree by now: "
            "'quant broker reconcile' first (the trading daemon, where it runs, compares by itself)"
        )


def _terms(connection: Connection, row: Mapping[str, Any]) -> dict[str, Any]:
    """What was written down with the break, in the newest of its audit rows."""
    opened = select(audit_log.c.payload).where(audit_log.c.event_key == f"break:{row['break_id']}")
    changed = (
        select(audit_log.c.payload)
        .where(audit_log.c.action == "break_changed", audit_log.c.event_key.startswith(f"break:{row['break_id']}:"))
        .order_by(audit_log.c.sequence.desc())
        .limit(1)
    )
    payload = connection.execute(changed).scalar() or connection.execute(opened).scalar_one()
    terms: dict[str, Any] = json.loads(payload)["terms"]
    return terms


def _post(
    connection: Connection,
    row: Mapping[str, Any],
    price: Decimal | None,
    *,
    session: date,
    base: str,
    operator: str,
    reason: str,
    at: datetime,
) -> None:
    reference, symbol = row["break_id"], row["symbol"]
    match BreakKind(row["kind"]):
        case BreakKind.POSITION if price is not None:
            more = Decimal(row["theirs"]) - Decimal(row["ours"])
            actions.enter(connection, Adjustment(symbol, session, reference, more, price), at=at, actor=operator)
        case BreakKind.CASH:
            more = Decimal(row["theirs"]) - Decimal(row["ours"])
            code = None if row["reference"] == base else row["reference"]
            cash.adjust_cash(
                connection, more, session=session, at=at, reference=reference, actor=operator, reason=reason,
                currency=code,
            )  # fmt: skip
        case BreakKind.COMMISSION:
            more = Decimal(row["theirs"]) - Decimal(row["ours"])
            actions.enter(connection, CommissionAdjustment(symbol, session, reference, more), at=at, actor=operator)
        case BreakKind.FILL:
            _correct(connection, row, operator, at)
        case kind:
            raise BooksError(f"break {reference}: a {kind} is not balanced by an entry")


def _correct(connection: Connection, row: Mapping[str, Any], operator: str, at: datetime) -> None:
    """The execution as the broker tells of it: new under an order taken up for it, or as a correction of ours."""
    broker, execution_id = row["broker"], row["reference"]
    ours = booked(connection, [execution_id]).get(execution_id)
    if row["theirs"] == NOTHING:
        if ours is None:
            raise BooksError(f"fill {execution_id} is not in the books any more")
        gone = Execution(
            execution_id, ours.client_order_id, ours.symbol, ours.side, Decimal(0), ours.price, ours.session, None,
            correction=ours.correction + 1, executed_at=ours.executed_at, currency=ours.currency,
        )  # fmt: skip
        book_one(connection, broker, gone, at=at)
        return
    said = _execution(_terms(connection, row)["execution"], 0 if ours is None else ours.correction + 1)
    if ours is None and order_log.find(connection, said.client_order_id) is None:
        said = _under_an_order(connection, broker, said, operator, at)
    if book_one(connection, broker, said, at=at) is None:
        raise BooksError(f"execution {execution_id} fits no order of ours: accept the difference, balance the position")
    kept = (broker_quarantine.c.broker == broker, broker_quarantine.c.reference == execution_id)
    open_one = select(broker_quarantine.c.kind).where(
        *kept, broker_quarantine.c.kind == "execution", broker_quarantine.c.state == "quarantined"
    )
    if connection.execute(open_one).first():
        foreign.resolve(connection, broker, "execution", execution_id, state="adopted", actor=operator, at=at)


def _under_an_order(connection: Connection, broker: str, said: Execution, operator: str, at: datetime) -> Execution:
    """Take up the order that the execution must have had, at the price it was executed; a person vouches for it."""
    order_id = said.client_order_id or client_order_id(STRATEGY, said.session, said.symbol, said.execution_id)
    order = BrokerOrder("", order_id, said.symbol, said.side, said.quantity, Decimal(0), "limit", said.price)
    reason = f"its execution {said.execution_id} came without it"
    foreign.keep_order(connection, broker, order, reason, session=said.session, at=at)
    adopt_order(connection, broker, order, session=said.session, actor=operator, at=at)
    return _with(said, client_order_id=order_id)


def _with(said: Execution, **changed: Any) -> Execution:
    return Execution(**{name: getattr(said, name) for name in said.__dataclass_fields__} | changed)


def _execution(terms: Mapping[str, Any], correction: int) -> Execution:
    """From what the audit log keeps; the number of the correction is the next of ours."""
    values = dict(terms)
    for name in ("quantity", "price", "commission", "reference_price"):
        values[name] = None if values[name] is None else Decimal(values[name])
    executed = values["executed_at"]
    values["executed_at"] = None if executed is None else datetime.fromisoformat(executed)
    values["session"] = date.fromisoformat(values["session"])
    number = max(correction, int(values["correction"]))
    return Execution(**values | {"side": Side(values["side"]), "correction": number})


def _conclude(
    connection: Connection,
    row: Mapping[str, Any],
    state: BreakState,
    operator: str,
    reason: str,
    session: date,
    at: datetime,
) -> None:
    record.close(connection, row, state, by=operator, reason=reason, at=at)
    record.release_lock(connection, row, session, by=operator, reason=reason, at=at)
