"""The venue's answers about orders and trades as frozen values, with the exact decimals they were written with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from quant_dagster.accounting.books import Side
from quant_dagster.errors import MalformedDataError
from quant_dagster.execution.broker import ReportedStatus

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STATUS = {
    "NEW": ReportedStatus.WORKING,
    "PENDING_NEW": ReportedStatus.WORKING,
    "PARTIALLY_FILLED": ReportedStatus.WORKING,
    "PENDING_CANCEL": ReportedStatus.WORKING,
    "FILLED": ReportedStatus.FILLED,
    "CANCELED": ReportedStatus.CANCELED,
    "REJECTED": ReportedStatus.REJECTED,
    "EXPIRED": ReportedStatus.EXPIRED,
    "EXPIRED_IN_MATCH": ReportedStatus.EXPIRED,
}


@dataclass(frozen=True)
class VenueOrder:
    """An order as the venue tells of it; times in UTC."""

    market_id: str
    order_id: int
    client_order_id: str
    side: Side
    order_type: str
    status: ReportedStatus
    quantity: Decimal
    executed: Decimal
    limit_price: Decimal | None
    updated_at: datetime
    reason: str = ""

    @property
    def key(self) -> tuple[str, int]:
        """Order ids count per market."""
        return self.market_id, self.order_id

    @property
    def is_over(self) -> bool:
        """Nothing more will be filled."""
        return self.status is not ReportedStatus.WORKING


@dataclass(frozen=True)
class VenueTrade:
    """One trade of the account."""

    market_id: str
    trade_id: int
    order_id: int
    side: Side
    price: Decimal
    quantity: Decimal
    quote_quantity: Decimal
    commission: Decimal
    commission_asset: str
    is_maker: bool
    executed_at: datetime


def read_order(answer: Mapping[str, Any]) -> VenueOrder:
    """An order from any answer that holds one; `MalformedDataError` when it does not."""
    try:
        price = Decimal(answer["price"])
        at = answer.get("updateTime", answer.get("transactTime"))
        return VenueOrder(
            market_id=answer["symbol"],
            order_id=int(answer["orderId"]),
            # The answer to a cancellation carries the cancellation's own id beside the order's.
            client_order_id=answer.get("origClientOrderId") or answer["clientOrderId"],
            side=Side.BUY if answer["side"] == "BUY" else Side.SELL,
            order_type=answer["type"],
            status=_STATUS[answer["status"]],
            quantity=Decimal(answer["origQty"]),
            executed=Decimal(answer["executedQty"]),
            limit_price=price if price and "LIMIT" in answer["type"] else None,
            updated_at=instant(at),
            reason=str(answer.get("expiryReason", "")),
        )
    except (KeyError, TypeError, ValueError, InvalidOperation) as error:
        raise MalformedDataError(
            f"order of binance cannot be read: {type(error).__name__} {error}: {answer}"
        ) from error


def read_trade(answer: Mapping[str, Any]) -> VenueTrade:
    """A trade of ``myTrades``; `MalformedDataError` when it is none."""
    try:
        return VenueTrade(
            market_id=answer["symbol"],
            trade_id=int(answer["id"]),
            order_id=int(answer["orderId"]),
            side=Side.BUY if answer["isBuyer"] else Side.SELL,
            price=Decimal(answer["price"]),
            quantity=Decimal(answer["qty"]),
            quote_quantity=Decimal(answer["quoteQty"]),
            commission=Decimal(answer["commission"]),
            commission_asset=answer["commissionAsset"],
            is_maker=bool(answer["isMaker"]),
            executed_at=instant(answer["time"]),
        )
    except (KeyError, TypeError, ValueError, InvalidOperation) as error:
        raise MalformedDataError(
            f"trade of binance cannot be read: {type(error).__name__} {error}: {answer}"
        ) from error


def read_balances(answer: Mapping[str, Any]) -> dict[str, Decimal]:
    """What an account holds by asset, locked amounts included; `MalformedDataError` when it does not say."""
    try:
        return {one["asset"]: Decimal(one["free"]) + Decimal(one["locked"]) for one in answer["balances"]}
    except (KeyError, TypeError, InvalidOperation) as error:
        raise MalformedDataError(f"account of binance cannot be read: {type(error).__name__} {error}") from error


def instant(milliseconds: Any) -> datetime:
    """A time of the venue, in UTC."""
    return _EPOCH + timedelta(milliseconds=int(milliseconds))
