"""Finnhub (https://finnhub.io/docs/api): US stocks; candles need a paid plan, which it says with HTTP 403.

Its documentation: daily candles are adjusted for splits, 1-minute candles for nothing; ``s`` is ``ok`` or
``no_data``. Of an unknown symbol it says ``no_data`` too, so that is all this vendor can say of one. The key goes into
a header, where no log and no error shows it. A 429 says with ``X-Ratelimit-Reset`` when the limit is lifted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import polars as pl

from quant_dagster.errors import DataUnavailableError, MalformedAnswerError
from quant_dagster.market_data.vendors.answers import (
    DailyRows,
    action_rows,
    columns,
    daily_rows,
    day,
    each_symbol,
    field,
    instants,
    minute_rows,
    number,
    price_columns,
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

_ADDRESS = "https://finnhub.io"
_API = "/api/v1"
_SOURCE = "Finnhub"
_EXCHANGE = "US"
_MONTH = timedelta(days=28)  # "only 1 month of data is returned at a time" for intraday candles


class FinnhubVendor:
    """Daily bars, 1-minute bars, splits and dividends.

    Parameters
    ----------
    settings
        ``api_key`` is needed; ``base_url`` replaces https://finnhub.io.
    clock
        Time now; a minute that has not ended is not reported.

    Raises
    ------
    ConfigurationError
        There is no key.
    """

    name = "finnhub"

    def __init__(self, settings: LiveVendorSettings, *, clock: Clock) -> None:
        self.capabilities = Capabilities(
            adjusted="splits", remote=True, offers=frozenset({"minute_bars", "corporate_actions"})
        )
        key = demanded_key(self.name, settings)
        self._clock = clock
        self._secrets = (key,)
        self._api = HttpApi(
            self.name,
            settings.base_url or _ADDRESS,
            settings.timeout_seconds,
            clock=clock,
            headers={"X-Finnhub-Token": key},
            secrets=self._secrets,
        )

    def symbols(self) -> list[str]:
        """Symbols of US exchanges (``/stock/symbol``)."""
        listed = self._json("/stock/symbol", {"exchange": _EXCHANGE}, list)
        if not listed:
            raise MalformedAnswerError(self.name, "/stock/symbol: an empty list of US symbols")
        return sorted({field(self.name, "/stock/symbol", entry, "symbol", str) for entry in listed})

    def daily_bars(self, symbols: Sequence[str], start: date, end: date) -> VendorAnswer:
        """Daily candles, adjusted for splits."""
        return each_symbol(self.name, _SOURCE, symbols, start, end, lambda symbol: self._daily(symbol, start, end))

    def minute_bars(self, symbol: str, start: datetime, end: datetime) -> RowsAnswer:
        """1-minute candles, as traded; extended hours included where Finnhub has them."""
        frames = [pl.DataFrame(schema=MINUTE_SCHEMA)]
        begin = start
        while begin < end:
            until = min(begin + _MONTH, end)
            bars = self._candles(symbol, "1", begin, until)
            if bars is not None:
                ended = bars.filter(pl.col("bar_start") + timedelta(minutes=1) <= self._clock())
                frames.append(minute_rows(ended, symbol, begin, until))
            begin = until
        return RowsAnswer(self.name, _SOURCE, pl.concat(frames))

    def corporate_actions(self, symbol: str, start: date, end: date) -> RowsAnswer:
        """Splits and dividends, dividends as paid per share of the time; empty where both lists are."""
        found = [*self._splits(symbol, start, end), *self._dividends(symbol, start, end)]
        return RowsAnswer(self.name, _SOURCE, action_rows(symbol, start, end, found))

    def _daily(self, symbol: str, start: date, end: date) -> DailyRows:
        begin, until = (datetime.combine(session, time(), UTC) for session in (start, end + timedelta(days=1)))
        bars = self._candles(symbol, "D", begin, until)
        if bars is None:
            raise DataUnavailableError(symbol, self.name, start, end, "it answered no_data")
        dated = bars.with_columns(session=pl.col("bar_start").dt.date())
        inside = dated.filter(pl.col("session").is_between(start, end))
        if inside.is_empty():
            raise DataUnavailableError(symbol, self.name, start, end, "its candles lie outside the range")
        return daily_rows(inside, symbol, f"finnhub:candle/{symbol}")

    def _candles(self, symbol: str, resolution: str, start: datetime, end: datetime) -> pl.DataFrame | None:
        """Columns bar_start, open .. volume; None where it says ``no_data``."""
        where = "/stock/candle"
        params: dict[str, str | int] = {
            "symbol": symbol,
            "resolution": resolution,
            "from": int(start.timestamp()),
            "to": int(end.timestamp()) - 1,
        }
        answer = self._json(where, params, dict)
        status = field(self.name, where, answer, "s", str)
        if status == "no_data":
            return None
        if status != "ok":
            raise MalformedAnswerError(self.name, f"{where}: status '{status}' is neither ok nor no_data")
        times = instants(self.name, "t", field(self.name, where, answer, "t", list))
        named = {name: answer[name[0]] for name in PRICE_FIELDS if name[0] in answer}
        bars = columns(self.name, where, {"bar_start": times, **price_columns(self.name, where, named)})
        if bars.is_empty():
            raise MalformedAnswerError(self.name, f"{where}: status ok and no candle")
        return bars

    def _splits(self, symbol: str, start: date, end: date) -> Iterator[tuple[date, str, float]]:
        for event in self._events("/stock/split", symbol, start, end):
            old, new = (self._amount("/stock/split", event, name) for name in ("fromFactor", "toFactor"))
            if old <= 0.0 or new <= 0.0:
                raise MalformedAnswerError(self.name, f"/stock/split: a split of {new:g} for {old:g} shares")
            yield self._date("/stock/split", event), "split", new / old

    def _dividends(self, symbol: str, start: date, end: date) -> Iterator[tuple[date, str, float]]:
        for event in self._events("/stock/dividend", symbol, start, end):
            yield (
                self._date("/stock/dividend", event),
                "dividend",
                self._amount("/stock/dividend", event, "amount"),
            )

    def _events(self, path: str, symbol: str, start: date, end: date) -> list[Any]:
        found: list[Any] = self._json(path, {"symbol": symbol, "from": f"{start}", "to": f"{end}"}, list)
        for event in found:
            if (said := field(self.name, path, event, "symbol", str)) != symbol:
                raise MalformedAnswerError(self.name, f"{path}: asked for {symbol}, answered '{said}'")
        return found

    def _date(self, path: str, event: Any) -> date:
        return day(self.name, f"{path}.date", field(self.name, path, event, "date", str))

    def _amount(self, path: str, event: Any, name: str) -> float:
        return number(self.name, f"{path}.{name}", field(self.name, path, event, name, (int, float)))

    def _json(self, path: str, params: dict[str, str | int], kind: type) -> Any:
        answer = self._api.get(f"{_API}{path}", params)
        if answer.status != 200:
            said = excerpt(answer.text, self._secrets)
            raise MalformedAnswerError(self.name, f"{path}: HTTP {answer.status}, which it does not document: {said}")
        read = parse_json(self.name, path, answer.text, self._secrets)
        if not isinstance(read, kind):
            raise MalformedAnswerError(
                self.name, f"{path}: no JSON {kind.__name__}: {excerpt(answer.text, self._secrets)}"
            )
        return read
