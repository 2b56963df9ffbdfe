"""Alpha Vantage (https://www.alphavantage.co/documentation/): US stocks and funds, prices as traded.

It answers HTTP 200 to everything. A refusal is a JSON object with ``Note``, ``Information`` or ``Error Message`` in
place of the data, some of which quote the key. Daily prices are as traded: adjusted for nothing. Times are New York's.
An unknown symbol and a wrong parameter get the same ``Error Message``; no symbol is refused in ``SPLITS`` and
``DIVIDENDS``, which say ``data: []`` of a symbol without events and of one that does not exist.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from quant_dagster.errors import (
    DataUnavailableError,
    MalformedAnswerError,
    RateLimitedError,
    UnauthorisedError,
    UnknownSymbolError,
    VendorError,
)
from quant_dagster.market_data.vendors.answers import (
    DailyRows,
    action_rows,
    columns,
    daily_rows,
    day,
    each_symbol,
    field,
    minute_rows,
    number,
    numbers,
)
from quant_dagster.market_data.vendors.http import Clock, HttpApi, demanded_key, excerpt, parse_json
from quant_dagster.market_data.vendors.protocol import (
    MINUTE_SCHEMA,
    PRICE_FIELDS,
    Capabilities,
    RowsAnswer,
    VendorAnswer,
)
from quant_dagster.settings import LiveVendorSettings
from quant_dagster.storage.tables import TIMESTAMP

_ADDRESS = "https://www.alphavantage.co"
_SOURCE = "Alpha Vantage"
_EASTERN = "US/Eastern"
_COMPACT_ROWS = 100  # "compact returns only the latest 100 data points"
_COMPACT_REACH = timedelta(days=130)  # calendar days that hold fewer sessions than that
_RATE_WORDS = ("rate limit", "requests per", "request per", "call frequency", "sparingly")
_ACCOUNT_WORDS = ("premium", "apikey", "api key", "demo")
_LISTING_COLUMNS = ("symbol", "name", "exchange", "assetType", "ipoDate", "delistingDate", "status")


class AlphaVantageVendor:
    """Daily bars, 1-minute bars by month, splits and dividends.

    Parameters
    ----------
    settings
        ``api_key`` is needed; ``base_url`` replaces https://www.alphavantage.co.
    clock
        Time now; a minute that has not ended is not reported.

    Raises
    ------
    ConfigurationError
        There is no key.
    """

    name = "alpha_vantage"

    def __init__(self, settings: LiveVendorSettings, *, clock: Clock) -> None:
        self.capabilities = Capabilities(
            adjusted="nothing", remote=True, offers=frozenset({"minute_bars", "corporate_actions"})
        )
        self._key = demanded_key(self.name, settings)
        self._clock = clock
        address = settings.base_url or _ADDRESS
        self._api = HttpApi(self.name, address, settings.timeout_seconds, clock=clock, secrets=(self._key,))

    def symbols(self) -> list[str]:
        """Symbols of listed stocks and funds (``LISTING_STATUS``, a CSV)."""
        text = self._text("LISTING_STATUS", {"state": "active"})
        if text.lstrip().startswith("{"):
            self._refuse("LISTING_STATUS", parse_json(self.name, "LISTING_STATUS", text, (self._key,)))
        rows = list(csv.reader(io.StringIO(text)))
        if not rows or tuple(rows[0]) != _LISTING_COLUMNS or any(len(row) != len(rows[0]) for row in rows):
            raise MalformedAnswerError(self.name, f"LISTING_STATUS: not its CSV: {excerpt(text, (self._key,))}")
        return sorted({row[0] for row in rows[1:]})

    def daily_bars(self, symbols: Sequence[str], start: date, end: date) -> VendorAnswer:
        """Bars as traded. Ranges within the newest 100 sessions are asked for in the form free accounts may use."""
        return each_symbol(self.name, _SOURCE, symbols, start, end, lambda symbol: self._daily(symbol, start, end))

    def minute_bars(self, symbol: str, start: datetime, end: datetime) -> RowsAnswer:
        """1-minute bars of regular trading hours as traded, month by month."""
        frames = [pl.DataFrame(schema=MINUTE_SCHEMA)]
        for month in _months(start, end):
            params = {
                "interval": "1min",
                "month": month,
                "outputsize": "full",
                "adjusted": "false",
                "extended_hours": "false",
            }
            series = self._series(
                "TIME_SERIES_INTRADAY", symbol, params, "Time Series (1min)", start.date(), end.date()
            )
            bars = self._bars(series, "bar_start").with_columns(
                pl.col("bar_start")
                .str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us", strict=False)
                .dt.replace_time_zone(_EASTERN, ambiguous="null", non_existent="null")
                .dt.convert_time_zone("UTC")
                .cast(TIMESTAMP)
            )
            self._demand_order(bars["bar_start"], "TIME_SERIES_INTRADAY")
            ended = bars.filter(pl.col("bar_start") + timedelta(minutes=1) <= self._clock())
            frames.append(minute_rows(ended, symbol, start, end))
        return RowsAnswer(self.name, _SOURCE, pl.concat(frames))

    def corporate_actions(self, symbol: str, start: date, end: date) -> RowsAnswer:
        """Splits and dividends, dividends as paid per share of the time; empty where both lists say so."""
        found = [
            *self._events("SPLITS", symbol, "effective_date", "split_factor", "split"),
            *self._events("DIVIDENDS", symbol, "ex_dividend_date", "amount", "dividend"),
        ]
        return RowsAnswer(self.name, _SOURCE, action_rows(symbol, start, end, found))

    def _daily(self, symbol: str, start: date, end: date) -> DailyRows:
        recent = start >= self._clock().date() - _COMPACT_REACH
        bars = self._daily_series(symbol, start, end, "compact" if recent else "full")
        if recent and bars.height >= _COMPACT_ROWS and bars["session"][0] > start:
            bars = self._daily_series(symbol, start, end, "full")
        inside = bars.filter(pl.col("session").is_between(start, end))
        if inside.is_empty():
            raise DataUnavailableError(
                symbol, self.name, start, end, f"its series runs from {bars['session'][0]} to {bars['session'][-1]}"
            )
        return daily_rows(inside, symbol, f"alpha_vantage:TIME_SERIES_DAILY/{symbol}")

    def _daily_series(self, symbol: str, start: date, end: date, size: str) -> pl.DataFrame:
        params = {"outputsize": size}
        series = self._series("TIME_SERIES_DAILY", symbol, params, "Time Series (Daily)", start, end)
        bars = self._bars(series, "session").with_columns(pl.col("session").str.to_date("%Y-%m-%d", strict=False))
        self._demand_order(bars["session"], "TIME_SERIES_DAILY")
        return bars

    def _series(
        self, function: str, symbol: str, params: Mapping[str, str], name: str, start: date, end: date
    ) -> Mapping[str, Any]:
        """The series of a symbol: times to bars. Demands that it is this symbol's, in New York time, and not empty."""
        answer = parse_json(self.name, function, self._text(function, {"symbol": symbol, **params}), (self._key,))
        self._refuse(function, answer, UnknownSymbolError(symbol, self.name, start, end, f"{function}: invalid call"))
        meta = field(self.name, function, answer, "Meta Data", dict)
        labels = {key.partition(". ")[2]: value for key, value in meta.items()}
        for label, expected in (("Symbol", symbol), ("Time Zone", _EASTERN)):
            if (said := field(self.name, "Meta Data", labels, label, str)).upper() != expected.upper():
                raise MalformedAnswerError(self.name, f"{function}: asked for {label} {expected}, answered '{said}'")
        series: Mapping[str, Any] = field(self.name, function, answer, name, dict)
        if not series:
            raise MalformedAnswerError(self.name, f"{function}: '{name}' is empty")
        return series

    def _bars(self, series: Mapping[str, Any], time_column: str) -> pl.DataFrame:
        """Columns of time (text, ascending as the vendor's newest-first order implies) and the five prices."""
        entries = list(series.items())[::-1]
        found = {time_column: pl.Series([moment for moment, _ in entries], dtype=pl.String)}
        for position, name in enumerate(PRICE_FIELDS, start=1):
            label = f"{position}. {name}"
            values = [field(self.name, moment, bar, label, str) for moment, bar in entries]
            found[name] = numbers(self.name, label, values)
        return columns(self.name, "series", found)

    def _demand_order(self, times: pl.Series, function: str) -> None:
        if times.null_count():
            raise MalformedAnswerError(self.name, f"{function}: a time cannot be read")
        if not (times.is_sorted() and times.n_unique() == len(times)):
            raise MalformedAnswerError(self.name, f"{function}: times are not in order, newest first")

    def _events(
        self, function: str, symbol: str, date_field: str, value_field: str, kind: str
    ) -> Iterator[tuple[date, str, float]]:
        answer = parse_json(self.name, function, self._text(function, {"symbol": symbol}), (self._key,))
        self._refuse(function, answer, UnknownSymbolError(symbol, self.name, None, None, f"{function}: invalid call"))
        if (said := field(self.name, function, answer, "symbol", str)).upper() != symbol.upper():
            raise MalformedAnswerError(self.name, f"{function}: asked for {symbol}, answered '{said}'")
        for event in field(self.name, function, answer, "data", list):
            session = day(self.name, date_field, field(self.name, function, event, date_field, str))
            value = number(self.name, value_field, field(self.name, function, event, value_field, str))
            if kind == "split" and value <= 0.0:
                raise MalformedAnswerError(self.name, f"SPLITS: {value_field} is {value:g}")
            yield session, kind, value

    def _text(self, function: str, params: Mapping[str, str]) -> str:
        answer = self._api.get("/query", {"function": function, **params, "apikey": self._key})
        if answer.status != 200:
            said = excerpt(answer.text, (self._key,))
            raise MalformedAnswerError(self.name, f"{function}: HTTP {answer.status}, which it does not use: {said}")
        return answer.text

    def _refuse(self, function: str, answer: Any, invalid: DataUnavailableError | None = None) -> None:
        """Raise what an answer without data says."""
        if not isinstance(answer, dict):
            raise MalformedAnswerError(self.name, f"{function}: not a JSON object: {excerpt(str(answer))}")
        for label in ("Error Message", "Note", "Information"):
            if label in answer:
                raise self._refusal(function, label, str(answer[label]), invalid)

    def _refusal(
        self, function: str, label: str, said: str, invalid: DataUnavailableError | None
    ) -> VendorError | DataUnavailableError:
        words, detail = said.lower(), f"{function}: {label}: {excerpt(said, (self._key,))}"
        if label == "Error Message":
            if "invalid api call" in words and invalid is not None:
                return invalid
            if any(word in words for word in _ACCOUNT_WORDS):
                return UnauthorisedError(self.name, detail)
            return MalformedAnswerError(self.name, detail)
        # The rate limit's wording advertises premium plans, a premium function's wording names no rate.
        if label == "Note" or any(word in words for word in _RATE_WORDS):
            return RateLimitedError(self.name, detail)
        if any(word in words for word in _ACCOUNT_WORDS):
            return UnauthorisedError(self.name, detail)
        return MalformedAnswerError(self.name, detail)


def _months(start: datetime, end: datetime) -> list[str]:
    """New York months (``YYYY-MM``) that the time from ``start`` to before ``end`` touches."""
    zone = ZoneInfo(_EASTERN)
    first, last = start.astimezone(zone), (end - timedelta(microseconds=1)).astimezone(zone)
    numbers_of = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
    return [f"{count // 12:04d}-{count % 12 + 1:02d}" for count in numbers_of]
