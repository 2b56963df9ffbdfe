"""What a vendor's prices are adjusted for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any


class PriceLevel(IntEnum):
    """What prices are adjusted for, each including the one before."""

    RAW = 0
    """Nothing: as traded."""
    SPLIT = 1
    """Splits (volume too)."""
    TOTAL_RETURN = 2
    """Splits, dividends and spin-offs."""

    @classmethod
    def of(cls, adjusted: str) -> PriceLevel | None:
        """The level of `Capabilities.adjusted`; None where its words do not say (files: name the level yourself)."""
        words = adjusted.lower()
        if words.startswith("nothing"):
            return cls.RAW
        if "dividend" in words:
            return cls.TOTAL_RETURN
        return cls.SPLIT if words == "splits" else None


def levels_of(vendors: Sequence[Any], stated: Mapping[str, PriceLevel] | None = None) -> dict[str, PriceLevel]:
    """Levels by vendor name, in the vendors' order: what is ``stated``, else what the vendor's capabilities say.

    Vendors whose words do not say (files) are left out unless stated; stated names that are no vendors of the list
    (further sources in the lake) come last.
    """
    stated = stated or {}
    said = {vendor.name: stated.get(vendor.name, PriceLevel.of(vendor.capabilities.adjusted)) for vendor in vendors}
    return {name: level for name, level in (said | dict(stated)).items() if level is not None}
