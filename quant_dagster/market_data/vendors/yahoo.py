"""Yahoo Finance, through yfinance's session and Yahoo's chart endpoint.

``yfinance.Ticker.history`` turns a refusal into an empty table, and an empty table of splits into "no splits". So the
desk uses of yfinance what it is good at (a session that Yahoo answers, cookies, crumb, consent) and reads the chart
answer itself. Yahoo publishes no reference for ``/v8/finance/chart``; the shape is the one yfinance
(``scrapers/history.py``, ``utils.parse_quotes``, ``utils.parse_actions``) reads.

Prices are adjusted for splits, not for dividends, as of the day they are asked for. So are dividend amounts: per
share as it is today. Symbols are spelt Yahoo's way (``BRK-B``, ``^GSPC``, ``VOD.L``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import quote, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from quant_dagster.errors import (
    ConfigurationError,
    DataUnavailableError,
    MalformedAnswerError,
    RateLimitedError,
    UnauthorisedError,
    UnknownSymbolError,
    UnreachableError,
)
from quant_dagster.market_data.vendors.answers import (
    DailyRows,
    action_rows,
    columns,
    daily_rows,
    each_symbol,
    field,
    instants,
    minute_rows,
    number,
    price_columns,
)
from quant_dagster.market_data.vendors.http import Clock, excerpt, parse_json, refusal
from quant_dagster.market_data.vendors.protocol import (
    MINUTE_SCHEMA,
    Capabilities,
    RowsAnswer,
    VendorAnswer,
)
from quant_dagster.settings import LiveVendorSettings

_CHART = "/v8/finance/chart/"
_CRUMB = "/getcrumb"
_SOURCE = "Yahoo Finance chart"
_DAYS_OF_MINUTES = timedelta(days=7)  # "Only 8 days worth of 1m granularity data are allowed to be fetched per request"
_ONE_DAY = timedelta(days=1)
_TOO_LONG_AGO = ("not available for", "must be within the last")
_KINDS = {"dividends": "dividend", "capitalGains": "dividend", "splits": "split"}


_FIRST_USE = threading.Lock()


class YahooVendor:
    """Daily bars, 1-minute bars of the last 30 days, splits and dividends (distributed capital gains among them).

    Parameters
    ----------
    settings
        ``base_url`` (default: Yahoo) takes every request, those for cookies and crumb as well.
    clock
        Time now; a minute that has not ended is not reported.

    Notes
    -----
    Cookies live in memory: nothing is written outside the desk's home, and no state of the yfinance module changes.
    """

    name = "yfinance"

    def __init__(self, settings: LiveVendorSettings, *, clock: Clock) -> None:
        self.capabilities = Capabilities(
            adjusted="splits", remote=True, offers=frozenset({"minute_bars", "corporate_actions"})
        )
        self._settings = settings
        self._clock = clock
        self._data: Any = None

    def symbols(self) -> list[str]:
        """Yahoo lists none."""
        raise ConfigurationError("vendor 'yfinance' has no list of its symbols: name them in the universe")

    def daily_bars(self, symbols: Sequence[str], start: date, end: date) -> VendorAnswer:
        """Bars of the exchange's sessions; a session without a close is handed back as rejected."""
        return each_symbol(self.name, _SOURCE, symbols, start, end, lambda symbol: self._daily(symbol, start, end))

    def minute_bars(self, symbol: str, start: datetime, end: datetime) -> RowsAnswer:
        """1-minute bars of regular trading hours, complete; minutes without trade have none."""
        frames = [pl.DataFrame(schema=MINUTE_SCHEMA)]
        begin = start
        while begin < end:
            until = min(begin + _DAYS_OF_MINUTES, end)
            try:
                result = self._chart(symbol, begin, until, "1m", (start.date(), end.date()))
            except _BeforeFirstBar:
                pass  # Yahoo's way to say "none" of a week before its first minute
            else:
                frames.append(minute_rows(_closed_minutes(self._bars(result), self._clock()), symbol, begin, until))
            begin = until
        return RowsAnswer(self.name, _SOURCE, pl.concat(frames))

    def corporate_actions(self, symbol: str, start: date, end: date) -> RowsAnswer:
        """Splits and dividends; empty only where a whole, valid chart carries no event."""
        result = self._daily_chart(symbol, start, end)
        self._bars(result)
        zone = self._zone(result)
        events = result.get("events", {})
        if not isinstance(events, dict) or not set(events) <= set(_KINDS):
            raise MalformedAnswerError(self.name, f"{symbol}: unknown events {excerpt(str(events))}")
        found = [
            self._action(kind, event, zone)
            for name, kind in _KINDS.items()
            for event in field(self.name, "events", {name: {}, **events}, name, dict).values()
        ]
        return RowsAnswer(self.name, _SOURCE, action_rows(symbol, start, end, found))

    def _daily(self, symbol: str, start: date, end: date) -> DailyRows:
        result = self._daily_chart(symbol, start, end)
        local = pl.col("bar_start").dt.convert_time_zone(self._zone(result).key)
        bars = self._bars(result).with_columns(session=local.dt.date())
        inside = bars.filter(pl.col("session").is_between(start, end))
        if inside.is_empty():
            raise DataUnavailableError(symbol, self.name, start, end, "the chart has no bar in this range")
        return daily_rows(inside, symbol, f"yahoo:chart/{symbol}")

    def _bars(self, result: dict[str, Any]) -> pl.DataFrame:
        """Columns bar_start, open .. volume; none where the chart says, by leaving out both, that it has none."""
        quotes = field(self.name, "indicators", field(self.name, "chart", result, "indicators", dict), "quote", list)
        if len(quotes) != 1 or not isinstance(quotes[0], dict):
            raise MalformedAnswerError(self.name, f"indicators.quote is not one object: {excerpt(str(quotes))}")
        if "timestamp" not in result and not quotes[0]:
            return pl.DataFrame(schema=MINUTE_SCHEMA).drop("symbol")
        times = instants(self.name, "timestamp", field(self.name, "chart", result, "timestamp", list))
        prices = price_columns(self.name, "quote", quotes[0], nullable=True)
        return columns(self.name, "chart", {"bar_start": times, **prices})

    def _zone(self, result: dict[str, Any]) -> ZoneInfo:
        name = field(self.name, "meta", result["meta"], "exchangeTimezoneName", str)
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise MalformedAnswerError(self.name, f"meta.exchangeTimezoneName is no time zone: '{name}'") from error

    def _action(self, kind: str, event: Any, zone: ZoneInfo) -> tuple[date, str, float]:
        moment = number(self.name, "event.date", field(self.name, "event", event, "date", (int, float)))
        session = datetime.fromtimestamp(moment, zone).date()
        if kind == "dividend":
            return session, kind, number(self.name, "event.amount", field(self.name, "event", event, "amount", object))
        new, old = (
            number(self.name, f"event.{part}", field(self.name, "event", event, part, object))
            for part in ("numerator", "denominator")
        )
        if new <= 0.0 or old <= 0.0:
            raise MalformedAnswerError(self.name, f"a split of {new:g} for {old:g} shares")
        return session, kind, new / old

    def _daily_chart(self, symbol: str, start: date, end: date) -> dict[str, Any]:
        """Yahoo stamps a daily bar with the session's opening, which in Sydney is the day before in UTC."""
        begin, until = (datetime.combine(day, time(), UTC) for day in (start - _ONE_DAY, end + _ONE_DAY))
        return self._chart(symbol, begin, until, "1d", (start, end))

    def _chart(
        self, symbol: str, start: datetime, end: datetime, interval: str, asked: tuple[date, date]
    ) -> dict[str, Any]:
        """The one result of a chart, with a ``meta`` of the symbol and interval asked for."""
        params = {
            "period1": int(start.timestamp()),
            "period2": int(end.timestamp()),
            "interval": interval,
            "includePrePost": "false",
            "events": "div,splits,capitalGains",
        }
        status, text = self._get(f"{_CHART}{quote(symbol, safe='=')}", params)
        if status == 401:
            raise UnauthorisedError(self.name, f"{_CHART}: HTTP 401, with a new crumb as well: {excerpt(text)}")
        if status == 404 and not text.lstrip().startswith("{"):
            raise UnreachableError(self.name, f"{_CHART}: HTTP 404 without Yahoo's own answer: {excerpt(text)}")
        chart = field(self.name, "answer", parse_json(self.name, _CHART, text), "chart", dict)
        if (error := chart.get("error")) is not None:
            raise self._documented(symbol, *asked, error)
        results = field(self.name, "chart", chart, "result", list)
        if status != 200 or len(results) != 1:
            raise MalformedAnswerError(self.name, f"chart: HTTP {status} with {len(results)} results and no error")
        meta = field(self.name, "result", results[0], "meta", dict)
        for name, expected in (("symbol", symbol.upper()), ("dataGranularity", interval)):
            if (said := field(self.name, "meta", meta, name, str)) != expected:
                raise MalformedAnswerError(self.name, f"asked for {name} {expected}, answered '{said}'")
        result: dict[str, Any] = results[0]
        return result

    def _documented(self, symbol: str, start: date, end: date, error: Any) -> Exception:
        code, said = (field(self.name, "chart.error", error, name, str) for name in ("code", "description"))
        detail = f"{code}: {excerpt(said)}"
        if code == "Not Found":
            return UnknownSymbolError(symbol, self.name, start, end, detail)
        if "data doesn't exist" in said.lower():
            return _BeforeFirstBar(symbol, self.name, start, end, detail)
        if any(phrase in said.lower() for phrase in _TOO_LONG_AGO):
            return DataUnavailableError(symbol, self.name, start, end, detail)
        if code == "Unauthorized":
            return UnauthorisedError(self.name, detail)
        return MalformedAnswerError(self.name, f"an error it has not been seen to use: {detail}")

    def _get(self, path: str, params: dict[str, Any]) -> tuple[int, str]:
        with _FIRST_USE:  # two threads importing yfinance at once can each see half of it
            from yfinance.exceptions import YFException, YFRateLimitError

            if self._data is None:
                self._data = _yahoo_data(self.name, self._settings, self._clock)
        try:
            response = self._data.get(f"https://query2.finance.yahoo.com{path}", params=params)
        except _ChartRefused as refused:
            response = refused.response
        except YFRateLimitError as error:
            raise RateLimitedError(self.name, str(error)) from error
        except (YFException, OSError) as error:
            raise UnreachableError(self.name, f"{path}: {type(error).__name__}: {error}") from error
        return int(response.status_code), str(response.text)


class _BeforeFirstBar(DataUnavailableError):
    """Yahoo's "Data doesn't exist for startDate ..": the range ends before the symbol's first bar."""


class _ChartRefused(Exception):
    """Carries a chart's answer past yfinance, which would ask again after any status of 400 or more."""

    def __init__(self, response: Any) -> None:
        self.response = response
        super().__init__()


def _yahoo_data(vendor: str, settings: LiveVendorSettings, clock: Clock) -> Any:
    """A ``yfinance.data.YfData`` of this vendor's own, whose session raises what Yahoo refuses.

    YfData is a singleton per process, caches cookies in a database in the user's home, answers a status of 400 or
    more by fetching new cookies and asking again at once (dropping ``Retry-After``), waits up to 30 s for cookies
    whatever time-out it was given, and keeps the text of a refused crumb as the crumb. Here it is an instance
    outside the singleton with its cookies in memory, one time-out, and refusals raised where they arrive.
    """
    from yfinance._http import new_session
    from yfinance.data import YfData

    session = new_session()
    send: Callable[..., Any] = session.request
    base = settings.base_url.rstrip("/") if settings.base_url else None

    def request(method: str, url: str, **options: Any) -> Any:
        path = urlsplit(url).path
        essential = path.startswith(_CHART) or path.endswith(_CRUMB)
        options["timeout"] = settings.timeout_seconds
        if base is not None:
            url = f"{base}{path}"
        try:
            response = send(method, url, **options)
        except OSError as error:
            if not essential:
                raise  # no cookie: yfinance goes on without, and so may Yahoo
            raise UnreachableError(vendor, f"{path}: {type(error).__name__}: {error}") from error
        if not essential:
            return response
        problem = refusal(vendor, path, response.status_code, response.headers, response.text, clock())
        if path.endswith(_CRUMB):
            if problem is not None:
                raise problem
            if response.status_code != 200 or not response.text.strip() or "<" in response.text:
                raise MalformedAnswerError(vendor, f"{path}: no crumb: {excerpt(response.text)}")
        elif isinstance(problem, UnauthorisedError) and response.status_code == 401:
            return response  # perhaps a stale crumb: yfinance may fetch another one, once
        elif problem is not None:
            raise problem
        elif response.status_code >= 400:
            raise _ChartRefused(response)
        return response

    session.request = request
    data = type.__call__(YfData, session)

    def keep_cookie() -> bool:
        data._cookie = True  # in the session's jar; without this it is fetched again for each request
        return True

    data._load_cookie_curlCffi = lambda: False
    data._save_cookie_curlCffi = keep_cookie
    return data


def _closed_minutes(bars: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Bars of whole minutes that have ended, with a close; Yahoo appends the newest quote as a bar of its own."""
    whole = pl.col("bar_start").dt.truncate("1m") == pl.col("bar_start")
    ended = pl.col("bar_start") + timedelta(minutes=1) <= now
    return bars.filter(whole & ended & pl.col("close").is_not_null())
