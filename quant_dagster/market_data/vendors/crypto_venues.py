"""How each crypto venue is asked over its public REST interface, and how its answers read: one class a venue.

Where the requests go and what becomes of a failure is in ``crypto``. ccxt's own parsing is not used for prices: it
reads ``{}`` as "no bars" and a text as null.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Protocol

import polars as pl

from quant_dagster.errors import DataUnavailableError, MalformedAnswerError
from quant_dagster.market_data.vendors.answers import field, whole
from quant_dagster.market_data.vendors.crypto_answers import (
    BAR_COLUMNS,
    TRADE_COLUMNS,
    Inquiry,
    Levels,
    bars_of,
    epoch_ms,
    listed,
    rows_of,
    sides_of,
    trades_of,
)

_HOUR_MS = 3_600_000
_MOST_PAGES = 500


class Venue(Protocol):
    """A venue's public market data. Answers are as the venue gives them, its newest, still growing bar included."""

    ccxt_id: str
    refusal_is_rate_limit: bool
    unknown_symbol_words: str

    def bars(self, inquiry: Inquiry, step_ms: int) -> pl.DataFrame:
        """Columns bar_start, open .. volume: every bar of ``step_ms`` that starts in the range."""

    def trades(self, inquiry: Inquiry) -> pl.DataFrame:
        """Columns trade_id, traded_at, price, size, side: every trade in the range."""

    def book(self, inquiry: Inquiry, depth: int) -> tuple[int | None, Levels, Levels]:
        """Sequence, bids and asks."""


class BinanceVenue:
    """Binance spot (https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints).

    Trades are its aggregate trades: the fills of one taker order at one price count as one.
    """

    ccxt_id = "binance"
    unknown_symbol_words = "Invalid symbol"
    refusal_is_rate_limit = True  # "HTTP 403 is used when the WAF Limit (Web Application Firewall) has been violated"
    _page = 1000

    def bars(self, inquiry: Inquiry, step_ms: int) -> pl.DataFrame:
        frames, begin = [pl.DataFrame(schema=BAR_COLUMNS)], inquiry.start_ms
        while begin < inquiry.end_ms:
            params = {
                "symbol": inquiry.market_id,
                "interval": _interval(step_ms),
                "startTime": begin,
                "endTime": inquiry.end_ms - 1,
                "limit": self._page,
            }
            rows = rows_of(inquiry, "klines", inquiry.ask("publicGetKlines", params), 12)
            frames.append(bars_of(inquiry, rows, 1_000, "ohlcv"))
            if len(rows) < self._page:
                break
            begin = _last_ms(inquiry, frames[-1]["bar_start"], begin) + step_ms
        return pl.concat(frames)

    def trades(self, inquiry: Inquiry) -> pl.DataFrame:
        frames, begin = [pl.DataFrame(schema=TRADE_COLUMNS)], inquiry.start_ms
        # A time range may span at most an hour; once a trade is found, the ids lead on.
        while begin < inquiry.end_ms and frames[-1].is_empty():
            until = min(begin + _HOUR_MS, inquiry.end_ms)
            frames.append(self._page_of(inquiry, {"startTime": begin, "endTime": until - 1}))
            begin = until
        newest = frames[-1]
        while not newest.is_empty() and epoch_ms(newest["traded_at"][-1]) < inquiry.end_ms:
            newest = self._page_of(inquiry, {"fromId": newest["trade_id"][-1] + 1})
            frames.append(newest)
            if newest.height < self._page:
                break
        found = pl.concat(frames)
        if not bool((found["trade_id"].diff().drop_nulls() == 1).all()):
            raise MalformedAnswerError(inquiry.vendor, f"{inquiry.symbol}: trades are missing between its pages")
        return found

    def book(self, inquiry: Inquiry, depth: int) -> tuple[int | None, Levels, Levels]:
        _demand_depth(inquiry, depth, 5000)
        answer = inquiry.ask("publicGetDepth", {"symbol": inquiry.market_id, "limit": depth})
        sequence = whole(inquiry.vendor, "lastUpdateId", field(inquiry.vendor, "depth", answer, "lastUpdateId", object))
        return sequence, *sides_of(inquiry, answer)

    def _page_of(self, inquiry: Inquiry, where: dict[str, Any]) -> pl.DataFrame:
        found = inquiry.ask("publicGetAggTrades", {"symbol": inquiry.market_id, "limit": self._page, **where})
        events = listed(inquiry, "aggTrades", found)
        taken = [field(inquiry.vendor, "aggTrade", event, "m", bool) for event in events]  # m: the buyer was the maker
        return trades_of(
            inquiry,
            ids=[field(inquiry.vendor, "aggTrade", event, "a", object) for event in events],
            times=[field(inquiry.vendor, "aggTrade", event, "T", object) for event in events],
            unit_us=1_000,
            prices=[field(inquiry.vendor, "aggTrade", event, "p", object) for event in events],
            sizes=[field(inquiry.vendor, "aggTrade", event, "q", object) for event in events],
            sides=["sell" if buyer_made else "buy" for buyer_made in taken],
        )


class KrakenVenue:
    """Kraken spot (https://docs.kraken.com/api/docs/rest-api/get-ohlc-data): at most the newest 720 bars."""

    ccxt_id = "kraken"
    unknown_symbol_words = "Unknown asset pair"  # which ccxt has no error of its own for
    refusal_is_rate_limit = False
    _most_bars = 720
    _page = 1000

    def bars(self, inquiry: Inquiry, step_ms: int) -> pl.DataFrame:
        params = {
            "pair": inquiry.market_id,
            "interval": step_ms // 60_000,
            "since": (inquiry.start_ms - step_ms) // 1000,  # "since" itself is left out
        }
        rows = rows_of(inquiry, "OHLC", self._of_pair(inquiry, "OHLC", inquiry.ask("publicGetOHLC", params)), 8)
        bars = bars_of(inquiry, [[*row[:5], row[6]] for row in rows], 1_000_000, "ohlcv")
        if bars.height >= self._most_bars and epoch_ms(first := bars["bar_start"][0]) > inquiry.start_ms:
            raise inquiry.not_served(f"it serves its newest {self._most_bars} bars, here from {first:%Y-%m-%d %H:%M}")
        return bars

    def trades(self, inquiry: Inquiry) -> pl.DataFrame:
        frames, since = [pl.DataFrame(schema=TRADE_COLUMNS)], inquiry.start_ms * 1_000_000 - 1
        for _ in range(_MOST_PAGES):
            params = {"pair": inquiry.market_id, "since": str(since), "count": self._page}
            answer = inquiry.ask("publicGetTrades", params)
            rows = rows_of(inquiry, "Trades", self._of_pair(inquiry, "Trades", answer), 7)
            last = whole(inquiry.vendor, "last", field(inquiry.vendor, "Trades", answer["result"], "last", str))
            frames.append(self._read(inquiry, rows))
            if len(rows) < self._page or epoch_ms(frames[-1]["traded_at"][-1]) >= inquiry.end_ms:
                return pl.concat(frames).unique("trade_id", keep="first", maintain_order=True)
            if last - 1 <= since:
                raise MalformedAnswerError(inquiry.vendor, f"{inquiry.symbol}: Trades does not move on from {last}")
            since = last - 1  # a page may end among trades of the same nanosecond: ask for those again
        raise inquiry.not_served(f"more than {_MOST_PAGES * self._page} trades: ask for a shorter range")

    def book(self, inquiry: Inquiry, depth: int) -> tuple[int | None, Levels, Levels]:
        _demand_depth(inquiry, depth, 500)
        answer = inquiry.ask("publicGetDepth", {"pair": inquiry.market_id, "count": depth})
        return None, *sides_of(inquiry, self._of_pair(inquiry, "Depth", answer, dict))

    def _read(self, inquiry: Inquiry, rows: list[list[Any]]) -> pl.DataFrame:
        sides = {"b": "buy", "s": "sell"}
        if unknown := {str(row[3]) for row in rows} - set(sides):
            raise MalformedAnswerError(inquiry.vendor, f"Trades: sides {sorted(unknown)} are neither b nor s")
        return trades_of(
            inquiry,
            ids=[row[6] for row in rows],
            times=[row[2] for row in rows],
            unit_us=1_000_000,
            prices=[row[0] for row in rows],
            sizes=[row[1] for row in rows],
            sides=[sides[row[3]] for row in rows],
        )

    def _of_pair(self, inquiry: Inquiry, where: str, answer: Any, kind: type = list) -> Any:
        result = field(inquiry.vendor, where, answer, "result", dict)
        return field(inquiry.vendor, f"{where}.result", result, inquiry.market_id, kind)


class CoinbaseVenue:
    """Coinbase Exchange (https://docs.cdp.coinbase.com/exchange/reference).

    300 bars a request; an interval without trade has no bar.
    """

    ccxt_id = "coinbaseexchange"
    unknown_symbol_words = "NotFound"  # which ccxt takes for an order
    refusal_is_rate_limit = False
    _most_bars = 300
    _page = 1000

    def bars(self, inquiry: Inquiry, step_ms: int) -> pl.DataFrame:
        frames, begin = [pl.DataFrame(schema=BAR_COLUMNS)], inquiry.start_ms - inquiry.start_ms % step_ms
        while begin < inquiry.end_ms:
            last = min(begin + (self._most_bars - 1) * step_ms, inquiry.end_ms - 1)
            params = {
                "id": inquiry.market_id,
                "granularity": step_ms // 1000,
                "start": _iso(begin),
                "end": _iso(last),
            }
            rows = rows_of(inquiry, "candles", inquiry.ask("publicGetProductsIdCandles", params), 6)
            frames.append(bars_of(inquiry, rows[::-1], 1_000_000, "lhocv"))
            begin += self._most_bars * step_ms
        return pl.concat(frames)

    def trades(self, inquiry: Inquiry) -> pl.DataFrame:
        frames: list[pl.DataFrame] = []
        params: dict[str, Any] = {"id": inquiry.market_id, "limit": self._page}
        for _ in range(_MOST_PAGES):  # newest first: back to the start of the range
            events = listed(inquiry, "trades", inquiry.ask("publicGetProductsIdTrades", params))
            page = self._read(inquiry, events[::-1])
            frames.append(page)
            reached = page.is_empty() or epoch_ms(page["traded_at"][0]) < inquiry.start_ms
            if reached or page["trade_id"][0] <= 1:
                return pl.concat([pl.DataFrame(schema=TRADE_COLUMNS), *frames[::-1]])
            params["after"] = page["trade_id"][0]
        raise inquiry.not_served(f"more than {_MOST_PAGES * self._page} trades back: ask for a later range")

    def book(self, inquiry: Inquiry, depth: int) -> tuple[int | None, Levels, Levels]:
        answer = inquiry.ask("publicGetProductsIdBook", {"id": inquiry.market_id, "level": 2})
        sequence = whole(inquiry.vendor, "sequence", field(inquiry.vendor, "book", answer, "sequence", object))
        return sequence, *sides_of(inquiry, answer)

    def _read(self, inquiry: Inquiry, events: list[Any]) -> pl.DataFrame:
        def each(name: str) -> list[Any]:
            return [field(inquiry.vendor, "trade", event, name, object) for event in events]

        taker = {"buy": "sell", "sell": "buy"}  # it names the maker's side
        if unknown := {str(side) for side in each("side")} - set(taker):
            raise MalformedAnswerError(inquiry.vendor, f"trades: sides {sorted(unknown)} are neither buy nor sell")
        times = pl.Series(each("time"), dtype=pl.String, strict=False)
        read = times.str.to_datetime(time_unit="us", time_zone="UTC", strict=False).dt.timestamp("us")
        return trades_of(
            inquiry,
            ids=each("trade_id"),
            times=read.to_list(),
            unit_us=1,
            prices=each("price"),
            sizes=each("size"),
            sides=[taker[side] for side in each("side")],
        )


def _demand_depth(inquiry: Inquiry, depth: int, most: int) -> None:
    if depth > most:
        detail = f"its book has {most} levels at most, {depth} were asked for"
        raise DataUnavailableError(inquiry.symbol, inquiry.vendor, None, None, detail)


def _last_ms(inquiry: Inquiry, times: pl.Series, begin: int) -> int:
    last = epoch_ms(times[-1])
    if last < begin:
        raise MalformedAnswerError(inquiry.vendor, f"{inquiry.symbol}: bars before the range that was asked for")
    return last


def _interval(step_ms: int) -> str:
    return {60_000: "1m", 86_400_000: "1d"}[step_ms]


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
