"""The account: cash, positions and executions. Everything can be counted again from the executions as they stand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from quant_dagster.errors import OrderError
from quant_dagster.execution.gateway.records import ZERO, Execution, Position, VenueOrder
from quant_dagster.storage.types import money


@dataclass(frozen=True)
class CommissionSchedule:
    """Commission of an order in account currency: so much a share, a least amount, a most as a share of its value.

    The defaults are Interactive Brokers' fixed pricing of US stocks: USD 0.005 a share, at least USD 1.00, at most 1 %
    of the traded value (the most wins). Least and most hold for the order, not for each of its executions.
    """

    per_share: Decimal = Decimal("0.005")
    least: Decimal = Decimal("1.00")
    most: Decimal = Decimal("0.01")

    def of_order(self, quantity: Decimal, value: Decimal) -> Decimal:
        """What an order costs with ``quantity`` shares worth ``value`` traded."""
        return money(min(max(self.per_share * quantity, self.least), self.most * value)) if quantity else ZERO


class Account:
    """Cash and positions of one account.

    Parameters
    ----------
    number
        As the protocol names it; simulated accounts begin with DU.
    cash
        What it starts with, in account currency.
    positions
        What it holds at the start: signed shares and cost of one by symbol.
    """

    def __init__(
        self,
        number: str,
        cash: Decimal,
        commissions: CommissionSchedule,
        positions: Mapping[str, tuple[Decimal, Decimal]] | None = None,
    ) -> None:
        self.number = number
        self.cash = cash
        self.realized_pnl = ZERO
        self._schedule = commissions
        self._opening = {name: Position(name, *held) for name, held in (positions or {}).items()}
        self._positions = dict(self._opening)
        self._trades: dict[str, list[Execution]] = {}  # by trade_id: every version, oldest first
        self._of_order: defaultdict[int, list[str]] = defaultdict(list)
        self._of_symbol: defaultdict[str, list[str]] = defaultdict(list)

    def positions(self) -> tuple[Position, ...]:
        """What is held, by symbol."""
        return tuple(self._positions[name] for name in sorted(self._positions) if self._positions[name].quantity)

    def position(self, symbol: str) -> Position:
        """What is held of a symbol; a quantity of 0 if nothing is."""
        return self._positions.get(symbol, Position(symbol, ZERO, ZERO))

    def commission_of(self, quantity: Decimal, value: Decimal) -> Decimal:
        """What an order would cost, traded whole."""
        return self._schedule.of_order(quantity, value)

    def latest(self, perm_id: int) -> list[Execution]:
        """An order's trades as they stand after corrections."""
        return [self._trades[trade][-1] for trade in self._of_order.get(perm_id, ())]

    def standing(self) -> list[Execution]:
        """Every trade as it stands after corrections, oldest first."""
        return [versions[-1] for versions in self._trades.values()]

    def find(self, exec_id: str) -> Execution:
        """The newest version of a trade, named by any of its versions."""
        versions = self._trades.get(exec_id.rpartition(".")[0])
        if versions is None:
            raise OrderError(f"execution {exec_id} is not known to the venue: ask for its executions()")
        return versions[-1]

    def book(self, order: VenueOrder, exec_id: str, quantity: Decimal, price: Decimal, at: datetime) -> Execution:
        """Book a trade of an order: cash and position follow."""
        before = self.latest(order.perm_id)
        ticket = order.ticket
        filled = sum((one.quantity for one in before), ZERO) + quantity
        value = sum((one.quantity * one.price for one in before), ZERO) + quantity * price
        charged = sum((one.commission for one in before), ZERO)
        execution = Execution(
            exec_id=exec_id,
            perm_id=order.perm_id,
            client_id=ticket.client_id,
            order_id=ticket.order_id,
            symbol=ticket.symbol,
            side=ticket.side,
            quantity=quantity,
            price=price,
            at=at,
            cumulative=filled,
            average_price=money(value / filled),
            order_ref=ticket.order_ref,
            commission=max(self._schedule.of_order(filled, value) - charged, ZERO),
        )
        position, realized = _after(self.position(ticket.symbol), execution)
        execution = replace(execution, realized_pnl=realized)
        self._trades[execution.trade_id] = [execution]
        self._of_order[order.perm_id].append(execution.trade_id)
        self._of_symbol[ticket.symbol].append(execution.trade_id)
        self._positions[ticket.symbol] = position
        self.cash += execution.cash_flow
        self.realized_pnl += realized or ZERO
        return execution

    def correct(self, exec_id: str, quantity: Decimal, price: Decimal, at: datetime) -> Execution:
        """Replace a trade by its correction (a quantity of 0 undoes it): cash and position follow."""
        old = self.find(exec_id)
        number = int(old.exec_id.rpartition(".")[2]) + 1
        others = [one for one in self.latest(old.perm_id) if one.trade_id != old.trade_id]
        filled = sum((one.quantity for one in others), ZERO) + quantity
        value = sum((one.quantity * one.price for one in others), ZERO) + quantity * price
        charged = sum((one.commission for one in others), ZERO)
        commission = max(self._schedule.of_order(filled, value) - charged, ZERO) if quantity else ZERO
        new = replace(
            old,
            exec_id=f"{old.trade_id}.{number:02d}",
            quantity=quantity,
            price=price,
            at=at,
            cumulative=filled,
            average_price=money(value / filled) if filled else ZERO,
            commission=commission,
            realized_pnl=None,
        )
        self._trades[old.trade_id].append(new)
        self.cash += new.cash_flow - old.cash_flow
        return self._count_again(new)

    def _count_again(self, corrected: Execution) -> Execution:
        """Positions and profits of a symbol from all its trades, because those after a corrected one changed too."""
        symbol = corrected.symbol
        position = self._opening.get(symbol, Position(symbol, ZERO, ZERO))
        for trade in self._of_symbol[symbol]:
            version = self._trades[trade][-1]
            position, realized = _after(position, version)
            self._trades[trade][-1] = replace(version, realized_pnl=realized)
        self._positions[symbol] = position
        self.realized_pnl = sum((one.realized_pnl or ZERO for one in self.standing()), ZERO)
        return self._trades[corrected.trade_id][-1]


def _after(position: Position, execution: Execution) -> tuple[Position, Decimal | None]:
    """A position after a trade, and what the trade realised (None: it closed nothing)."""
    change = execution.side.sign * execution.quantity
    held, cost = position.quantity, position.average_cost
    total = held + change
    if not change:
        return position, None
    # What a share costs includes the commission of the trade that opened it, as the broker counts it.
    fee = execution.commission / execution.quantity
    own_cost = execution.price + execution.side.sign * fee
    if held * change >= 0:
        average = money((held * cost + change * own_cost) / total)
        return Position(position.symbol, total, average), None
    closed = min(abs(held), abs(change))
    realized = money((own_cost - cost) * closed * (1 if held > 0 else -1))
    if abs(change) <= abs(held):
        return Position(position.symbol, total, cost if total else ZERO), realized
    return Position(position.symbol, total, money(own_cost)), realized
