"""Vendors by name, as universes and settings spell them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from quant_dagster.errors import ConfigurationError
from quant_dagster.market_data.vendors.embedded import EmbeddedVendor
from quant_dagster.market_data.vendors.files import FilesVendor
from quant_dagster.market_data.vendors.protocol import Vendor

_BUILDERS: dict[str, Callable[..., Vendor]] = {
    "embedded": lambda: EmbeddedVendor("embedded"),
    "embedded_bokeh": lambda: EmbeddedVendor("embedded_bokeh"),
    "embedded_arch": lambda: EmbeddedVendor("embedded_arch"),
    "files": FilesVendor,
}

KNOWN_VENDORS: tuple[str, ...] = tuple(_BUILDERS)


def build_vendor(name: str, options: Mapping[str, Any] | None = None) -> Vendor:
    """The vendor called ``name``.

    Parameters
    ----------
    options
        Its own settings: for ``files``, ``path`` and ``columns``; the embedded ones take none.

    Raises
    ------
    ConfigurationError
        No vendor has that name, or it does not take these options.
    """
    if name not in _BUILDERS:
        raise ConfigurationError(f"unknown vendor '{name}'; known: {', '.join(KNOWN_VENDORS)}")
    try:
        return _BUILDERS[name](**(options or {}))
    except TypeError as error:
        raise ConfigurationError(f"vendor '{name}' does not take options {sorted(options or {})}: {error}") from error
