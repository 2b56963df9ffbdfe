"""What a venue says of its book: changes with their place in the sequence, and its own best quotes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from quant_dagster.market_data.order_book.book import Level


@dataclass(frozen=True, slots=True)
class BookChange:
    """Levels that changed, as absolute sizes (0: gone).

    Attributes
    ----------
    first, last
        The venue's numbers of the first and the last update in it (Binance: ``U``, ``u``).
    previous
        ``last`` of the change before it, where the venue says so (Binance futures: ``pu``); None elsewhere, and the
        numbers then follow each other without a hole.
    at
        The venue's time of it, UTC.
    """

    first: int
    last: int
    previous: int | None
    at: datetime
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
class BestQuote:
    """Best bid and ask as the venue itself reports them after update ``update_id``."""

    update_id: int
    bid: float
    bid_size: float
    ask: float
    ask_size: float
