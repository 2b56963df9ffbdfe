"""What the broker's checks say of an order before it works: whether it is well formed, and whether it can be paid."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal

from quant_dagster.execution.gateway.account import Account
from quant_dagster.execution.gateway.records import ZERO, Instrument, OrderType, Ticket, TimeInForce, VenueOrder
from quant_dagster.storage.types import money


class Margin:
    """What an account is worth and what it may still open.

    Parameters
    ----------
    mark
        The market's price of a symbol now; None where there is none.
    leverage
        Gross value allowed as a multiple of the equity.
    """

    def __init__(self, account: Account, mark: Callable[[str], Decimal | None], leverage: Decimal) -> None:
        self.account = account
        self.leverage = leverage
        self._mark = mark

    def mark(self, symbol: str) -> Decimal:
        """The price a symbol is valued at: the market's, else what was paid."""
        return self._mark(symbol) or self.account.position(symbol).average_cost

    def equity(self) -> Decimal:
        """Cash and positions at their marks, in account currency."""
        return self.account.cash + sum((one.quantity * self.mark(one.symbol) for one in self.account.positions()), ZERO)

    def gross_value(self) -> Decimal:
        """Value of all positions, short ones counted as positive."""
        return sum((abs(one.quantity) * self.mark(one.symbol) for one in self.account.positions()), ZERO)

    def unrealized(self) -> Decimal:
        """What closing all positions at their marks would earn."""
        return sum(
            (one.quantity * (self.mark(one.symbol) - one.average_cost) for one in self.account.positions()), ZERO
        )

    def cost(self, ticket: Ticket, order: VenueOrder | None) -> Decimal:
        """Value of what an order would open; what only closes a position costs nothing."""
        held = self.account.position(ticket.symbol).quantity * -ticket.side.sign
        remaining = ticket.quantity - (order.filled if order else ZERO)
        opening = remaining - max(min(held, remaining), ZERO)
        return opening * (ticket.limit or ticket.stop or self.mark(ticket.symbol))

    def buying_power(self, working: Iterable[VenueOrder]) -> Decimal:
        """Value of new positions that may still be opened with these orders counted as if filled."""
        committed = sum((self.cost(one.ticket, one) for one in working if not one.waits_for), ZERO)
        return self.leverage * self.equity() - self.gross_value() - committed


def malformed(ticket: Ticket, instrument: Instrument | None) -> tuple[int, str] | None:
    """What is wrong with an order as it is written: a code and its text."""
    if instrument is None:
        return 200, "No security definition has been found for the request"
    if ticket.order_type not in tuple(OrderType):
        return 387, "Unsupported order type for this exchange and security type."
    if ticket.time_in_force not in tuple(TimeInForce):
        return 10052, f"Invalid time in force: {ticket.time_in_force}"
    if ticket.quantity <= 0 or ticket.quantity != ticket.quantity.to_integral_value():
        return 10318, "This order doesn't support fractional quantity trading"
    needed = {OrderType.LIMIT: ticket.limit, OrderType.STOP: ticket.stop}.get(OrderType(ticket.order_type), ZERO)
    if needed is None:
        return 321, "Error validating request.-'bY' : cause - Missing or invalid order price."
    for price in (ticket.limit, ticket.stop):
        if price is not None and price % instrument.tick_size:
            return 110, "The price does not conform to the minimum price variation for this contract."
    return None


def margin_refusal(short: Decimal, currency: str) -> tuple[int, str]:
    """The refusal of an order that the account cannot carry by this much."""
    return 201, (
        "Order rejected - reason:YOUR ORDER IS NOT ACCEPTED. IN ORDER TO OBTAIN THE DESIRED POSITION YOUR EQUITY WITH "
        f"LOAN VALUE MUST EXCEED THE INITIAL MARGIN BY {money(short):.2f} {currency}"
    )
