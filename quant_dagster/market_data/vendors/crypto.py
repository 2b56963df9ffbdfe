"""Crypto exchanges, asked through ccxt: its addresses, market lists and error codes; prices are read strictly here.

A session is a UTC day, named by the date its bar starts. Prices are adjusted for nothing. Symbols are ccxt's
(``BTC/USDT``). How each venue is asked is in ``crypto_venues``; order entry is no business of this module.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal
from urllib.parse import urlsplit

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
from quant_dagster.market_data.vendors.answers import DailyRows, daily_rows, each_symbol, minute_rows
from quant_dagster.market_data.vendors.crypto_answers import Inquiry, epoch_ms
from quant_dagster.market_data.vendors.crypto_venues import BinanceVenue, CoinbaseVenue, KrakenVenue, Venue
from quant_dagster.market_data.vendors.http import Clock, excerpt, refusal
from quant_dagster.market_data.vendors.protocol import (
    TRADE_SCHEMA,
    BookSnapshot,
    Capabilities,
    RowsAnswer,
    VendorAnswer,
)
from quant_dagster.settings import LiveVendorSettings

ExchangeName = Literal["binance", "kraken", "coinbase"]

_VENUES: dict[str, type[Venue]] = {"binance": BinanceVenue, "kraken": KrakenVenue, "coinbase": CoinbaseVenue}
_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class MarketFacts:
    """What a venue says of one spot market.

    Attributes
    ----------
    tick_size
        Smallest step of a price, in ``quote``.
    lot_step
        Smallest step of a size, in ``base``.
    min_notional
        Smallest order, in ``quote``; None where the venue names none.
    active
        Whether it trades now.
    """

    symbol: str
    base: str
    quote: str
    tick_size: float
    lot_step: float
    min_notional: float | None
    active: bool


class CryptoVendor:
    """Daily and 1-minute bars, trades and the order book of one exchange's spot markets.

    Parameters
    ----------
    exchange
        ``binance``, ``kraken`` or ``coinbase`` (Coinbase Exchange); also the vendor's name.
    settings
        ``base_url`` replaces scheme and host of every address.
    clock
        Time now; a bar that has not ended is not reported.

    Notes
    -----
    One request of the desk may take several of the venue's (pages, and the list of markets once a day).
    """

    def __init__(self, exchange: ExchangeName, settings: LiveVendorSettings, *, clock: Clock) -> None:
        if exchange not in _VENUES:
            raise ConfigurationError(f"unknown exchange '{exchange}'; known: {', '.join(_VENUES)}")
        self.name: str = exchange
        self.capabilities = Capabilities(
            adjusted="nothing", remote=True, offers=frozenset({"minute_bars", "trades", "order_book"})
        )
        self._venue = _VENUES[exchange]()
        self._settings = settings
        self._clock = clock
        self._threads = threading.local()
        self._markets_lock = threading.Lock()
        self._markets: dict[str, Any] = {}
        self._markets_from: date | None = None

    def symbols(self) -> list[str]:
        """Symbols of the spot markets that trade now."""
        return sorted(symbol for symbol, market in self._listed().items() if market["active"])

    def markets(self) -> list[MarketFacts]:
        """Every spot market the venue lists with its steps of price and size, by symbol."""
        found = (self._facts(market) for _, market in sorted(self._listed().items()))
        return [facts for facts in found if facts is not None]

    def daily_bars(self, symbols: Sequence[str], start: date, end: date) -> VendorAnswer:
        """Bars of whole UTC days that have ended."""
        source = f"{self.name} by ccxt"
        return each_symbol(self.name, source, symbols, start, end, lambda symbol: self._daily(symbol, start, end))

    def minute_bars(self, symbol: str, start: datetime, end: datetime) -> RowsAnswer:
        """1-minute bars that have ended; a minute without trade has none, also where the venue repeats the price."""
        bars = self._ended(self._venue.bars(self._inquiry(symbol, start, end), _ms(_MINUTE)), _MINUTE)
        rows = minute_rows(bars.filter(pl.col("volume") > 0), symbol, start, end)
        return RowsAnswer(self.name, f"{self.name} by ccxt", rows)

    def trades(self, symbol: str, start: datetime, end: datetime) -> RowsAnswer:
        """Every trade in the range, or an error; on Binance aggregate trades."""
        found = self._venue.trades(self._inquiry(symbol, start, end))
        inside = found.filter((pl.col("traded_at") >= start) & (pl.col("traded_at") < end))
        rows = inside.with_columns(pl.lit(symbol).alias("symbol"), pl.col("trade_id").cast(pl.String))
        return RowsAnswer(self.name, f"{self.name} by ccxt", rows.select(list(TRADE_SCHEMA)))

    def order_book(self, symbol: str, depth: int) -> BookSnapshot:
        """The book now; ``sequence`` is None on Kraken, whose REST interface has none."""
        now = self._clock()
        sequence, bids, asks = self._venue.book(self._inquiry(symbol, now, now), depth)
        return BookSnapshot(self.name, symbol, self._clock(), sequence, bids, asks)

    def _daily(self, symbol: str, start: date, end: date) -> DailyRows:
        begin, until = (datetime.combine(session, time(), UTC) for session in (start, end + _DAY))
        bars = self._ended(self._venue.bars(self._inquiry(symbol, begin, until), _ms(_DAY)), _DAY)
        inside = bars.filter((pl.col("bar_start") >= begin) & (pl.col("bar_start") < until))
        if inside.is_empty():
            raise DataUnavailableError(symbol, self.name, start, end, "it has no ended day in this range")
        dated = inside.with_columns(session=pl.col("bar_start").dt.date())
        return daily_rows(dated, symbol, f"{self.name}:bars/{symbol}")

    def _ended(self, bars: pl.DataFrame, step: timedelta) -> pl.DataFrame:
        if not bool((bars["bar_start"].diff().drop_nulls() > timedelta(0)).all()):
            raise MalformedAnswerError(self.name, "bars of one page repeat those of another")
        return bars.filter(pl.col("bar_start") + step <= self._clock())

    def _inquiry(self, symbol: str, start: datetime, end: datetime) -> Inquiry:
        listed = self._listed()
        if symbol not in listed:
            detail = f"it is not among the {len(listed)} spot markets it lists"
            raise UnknownSymbolError(symbol, self.name, start.date(), end.date(), detail)
        # Outwards to whole milliseconds; what lies outside the range is cut off from the answer.
        begin, until = epoch_ms(start), epoch_ms(end + timedelta(microseconds=999))
        return Inquiry(self.name, symbol, str(listed[symbol]["id"]), begin, until, self._ask)

    def _listed(self) -> dict[str, Any]:
        """The venue's spot markets by symbol, as ccxt reads them; asked for once a day."""
        today = self._clock().date()
        with self._markets_lock:
            if self._markets_from != today:
                found = self._call("load_markets", True)
                spot = {symbol: market for symbol, market in found.items() if market["spot"]}
                if not spot:
                    raise MalformedAnswerError(self.name, "its list of markets holds no spot market")
                self._markets, self._markets_from = spot, today
            return self._markets

    def _facts(self, market: dict[str, Any]) -> MarketFacts | None:
        """None where the venue names no step of price or size: such a market has no terms to trade by."""
        steps = (market["precision"]["price"], market["precision"]["amount"])
        smallest = market["limits"]["cost"]["min"]
        if None in steps:
            return None
        tick, lot = (float(step) for step in steps)
        if tick <= 0 or lot <= 0:
            raise MalformedAnswerError(self.name, f"{market['symbol']}: tick size {tick}, lot step {lot}")
        least = None if smallest is None else float(smallest)
        return MarketFacts(market["symbol"], market["base"], market["quote"], tick, lot, least, bool(market["active"]))

    def _ask(self, method: str, params: dict[str, Any]) -> Any:
        return self._call(method, params)

    def _call(self, method: str, argument: Any) -> Any:
        """Ask through ccxt, whose errors become the desk's."""
        import ccxt

        try:
            return getattr(self._exchange(), method)(argument)
        except (ccxt.RateLimitExceeded, ccxt.DDoSProtection) as error:
            raise RateLimitedError(self.name, excerpt(str(error))) from error
        except ccxt.AuthenticationError as error:
            raise UnauthorisedError(self.name, excerpt(str(error))) from error
        except ccxt.BadSymbol as error:
            raise self._unknown(argument, error) from error
        except (ccxt.BadResponse, ccxt.NullResponse) as error:
            raise MalformedAnswerError(self.name, excerpt(str(error))) from error
        except ccxt.OperationFailed as error:
            raise UnreachableError(self.name, f"{type(error).__name__}: {excerpt(str(error))}") from error
        except ccxt.BaseError as error:
            if self._venue.unknown_symbol_words in str(error):
                raise self._unknown(argument, error) from error
            raise MalformedAnswerError(self.name, f"{type(error).__name__}: {excerpt(str(error))}") from error
        except (KeyError, IndexError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
            # ccxt trusts the shape of a market list: what is not of that shape ends in one of these.
            raise MalformedAnswerError(self.name, f"{method}: {type(error).__name__}: {error}") from error

    def _unknown(self, argument: Any, error: Exception) -> UnknownSymbolError:
        return UnknownSymbolError(f"{argument}", self.name, None, None, excerpt(str(error)))

    def _exchange(self) -> Any:
        """This thread's ccxt exchange: it keeps state between a request and its answer."""
        if not hasattr(self._threads, "exchange"):
            import ccxt

            exchange = getattr(ccxt, self._venue.ccxt_id)(
                {"enableRateLimit": False, "timeout": int(self._settings.timeout_seconds * 1000)}
            )
            exchange.options["maxRetriesOnFailure"] = 0
            exchange.options["fetchMarkets"] = {"types": ["spot"]}
            exchange.has["fetchCurrencies"] = False  # a second request for nothing that is used
            exchange.on_rest_response = self._received
            if self._settings.base_url is not None:
                exchange.urls["api"] = _moved(exchange.urls["api"], self._settings.base_url.rstrip("/"))
            self._threads.exchange = exchange
        return self._threads.exchange

    def _received(
        self,
        code: int,
        reason: str,
        url: str,
        method: str,
        headers: Any,
        body: str,
        asked_headers: Any,
        asked_body: Any,
    ) -> str:
        """Raise what the status says before ccxt interprets the body, and drops ``Retry-After``."""
        path = urlsplit(url).path
        problem = refusal(self.name, path, code, headers, body, self._clock())
        if isinstance(problem, UnauthorisedError) and code == 403 and self._venue.refusal_is_rate_limit:
            raise RateLimitedError(self.name, f"{path}: HTTP 403")
        if problem is not None:
            raise problem
        if not body.strip():
            raise MalformedAnswerError(self.name, f"{path}: HTTP {code}: the body is empty")
        return body.strip()


def _moved(tree: Any, base: str) -> Any:
    """Addresses below another scheme and host, their paths kept."""
    if isinstance(tree, dict):
        return {name: _moved(branch, base) for name, branch in tree.items()}
    return f"{base}{urlsplit(tree).path}"


def _ms(step: timedelta) -> int:
    return int(step.total_seconds() * 1000)
