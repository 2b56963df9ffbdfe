"""The venue's book: what becomes of orders, decided without sockets and without a clock of its own.

Every method takes the instant and answers with what happened, in the order in which clients hear of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import ROUND_DOWN, Decimal

from quant_dagster.errors import OrderError
from quant_dagster.execution.gateway.account import Account
from quant_dagster.execution.gateway.margin import Margin, malformed, margin_refusal
from quant_dagster.execution.gateway.records import (
    ZERO,
    CommissionCharged,
    Event,
    Executed,
    Execution,
    Instrument,
    Notice,
    OrderChanged,
    OrderState,
    OrderType,
    PositionChanged,
    Ticket,
    TimeInForce,
    VenueOrder,
)
from quant_dagster.execution.gateway.venue_book import VenueBook
from quant_dagster.storage.types import money

S = OrderState
_FIRST_PERM_ID = 1_200_000_001
_ON_FILL_CANCEL, _ON_FILL_REDUCE = (1,), (2, 3)
WORKS_ON = frozenset({399, 2109, 10349})
"""Codes that warn about an order which goes on working."""


class Venue(VenueBook):
    """Orders of one account.

    Parameters
    ----------
    account
        Where executions are booked.
    instruments
        What can be traded, by symbol.
    mark
        The price of a symbol now, for margin; None where there is none yet.
    leverage
        Gross value of positions and working orders allowed, as a multiple of the account's equity.
    when_open
        What warning 399 says about when the market opens.
    """

    def __init__(
        self,
        account: Account,
        instruments: Mapping[str, Instrument],
        mark: Callable[[str], Decimal | None],
        *,
        leverage: Decimal = Decimal(2),
        when_open: str = "the market opens",
    ) -> None:
        super().__init__()
        self.account = account
        self.instruments = dict(instruments)
        self.when_open = when_open
        self.sets_time_in_force = False
        self.margin = Margin(account, mark, leverage)
        self._perm_ids = itertools.count(_FIRST_PERM_ID)
        self._trades = itertools.count(1)
        self._executions: list[Execution] = []
        self._today = 0
        self._next_answer: list[tuple[int, str]] = []
        self._next_cancel: list[tuple[int, str]] = []

    # What there is.

    def executions(self) -> tuple[Execution, ...]:
        """Every version of every trade, in the order they were reported."""
        return tuple(self._executions)

    def executions_today(self) -> list[Execution]:
        """Those since the last reset, which is what the protocol still tells."""
        return self._executions[self._today :]

    # What clients ask for.

    def place(self, ticket: Ticket, at: datetime) -> list[Event]:
        """Take an order onto the book, or change the one that works under the same id."""
        known = self.of_client(ticket.client_id, ticket.order_id)
        if known is not None and not known.state.is_final:
            return self._modify(known, ticket, at)
        if ticket.order_id and ticket.order_id <= self._highest[ticket.client_id]:
            return [_notice(ticket, 103, "Duplicate order id")]
        self._highest[ticket.client_id] = max(self._highest[ticket.client_id], ticket.order_id)
        warnings: list[Event] = []
        if self._next_answer:
            code, text = self._next_answer.pop(0)
            if code not in WORKS_ON:
                return self._refuse(ticket, code, text, at)
            warnings.append(_notice(ticket, code, text))
        if self.sets_time_in_force and not ticket.time_in_force:
            warnings.append(_notice(ticket, 10349, "Order TIF was set to DAY based on order preset."))
        ticket = replace(ticket, time_in_force=ticket.time_in_force or TimeInForce.DAY.value)
        if refusal := self._objection(ticket, replaced=None):
            return self._refuse(ticket, *refusal, at)
        if ticket.outside_rth and ticket.order_type != OrderType.LIMIT:
            warnings.append(_notice(ticket, 2109, "Order Event Warning:Attribute 'Outside Regular Trading Hours' is "
                                    "ignored based on the order type and destination. PlaceOrder is now being "
                                    "processed."))  # fmt: skip
        order = self._enter(ticket, at)
        events: list[Event] = [OrderChanged(order, acknowledges=True)]
        if ticket.transmit:
            events += self._transmit(order)
        if ticket.transmit and not self.is_open and not order.waits_for:
            warnings.append(_notice(ticket, 399, self._closed_warning(order)))
        return events + warnings

    def cancel(self, client_id: int, order_id: int, at: datetime) -> list[Event]:
        """Cancel an order on the client's wish."""
        order = self.of_client(client_id, order_id)
        ticket = order.ticket if order else None
        if order is None or ticket is None:
            return [Notice(client_id, order_id, 10147, f"OrderId {order_id} that needs to be cancelled is not found.")]
        if self._next_cancel:
            code, text = self._next_cancel.pop(0)
            return [_notice(ticket, code, text)]
        if order.state is S.INACTIVE:
            text = f"Cancel attempted when order is not in a cancellable state.  Order permId = {order.perm_id}"
            return [_notice(ticket, 161, text)]
        if order.state.is_final:
            text = f"OrderId {order_id} that needs to be cancelled cannot be cancelled, state: {order.state.value}."
            return [_notice(ticket, 10148, text)]
        return self._end(order, S.CANCELLED, "", at)

    def cancel_all(self, at: datetime) -> list[Event]:
        """Cancel every unfinished order of every client."""
        events: list[Event] = []
        for order in self.unfinished():
            if not self._orders[order.perm_id].state.is_final:
                events += self._end(self._orders[order.perm_id], S.CANCELLED, "", at)
        return events

    # What the market and the broker do.

    def execute(self, perm_id: int, quantity: Decimal, price: Decimal, at: datetime) -> list[Event]:
        """Trade shares of an order. It is done whatever the order's state: a cancelled one fills late, a full one over.

        Raises
        ------
        OrderError
            Quantity or price is not above zero.
        """
        if quantity <= 0 or price <= 0:
            raise OrderError(f"a fill of {quantity} at {price}: both are above zero")
        order = self._orders[perm_id]
        exec_id = f"0000e0d5.{0x65A00000 + next(self._trades):08x}.01.01"
        execution = self.account.book(order, exec_id, quantity, price, at)
        self._executions.append(execution)
        events: list[Event] = [*self._count(order, execution, at), CommissionCharged(execution)]
        events.append(PositionChanged(self.account.position(execution.symbol)))
        changed = self._orders[perm_id]
        if changed.state is S.FILLED and order.state is not S.FILLED:
            events += self._release_children(changed)
        return events + self._one_cancels_all(changed, quantity, at)

    def trigger(self, perm_id: int) -> list[Event]:
        """The market reached a stop order's price: it is a market order now."""
        order = replace(self._orders[perm_id], triggered=True, state=S.SUBMITTED)
        self._orders[perm_id] = order
        return [OrderChanged(order)]

    def correct(self, exec_id: str, quantity: Decimal, price: Decimal, at: datetime) -> list[Event]:
        """Replace what was reported of a trade; a quantity of 0 undoes it."""
        execution = self.account.correct(exec_id, quantity, price, at)
        self._executions.append(execution)
        events = self._count(self._orders[execution.perm_id], execution, at)
        return [*events, CommissionCharged(execution), PositionChanged(self.account.position(execution.symbol))]

    def end(self, perm_id: int, text: str, at: datetime) -> list[Event]:
        """The broker cancels an order."""
        order = self._orders[perm_id]
        if order.state.is_final:
            raise OrderError(f"order {order.ticket.order_ref or perm_id} is {order.state.value} already")
        return self._end(order, S.CANCELLED, text, at)

    def expire_day_orders(self, at: datetime) -> list[Event]:
        """The session is over for DAY orders."""
        events: list[Event] = []
        for order in self.unfinished():
            current = self._orders[order.perm_id]
            if current.ticket.time_in_force == TimeInForce.DAY and not current.state.is_final:
                events += self._end(current, S.CANCELLED, "", at)
        return events

    def set_open(self, is_open: bool) -> list[Event]:
        """Open or close the market for trading: waiting orders go to work, or nothing trades."""
        self.is_open = is_open
        events: list[Event] = []
        for order in self.unfinished():
            if is_open and order.state is S.PRE_SUBMITTED:
                events += self._go_live(order)
        return events

    def forget_day(self) -> None:
        """The nightly reset: the day's executions and finished orders are no longer told."""
        self._today = len(self._executions)
        self._completed.clear()

    def answer_next(self, code: int, text: str) -> None:
        """Answer the next order with a code: refuse it, or warn and let it work where the code is a warning."""
        self._next_answer.append((code, text))

    def answer_next_cancel(self, code: int, text: str) -> None:
        """Refuse the next cancellation with a code; the order works on."""
        self._next_cancel.append((code, text))

    # How.

    def _enter(self, ticket: Ticket, at: datetime, state: OrderState = S.PENDING_SUBMIT) -> VenueOrder:
        perm_id = next(self._perm_ids)
        parent = self.of_client(ticket.client_id, ticket.parent_id) if ticket.parent_id else None
        if parent is not None and not ticket.oca_group:
            # Children of one parent are one group: what fills of one is taken off the others.
            ticket = replace(ticket, oca_group=str(parent.perm_id), oca_type=3)
        waits_for = parent.perm_id if parent is not None and parent.state is not S.FILLED else 0
        order = VenueOrder(ticket, perm_id, state, at, waits_for=waits_for)
        self._orders[perm_id] = order
        self._by_ref[ticket.order_ref] = perm_id
        if ticket.order_id:
            self._by_id[ticket.client_id, ticket.order_id] = perm_id
        if not state.is_final:
            self._open[ticket.symbol][perm_id] = None
        return order

    def _transmit(self, order: VenueOrder) -> list[Event]:
        """Send an order to the exchange, and with a child the whole bracket that was held back."""
        group = [order]
        if order.ticket.parent_id:
            client, parent = order.ticket.client_id, order.ticket.parent_id
            group = [one for one in self.unfinished() if one.ticket.client_id == client
                     and parent in (one.ticket.order_id, one.ticket.parent_id)]  # fmt: skip
        events: list[Event] = []
        for one in group:
            if one.state is S.PENDING_SUBMIT:
                events += self._change(replace(one, state=S.PRE_SUBMITTED))
                events += self._go_live(self._orders[one.perm_id])
        return events

    def _go_live(self, order: VenueOrder) -> list[Event]:
        """A waiting order is submitted, unless it waits for its parent, its stop or the market."""
        stop = order.ticket.order_type == OrderType.STOP and not order.triggered
        if order.waits_for or stop or not (self.is_open or self._trades_early(order)):
            return []
        return self._change(replace(order, state=S.SUBMITTED))

    @staticmethod
    def _trades_early(order: VenueOrder) -> bool:
        return order.ticket.outside_rth and order.ticket.order_type == OrderType.LIMIT

    def _change(self, order: VenueOrder) -> list[Event]:
        self._orders[order.perm_id] = order
        return [OrderChanged(order)]

    def _count(self, order: VenueOrder, execution: Execution, at: datetime) -> list[Event]:
        """What is filled of an order, from its trades as they stand."""
        trades = self.account.latest(order.perm_id)
        filled = sum((one.quantity for one in trades), ZERO)
        value = sum((one.quantity * one.price for one in trades), ZERO)
        average = money(value / filled) if filled else ZERO
        changed = replace(order, filled=filled, average_price=average, last_price=execution.price)
        if filled >= order.ticket.quantity and order.state is not S.FILLED:
            changed = self._finish(replace(changed, state=S.FILLED, finished_at=at))
        elif order.state is S.PENDING_SUBMIT or (order.state is S.PRE_SUBMITTED and filled):
            changed = replace(changed, state=S.SUBMITTED)
        self._orders[order.perm_id] = changed
        return [Executed(execution, changed), OrderChanged(changed)]

    def _end(self, order: VenueOrder, state: OrderState, text: str, at: datetime) -> list[Event]:
        ended = self._finish(replace(order, state=state, reason=text or "Order Canceled", finished_at=at))
        self._orders[order.perm_id] = ended
        events: list[Event] = [
            _notice(order.ticket, 202, f"Order Canceled - reason:{text}"),
            OrderChanged(ended),
        ]
        for child in self.unfinished():
            if child.waits_for == order.perm_id and not self._orders[child.perm_id].state.is_final:
                events += self._end(self._orders[child.perm_id], S.CANCELLED, "parent order was cancelled", at)
        return events

    def _release_children(self, parent: VenueOrder) -> list[Event]:
        events: list[Event] = []
        for child in self.unfinished():
            if child.waits_for == parent.perm_id:
                freed = replace(child, waits_for=0)
                self._orders[child.perm_id] = freed
                if freed.state is S.PRE_SUBMITTED:
                    events += self._go_live(freed) or [OrderChanged(freed)]
        return events

    def _one_cancels_all(self, filled: VenueOrder, quantity: Decimal, at: datetime) -> list[Event]:
        group = filled.ticket.oca_group
        if not group:
            return []
        events: list[Event] = []
        for other in self.unfinished():
            current = self._orders[other.perm_id]
            if other.ticket.oca_group != group or other.perm_id == filled.perm_id or current.state.is_final:
                continue
            if filled.ticket.oca_type in _ON_FILL_CANCEL:
                events += self._end(current, S.CANCELLED, "another order of its group was filled", at)
            elif filled.ticket.oca_type in _ON_FILL_REDUCE:
                share = (current.ticket.quantity * quantity / filled.ticket.quantity).to_integral_value(ROUND_DOWN)
                left = current.ticket.quantity - share
                if left <= current.filled or filled.state is S.FILLED:
                    events += self._end(current, S.CANCELLED, "another order of its group was filled", at)
                else:
                    events += self._change(replace(current, ticket=replace(current.ticket, quantity=left)))
        return events

    def _modify(self, order: VenueOrder, ticket: Ticket, at: datetime) -> list[Event]:
        if self._next_answer:
            code, text = self._next_answer.pop(0)
            return [_notice(ticket, code, text)]
        old = order.ticket
        if (ticket.symbol, ticket.side, ticket.order_type) != (old.symbol, old.side, old.order_type):
            return [_notice(ticket, 105, "Order being modified does not match original order")]
        if ticket.quantity <= order.filled:
            return [_notice(ticket, 201, "Order rejected - reason:The new quantity is filled already")]
        ticket = replace(ticket, time_in_force=ticket.time_in_force or old.time_in_force,
                         oca_group=ticket.oca_group or old.oca_group,
                         oca_type=ticket.oca_type or old.oca_type)  # fmt: skip
        if refusal := self._objection(ticket, replaced=order):
            return [_notice(ticket, *refusal)]
        changed = replace(order, ticket=ticket)
        self._orders[order.perm_id] = changed
        events: list[Event] = [OrderChanged(changed, acknowledges=True)]
        return events + (self._transmit(changed) if ticket.transmit and order.state is S.PENDING_SUBMIT else [])

    def _refuse(self, ticket: Ticket, code: int, text: str, at: datetime) -> list[Event]:
        """An order that never works. Only a rejection by the broker's checks (201, 203) leaves one behind."""
        if code not in (201, 203) or ticket.what_if:
            return [_notice(ticket, code, text)]
        ticket = replace(ticket, time_in_force=ticket.time_in_force or TimeInForce.DAY.value)
        order = replace(self._enter(ticket, at, S.INACTIVE), reason=text, finished_at=at)
        self._orders[order.perm_id] = self._finish(order)
        return [OrderChanged(order), _notice(ticket, code, text)]

    def _objection(self, ticket: Ticket, *, replaced: VenueOrder | None) -> tuple[int, str] | None:
        """Why an order cannot work: a code and its text."""
        if wrong := malformed(ticket, self.instruments.get(ticket.symbol)):
            return wrong
        if ticket.parent_id and self.of_client(ticket.client_id, ticket.parent_id) is None:
            return 135, f"Can't find order with id ={ticket.parent_id}"
        short = self.margin.cost(ticket, replaced) - self.buying_power(without=replaced)
        return margin_refusal(short, self.instruments[ticket.symbol].currency) if short > 0 else None

    def buying_power(self, *, without: VenueOrder | None = None) -> Decimal:
        """Value of new positions that may still be opened, working orders counted as if filled."""
        working = [self._orders[perm_id] for ids in self._open.values() for perm_id in ids]
        return self.margin.buying_power(one for one in working if without is None or one.perm_id != without.perm_id)

    def _closed_warning(self, order: VenueOrder) -> str:
        side, symbol = order.ticket.side.value.upper(), order.ticket.symbol
        return (
            f"Order Message:\n{side} {order.ticket.quantity.normalize():f} {symbol} NASDAQ.NMS\nWarning: your order "
            f"will not be placed at the exchange until {self.when_open}"
        )


def _notice(ticket: Ticket, code: int, text: str) -> Notice:
    return Notice(ticket.client_id, ticket.order_id, code, text)
