"""The venue's markets: their names, and the filters an order must pass before it is worth sending."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from quant_dagster.errors import MalformedDataError
from quant_dagster.execution.orders import Order

TYPES = {"market": "MARKET", "limit": "LIMIT", "stop": "STOP_LOSS"}
"""Our order types in the venue's words; a stop order is a market order once its price is reached."""
ZERO = Decimal(0)


@dataclass(frozen=True)
class Steps:
    """A filter of a price or a quantity; 0 switches a part off."""

    name: str
    least: Decimal
    most: Decimal
    step: Decimal

    def problems(self, what: str, value: Decimal) -> list[str]:
        """What is wrong with a value; empty: nothing."""
        found = []
        if self.least and value < self.least:
            found.append(f"{self.name}: {what} {value} is below {self.least}")
        if self.most and value > self.most:
            found.append(f"{self.name}: {what} {value} is above {self.most}")
        if self.step and value % self.step:
            found.append(f"{self.name}: {what} {value} is not a multiple of {self.step}")
        return found


@dataclass(frozen=True)
class Market:
    """A pair; ``symbol`` is ``BASE/QUOTE``. Notional bounds in the quote currency, 0 for none."""

    id: str
    symbol: str
    base: str
    quote: str
    status: str
    order_types: frozenset[str]
    price: Steps
    lot: Steps
    market_lot: Steps
    least_notional: Decimal = ZERO
    most_notional: Decimal = ZERO
    least_for_market: bool = False
    most_for_market: bool = False

    def problems(self, order: Order) -> list[str]:
        """Why the venue would refuse an order; empty: no reason that is known before it is asked.

        The notional of a market order is judged by its decision price, which the venue's average may differ from.
        """
        if order.order_type not in TYPES:
            return [f"order type {order.order_type} is not offered"]
        found = [] if self.status == "TRADING" else [f"the market's status is {self.status}"]
        if TYPES[order.order_type] not in self.order_types:
            found.append(f"{self.symbol} takes no {TYPES[order.order_type]} orders")
        if order.quantity <= 0:
            found.append(f"quantity {order.quantity} is not above zero")
        found += self.lot.problems("quantity", order.quantity)
        if order.order_type == "limit" and order.limit_price is None:
            found.append("a limit order needs a limit price")
        if order.order_type == "stop" and order.stop_price is None:
            found.append("a stop order needs a stop price")
        if order.order_type != "limit":
            found += self.market_lot.problems("quantity", order.quantity)
        priced = {"limit": order.limit_price, "stop": order.stop_price}.get(order.order_type)
        if priced is not None:
            found += self.price.problems("price", priced)
        at_market = order.order_type == "market"
        notional = order.quantity * (priced if priced is not None else order.decision_price)
        if self.least_notional and notional < self.least_notional and (self.least_for_market or not at_market):
            found.append(f"NOTIONAL: {notional} {self.quote} is below {self.least_notional}")
        if self.most_notional and notional > self.most_notional and (self.most_for_market or not at_market):
            found.append(f"NOTIONAL: {notional} {self.quote} is above {self.most_notional}")
        return found


class Markets:
    """All markets by the venue's id and by our symbol.

    Parameters
    ----------
    quote_currency
        What a symbol without a quote currency is quoted in: ``BTC`` is ``BTC/USDT``.
    """

    def __init__(self, markets: Iterable[Market], quote_currency: str) -> None:
        self.quote_currency = quote_currency
        self._by_id = {market.id: market for market in markets}
        self._by_symbol = {market.symbol: market for market in self._by_id.values()}

    def of_symbol(self, symbol: str) -> Market | None:
        """The market of a symbol of ours."""
        return self._by_symbol.get(symbol if "/" in symbol else f"{symbol}/{self.quote_currency}")

    def of_id(self, market_id: str) -> Market | None:
        """The market under the venue's id."""
        return self._by_id.get(market_id)


def read_markets(answer: Mapping[str, Any], quote_currency: str) -> Markets:
    """The venue's ``exchangeInfo``; `MalformedDataError` when it is none."""
    try:
        return Markets([_market(one) for one in answer["symbols"]], quote_currency)
    except (KeyError, TypeError, InvalidOperation) as error:
        raise MalformedDataError(
            f"the venue's list of markets cannot be read: {type(error).__name__} {error}"
        ) from error


def weight_limit(answer: Mapping[str, Any]) -> int | None:
    """Request weight a minute the venue allows; None where it does not say."""
    for one in answer.get("rateLimits", ()):
        if (one.get("rateLimitType"), one.get("interval"), one.get("intervalNum")) == ("REQUEST_WEIGHT", "MINUTE", 1):
            return int(one["limit"])
    return None


def _market(one: Mapping[str, Any]) -> Market:
    filters = {entry["filterType"]: entry for entry in one["filters"]}
    notional = filters.get("NOTIONAL") or filters.get("MIN_NOTIONAL") or {}
    lowest_for_market = notional.get("applyMinToMarket", notional.get("applyToMarket", False))
    return Market(
        id=one["symbol"],
        symbol=f"{one['baseAsset']}/{one['quoteAsset']}",
        base=one["baseAsset"],
        quote=one["quoteAsset"],
        status=one["status"],
        order_types=frozenset(one["orderTypes"]),
        price=_steps(filters, "PRICE_FILTER", "Price", "tickSize"),
        lot=_steps(filters, "LOT_SIZE", "Qty", "stepSize"),
        market_lot=_steps(filters, "MARKET_LOT_SIZE", "Qty", "stepSize"),
        least_notional=Decimal(notional.get("minNotional", "0")),
        most_notional=Decimal(notional.get("maxNotional", "0")),
        least_for_market=bool(lowest_for_market),
        most_for_market=bool(notional.get("applyMaxToMarket", False)),
    )


def _steps(filters: Mapping[str, Mapping[str, Any]], name: str, what: str, step: str) -> Steps:
    entry = filters.get(name, {})
    return Steps(name, *(Decimal(entry.get(key, "0")) for key in (f"min{what}", f"max{what}", step)))
