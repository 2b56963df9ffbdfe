"""Point-in-time membership in the cycle: nothing before it joined, nothing kept after it left, and reports say so."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import select

from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.run import replay, run_cycle
from quant_dagster.market_data.universe import load_universe
from quant_dagster.operations.report.page import write_report
from quant_dagster.settings import load_settings
from quant_dagster.storage.ledger_tables import decisions, positions

LAST = date(2022, 12, 28)
SYMBOLS = load_universe("us20").symbol_names()


def desk(home: Path, members: Path) -> TradingContext:
    market = {"history_start": date(2018, 1, 2), "membership": {"path": members}}
    return TradingContext(load_settings({"home": home, "market_data": market}))


def membership(path: Path, spans: dict[str, tuple[str, str]]) -> Path:
    lines = [f"{symbol},{start},{end}" for symbol, (start, end) in spans.items()]
    path.write_text("ticker,start_date,end_date\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.slow
def test_a_symbol_is_traded_from_the_day_it_joined_to_the_day_it_left(quant_home: Path, tmp_path: Path) -> None:
    spans = dict.fromkeys(SYMBOLS, ("1990-01-02", "")) | {"XOM": (LAST.isoformat(), ""), "DEAD": ("2000-01-03", "")}
    context = desk(quant_home, membership(tmp_path / "members.csv", spans))
    replay(context, 2, date(2022, 12, 27))
    with context.ledger.read() as connection:
        decided = set(connection.execute(select(decisions.c.symbol)).scalars())
        held = sorted(connection.execute(select(positions.c.symbol).where(positions.c.quantity > 0)).scalars())
    assert decided == set(SYMBOLS) - {"XOM"}, "not a member yet: its history is there, and nothing is decided on it"
    assert held
    leaver, never_held = held[0], next(symbol for symbol in SYMBOLS if symbol not in {*held, "XOM"})
    for symbol in (leaver, never_held):
        spans[symbol] = ("1990-01-02", LAST.isoformat())
    context = desk(quant_home, membership(tmp_path / "members.csv", spans))
    run_cycle(context, LAST)
    with context.ledger.read() as connection:
        rows = connection.execute(select(decisions).where(decisions.c.session == LAST)).mappings().all()
    by_symbol = {row["symbol"]: row for row in rows}
    assert (by_symbol[leaver]["action"], by_symbol[leaver]["reasons"]) == ("SELL", ["left_universe"])
    assert never_held not in by_symbol
    assert "XOM" in by_symbol
    found = context.survivorship(LAST, LAST)
    assert (found.survivors_only, found.missing) == (True, ("DEAD",))
    page = write_report(
        context.ledger, context.lake, quant_home, sessions=[LAST], universe=context.universe,
        settings=context.settings, survivorship=found,
    )  # fmt: skip
    text = page.read_text(encoding="utf-8")
    assert "Survivors only" in text
    assert "DEAD" in text
