"""The public market data of Binance spot, Kraken spot and Coinbase Exchange, as their REST references show it.

https://developers.binance.com/docs/binance-spot-api-docs/rest-api, https://docs.kraken.com/api/docs/rest-api,
https://docs.cdp.coinbase.com/exchange/reference. Limits are theirs: 1000 klines a page, Kraken's newest 720 bars,
Coinbase's 300 candles a request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any

import polars as pl

from tests.support.vendor_servers.base import Reply, Request, VendorServer, of_symbol

Level = tuple[float, float]
_DAY_S, _MINUTE_S = 86_400, 60


class CryptoServer(VendorServer):
    """One market: daily ``rows``, and where given ``minutes``, ``trades`` (``TRADE_SCHEMA``) and a book.

    Parameters
    ----------
    rows
        Daily bars of ``symbol``; the last ones may be still growing.
    book
        Sequence, bids, asks: levels of (price, size), best first.
    """

    symbol = "BTC/USDT"

    def __init__(
        self,
        rows: pl.DataFrame,
        *,
        minutes: pl.DataFrame | None = None,
        trades: pl.DataFrame | None = None,
        book: tuple[int, Sequence[Level], Sequence[Level]] | None = None,
    ) -> None:
        super().__init__()
        self._bars = {_DAY_S: self._stamped(rows), _MINUTE_S: self._stamped(minutes)}
        self._trades = [] if trades is None else trades.sort("traded_at", "trade_id").to_dicts()
        self._book = book or (0, [], [])

    def _stamped(self, frame: pl.DataFrame | None) -> list[dict[str, Any]]:
        found = of_symbol(frame, self.symbol)
        if found is None:
            return []
        if "session" in found.columns:
            moments = [datetime.combine(day, time(), UTC) for day in found["session"]]
        else:
            moments = found["bar_start"].to_list()
        return found.with_columns(pl.Series("stamp", [int(m.timestamp()) for m in moments])).sort("stamp").to_dicts()


class BinanceServer(CryptoServer):
    """Binance spot: ``/api/v3``."""

    data_paths = ("/klines", "/aggTrades", "/depth")

    def answer(self, request: Request) -> Reply:
        asked = request.params
        place = request.path.rpartition("/")[2]
        if place == "exchangeInfo":
            return Reply({"timezone": "UTC", "serverTime": 1710028800000, "symbols": [_BINANCE_MARKET]})
        if asked["symbol"] != "BTCUSDT":
            return self.unknown_symbol(request)
        if place == "klines":
            begin, until, limit = int(asked["startTime"]), int(asked["endTime"]), int(asked["limit"])
            step = {"1d": _DAY_S, "1m": _MINUTE_S}[asked["interval"]]
            inside = [bar for bar in self._bars[step] if begin <= bar["stamp"] * 1000 <= until]
            return Reply([_kline(bar, step) for bar in inside[: min(limit, 1000)]])
        if place == "aggTrades":
            return Reply([_aggregate_trade(trade) for trade in self._page(asked)])
        sequence, bids, asks = self._book
        sides = {
            name: [[_text(part) for part in level] for level in side] for name, side in (("bids", bids), ("asks", asks))
        }
        return Reply({"lastUpdateId": sequence, **{name: side[: int(asked["limit"])] for name, side in sides.items()}})

    def refused(self, request: Request) -> Reply:
        return Reply({"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}, 401)

    def no_data(self, request: Request) -> Reply:
        return Reply([])

    def unknown_symbol(self, request: Request) -> Reply:
        return Reply({"code": -1121, "msg": "Invalid symbol."}, 400)

    def too_many(self, headers: dict[str, str]) -> Reply:
        said = "Too much request weight used; current limit is 6000 request weight per 1 MINUTE."
        return Reply({"code": -1003, "msg": said}, 429, headers)

    def partial(self, reply: Reply) -> Reply:
        return _shortened(reply, reply.content)

    def text_price(self, reply: Reply) -> Reply:
        return _spelt_out(reply, reply.content, 4, "p")

    def _page(self, asked: Mapping[str, str]) -> list[dict[str, Any]]:
        limit = min(int(asked.get("limit", 500)), 1000)
        if "fromId" in asked:
            return [trade for trade in self._trades if int(trade["trade_id"]) >= int(asked["fromId"])][:limit]
        begin, until = int(asked["startTime"]), int(asked["endTime"])
        return [trade for trade in self._trades if begin <= _ms(trade) <= until][:limit]


class KrakenServer(CryptoServer):
    """Kraken spot: ``/0/public``."""

    data_paths = ("/OHLC", "/Trades", "/Depth")

    def answer(self, request: Request) -> Reply:
        asked = request.params
        place = request.path.rpartition("/")[2]
        if place == "AssetPairs":
            return _kraken({"XBTUSDT": _KRAKEN_MARKET})
        if asked["pair"] != "XBTUSDT":
            return self.unknown_symbol(request)
        if place == "OHLC":
            bars = self._bars[int(asked["interval"]) * 60][-720:]
            inside = [_kraken_bar(bar) for bar in bars if bar["stamp"] > int(asked["since"])]
            return _kraken({"XBTUSDT": inside, "last": bars[-1]["stamp"] if bars else 0})
        if place == "Trades":
            since = int(asked["since"])
            page = [trade for trade in self._trades if _ns(trade) > since][: min(int(asked["count"]), 1000)]
            last = str(_ns(page[-1])) if page else asked["since"]
            return _kraken({"XBTUSDT": [_kraken_trade(trade) for trade in page], "last": last})
        _, bids, asks = self._book
        sides = {
            name: [[_text(price), _text(size), 1723161601] for price, size in side[: int(asked["count"])]]
            for name, side in (("bids", bids), ("asks", asks))
        }
        return _kraken({"XBTUSDT": sides})

    def refused(self, request: Request) -> Reply:
        return Reply({"error": ["EAPI:Invalid key"]})

    def no_data(self, request: Request) -> Reply:
        return _kraken({"XBTUSDT": [], "last": 0 if request.path.endswith("OHLC") else request.params["since"]})

    def unknown_symbol(self, request: Request) -> Reply:
        return Reply({"error": ["EQuery:Unknown asset pair"]})

    def too_many(self, headers: dict[str, str]) -> Reply:
        return Reply({"error": ["EAPI:Rate limit exceeded"]}, 200, headers)

    def partial(self, reply: Reply) -> Reply:
        return _shortened(reply, reply.content["result"]["XBTUSDT"])

    def text_price(self, reply: Reply) -> Reply:
        return _spelt_out(reply, reply.content["result"]["XBTUSDT"], 4, "p")


class CoinbaseServer(CryptoServer):
    """Coinbase Exchange: ``/products``."""

    data_paths = ("/candles", "/trades", "/book")

    def answer(self, request: Request) -> Reply:
        asked = request.params
        if request.path == "/products":
            return Reply([_COINBASE_MARKET])
        _, _, product, place = request.path.split("/")
        if product != "BTC-USDT":
            return self.unknown_symbol(request)
        if place == "candles":
            step = int(asked["granularity"])
            begin, until = (int(datetime.fromisoformat(asked[name]).timestamp()) for name in ("start", "end"))
            if (until - begin) // step >= 300:
                said = "granularity too small for the requested time range. Count of aggregations requested exceeds 300"
                return Reply({"message": said}, 400)
            inside = [bar for bar in self._bars[step] if begin <= bar["stamp"] <= until]
            fields = ("stamp", "low", "high", "open", "close", "volume")
            return Reply([[bar[name] for name in fields] for bar in reversed(inside)])
        if place == "trades":
            after = int(asked.get("after", 1 << 62))
            older = [trade for trade in reversed(self._trades) if int(trade["trade_id"]) < after]
            return Reply([_coinbase_trade(trade) for trade in older[: min(int(asked["limit"]), 1000)]])
        sequence, bids, asks = self._book
        sides = {
            name: [[_text(price), _text(size), 1] for price, size in side]
            for name, side in (("bids", bids), ("asks", asks))
        }
        return Reply({**sides, "sequence": sequence, "auction_mode": False, "auction": None})

    def refused(self, request: Request) -> Reply:
        return Reply({"message": "Unauthorized."}, 401)

    def no_data(self, request: Request) -> Reply:
        return Reply([])

    def unknown_symbol(self, request: Request) -> Reply:
        return Reply({"message": "NotFound"}, 404)

    def too_many(self, headers: dict[str, str]) -> Reply:
        return Reply({"message": "Public rate limit exceeded"}, 429, headers)

    def partial(self, reply: Reply) -> Reply:
        return _shortened(reply, reply.content)

    def text_price(self, reply: Reply) -> Reply:
        return _spelt_out(reply, reply.content, 4, "price")


def _text(value: float) -> str:
    return format(Decimal(repr(value)), "f")


def _ms(trade: dict[str, Any]) -> int:
    return _ns(trade) // 1_000_000


def _ns(trade: dict[str, Any]) -> int:
    moment: datetime = trade["traded_at"]
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1_000


def _kline(bar: dict[str, Any], step: int) -> list[Any]:
    prices = [_text(bar[name]) for name in ("open", "high", "low", "close", "volume")]
    opened = bar["stamp"] * 1000
    return [opened, *prices, opened + step * 1000 - 1, "2434.19055334", 308, "1756.87402397", "28.46694368", "0"]


def _aggregate_trade(trade: dict[str, Any]) -> dict[str, Any]:
    number = int(trade["trade_id"])
    said = {"a": number, "p": _text(trade["price"]), "q": _text(trade["size"]), "f": number, "l": number}
    return {**said, "T": _ms(trade), "m": trade["side"] == "sell", "M": True}


def _kraken(result: dict[str, Any]) -> Reply:
    return Reply({"error": [], "result": result})


def _kraken_bar(bar: dict[str, Any]) -> list[Any]:
    prices = [_text(bar[name]) for name in ("open", "high", "low", "close")]
    return [bar["stamp"], *prices, _text(bar["close"]), _text(bar["volume"]), 23]


def _kraken_trade(trade: dict[str, Any]) -> list[Any]:
    side = {"buy": "b", "sell": "s"}[trade["side"]]
    return [_text(trade["price"]), _text(trade["size"]), _ns(trade) / 1e9, side, "m", "", int(trade["trade_id"])]


def _coinbase_trade(trade: dict[str, Any]) -> dict[str, Any]:
    maker = {"buy": "sell", "sell": "buy"}[trade["side"]]
    moment = trade["traded_at"].strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    common = {"trade_id": int(trade["trade_id"]), "side": maker, "time": moment}
    return {**common, "size": _text(trade["size"]), "price": _text(trade["price"])}


def _shortened(reply: Reply, entries: Any) -> Reply:
    if isinstance(entries, dict):
        del entries["asks"]
    elif isinstance(entries[0], dict):
        entries[0].pop("p", None)
        entries[0].pop("price", None)
    else:
        entries[0] = entries[0][:3]
    return reply


def _spelt_out(reply: Reply, entries: Any, position: int, name: str) -> Reply:
    if isinstance(entries, dict):
        entries["asks"][0][0] = "n/a"
    elif isinstance(entries[0], dict):
        entries[0][name] = "n/a"
    else:
        entries[0][position if len(entries[0]) != 7 else 0] = "n/a"  # 7: a trade of Kraken, its price first
    return reply


_BINANCE_MARKET = {
    "symbol": "BTCUSDT",
    "status": "TRADING",
    "baseAsset": "BTC",
    "baseAssetPrecision": 8,
    "quoteAsset": "USDT",
    "quotePrecision": 8,
    "quoteAssetPrecision": 8,
    "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
    "icebergAllowed": True,
    "ocoAllowed": True,
    "isSpotTradingAllowed": True,
    "isMarginTradingAllowed": True,
    "filters": [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": "0.01000000",
            "maxPrice": "1000000.00000000",
            "tickSize": "0.01000000",
        },
        {"filterType": "LOT_SIZE", "minQty": "0.00001000", "maxQty": "9000.00000000", "stepSize": "0.00001000"},
        {"filterType": "NOTIONAL", "minNotional": "5.00000000", "applyMinToMarket": True, "maxNotional": "9000000.00"},
    ],
    "permissions": [],
    "permissionSets": [["SPOT", "MARGIN"]],
}

_KRAKEN_MARKET = {
    "altname": "XBTUSDT",
    "wsname": "XBT/USDT",
    "aclass_base": "currency",
    "base": "XXBT",
    "aclass_quote": "currency",
    "quote": "USDT",
    "lot": "unit",
    "cost_decimals": 6,
    "pair_decimals": 1,
    "lot_decimals": 8,
    "lot_multiplier": 1,
    "leverage_buy": [2, 3],
    "leverage_sell": [2, 3],
    "fees": [[0, 0.4], [10000, 0.35]],
    "fees_maker": [[0, 0.25], [10000, 0.2]],
    "fee_volume_currency": "ZUSD",
    "margin_call": 80,
    "margin_stop": 40,
    "ordermin": "0.00005",
    "costmin": "0.5",
    "tick_size": "0.1",
    "status": "online",
}

_COINBASE_MARKET = {
    "id": "BTC-USDT",
    "base_currency": "BTC",
    "quote_currency": "USDT",
    "quote_increment": "0.01",
    "base_increment": "0.00000001",
    "display_name": "BTC-USDT",
    "min_market_funds": "1",
    "margin_enabled": False,
    "post_only": False,
    "limit_only": False,
    "cancel_only": False,
    "status": "online",
    "status_message": "",
    "trading_disabled": False,
    "fx_stablecoin": False,
    "max_slippage_percentage": "0.02000000",
    "auction_mode": False,
}
