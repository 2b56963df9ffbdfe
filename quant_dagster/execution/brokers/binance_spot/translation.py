"""Our orders as the venue's fields, and its orders and trades as ours. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal

from quant_dagster.accounting.books import Side
from quant_dagster.execution.broker import BrokerAccount, BrokerOrder, Execution, OrderReport
from quant_dagster.execution.brokers.binance_spot.client import NAME
from quant_dagster.execution.brokers.binance_spot.markets import TYPES, Market
from quant_dagster.execution.brokers.binance_spot.messages import VenueOrder, VenueTrade
from quant_dagster.execution.orders import Order
from quant_dagster.storage.types import plain

_CASH = frozenset({"USDT", "USDC", "FDUSD", "TUSD", "USDP", "DAI", "BUSD", "USD1", "USD", "EUR", "GBP", "TRY", "BRL",
                  "JPY", "AUD", "PLN", "MXN", "ZAR", "ARS", "COP", "CZK", "RON", "UAH"})  # fmt: skip
"""Assets that are cash: currencies, and coins that stand for one."""
_OURS = {theirs: ours for ours, theirs in TYPES.items()}


def order_fields(order: Order, market: Market) -> dict[str, str]:
    """The order as the venue takes it. Amounts have no trailing zeros, which it counts as decimals."""
    fields = {
        "symbol": market.id, "side": "BUY" if order.side is Side.BUY else "SELL", "type": TYPES[order.order_type],
        "quantity": plain(order.quantity), "newClientOrderId": order.client_order_id, "newOrderRespType": "RESULT",
    }  # fmt: skip
    if order.order_type == "limit" and order.limit_price is not None:
        fields |= {"timeInForce": "GTC", "price": plain(order.limit_price)}
    if order.order_type == "stop" and order.stop_price is not None:
        fields["stopPrice"] = plain(order.stop_price)
    return fields


def report_of(order: VenueOrder, session: date) -> OrderReport:
    """Where an order stands; it got there in ``session``."""
    return OrderReport(
        client_order_id=order.client_order_id,
        status=order.status,
        session=session,
        filled_quantity=order.executed,
        reason=order.reason,
        broker_order_id=str(order.order_id),
    )


def open_order_of(order: VenueOrder, symbol: str, client_order_id: str) -> BrokerOrder:
    """An order that works at the venue, under our id, which is empty where it is not ours."""
    return BrokerOrder(
        broker_order_id=str(order.order_id),
        client_order_id=client_order_id,
        symbol=symbol,
        side=order.side,
        quantity=order.quantity,
        filled_quantity=order.executed,
        order_type=_OURS.get(order.order_type, order.order_type.lower()),
        limit_price=order.limit_price,
    )


def execution_of(
    trade: VenueTrade, client_order_id: str, *, symbol: str, session: date, currency: str | None
) -> Execution:
    """An execution as the desk takes it; ``currency`` is the market's, None where the market is not known."""
    return Execution(
        execution_id=f"{trade.market_id}-{trade.trade_id}",
        client_order_id=client_order_id,
        symbol=symbol,
        side=trade.side,
        quantity=trade.quantity,
        price=trade.price,
        session=session,
        commission=trade.commission,
        executed_at=trade.executed_at,
        currency=currency,
        commission_currency=trade.commission_asset,
        broker_order_id=str(trade.order_id),
        provenance={
            "broker": NAME,
            "market": trade.market_id,
            "trade_id": trade.trade_id,
            "order_id": trade.order_id,
            "liquidity": "maker" if trade.is_maker else "taker",
            "quote_quantity": str(trade.quote_quantity),
            "commission": str(trade.commission),
            "commission_asset": trade.commission_asset,
        },
    )


def account_of(
    account: str, balances: Mapping[str, Decimal], quote_currency: str, symbol_of: Callable[[str, str], str]
) -> BrokerAccount:
    """Balances by asset as an account: currencies and stable coins as cash, what there is of other assets as positions.

    Parameters
    ----------
    symbol_of
        What an asset is called here, where it is traded in a currency.
    """
    cash: dict[str, Decimal] = {}
    held: dict[str, Decimal] = {}
    for asset, amount in balances.items():
        if asset in _CASH or asset == quote_currency:
            cash[asset] = amount
        elif amount:
            held[symbol_of(asset, quote_currency)] = amount
    return BrokerAccount(account, quote_currency, cash, held)
