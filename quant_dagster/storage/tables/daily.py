"""Daily market data: what vendors said, the bars made of it, and how far they can be trusted."""

from __future__ import annotations

import polars as pl

from quant_dagster.storage.tables.shape import (
    KNOWN_AT,
    ROW_HASH,
    SESSION,
    SYMBOL,
    VENDOR,
    Column,
    LakeTable,
    number,
    prices,
    text,
)

DAILY = (
    LakeTable(
        name="raw_prices",
        description="Daily prices as received, one row per vendor, symbol and session.",
        columns=(VENDOR, SYMBOL, SESSION, *prices("in the vendor's units"), KNOWN_AT, ROW_HASH),
        key=("vendor", "symbol", "session"),
        keeps_superseded=True,
    ),
    LakeTable(
        name="rejected_rows",
        description="Vendor rows that were refused, and why. Not partitioned: such a row may have no session.",
        columns=(
            VENDOR,
            text("source", "file or data set the row came from"),
            Column("row", pl.Int64(), "row number in the source, from 1"),
            text("symbol", "ticker, if it could be read", nullable=True),
            Column("session", pl.Date(), "session, if it could be read", nullable=True),
            text("reason", "code of the reason"),
            text("detail", "what was found"),
            KNOWN_AT,
        ),
        key=("vendor", "source", "row", "reason"),
        partitioned=False,
    ),
    LakeTable(
        name="bars",
        description="Daily bars the desk trades on: the best vendor's row for each symbol and session.",
        columns=(
            SYMBOL,
            SESSION,
            *prices("in the units of the symbol's home vendor"),
            VENDOR,
            KNOWN_AT,
            ROW_HASH,
            number(
                "level_factor",
                "what another vendor's prices were multiplied by to stand at the home vendor's level; null: nothing",
                nullable=True,
            ),
            text(
                "vendor_change",
                "how a bar of another vendor than the one before came in: 'agreed', 'adjusted' or 'unconfirmed'",
                nullable=True,
            ),
        ),
        key=("symbol", "session"),
        keeps_superseded=True,
    ),
    LakeTable(
        name="quality",
        description="How far a bar can be trusted, and why.",
        columns=(
            SYMBOL,
            SESSION,
            number("score", "0 (worthless) to 1 (nothing found)"),
            text("issues", "codes of what was found, comma-joined"),
            text("not_evaluated", "codes of what could not be checked, comma-joined"),
        ),
        key=("symbol", "session"),
    ),
    LakeTable(
        name="corporate_actions",
        description="Splits, dividends and spin-offs by ex-date: reported by a vendor, or inferred from prices.",
        columns=(
            VENDOR,
            SYMBOL,
            Column("session", pl.Date(), "ex-date: the first session that trades without the right"),
            text("kind", "'split', 'dividend' or 'spin_off'"),
            number("ratio", "new shares per old share of a split; null otherwise", nullable=True),
            number("amount", "cash (or value of what was spun off) per share before the ex-date", nullable=True),
            text("origin", "'reported' by the vendor, or 'inferred' from prices"),
            text("confirmed_by", "who else shows the same action, comma-joined; empty: nobody"),
            KNOWN_AT,
        ),
        key=("vendor", "symbol", "session", "kind"),
        keeps_superseded=True,
    ),
    LakeTable(
        name="reconciliation",
        description="Breaks between two vendors, one row per symbol, session and class. What agrees is not listed.",
        columns=(
            SYMBOL,
            SESSION,
            text("vendor", "first vendor"),
            text("other", "second vendor"),
            text("break_class", "'bad_print', 'adjustment', 'missing', 'stale' or 'volume_only'"),
            text("wrong", "the vendor that is wrong as far as can be told, or 'unknown'"),
            text("field", "field that differs most", nullable=True),
            number("value", "first vendor's value", nullable=True),
            number("other_value", "second vendor's value, at the first one's level", nullable=True),
            text("detail", "what was found"),
        ),
        key=("symbol", "session", "vendor", "other", "break_class"),
    ),
    LakeTable(
        name="anomalies",
        description="Bars and features unusual for their symbol or their market: findings, not verdicts.",
        columns=(
            SYMBOL,
            SESSION,
            text("detector", "which detector speaks"),
            text("subject", "field or feature it speaks of"),
            number("value", "what was found"),
            number("usual", "what is usual", nullable=True),
            number("severity", "how unusual, in robust standard deviations or the detector's own unit"),
            text("detail", "in words"),
        ),
        key=("symbol", "session", "detector", "subject"),
    ),
)
