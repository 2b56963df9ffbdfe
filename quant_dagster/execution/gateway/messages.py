"""Every message the gateway sends, field by field, at server version 176."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from quant_dagster.execution.gateway.records import Execution, Instrument, OrderState, Position, VenueOrder
from quant_dagster.execution.gateway.wire import SERVER_VERSION, UNSET, Field, message, new_york

_UNSET_MARGINS = (UNSET,) * 9


def handshake(at: datetime) -> bytes:
    """The first message of a session: server version and connection time."""
    return message(SERVER_VERSION, new_york(at))


def managed_accounts(account: str) -> bytes:
    """The account numbers of the login."""
    return message(15, 1, account)


def next_valid_id(order_id: int) -> bytes:
    """The first order id the client may use."""
    return message(9, 1, order_id)


def current_time(at: datetime) -> bytes:
    """Market time in whole seconds since 1970."""
    return message(49, 1, int(at.timestamp()))


def error(request_id: int, code: int, text: str, advanced_reject: str = "") -> bytes:
    """A coded message; ``request_id`` -1: not about a request."""
    return message(4, 2, request_id, code, text, advanced_reject)


def order_status(order: VenueOrder, parent_id: int) -> bytes:
    """Where an order stands; ``parent_id`` is the order id of its parent, 0 for none."""
    ticket = order.ticket
    return message(
        3,
        ticket.order_id,
        order.state.value,
        order.filled,
        order.remaining,
        order.average_price,
        order.perm_id,
        parent_id,
        order.last_price,
        ticket.client_id,
        "child" if order.waits_for and order.state is OrderState.PRE_SUBMITTED else "",
        0,
    )


def open_order(
    order: VenueOrder, instrument: Instrument, account: str, margins: Sequence[Field] = (), commission: Field = UNSET
) -> bytes:
    """An order and its state; with ``margins`` (nine numbers) the answer to a what-if."""
    ticket = order.ticket
    oca_type = ticket.oca_type if ticket.oca_group else 0
    return message(
        5, ticket.order_id, *_contract(instrument, "SMART", "?"),
        ticket.side.value.upper(), ticket.quantity, ticket.order_type, _price(ticket.limit), _price(ticket.stop),
        ticket.time_in_force, ticket.oca_group, account, "O", 0, ticket.order_ref, ticket.client_id, order.perm_id,
        ticket.outside_rth, False, 0, "", "", "", "", "", "", "", "", "", UNSET, "", 0, "", -1, 0, UNSET, UNSET, UNSET,
        UNSET, UNSET, 0, False, False, False, "", oca_type, False, False, UNSET, ticket.parent_id, 0, UNSET, "", "",
        UNSET, False, "", UNSET, UNSET, UNSET, "", "", 0, 0, 0, "", "", UNSET, "", False, "", "",
        False, False, "", False, ticket.what_if, order.state.value, *(margins or _UNSET_MARGINS), commission, UNSET,
        UNSET, instrument.currency if ticket.what_if else "", "", False, False, 0, "None", UNSET, UNSET, UNSET, UNSET,
        UNSET, UNSET, 0, "", "", "", UNSET, False, False, False, False, "", "", False, "", "", UNSET, UNSET, UNSET,
    )  # fmt: skip


def completed_order(order: VenueOrder, instrument: Instrument, account: str, parent_perm_id: int) -> bytes:
    """A finished order; it has no order id and no client id any more."""
    ticket = order.ticket
    oca_type = ticket.oca_type if ticket.oca_group else 0
    finished = new_york(order.finished_at or order.arrived_at)
    text = "Filled Size: " + format(order.filled.normalize(), "f") if order.state is OrderState.FILLED else order.reason
    return message(
        101, *_contract(instrument, "SMART", "?"),
        ticket.side.value.upper(), ticket.quantity, ticket.order_type, _price(ticket.limit), _price(ticket.stop),
        ticket.time_in_force, ticket.oca_group, account, "O", 0, ticket.order_ref, order.perm_id, ticket.outside_rth,
        False, 0, "", "", "", "", "", "", "", "", UNSET, "", 0, "", -1, UNSET, UNSET, UNSET, UNSET, UNSET, 0, False,
        False, "", oca_type, 0, UNSET, "", "", UNSET, False, "", UNSET, UNSET, "", 0, 0, 0, "",
        "", UNSET, "", "", "", False, False, "", False, order.state.value, False, False, 0, UNSET, UNSET, UNSET, False,
        False, "", order.filled, "", False, "", False, False, parent_perm_id, finished, text, "", "", UNSET, UNSET,
        UNSET,
    )  # fmt: skip


def open_order_end() -> bytes:
    """No more open orders."""
    return message(53, 1)


def completed_orders_end() -> bytes:
    """No more finished orders."""
    return message(102)


def execution_details(request_id: int, execution: Execution, instrument: Instrument, account: str) -> bytes:
    """A trade; ``request_id`` -1 when it just happened."""
    return message(
        11, request_id, execution.order_id, *_contract(instrument, "ISLAND"), execution.exec_id,
        new_york(execution.at), account, "ISLAND", "BOT" if execution.side.sign > 0 else "SLD", execution.quantity,
        execution.price, execution.perm_id, execution.client_id, 0, execution.cumulative, execution.average_price,
        execution.order_ref, "", "", "", 2,
    )  # fmt: skip


def commission_report(execution: Execution, currency: str) -> bytes:
    """What a trade cost and realised."""
    realized: Field = UNSET if execution.realized_pnl is None else execution.realized_pnl
    return message(59, 1, execution.exec_id, execution.commission, currency, realized, UNSET, "")


def execution_details_end(request_id: int) -> bytes:
    """No more executions."""
    return message(55, 1, request_id)


def position(held: Position, instrument: Instrument, account: str) -> bytes:
    """A holding."""
    return message(61, 3, account, *_contract(instrument, instrument.primary_exchange), held.quantity,
                   held.average_cost)  # fmt: skip


def position_end() -> bytes:
    """No more holdings."""
    return message(62, 1)


def portfolio(held: Position, instrument: Instrument, account: str, price: Decimal, realized: Decimal) -> bytes:
    """A holding at ``price``."""
    value = held.quantity * price
    return message(
        7, 8, *_contract(instrument, instrument.primary_exchange), held.quantity, price, value, held.average_cost,
        value - held.quantity * held.average_cost, realized, account,
    )  # fmt: skip


def account_value(tag: str, value: str, currency: str, account: str) -> bytes:
    """One figure of the account."""
    return message(6, 2, tag, value, currency, account)


def account_time(at: datetime) -> bytes:
    """When the figures were taken."""
    return message(8, 1, new_york(at)[9:14])


def account_download_end(account: str) -> bytes:
    """All figures of the account were sent once."""
    return message(54, 1, account)


def account_update_multi(request_id: int, account: str, tag: str, value: str, currency: str) -> bytes:
    """One figure of the account, for a request."""
    return message(73, 1, request_id, account, "", tag, value, currency)


def account_update_multi_end(request_id: int) -> bytes:
    """All figures of a request were sent once."""
    return message(74, 1, request_id)


def account_summary(request_id: int, account: str, tag: str, value: str, currency: str) -> bytes:
    """One figure of a summary."""
    return message(63, 1, request_id, account, tag, value, currency)


def account_summary_end(request_id: int) -> bytes:
    """The summary was sent once."""
    return message(64, 1, request_id)


def contract_details(request_id: int, instrument: Instrument) -> bytes:
    """What is known of an instrument."""
    exchanges = f"SMART,{instrument.primary_exchange}"
    return message(
        10, request_id, instrument.symbol, "STK", "", 0, "", "SMART", instrument.currency, instrument.symbol, "NMS",
        "NMS", instrument.con_id, instrument.tick_size, "", "ACTIVETIM,AD,ADJUST,DAY,GTC,LMT,MKT,OCA,STP", exchanges, 1,
        0, instrument.symbol, instrument.primary_exchange, "", "", "", "", "US/Eastern", "", "", "", 0, 0, 1, "", "",
        "26,26", "", "COMMON", 1, 1, 100,
    )  # fmt: skip


def contract_details_end(request_id: int) -> bytes:
    """No more instruments fit."""
    return message(52, 1, request_id)


def historical_data(request_id: int, start: str, end: str, bars: Sequence[Sequence[Field]]) -> bytes:
    """Bars of date, open, high, low, close, volume, average price, number of trades."""
    return message(17, request_id, start, end, len(bars), *(value for bar in bars for value in bar))


def tick_price(request_id: int, tick_type: int, price: Decimal, size: int) -> bytes:
    """A price of an instrument: type 1 bid, 2 ask, 4 last."""
    return message(1, 6, request_id, tick_type, price, size, 0)


def tick_snapshot_end(request_id: int) -> bytes:
    """The snapshot is complete."""
    return message(57, 1, request_id)


def market_data_type(request_id: int, kind: int) -> bytes:
    """Whether prices are live (1), frozen, or delayed."""
    return message(58, 1, request_id, kind)


def _contract(instrument: Instrument, exchange: str, right: str = "") -> tuple[Field, ...]:
    """Contract id, symbol, type, expiry, strike, right, multiplier; exchange, currency, local symbol, trading class."""
    return (instrument.con_id, instrument.symbol, "STK", "", 0, right, "", exchange, instrument.currency,
            instrument.symbol, "NMS")  # fmt: skip


def _price(value: Decimal | None) -> Field:
    # A price that an order does not have travels as 0, as the real gateway sends it.
    return Decimal(0) if value is None else value
