"""Alpha Vantage's ``/query`` as its documentation (https://www.alphavantage.co/documentation/) shows it.

Every answer is HTTP 200: refusals are JSON objects with ``Note``, ``Information`` or ``Error Message``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from tests.support.vendor_servers.base import KEY, Reply, Request, VendorServer, of_symbol

_FIELDS = ("open", "high", "low", "close", "volume")
_ZONE = ZoneInfo("US/Eastern")

RATE_LIMIT = (
    "We have detected your API key as {key} and our standard API rate limit is 25 requests per day. Please "
    "subscribe to any of the premium plans at https://www.alphavantage.co/premium/ to instantly remove all daily "
    "rate limits."
)
FREQUENCY = (
    "Thank you for using Alpha Vantage! Our standard API call frequency is 5 calls per minute and 500 calls per day. "
    "Please visit https://www.alphavantage.co/premium/ if you would like to target a higher API call frequency."
)
PREMIUM = (
    "Thank you for using Alpha Vantage! This is a premium endpoint. You may subscribe to any of the premium plans at "
    "https://www.alphavantage.co/premium/ to instantly unlock all premium endpoints"
)
INVALID_KEY = (
    "the parameter apikey is invalid or missing. Please claim your free API key on "
    "(https://www.alphavantage.co/support/#api-key). It should take less than 20 seconds."
)
INVALID_CALL = (
    "Invalid API call. Please retry or visit the documentation (https://www.alphavantage.co/documentation/) for {}."
)


class AlphaVantageServer(VendorServer):
    """Daily rows, and where given minute rows and actions. ``full_is_premium``: as on a free account."""

    data_paths = ("/query",)

    def __init__(
        self,
        rows: pl.DataFrame,
        *,
        minutes: pl.DataFrame | None = None,
        actions: pl.DataFrame | None = None,
        full_is_premium: bool = False,
    ) -> None:
        super().__init__()
        self._rows, self._minutes, self._actions = rows, minutes, actions
        self._full_is_premium = full_is_premium

    def answer(self, request: Request) -> Reply:
        asked = request.params
        if asked.get("apikey") != KEY:
            return self.refused(request)
        function, symbol = asked["function"], asked.get("symbol", "")
        if function == "LISTING_STATUS":
            return Reply(self._listing())
        if function in ("SPLITS", "DIVIDENDS"):
            return Reply({"symbol": symbol, "data": self._events(function, symbol)})
        daily = function == "TIME_SERIES_DAILY"
        found = of_symbol(self._rows if daily else self._minutes, symbol)
        if found is None:
            return self.unknown_symbol(request)
        if daily and asked["outputsize"] == "full" and self._full_is_premium:
            return Reply({"Information": PREMIUM})
        series = self._daily(found, asked["outputsize"]) if daily else self._minute(found, asked["month"])
        name = "Time Series (Daily)" if daily else "Time Series (1min)"
        meta = {
            "1. Information": "Daily Prices (open, high, low, close) and Volumes" if daily else "Intraday (1min) ...",
            "2. Symbol": symbol,
            "3. Last Refreshed": next(iter(series), ""),
            **({} if daily else {"4. Interval": "1min"}),
            f"{4 if daily else 5}. Output Size": asked["outputsize"].title(),
            f"{5 if daily else 6}. Time Zone": "US/Eastern",
        }
        return Reply({"Meta Data": meta, name: series})

    def refused(self, request: Request) -> Reply:
        return Reply({"Error Message": INVALID_KEY})

    def no_data(self, request: Request) -> Reply:
        return Reply({"symbol": request.params["symbol"], "data": []})

    def unknown_symbol(self, request: Request) -> Reply:
        return Reply({"Error Message": INVALID_CALL.format(request.params["function"])})

    def too_many(self, headers: dict[str, str]) -> Reply:
        return Reply({"Information": RATE_LIMIT.format(key=KEY)}, 200, headers)

    def partial(self, reply: Reply) -> Reply:
        for name, part in reply.content.items():
            if name.startswith("Time Series"):
                del part[next(iter(part))]["2. high"]
            elif name == "data":
                reply.content["data"] = [{"amount": "1"}]
        return reply

    def text_price(self, reply: Reply) -> Reply:
        series = next(part for name, part in reply.content.items() if name.startswith("Time Series"))
        series[next(iter(series))]["4. close"] = "None"
        return reply

    def _daily(self, rows: pl.DataFrame, size: str) -> dict[str, Any]:
        newest = rows.sort("session", descending=True)
        return {
            f"{row['session']}": _bar(row) for row in (newest.head(100) if size == "compact" else newest).to_dicts()
        }

    def _minute(self, rows: pl.DataFrame, month: str) -> dict[str, Any]:
        local = [
            (row["bar_start"].astimezone(_ZONE), row) for row in rows.sort("bar_start", descending=True).to_dicts()
        ]
        return {f"{moment:%Y-%m-%d %H:%M:%S}": _bar(row) for moment, row in local if f"{moment:%Y-%m}" == month}

    def _events(self, function: str, symbol: str) -> list[dict[str, Any]]:
        found = of_symbol(self._actions, symbol)
        events = [] if found is None else found.sort("session", descending=True).to_dicts()
        if function == "SPLITS":
            return [
                {"effective_date": f"{event['session']}", "split_factor": f"{event['ratio']!r}"}
                for event in events
                if event["kind"] == "split"
            ]
        return [
            {
                "ex_dividend_date": f"{event['session']}",
                "declaration_date": "None",
                "record_date": f"{event['session']}",
                "payment_date": "None",
                "amount": f"{event['amount']!r}",
            }
            for event in events
            if event["kind"] == "dividend"
        ]

    def _listing(self) -> str:
        lines = ["symbol,name,exchange,assetType,ipoDate,delistingDate,status"]
        for symbol in sorted(self._rows["symbol"].cast(pl.String).unique()):
            lines.append(f"{symbol},{symbol} Inc,NYSE,Stock,{datetime(1999, 11, 18):%Y-%m-%d},null,Active")
        return "\r\n".join(lines) + "\r\n"


def _bar(row: dict[str, Any]) -> dict[str, str]:
    return {f"{place}. {name}": repr(row[name]) for place, name in enumerate(_FIELDS, start=1)}
