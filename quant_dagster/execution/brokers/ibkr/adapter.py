"""The broker itself: what the desk asks, answered from what Interactive Brokers has said.

What the broker does not promise, and what is done about it:

* **Absence proves little.** Executions and completed orders of a day vanish at the broker's daily reset. `find` says
  None ("never seen", so the order may be sent again) only when open orders, completed orders and executions have just
  been listed completely over a working connection, none of them has the id, and the order cannot have been sent before
  the broker's day began, or before it was seen to forget. Otherwise the order stays ``sent``, with the doubt as reason.
* **An order number sent twice is one order, and one below the highest is none**: the broker answers 103 to both. So an
  order that is known is not sent again whatever its number, and one that was certainly never seen, but whose number
  has been overtaken, goes under a new number: the report of `submit` names the number that was used.
* **There is no reduce-only flag.** Working orders that may only reduce, of one symbol and side, share a
  one-cancels-all group of type 2: only one of them is at the exchange at a time, and each fill shrinks the others in
  proportion. It does not protect against orders outside the group or by hand, nor an order larger than the position.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from quant_dagster.errors import BrokerError
from quant_dagster.execution.broker import (
    BrokerAccount,
    BrokerOrder,
    Capabilities,
    Changes,
    Execution,
    LinkState,
    OrderReport,
    ReportedStatus,
)
from quant_dagster.execution.brokers.ibkr.client import IbkrClient
from quant_dagster.execution.brokers.ibkr.contracts import Contracts, Qualified, Unqualified
from quant_dagster.execution.brokers.ibkr.evidence import Evidence
from quant_dagster.execution.brokers.ibkr.hearing import NAME, REQUESTS_FROM
from quant_dagster.execution.brokers.ibkr.known_order import KnownOrder
from quant_dagster.execution.brokers.ibkr.prices import Prices
from quant_dagster.execution.brokers.ibkr.translation import TYPES, execution_of, order_fields
from quant_dagster.execution.brokers.ibkr.view import BrokerView
from quant_dagster.execution.brokers.ibkr.wire import ExecutionMessage, contract_fields, decimal_of
from quant_dagster.execution.orders import Order
from quant_dagster.execution.pricing import Quote
from quant_dagster.market_data.instruments import Terms
from quant_dagster.settings import ConnectionSettings, IbkrSettings

if TYPE_CHECKING:
    import polars as pl

_HISTORY_SECONDS = 60.0
_GROUP = "reduce-"
_FINAL = (ReportedStatus.FILLED, ReportedStatus.CANCELED, ReportedStatus.REJECTED, ReportedStatus.EXPIRED)


class IbkrBroker:
    """Interactive Brokers as a `Broker` and `RemoteBroker`. Methods may be called from any thread but its own.

    Parameters
    ----------
    session_of
        The exchange session an instant belongs to.
    terms
        What is true of an instrument now; None where nothing is known.
    highest_order_number
        The highest order number ever written down for this client id; 0 for none.
    sent_at
        When an order was first sent, in the market's time, as the ledger has it; None where it was not or is not known.
        Without it, an order that another process sent before the broker's daily reset cannot be told from one that was
        never sent.
    """

    name = NAME
    capabilities = Capabilities(order_types=frozenset(TYPES), modifies=True, remote=True)

    def __init__(
        self,
        settings: IbkrSettings,
        connection: ConnectionSettings,
        *,
        session_of: Callable[[datetime], date],
        terms: Callable[[str], Terms | None],
        highest_order_number: Callable[[], int],
        sent_at: Callable[[str], datetime | None] = lambda client_order_id: None,
    ) -> None:
        self._settings = settings
        self._session_of = session_of
        self._highest_order_number = highest_order_number
        self._view = BrokerView()
        self._client = IbkrClient(settings, connection, self._view)
        self._evidence = Evidence(self._client, self._view, connection, session_of, sent_at)
        self._contracts = Contracts(self._client, terms)
        self._prices = Prices(self._client, self._contracts)
        self._lock = threading.Lock()
        self._last_number = 0
        self._floor = 0

    # -- the connection ----------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Connect and learn everything. See `RemoteBroker.open`."""
        recorded = self._highest_order_number()
        before = self._evidence.executions()
        self._client.open()
        with self._lock:
            self._last_number = max(self._last_number, recorded)
            self._floor = self._client.next_number - 1
        self._evidence.learned(before)

    def close(self) -> None:
        """Hang up; safe to repeat."""
        self._client.close()

    def ping(self, seconds: float) -> None:
        """Ask for the time; `BrokerUnavailableError` when it is not told within ``seconds``."""
        self._client.ask(self._client.current_time, "asking for a sign of life", seconds, upstream=False)

    def link(self) -> LinkState:
        """The state of the way there, without asking."""
        return self._client.state

    def refresh(self) -> None:
        """Ask again for all orders and executions; a restored link is up afterwards."""
        self._evidence.refresh()

    def changes(self, seconds: float) -> Changes:
        """Wait up to ``seconds`` for news, then hand over what there is, once."""
        news = self._view.wait(seconds)
        known = [order for order in map(self._view.known, news.references) if order is not None]
        reports = tuple(self._report(order) for order in known) if self._client.clock else ()
        return Changes(reports, tuple(map(self._execution, news.executions)), news.notices)

    def market_time(self) -> datetime:
        """The broker's clock, to the second; between two questions, and while there is no connection, it goes by ours.

        Raises
        ------
        BrokerUnavailableError
            The broker was never asked: there has been no connection.
        """
        return self._evidence.market_time()

    # -- orders ------------------------------------------------------------------------------------------------------

    def reserve(self) -> str:
        """The next order number, above all that were ever used, seen, written down or given out."""
        self._client.require_up("taking an order number")
        with self._lock:
            next_free = max(self._last_number, self._view.highest_number) + 1
            number = self._last_number = max(next_free, self._client.next_number)
        if number >= REQUESTS_FROM:
            raise BrokerError(NAME, f"order number {number} is too high: reset the API order ids in the workstation")
        return str(number)

    def prepare(self, symbols: Sequence[str]) -> dict[str, str]:
        """Look up contracts before they are needed, so that `submit` asks nothing; says which cannot be traded."""
        found = [self._contracts.qualify(symbol) for symbol in symbols]
        return {one.symbol: one.reason for one in found if isinstance(one, Unqualified)}

    def submit(self, order: Order, broker_order_id: str = "") -> OrderReport:
        """Send an order under its number, without waiting for the broker's answer; the report says ``sent``.

        An order the broker has is not sent again: the report then says where it stands. One that it certainly never
        saw, and whose number it would refuse by now, goes under a new number: see ``broker_order_id`` of the report.
        ``rejected`` is the answer to an order that was not sent: the broker does not know its symbol, it is malformed,
        or ``execution.ibkr.read_only`` is set.
        """
        self._client.require_up(f"sending order {order.client_order_id}", upstream=True)
        number = int(broker_order_id or self.reserve())
        if number <= self._floor:
            # Sent before, or overtaken by later numbers: the broker would refuse it either way.
            report = self.find(order.client_order_id)
            if report is not None:
                return report
            number = int(self.reserve())
        if self._settings.read_only:
            return self._refused(order, "execution.ibkr.read_only is set: no orders are sent", number)
        found = self._contracts.qualify(order.symbol)
        if isinstance(found, Unqualified):
            return self._refused(order, found.reason, number)
        group = self._group_for(order) if order.reduce_only else ""
        fields = self._fields(order, found, order.quantity, order.limit_price, group)
        if isinstance(fields, str):
            return self._refused(order, fields, number)
        self._view.sending(
            KnownOrder(
                reference=order.client_order_id, order_number=number, client_id=self._settings.client_id,
                account=self._client.account, contract=contract_fields(found.contract), side=order.side,
                quantity=order.quantity, order_type=fields["orderType"], group=group,
                limit_price=decimal_of(fields.get("lmtPrice")), connection=self._client.connections,
            )
        )  # fmt: skip
        self._evidence.sending(order.client_order_id)
        self._floor = max(self._floor, number)
        self._client.hand_over(
            lambda: self._client.place(number, found.contract, fields), f"sending order {order.client_order_id}"
        )
        return OrderReport(
            order.client_order_id, ReportedStatus.SENT, order.session, Decimal(0), broker_order_id=str(number)
        )

    def modify(self, order: Order, *, quantity: Decimal, limit_price: Decimal | None) -> OrderReport | None:
        """Ask for quantity (of the whole order) and limit to be changed; the report is where the order stands now."""
        known = self._evidence.seen(order.client_order_id)
        if known is None:
            return None
        if self._view.reported(known)[0] in _FINAL:
            return self._report(known)
        self._require_own(known, "changed")
        found = self._contracts.qualify(order.symbol)
        if isinstance(found, Unqualified):
            raise BrokerError(NAME, found.reason)
        fields = self._fields(order, found, quantity, limit_price, known.group)
        if isinstance(fields, str):
            raise BrokerError(NAME, f"order {order.client_order_id} cannot be changed: {fields}")
        self._client.hand_over(
            lambda: self._client.place(known.order_number, found.contract, fields),
            f"changing order {order.client_order_id}",
        )
        return self._report(known)

    def cancel(self, client_order_id: str, session: date) -> OrderReport | None:
        """Ask for an order to be cancelled; the report is where it stands now, with the request on its way."""
        known = self._evidence.seen(client_order_id)
        if known is None or self._view.reported(known)[0] in _FINAL:
            return None if known is None else self._report(known)
        self._require_own(known, "cancelled")
        self._view.asked_to_cancel(known)
        self._client.hand_over(lambda: self._client.cancel(known.order_number), f"cancelling order {client_order_id}")
        return self._report(self._view.known(client_order_id) or known)

    def find(self, client_order_id: str) -> OrderReport | None:
        """Where an order stands; None only where the broker has certainly never seen it (see the module).

        Raises
        ------
        BrokerUnavailableError
            The broker, or its servers behind the gateway, cannot be asked: nothing may be concluded.
        """
        known = self._evidence.seen(client_order_id)
        if known is not None:
            return self._report(known)
        doubt = self._evidence.doubt(client_order_id)
        if not doubt:
            return None
        session = self._session_of(self.market_time())
        return OrderReport(client_order_id, ReportedStatus.SENT, session, Decimal(0), doubt)

    def reports(self, client_order_ids: Sequence[str]) -> list[OrderReport]:
        """Where these orders stand; those the broker has said nothing of and that we did not send are left out."""
        self._evidence.complete("asking where orders stand")
        known = (self._view.known(reference) for reference in client_order_ids)
        return [self._report(order) for order in known if order is not None and self._evidence.is_evidence(order)]

    def executions(self, client_order_ids: Sequence[str] | None = None) -> list[Execution]:
        """Executions of these orders, or all of the account that were heard of, oldest first."""
        self._evidence.complete("asking for executions")
        return [self._execution(message) for message in self._view.executions(client_order_ids)]

    def open_orders(self) -> list[BrokerOrder]:
        """Everything that works at the broker, of all clients and by hand; what was asked for just now is not again."""
        self._client.require_up("asking for open orders", upstream=True)
        self._evidence.listed()
        found = []
        for order in self._view.orders():
            if not order.listed or order.contract is None or self._view.reported(order)[0] in _FINAL:
                continue
            filled = max(order.filled, self._view.executed_quantity(order.reference) if order.reference else Decimal(0))
            found.append(
                BrokerOrder(
                    broker_order_id=str(order.order_number or order.perm_id),
                    client_order_id=order.reference,
                    symbol=self._contracts.symbol_of(order.contract),
                    side=order.side,
                    quantity=order.quantity,
                    filled_quantity=filled,
                    order_type=next((ours for ours, theirs in TYPES.items() if theirs == order.order_type),
                                    order.order_type.lower()),
                    limit_price=order.limit_price,
                )
            )  # fmt: skip
        return found

    def account(self) -> BrokerAccount:
        """Cash by currency, positions and net liquidation value, asked for anew."""
        positions = self._client.ask(self._client.positions, "asking for positions")
        values = self._client.ask(self._client.account_values, "asking for the account")
        cash: dict[str, Decimal] = {}
        for wanted in ("CashBalance", "TotalCashBalance"):  # the latter, with futures, where it is told
            cash |= {
                currency: Decimal(value)
                for tag, value, currency in values
                if tag == wanted and currency not in ("", "BASE")
            }
        equity = [(Decimal(value), currency) for tag, value, currency in values if tag == "NetLiquidation" and currency]
        held = {
            self._contracts.symbol_of(contract_fields(one.contract)): decimal_of(one.position) or Decimal(0)
            for one in positions
            if one.account == self._client.account and one.position
        }
        base = equity[0][1] if equity else next(iter(cash), "USD")
        return BrokerAccount(self._client.account, base, cash, held, equity[0][0] if equity else None)

    # -- the market --------------------------------------------------------------------------------------------------

    def snapshot(self, symbol: str) -> Quote | None:
        """Bid, ask and last as they are now; None where the login has no market data for the symbol."""
        return self._prices.snapshot(symbol)

    def history(self, symbol: str, start: datetime, end: datetime, bar_seconds: int) -> pl.DataFrame:
        """Bars of regular hours that begin in ``[start, end)``.

        Returns
        -------
        pl.DataFrame
            ``symbol``, ``bar_start`` (UTC), ``open``, ``high``, ``low``, ``close``, ``volume``.

        Raises
        ------
        DataUnavailableError
            The broker says that it has none, or why it gives none.
        BrokerUnavailableError
            It did not answer.
        """
        return self._prices.history(symbol, start, end, bar_seconds, seconds=_HISTORY_SECONDS)

    def _require_own(self, order: KnownOrder, doing: str) -> None:
        if self._settings.read_only:
            raise BrokerError(NAME, f"order {order.reference} cannot be {doing}: execution.ibkr.read_only is set")
        if order.order_number <= 0 or order.client_id != self._settings.client_id:
            raise BrokerError(
                NAME,
                f"order {order.reference} (permanent id {order.perm_id}) belongs to client id {order.client_id}, not"
                f" {self._settings.client_id}: it can only be {doing} there or in the workstation",
            )

    # -- translations ------------------------------------------------------------------------------------------------

    def _refused(self, order: Order, reason: str, number: int) -> OrderReport:
        return OrderReport(
            order.client_order_id, ReportedStatus.REJECTED, order.session, Decimal(0), reason, str(number)
        )

    def _report(self, order: KnownOrder) -> OrderReport:
        status, filled, reason = self._view.reported(order)
        number = str(order.order_number) if order.order_number else ""
        return OrderReport(
            order.reference, status, self._session_of(self._evidence.estimated_time()), filled, reason, number
        )  # fmt: skip

    def _execution(self, message: ExecutionMessage) -> Execution:
        return execution_of(
            message,
            self._view.commission_of(message),
            symbol=self._contracts.symbol_of(message.contract),
            session=self._session_of(message.executed_at or self._evidence.estimated_time()),
        )

    def _fields(
        self, order: Order, found: Qualified, quantity: Decimal, limit_price: Decimal | None, group: str
    ) -> dict[str, Any] | str:
        account = self._client.account
        return order_fields(order, found, quantity=quantity, limit_price=limit_price, group=group, account=account)

    def _group_for(self, order: Order) -> str:
        for known in self._view.orders():
            same = known.contract is not None and self._contracts.symbol_of(known.contract) == order.symbol
            works = self._view.reported(known)[0] not in _FINAL
            if same and works and known.side is order.side and known.group.startswith(_GROUP):
                return known.group
        # A group whose orders are done takes no new ones: every group has a name of its own.
        return f"{_GROUP}{order.client_order_id}"
