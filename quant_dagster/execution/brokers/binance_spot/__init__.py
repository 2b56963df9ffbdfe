"""Binance spot, through ``ccxt`` and the venue's REST interface.

Belongs here: everything that knows the venue's requests, answers, filters and error codes. Does not: what a report or
an execution means for an order and for the books (``execution.desk``), public market data (``market_data.vendors``).
"""

from quant_dagster.execution.brokers.binance_spot.adapter import BinanceSpotBroker

__all__ = ["BinanceSpotBroker"]
