"""Yahoo's chart endpoint, its crumb and its cookie page, in the shape that yfinance reads.

Shapes: yfinance ``utils.parse_quotes`` and ``utils.parse_actions``; errors as quoted in ranaroussi/yfinance issue
2451 (422, minutes too long ago) and wealthfolio pull request 602 (400, range before the first bar).
"""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Any
from urllib.parse import unquote
from zoneinfo import ZoneInfo

import polars as pl

from tests.support.vendor_servers.base import Reply, Request, VendorServer, of_symbol

_ZONE = ZoneInfo("America/New_York")
_FIELDS = ("open", "high", "low", "close", "volume")
_CHART = "/v8/finance/chart/"
CRUMB = "mbE8GqWQ0ap"


class YahooServer(VendorServer):
    """Daily rows, and where given minute rows (``MINUTE_SCHEMA``) and actions (``ACTION_SCHEMA``).

    ``now``: minutes more than 30 days before it are refused.
    """

    data_paths = (_CHART,)

    def __init__(
        self,
        rows: pl.DataFrame,
        *,
        minutes: pl.DataFrame | None = None,
        actions: pl.DataFrame | None = None,
        now: datetime | None = None,
    ) -> None:
        super().__init__()
        self._rows, self._minutes, self._actions, self._now = rows, minutes, actions, now

    def answer(self, request: Request) -> Reply:
        if request.path.endswith("/getcrumb"):
            return Reply(CRUMB)
        if not request.path.startswith(_CHART):
            return Reply("<html></html>", 404)  # fc.yahoo.com: a 404 that sets the cookie
        if "crumb" in request.params and request.params["crumb"] != CRUMB:
            return Reply({"finance": {"result": None, "error": _error("Unauthorized", "Invalid Crumb")}}, 401)
        symbol, interval = unquote(request.path.removeprefix(_CHART)), request.params["interval"]
        begin, until = int(request.params["period1"]), int(request.params["period2"])
        bars = self._bars(symbol, interval)
        if bars is None:
            return self.unknown_symbol(request)
        if interval == "1m" and self._now is not None and begin < (self._now - timedelta(days=30)).timestamp():
            return self._too_old(begin, until)
        if until < bars["stamp"][0]:
            return self.no_data(request)
        inside = bars.filter((pl.col("stamp") >= begin) & (pl.col("stamp") < until))
        return Reply({"chart": {"result": [self._result(symbol, interval, inside, begin, until)], "error": None}})

    def refused(self, request: Request) -> Reply:
        return Reply({"finance": {"result": None, "error": _error("Unauthorized", "User is unable to access")}}, 401)

    def no_data(self, request: Request) -> Reply:
        said = "Data doesn't exist for startDate = {period1}, endDate = {period2}".format(**request.params)
        return _failed(400, "Bad Request", said)

    def unknown_symbol(self, request: Request) -> Reply:
        return _failed(404, "Not Found", "No data found, symbol may be delisted")

    def too_many(self, headers: dict[str, str]) -> Reply:
        return Reply("Edge: Too Many Requests", 429, headers)

    def partial(self, reply: Reply) -> Reply:
        del reply.content["chart"]["result"][0]["indicators"]["quote"][0]["high"]
        return reply

    def text_price(self, reply: Reply) -> Reply:
        reply.content["chart"]["result"][0]["indicators"]["quote"][0]["close"][0] = "n/a"
        return reply

    def _too_old(self, begin: int, until: int) -> Reply:
        said = (
            f"1m data not available for startTime={begin} and endTime={until}. "
            "The requested range must be within the last 30 days."
        )
        return _failed(422, "Unprocessable Entity", said)

    def _bars(self, symbol: str, interval: str) -> pl.DataFrame | None:
        found = of_symbol(self._rows if interval == "1d" else self._minutes, symbol)
        if found is None:
            return None
        if interval == "1d":
            stamps = [int(datetime.combine(day, time(9, 30), _ZONE).timestamp()) for day in found["session"]]
        else:
            stamps = [int(moment.timestamp()) for moment in found["bar_start"]]
        return found.with_columns(pl.Series("stamp", stamps)).sort("stamp")

    def _result(self, symbol: str, interval: str, bars: pl.DataFrame, begin: int, until: int) -> dict[str, Any]:
        meta = {
            "currency": "USD",
            "symbol": symbol,
            "exchangeName": "NMS",
            "instrumentType": "EQUITY",
            "gmtoffset": -18000,
            "timezone": "EST",
            "exchangeTimezoneName": "America/New_York",
            "priceHint": 2,
            "dataGranularity": interval,
            "range": "",
            "validRanges": ["1d", "5d", "1mo", "max"],
        }
        if bars.is_empty():
            result: dict[str, Any] = {"meta": meta, "indicators": {"quote": [{}], "adjclose": [{}]}}
        else:
            quotes = {name: bars[name].to_list() for name in _FIELDS}
            adjusted = {"adjclose": [{"adjclose": quotes["close"]}]} if interval == "1d" else {}
            result = {"meta": meta, "timestamp": bars["stamp"].to_list(), "indicators": {"quote": [quotes], **adjusted}}
        events = self._events(symbol, begin, until)
        return {**result, "events": events} if events else result

    def _events(self, symbol: str, begin: int, until: int) -> dict[str, dict[str, Any]]:
        events: dict[str, dict[str, Any]] = {}
        found = of_symbol(self._actions, symbol)
        for action in [] if found is None else found.iter_rows(named=True):
            stamp = int(datetime.combine(action["session"], time(9, 30), _ZONE).timestamp())
            if not begin <= stamp < until:
                continue
            if action["kind"] == "split":
                ratio = action["ratio"]
                new, old = (ratio, 1.0) if ratio >= 1.0 else (1.0, round(1.0 / ratio, 6))
                said = {"date": stamp, "numerator": new, "denominator": old, "splitRatio": f"{new:g}:{old:g}"}
                events.setdefault("splits", {})[str(stamp)] = said
            else:
                events.setdefault("dividends", {})[str(stamp)] = {"amount": action["amount"], "date": stamp}
        return events


def _error(code: str, said: str) -> dict[str, str]:
    return {"code": code, "description": said}


def _failed(status: int, code: str, said: str) -> Reply:
    return Reply({"chart": {"result": None, "error": _error(code, said)}}, status)
