"""One order as far as it is known, and where that means it stands. Pure: no connection, no lock, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from quant_dagster.accounting.books import Side
from quant_dagster.execution.broker import ReportedStatus
from quant_dagster.execution.brokers.ibkr.wire import ContractFields

ZERO = Decimal(0)
CANCELLED = frozenset({"Cancelled", "ApiCancelled"})
OVER = CANCELLED | {"Filled"}
"""The broker's words for an order that is over. ``Inactive`` is not among them: it may become active again."""


@dataclass(frozen=True)
class KnownOrder:
    """An order as far as we know it.

    Attributes
    ----------
    order_number, client_id, perm_id
        Under which a client sent it, and the broker's own number for ever; 0 where not known.
    status
        The broker's last word on it, empty before the first.
    connection
        The count of connections when we sent it in this process; 0: we did not.
    listed
        Was it among the open or completed orders when they were last asked for?
    contradicted
        Listings that had it working although it was heard to be over.
    refusal
        The text of the error that refused it, as long as nothing the broker lists says otherwise.
    """

    reference: str
    order_number: int = 0
    client_id: int = 0
    perm_id: int = 0
    account: str = ""
    contract: ContractFields | None = None
    side: Side = Side.BUY
    quantity: Decimal = ZERO
    order_type: str = ""
    limit_price: Decimal | None = None
    group: str = ""
    status: str = ""
    filled: Decimal = ZERO
    reason: str = ""
    connection: int = 0
    listed: bool = False
    contradicted: int = 0
    completed: bool = False
    refusal: str = ""
    refused_for_good: bool = False
    cancel_asked: bool = False

    @property
    def acknowledged(self) -> bool:
        """Has the broker said anything of it that it would not say of an order it does not have?"""
        return bool(self.status or self.perm_id)


def reported(order: KnownOrder, executed: Decimal) -> tuple[ReportedStatus, Decimal, str]:
    """Status, filled quantity and reason of an order whose executions add up to ``executed`` shares."""
    filled = max(order.filled, executed)
    reason = order.reason
    if order.status == "Filled" or (0 < order.quantity <= filled):
        return ReportedStatus.FILLED, filled, ""
    if order.status in CANCELLED:
        if order.refusal and not filled and not order.cancel_asked:
            return ReportedStatus.REJECTED, filled, order.refusal
        expired = not order.cancel_asked and "expire" in reason.lower()
        return ReportedStatus.EXPIRED if expired else ReportedStatus.CANCELED, filled, reason
    if order.refusal and (order.refused_for_good or order.status == "Inactive"):
        return (ReportedStatus.CANCELED if filled else ReportedStatus.REJECTED), filled, order.refusal
    if order.acknowledged or filled:
        return ReportedStatus.WORKING, filled, reason
    return ReportedStatus.SENT, filled, reason
