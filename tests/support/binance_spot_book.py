"""The market and the book of Binance spot, without a network: REST v3 as its documentation says.

github.com/binance/binance-spot-api-docs. Filters and balances are applied. Market orders trade at once at the market's
price. Its clock runs from a fixed instant and can be moved.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ZERO = Decimal(0)


class Refusal(Exception):
    """The venue's error body."""

    def __init__(self, code: int, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.code, self.text, self.status = code, text, status


@dataclass
class Pair:
    """A market as ``exchangeInfo`` lists it."""

    base: str
    quote: str
    price: Decimal
    tick: Decimal = Decimal("0.01")
    step: Decimal = Decimal("0.00001")
    least_notional: Decimal = Decimal(5)
    status: str = "TRADING"
    klines: list[list[Any]] = field(default_factory=list)

    @property
    def id(self) -> str:
        return self.base + self.quote

    def listing(self) -> dict[str, Any]:
        return {
            "symbol": self.id, "status": self.status, "baseAsset": self.base, "baseAssetPrecision": 8,
            "quoteAsset": self.quote, "quotePrecision": 8, "quoteAssetPrecision": 8, "baseCommissionPrecision": 8,
            "quoteCommissionPrecision": 8, "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS",
            "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT"], "icebergAllowed": True, "ocoAllowed": True,
            "quoteOrderQtyMarketAllowed": True, "allowTrailingStop": True, "cancelReplaceAllowed": True,
            "amendAllowed": True, "isSpotTradingAllowed": True, "isMarginTradingAllowed": False, "permissions": [],
            "permissionSets": [["SPOT"]], "defaultSelfTradePreventionMode": "NONE",
            "allowedSelfTradePreventionModes": ["NONE"],
            "filters": [
                {"filterType": "PRICE_FILTER", "minPrice": f"{self.tick:f}", "maxPrice": "1000000.00000000",
                 "tickSize": f"{self.tick:f}"},
                {"filterType": "LOT_SIZE", "minQty": f"{self.step:f}", "maxQty": "9000.00000000",
                 "stepSize": f"{self.step:f}"},
                {"filterType": "MARKET_LOT_SIZE", "minQty": "0.00000000", "maxQty": "120.00000000",
                 "stepSize": "0.00000000"},
                {"filterType": "NOTIONAL", "minNotional": f"{self.least_notional:f}", "applyMinToMarket": True,
                 "maxNotional": "9000000.00000000", "applyMaxToMarket": False, "avgPriceMins": 5},
            ],
        }  # fmt: skip


@dataclass
class VenueOrder:
    """An order on the venue's book."""

    order_id: int
    client_order_id: str
    pair: Pair
    side: str
    kind: str
    quantity: Decimal
    price: Decimal
    stop: Decimal
    at: int
    status: str = "NEW"
    executed: Decimal = ZERO
    paid: Decimal = ZERO
    updated: int = 0

    @property
    def is_open(self) -> bool:
        return self.status in ("NEW", "PARTIALLY_FILLED")

    def shown(self) -> dict[str, Any]:
        content: dict[str, Any] = {
            "symbol": self.pair.id, "orderId": self.order_id, "orderListId": -1, "clientOrderId": self.client_order_id,
            "price": f"{self.price:.8f}", "origQty": f"{self.quantity:.8f}", "executedQty": f"{self.executed:.8f}",
            "origQuoteOrderQty": "0.00000000", "cummulativeQuoteQty": f"{self.paid:.8f}", "status": self.status,
            "timeInForce": "GTC", "type": self.kind, "side": self.side, "selfTradePreventionMode": "NONE",
        }  # fmt: skip
        return content | ({"stopPrice": f"{self.stop:.8f}"} if self.stop else {})

    def asked(self) -> dict[str, Any]:
        """As ``GET order`` shows it."""
        return self.shown() | {
            "stopPrice": f"{self.stop:.8f}", "icebergQty": "0.00000000", "time": self.at, "updateTime": self.updated,
            "isWorking": not self.stop, "workingTime": self.at,
        }  # fmt: skip


class BinanceSpotBook:
    """Markets, balances, orders and trades of one account, and what each endpoint says of them."""

    def __init__(self, pairs: list[Pair] | None, balances: dict[str, Decimal] | None, start: datetime) -> None:
        usual = [
            Pair("BTC", "USDT", Decimal("42000.00")),
            Pair("ETH", "USDT", Decimal("2300.00"), step=Decimal("0.0001")),
        ]
        self.pairs = {pair.id: pair for pair in pairs or usual}
        self.free = dict(balances or {"USDT": Decimal(1_000_000)})
        self.locked: dict[str, Decimal] = {}
        self.orders: list[VenueOrder] = []
        self.trades: list[dict[str, Any]] = []
        self._start, self._began, self._moved = start, time.monotonic(), timedelta(0)
        self._refusals: list[tuple[int, str]] = []

    def now(self) -> datetime:
        """The venue's clock."""
        return self._start + timedelta(seconds=time.monotonic() - self._began) + self._moved

    def advance(self, seconds: float) -> None:
        """Move it."""
        self._moved += timedelta(seconds=seconds)

    def reject_next(
        self, code: int = -2010, text: str = "Account has insufficient balance for requested action."
    ) -> None:
        """Refuse the next new order."""
        self._refusals.append((code, text))

    def of(self, client_order_id: str) -> list[VenueOrder]:
        """Every order that was placed under an id."""
        return [one for one in self.orders if one.client_order_id == client_order_id]

    def _ms(self) -> int:
        return int((self.now() - _EPOCH) / timedelta(milliseconds=1))

    def _endpoint(self, method: str, path: str) -> Callable[[dict[str, str]], Any]:
        act: dict[tuple[str, str], Callable[[dict[str, str]], Any]] = {
            ("GET", "exchangeInfo"): self._exchange_info, ("GET", "time"): lambda p: {"serverTime": self._ms()},
            ("GET", "ping"): lambda p: {}, ("GET", "account"): self._account, ("POST", "order"): self._new_order,
            ("GET", "order"): lambda p: self._found(p, -2013, "Order does not exist.").asked(),
            ("DELETE", "order"): self._cancel, ("GET", "openOrders"): self._open_orders,
            ("GET", "allOrders"): self._all_orders, ("GET", "myTrades"): self._my_trades,
            ("GET", "ticker/bookTicker"): self._book_ticker, ("GET", "ticker/price"): self._ticker,
            ("GET", "klines"): self._klines,
        }  # fmt: skip
        if (method, path) not in act:
            raise Refusal(-1020, f"no {method} {path} here", 404)
        return act[(method, path)]

    # -- endpoints ---------------------------------------------------------------------------------------------------

    def _exchange_info(self, params: dict[str, str]) -> Any:
        limits = [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000},
                  {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100}]  # fmt: skip
        return {"timezone": "UTC", "serverTime": self._ms(), "rateLimits": limits, "exchangeFilters": [],
                "symbols": [pair.listing() for pair in self.pairs.values()]}  # fmt: skip

    def _account(self, params: dict[str, str]) -> Any:
        assets = sorted({*self.free, *self.locked})
        amounts = {name: (self.free.get(name, ZERO), self.locked.get(name, ZERO)) for name in assets}
        balances = [
            {"asset": name, "free": f"{free:.8f}", "locked": f"{locked:.8f}"}
            for name, (free, locked) in amounts.items()
        ]
        if params.get("omitZeroBalances") == "true":
            balances = [one for one in balances if Decimal(one["free"]) or Decimal(one["locked"])]
        return {"makerCommission": 10, "takerCommission": 10, "buyerCommission": 0, "sellerCommission": 0,
                "canTrade": True, "canWithdraw": True, "canDeposit": True, "brokered": False, "updateTime": self._ms(),
                "accountType": "SPOT", "balances": balances, "permissions": ["SPOT"], "uid": 354937868}  # fmt: skip

    def _new_order(self, params: dict[str, str]) -> Any:
        if self._refusals:
            raise Refusal(*self._refusals.pop(0))
        pair = self._pair(params)
        for name in ("price", "quantity", "stopPrice"):
            if "E" in params.get(name, "") or len(params.get(name, "").partition(".")[2]) > 8:
                raise Refusal(-1100, f"Illegal characters found in parameter '{name}'")
        kind, name = params["type"], params["newClientOrderId"]
        quantity, price = Decimal(params["quantity"]), Decimal(params.get("price", "0"))
        stop = Decimal(params.get("stopPrice", "0"))
        if kind == "LIMIT" and (not price or params.get("timeInForce") != "GTC"):
            raise Refusal(-1102, "Mandatory parameter 'price' was not sent, was empty/null, or malformed.")
        if quantity % pair.step or quantity < pair.step:
            raise Refusal(-1013, "Filter failure: LOT_SIZE")
        if price % pair.tick or stop % pair.tick:
            raise Refusal(-1013, "Filter failure: PRICE_FILTER")
        if quantity * (price or stop or pair.price) < pair.least_notional:
            raise Refusal(-1013, "Filter failure: NOTIONAL")
        if any(one.is_open for one in self.of(name)):
            raise Refusal(-2010, "Duplicate order sent.")
        order = self._place(pair.id, params["side"], kind, quantity, price, stop, name)
        if kind == "MARKET":
            self._trade(order, quantity, pair.price, None, "USDT", maker=False)
        return order.shown() | {"transactTime": order.updated, "workingTime": order.at}

    def _place(
        self, pair_id: str, side: str, kind: str, quantity: Decimal, price: Decimal, stop: Decimal, name: str
    ) -> VenueOrder:
        pair = self.pairs[pair_id]
        asset, amount = (pair.quote, quantity * (price or pair.price)) if side == "BUY" else (pair.base, quantity)
        if self.free.get(asset, ZERO) < amount:
            raise Refusal(-2010, "Account has insufficient balance for requested action.")
        self.free[asset] -= amount
        self.locked[asset] = self.locked.get(asset, ZERO) + amount
        number = 1 + sum(one.pair is pair for one in self.orders)  # order ids count per market
        at = self._ms()
        order = VenueOrder(number, name, pair, side, kind, quantity, price, stop, at, updated=at)
        self.orders.append(order)
        return order

    def _cancel(self, params: dict[str, str]) -> Any:
        order = self._found(params, -2011, "Unknown order sent.")
        if not order.is_open:
            raise Refusal(-2011, "Unknown order sent.")
        self._end(order, "CANCELED")
        return order.shown() | {"origClientOrderId": order.client_order_id, "clientOrderId": f"cancel{order.order_id}",
                                "transactTime": order.updated}  # fmt: skip

    def _end(self, order: VenueOrder, status: str) -> None:
        self._unlock(order, order.quantity - order.executed)
        order.status, order.updated = status, self._ms()

    def _open_orders(self, params: dict[str, str]) -> Any:
        return [one.asked() for one in self.orders if one.is_open and params.get("symbol") in (None, one.pair.id)]

    def _all_orders(self, params: dict[str, str]) -> Any:
        found = [one.asked() for one in self.orders if one.pair is self._pair(params)]
        limit = int(params.get("limit", "500"))
        if "orderId" in params:
            return [one for one in found if one["orderId"] >= int(params["orderId"])][:limit]
        return found[-limit:]

    def _my_trades(self, params: dict[str, str]) -> Any:
        found = [one for one in self.trades if one["symbol"] == self._pair(params).id]
        limit = int(params.get("limit", "500"))
        if "orderId" in params:
            found = [one for one in found if one["orderId"] == int(params["orderId"])]
        if "fromId" in params:
            return [one for one in found if one["id"] >= int(params["fromId"])][:limit]
        return found[-limit:]

    def _book_ticker(self, params: dict[str, str]) -> Any:
        pair = self._pair(params)
        return {"symbol": pair.id, "bidPrice": f"{pair.price - pair.tick:.8f}", "bidQty": "1.00000000",
                "askPrice": f"{pair.price + pair.tick:.8f}", "askQty": "1.00000000"}  # fmt: skip

    def _ticker(self, params: dict[str, str]) -> Any:
        pair = self._pair(params)
        return {"symbol": pair.id, "price": f"{pair.price:.8f}"}

    def _klines(self, params: dict[str, str]) -> Any:
        first, last = int(params.get("startTime", 0)), int(params.get("endTime", 2**62))
        found = [one for one in self._pair(params).klines if first <= one[0] <= last]
        return found[: int(params.get("limit", "500"))]

    def _pair(self, params: dict[str, str]) -> Pair:
        if params.get("symbol") not in self.pairs:
            raise Refusal(-1121, "Invalid symbol.")
        return self.pairs[params["symbol"]]

    def _found(self, params: dict[str, str], code: int, text: str) -> VenueOrder:
        pair = self._pair(params)
        found = [one for one in self.orders if one.pair is pair]
        if "orderId" in params:
            found = [one for one in found if one.order_id == int(params["orderId"])]
        if "origClientOrderId" in params:
            found = [one for one in found if one.client_order_id == params["origClientOrderId"]]
        if not found:
            raise Refusal(code, text)
        return found[-1]

    # -- trading -----------------------------------------------------------------------------------------------------

    def _unlock(self, order: VenueOrder, quantity: Decimal) -> None:
        pair = order.pair
        buys = order.side == "BUY"
        asset, amount = (pair.quote, quantity * (order.price or pair.price)) if buys else (pair.base, quantity)
        self.locked[asset] -= amount
        self.free[asset] += amount

    def _trade(
        self, order: VenueOrder, quantity: Decimal, price: Decimal, commission: Decimal | None, asset: str, maker: bool
    ) -> int:
        pair, sign = order.pair, 1 if order.side == "BUY" else -1
        charged = quantity * price / 1000 if commission is None else commission
        self._unlock(order, quantity)
        for name, change in ((pair.base, sign * quantity), (pair.quote, -sign * quantity * price), (asset, -charged)):
            self.free[name] = self.free.get(name, ZERO) + change
        order.executed += quantity
        order.paid += quantity * price
        order.status = "FILLED" if order.executed == order.quantity else "PARTIALLY_FILLED"
        order.updated = self._ms()
        number = 1 + sum(one["symbol"] == pair.id for one in self.trades)  # trade ids count per market
        self.trades.append(
            {
                "symbol": pair.id, "id": number, "orderId": order.order_id, "orderListId": -1, "price": f"{price:.8f}",
                "qty": f"{quantity:.8f}", "quoteQty": f"{quantity * price:.8f}", "commission": f"{charged:.8f}",
                "commissionAsset": asset, "time": order.updated, "isBuyer": sign > 0, "isMaker": maker,
                "isBestMatch": True,
            }
        )  # fmt: skip
        return number
