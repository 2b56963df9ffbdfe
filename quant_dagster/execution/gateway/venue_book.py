"""The orders of a venue, and the ways to find them. What becomes of them is decided in ``venue``."""

from __future__ import annotations

from collections import defaultdict

from quant_dagster.errors import OrderError
from quant_dagster.execution.gateway.records import OrderState, VenueOrder

_WORKING = (OrderState.PRE_SUBMITTED, OrderState.SUBMITTED)


class VenueBook:
    """Every order the venue ever saw. ``is_open``: orders may trade now."""

    def __init__(self) -> None:
        self.is_open = True
        self._orders: dict[int, VenueOrder] = {}
        self._open: dict[str, dict[int, None]] = defaultdict(dict)  # perm_ids by symbol, in order of arrival
        self._by_id: dict[tuple[int, int], int] = {}
        self._highest: defaultdict[int, int] = defaultdict(int)
        self._completed: dict[int, None] = {}
        self._by_ref: dict[str, int] = {}

    def orders(self) -> tuple[VenueOrder, ...]:
        """Every order ever seen, oldest first."""
        return tuple(self._orders.values())

    def order(self, perm_id: int) -> VenueOrder:
        """An order by the venue's id."""
        return self._orders[perm_id]

    def of_client(self, client_id: int, order_id: int) -> VenueOrder | None:
        """An order by the client's id."""
        perm_id = self._by_id.get((client_id, order_id))
        return None if perm_id is None else self._orders[perm_id]

    def of_ref(self, order_ref: str) -> VenueOrder:
        """The newest order with a reference."""
        perm_id = self._by_ref.get(order_ref)
        if perm_id is None:
            raise OrderError(f"no order with reference '{order_ref}' reached the venue: look at its orders()")
        return self._orders[perm_id]

    def unfinished(self) -> list[VenueOrder]:
        """Orders that are not final, oldest first."""
        return sorted((self._orders[p] for ids in self._open.values() for p in ids), key=lambda one: one.perm_id)

    def working(self, symbol: str) -> list[VenueOrder]:
        """Orders of a symbol that may trade now, oldest first."""
        if not self.is_open or symbol not in self._open:
            return []
        found = (self._orders[perm_id] for perm_id in self._open[symbol])
        return [one for one in found if one.state in _WORKING and not one.waits_for]

    def active_symbols(self) -> list[str]:
        """Symbols with unfinished orders."""
        return [symbol for symbol, ids in self._open.items() if ids]

    def completed(self) -> list[VenueOrder]:
        """Orders finished since the last reset."""
        return [self._orders[perm_id] for perm_id in self._completed]

    def next_order_id(self, client_id: int) -> int:
        """An order id above all that this client ever used."""
        return self._highest[client_id] + 1

    def _finish(self, order: VenueOrder) -> VenueOrder:
        self._open[order.ticket.symbol].pop(order.perm_id, None)
        self._completed[order.perm_id] = None
        return order
