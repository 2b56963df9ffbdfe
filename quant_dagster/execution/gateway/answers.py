"""What each request of a client is answered with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from quant_dagster.execution.gateway import account_answers, market_answers, messages
from quant_dagster.execution.gateway.market_answers import UNKNOWN, instant, resolve
from quant_dagster.execution.gateway.records import ZERO, Execution, OrderState, VenueOrder
from quant_dagster.execution.gateway.requests import AskedContract, place_order
from quant_dagster.execution.gateway.wire import Field, Fields
from quant_dagster.storage.types import money

if TYPE_CHECKING:
    from quant_dagster.execution.gateway.server import TwsServer
    from quant_dagster.execution.gateway.session import Session

_READ_ONLY = "Error validating request.-'bW' : cause - The API interface is currently in Read-Only mode."


def _place(server: TwsServer, session: Session, fields: Fields) -> None:
    contract, ticket = place_order(session.client_id, fields)
    if server.read_only:
        session.send(messages.error(ticket.order_id, 321, _READ_ONLY))
        return
    found = resolve(server, contract)
    if found is None:
        session.send(messages.error(ticket.order_id, 200, UNKNOWN))
        return
    ticket = replace(ticket, symbol=found.symbol)
    if ticket.what_if:
        _what_if(server, session, VenueOrder(ticket, 0, OrderState.PRE_SUBMITTED, server.now()))
        return
    server.publish(server.venue.place(ticket, server.now()))


def _what_if(server: TwsServer, session: Session, order: VenueOrder) -> None:
    """What an order would do to the margin; the order itself is not made."""
    venue, ticket = server.venue, order.ticket
    price = ticket.limit or ticket.stop or venue.margin.mark(ticket.symbol)
    before = venue.margin.leverage * venue.margin.equity() - venue.buying_power()
    change = ticket.quantity * price / venue.margin.leverage
    before = money(before / venue.margin.leverage)
    equity = money(venue.margin.equity())
    margins: tuple[Field, ...] = (
        before, before, equity, money(change), money(change), ZERO, before + money(change), before + money(change),
        equity,
    )  # fmt: skip
    commission = venue.account.commission_of(ticket.quantity, ticket.quantity * price)
    instrument = venue.instruments[ticket.symbol]
    session.send(messages.open_order(order, instrument, venue.account.number, margins, commission))


def _cancel(server: TwsServer, session: Session, fields: Fields) -> None:
    if server.read_only:
        session.send(messages.error(fields.integer(2), 321, _READ_ONLY))
        return
    server.publish(server.venue.cancel(session.client_id, fields.integer(2), server.now()))


def _cancel_all(server: TwsServer, session: Session, fields: Fields) -> None:
    if server.read_only:
        session.send(messages.error(-1, 321, _READ_ONLY))
        return
    server.publish(server.venue.cancel_all(server.now()))


def _own_open_orders(server: TwsServer, session: Session, fields: Fields) -> None:
    own = [one for one in server.venue.unfinished() if one.ticket.client_id == session.client_id]
    if session.client_id == 0 and not session.bound:
        own = [one for one in own if one.ticket.order_id]
    _send_orders(server, session, own)


def _all_open_orders(server: TwsServer, session: Session, fields: Fields) -> None:
    _send_orders(server, session, server.venue.unfinished())


def _bind(server: TwsServer, session: Session, fields: Fields) -> None:
    """Client 0 wants to hear of orders made by hand from now on."""
    session.bound = fields.flag(2)


def _send_orders(server: TwsServer, session: Session, orders: Sequence[VenueOrder]) -> None:
    for order in orders:
        session.send(server.open_order(order))
        session.send(server.order_status(order))
    session.send(messages.open_order_end())


def _completed(server: TwsServer, session: Session, fields: Fields) -> None:
    only_api = fields.flag(1)
    for order in server.venue.completed():
        if only_api and not order.ticket.order_id:
            continue
        parent = server.venue.of_client(order.ticket.client_id, order.ticket.parent_id)
        instrument = server.venue.instruments[order.ticket.symbol]
        parent_perm_id = parent.perm_id if order.ticket.parent_id and parent else 0
        session.send(messages.completed_order(order, instrument, server.venue.account.number, parent_perm_id))
    session.send(messages.completed_orders_end())


def _executions(server: TwsServer, session: Session, fields: Fields) -> None:
    request, (client, account, since, symbol, kind, _exchange, side) = fields.integer(2), fields[3:10]
    after = instant(since) if since else None

    def wanted(one: Execution) -> bool:
        return (
            (client in ("", "0", "2147483647") or one.client_id == int(client))
            and account in ("", server.venue.account.number)
            and (after is None or one.at >= after)
            and symbol in ("", one.symbol)
            and kind in ("", "STK")
            and side.upper() in ("", one.side.value.upper())
        )

    for one in server.venue.executions_today():
        if wanted(one):
            instrument = server.venue.instruments[one.symbol]
            session.send(messages.execution_details(request, one, instrument, server.venue.account.number))
            session.send(messages.commission_report(one, instrument.currency))
    session.send(messages.execution_details_end(request))


def _contract_details(server: TwsServer, session: Session, fields: Fields) -> None:
    request = fields.integer(2)
    found = resolve(server, AskedContract.parse(fields[3:15]))
    if found is None:
        session.send(messages.error(request, 200, UNKNOWN))
        return
    session.send(messages.contract_details(request, found))
    session.send(messages.contract_details_end(request))


def _next_id(server: TwsServer, session: Session, fields: Fields) -> None:
    session.send(messages.next_valid_id(server.venue.next_order_id(session.client_id)))


def _accounts(server: TwsServer, session: Session, fields: Fields) -> None:
    session.send(messages.managed_accounts(server.venue.account.number))


def _time(server: TwsServer, session: Session, fields: Fields) -> None:
    session.send(messages.current_time(server.now()))


def _nothing(server: TwsServer, session: Session, fields: Fields) -> None:
    """Requests that change nothing here: log level, type of market data, end of a finished history request."""


HANDLERS: dict[str, Callable[[TwsServer, Session, Fields], None]] = {
    "1": market_answers.quote,
    "2": market_answers.cancel_quote,
    "3": _place,
    "4": _cancel,
    "5": _own_open_orders,
    "6": account_answers.account_updates,
    "7": _executions,
    "8": _next_id,
    "9": _contract_details,
    "14": _nothing,
    "15": _bind,
    "16": _all_open_orders,
    "17": _accounts,
    "20": market_answers.history,
    "25": _nothing,
    "49": _time,
    "58": _cancel_all,
    "59": _nothing,
    "61": account_answers.positions,
    "62": account_answers.account_summary,
    "63": account_answers.cancel_account_summary,
    "64": account_answers.cancel_positions,
    "76": account_answers.account_multi,
    "77": account_answers.cancel_account_multi,
    "99": _completed,
}
