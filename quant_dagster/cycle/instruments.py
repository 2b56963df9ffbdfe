"""Instrument terms from venues that publish them: brought into the master, by date."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from quant_dagster.errors import ConfigurationError
from quant_dagster.market_data import instruments
from quant_dagster.market_data.instruments import Terms

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext


def refresh_from_venue(context: TradingContext, vendor_name: str) -> int:
    """Ask a crypto venue for its markets and bring the universe's into the master; returns how many spans changed."""
    from quant_dagster.market_data.vendors.crypto import CryptoVendor

    vendor = next((vendor for vendor in context.vendors if vendor.name == vendor_name), None)
    if not isinstance(vendor, CryptoVendor):
        known = [one.name for one in context.vendors if isinstance(one, CryptoVendor)]
        raise ConfigurationError(
            f"vendor '{vendor_name}' publishes no instrument terms; of this universe's vendors these do: "
            f"{', '.join(known) or 'none'}"
        )
    wanted = set(context.symbols)
    facts = context.guards[vendor.name].call("markets", vendor.markets)
    today = context.now().date()
    terms = [
        Terms(
            symbol=one.symbol,
            valid_from=today,
            tick_size=Decimal(repr(one.tick_size)),
            lot_size=Decimal(repr(one.lot_step)),
            asset_class="crypto",
            exchange="24/7",
            currency=one.quote,
            minimum_notional=None if one.min_notional is None else Decimal(repr(one.min_notional)),
            identifiers={vendor.name: one.symbol},
            source=vendor.name,
        )
        for one in facts
        if one.symbol in wanted and one.active
    ]
    with context.ledger.write() as connection:
        changed = instruments.refresh(connection, terms, today=today, at=context.now())
    context.__dict__.pop("instruments", None)
    return changed
