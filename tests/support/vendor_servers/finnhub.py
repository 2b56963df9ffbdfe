"""Finnhub's REST interface as https://finnhub.io/docs/api shows it: candles, splits, dividends, symbols."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any

import polars as pl

from tests.support.vendor_servers.base import KEY, Reply, Request, VendorServer, of_symbol

_API = "/api/v1"
RESET = int(datetime(2024, 3, 10, 0, 0, 45, tzinfo=UTC).timestamp())


class FinnhubServer(VendorServer):
    """Daily rows, and where given minute rows and actions."""

    data_paths = (_API,)

    def __init__(
        self,
        rows: pl.DataFrame,
        *,
        minutes: pl.DataFrame | None = None,
        actions: pl.DataFrame | None = None,
    ) -> None:
        super().__init__()
        self._rows, self._minutes, self._actions = rows, minutes, actions

    def answer(self, request: Request) -> Reply:
        if request.headers.get("x-finnhub-token") != KEY:
            return self.refused(request)
        asked = request.params
        if request.path == f"{_API}/stock/symbol":
            return Reply(self._listing())
        if request.path == f"{_API}/stock/candle":
            return self._candles(request)
        begin, until = date.fromisoformat(asked["from"]), date.fromisoformat(asked["to"])
        found = of_symbol(self._actions, asked["symbol"])
        events = [] if found is None else found.filter(pl.col("session").is_between(begin, until)).to_dicts()
        split = request.path == f"{_API}/stock/split"
        return Reply([_event(event, split) for event in events if (event["kind"] == "split") == split])

    def refused(self, request: Request) -> Reply:
        return Reply({"error": "Invalid API key"}, 401)

    def no_data(self, request: Request) -> Reply:
        return Reply({"s": "no_data"} if request.path.endswith("/candle") else [])

    def unknown_symbol(self, request: Request) -> Reply:
        return self.no_data(request)

    def too_many(self, headers: dict[str, str]) -> Reply:
        limits = {"X-Ratelimit-Limit": "60", "X-Ratelimit-Remaining": "0", "X-Ratelimit-Reset": str(RESET)}
        return Reply(
            {"error": "API limit reached. Please try again later. Remaining Limit: 0"}, 429, {**limits, **headers}
        )

    def partial(self, reply: Reply) -> Reply:
        if isinstance(reply.content, list):
            return Reply([{"symbol": "AAPL"}])
        del reply.content["h"]
        return reply

    def text_price(self, reply: Reply) -> Reply:
        reply.content["c"][0] = "n/a"
        return reply

    def _candles(self, request: Request) -> Reply:
        daily = request.params["resolution"] == "D"
        found = of_symbol(self._rows if daily else self._minutes, request.params["symbol"])
        if found is None:
            return self.no_data(request)
        moments = [datetime.combine(day, time(), UTC) for day in found["session"]] if daily else found["bar_start"]
        stamped = found.with_columns(pl.Series("stamp", [int(moment.timestamp()) for moment in moments]))
        wanted = pl.col("stamp").is_between(int(request.params["from"]), int(request.params["to"]))
        inside = stamped.filter(wanted).sort("stamp")
        if inside.is_empty():
            return self.no_data(request)
        columns = {name[0]: inside[name].to_list() for name in ("close", "high", "low", "open", "volume")}
        return Reply({**columns, "s": "ok", "t": inside["stamp"].to_list()})

    def _listing(self) -> list[dict[str, Any]]:
        return [
            {
                "currency": "USD",
                "description": symbol,
                "displaySymbol": symbol,
                "figi": "BBG000B9XRY4",
                "mic": "XNAS",
                "symbol": symbol,
                "type": "Common Stock",
            }
            for symbol in sorted(self._rows["symbol"].cast(pl.String).unique())
        ]


def _event(event: dict[str, Any], split: bool) -> dict[str, Any]:
    common = {"symbol": event["symbol"], "date": f"{event['session']}"}
    if split:
        return {**common, "fromFactor": 1, "toFactor": event["ratio"]}
    return {**common, "amount": event["amount"], "adjustedAmount": event["amount"], "currency": "USD", "freq": "4"}
