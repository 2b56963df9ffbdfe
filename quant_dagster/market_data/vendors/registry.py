"""Vendors by name, as universes and settings spell them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from quant_dagster.errors import ConfigurationError
from quant_dagster.market_data.vendors.alpha_vantage import AlphaVantageVendor
from quant_dagster.market_data.vendors.crypto import CryptoVendor, ExchangeName
from quant_dagster.market_data.vendors.embedded import EmbeddedVendor
from quant_dagster.market_data.vendors.files import FilesVendor
from quant_dagster.market_data.vendors.finnhub import FinnhubVendor
from quant_dagster.market_data.vendors.http import Clock
from quant_dagster.market_data.vendors.protocol import Vendor
from quant_dagster.market_data.vendors.yahoo import YahooVendor
from quant_dagster.settings import LiveVendorSettings


def _live(vendor: Callable[..., Vendor]) -> Callable[..., Vendor]:
    def build(*, settings: LiveVendorSettings, clock: Clock) -> Vendor:
        return vendor(settings, clock=clock)

    return build


def _exchange(name: ExchangeName) -> Callable[..., Vendor]:
    return _live(lambda settings, *, clock: CryptoVendor(name, settings, clock=clock))


_LIVE_BUILDERS: dict[str, Callable[..., Vendor]] = {
    "yfinance": _live(YahooVendor),
    "alpha_vantage": _live(AlphaVantageVendor),
    "finnhub": _live(FinnhubVendor),
    "binance": _exchange("binance"),
    "kraken": _exchange("kraken"),
    "coinbase": _exchange("coinbase"),
}

_BUILDERS: dict[str, Callable[..., Vendor]] = {
    "embedded": lambda: EmbeddedVendor("embedded"),
    "embedded_bokeh": lambda: EmbeddedVendor("embedded_bokeh"),
    "embedded_arch": lambda: EmbeddedVendor("embedded_arch"),
    "files": FilesVendor,
    **_LIVE_BUILDERS,
}

KNOWN_VENDORS: tuple[str, ...] = tuple(_BUILDERS)

LIVE_VENDORS: tuple[str, ...] = tuple(_LIVE_BUILDERS)
"""Vendors on the network: their settings are ``market_data.live.<name>``."""


def build_vendor(name: str, options: Mapping[str, Any] | None = None) -> Vendor:
    """The vendor called ``name``.

    Parameters
    ----------
    options
        Its own settings: for ``files``, ``path``, ``columns`` and ``name``; for a live vendor, ``settings`` and
        ``clock``; the embedded ones take none.

    Raises
    ------
    ConfigurationError
        No vendor has that name, it does not take these options, or it lacks a key.
    """
    if name not in _BUILDERS:
        raise ConfigurationError(f"unknown vendor '{name}'; known: {', '.join(KNOWN_VENDORS)}")
    try:
        return _BUILDERS[name](**(options or {}))
    except TypeError as error:
        raise ConfigurationError(f"vendor '{name}' does not take options {sorted(options or {})}: {error}") from error
