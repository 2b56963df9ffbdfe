"""Loopback servers that answer in each vendor's documented format, with real prices and any failure on demand.

``with YahooServer(rows) as server: ...`` serves ``rows`` (symbol, session, open .. volume) at ``server.base_url``;
``server.fault("429", times=2)`` spoils the next two answers; ``server.requests`` says what was asked.
"""

from tests.support.vendor_servers.alpha_vantage import AlphaVantageServer
from tests.support.vendor_servers.base import KEY, Reply, Request, VendorServer
from tests.support.vendor_servers.crypto import BinanceServer, CoinbaseServer, KrakenServer
from tests.support.vendor_servers.finnhub import FinnhubServer
from tests.support.vendor_servers.yahoo import YahooServer

__all__ = [
    "KEY",
    "AlphaVantageServer",
    "BinanceServer",
    "CoinbaseServer",
    "FinnhubServer",
    "KrakenServer",
    "Reply",
    "Request",
    "VendorServer",
    "YahooServer",
]
