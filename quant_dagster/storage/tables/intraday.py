"""Market data shorter than a session: bars, quotes and single trades."""

from __future__ import annotations

import polars as pl

from quant_dagster.storage.tables.shape import (
    KNOWN_AT,
    SESSION,
    SYMBOL,
    TIMESTAMP,
    VENDOR,
    Column,
    LakeTable,
    number,
    prices,
    text,
)

_BAR = (
    VENDOR,
    SYMBOL,
    SESSION,
    Column("bar_start", TIMESTAMP, "first instant of the bar, UTC"),
    Column("seconds", pl.Int32(), "length of the bar"),
)
_BAR_KEY = ("vendor", "symbol", "session", "bar_start", "seconds")

INTRADAY = (
    LakeTable(
        name="intraday_bars",
        description="Bars shorter than a session, as received. A minute without a trade has no row.",
        columns=(
            *_BAR,
            *prices("in the vendor's units"),
            KNOWN_AT,
        ),
        key=_BAR_KEY,
    ),
    LakeTable(
        name="intraday_quotes",
        description="Best bid and ask over bars shorter than a session, as received.",
        columns=(
            *_BAR,
            *(
                number(f"{side}_{field}", f"{field} of the best {side}", nullable=True)
                for side in ("bid", "ask")
                for field in ("open", "high", "low", "close", "size")
            ),
            KNOWN_AT,
        ),
        key=_BAR_KEY,
    ),
    LakeTable(
        name="trades",
        description="Single trades, as received.",
        columns=(
            VENDOR,
            SYMBOL,
            SESSION,
            text("trade_id", "the venue's own id"),
            Column("traded_at", TIMESTAMP, "when the venue matched it, UTC"),
            number("price", "price"),
            number("size", "units traded"),
            text("side", "'buy' or 'sell': the side that took; null where the venue does not say", nullable=True),
            KNOWN_AT,
        ),
        key=("vendor", "symbol", "session", "trade_id"),
    ),
)
