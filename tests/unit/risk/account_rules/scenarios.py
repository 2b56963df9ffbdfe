"""One scenario per rule and consequence, and the words to write them in.

All happen on Wednesday 2023-03-08 from 12:00 in Chicago (13:00 in New York, 18:00 UTC), five hours before the reset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from quant_dagster.accounting.books import Side
from quant_dagster.risk.account_rules.breaches import ActionRequest, Breach, Consequence, Cooldown, Lockout
from quant_dagster.risk.account_rules.engine import AccountRules
from quant_dagster.risk.account_rules.events import (
    AccountEvent,
    Event,
    FillEvent,
    PositionEvent,
    QuoteEvent,
    StopEvent,
    TickEvent,
)
from quant_dagster.settings import RiskSettings
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import account_events, audit_log, daily_resets, lockouts, metadata

NOON = datetime(2023, 3, 8, 18, tzinfo=UTC)
RESET = datetime(2023, 3, 8, 23, tzinfo=UTC)
LATER = datetime(2030, 1, 1, tzinfo=UTC)
"""A ``now`` no event of these tests is later than."""


def D(value: object) -> Decimal:
    return Decimal(str(value))


def quick_ledger(file: Path) -> Ledger:
    """A SQLite ledger with the tables of this code, copied from one made once."""
    file.write_bytes(_empty())
    return Ledger(f"sqlite:///{file}", lambda: LATER)


@cache
def _in_memory(name: str) -> Ledger:
    ledger = Ledger("sqlite://", lambda: LATER)
    with ledger.write() as connection:
        metadata.create_all(connection)
    return ledger


def empty_ledger(name: str = "desk") -> Ledger:
    """The ledger of that name, in memory and emptied."""
    ledger = _in_memory(name)
    with ledger.write() as connection:
        for table in (account_events, daily_resets, lockouts, audit_log):
            connection.execute(table.delete())
    return ledger


@cache
def _empty() -> bytes:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "ledger.db"
        ledger = Ledger(f"sqlite:///{file}")
        with ledger.write() as connection:
            metadata.create_all(connection)
        ledger.close()
        return file.read_bytes()


def rules(**sections: dict[str, Any]) -> AccountRules:
    """The named rules enabled, all others off."""
    on = {name: {"enabled": True, **section} for name, section in sections.items()}
    return AccountRules(RiskSettings.model_validate({"account_rules": on}))


def feed(desk: Ledger, account: AccountRules, *events: Event) -> list[Breach]:
    with desk.write() as connection:
        return account.handle(connection, events, LATER)


# -- events: the time is in seconds after noon in Chicago ------------------------------------------------------------


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def fill(seconds: float, symbol: str, quantity: float, price: float, **more: Any) -> FillEvent:
    """Bought (or, negative, sold); position after it as given, else the quantity; entry price as given, else price."""
    return FillEvent(
        key=more.get("key", f"fill:{symbol}:{seconds}"),
        at=at(seconds),
        symbol=symbol,
        order_id=more.get("order", f"order:{symbol}:{seconds}"),
        side=Side.BUY if quantity > 0 else Side.SELL,
        quantity=D(abs(quantity)),
        price=D(price),
        realised_pnl=D(more.get("pnl", 0)),
        position=D(more.get("position", quantity)),
        entry_price=D(more.get("entry", price)),
    )


def position(seconds: float, symbol: str, quantity: float, price: float, entry: float | None = None) -> PositionEvent:
    entry = price if entry is None else entry
    return PositionEvent(f"position:{symbol}:{seconds}", at(seconds), symbol, D(quantity), D(entry), D(price))


def quote(seconds: float, symbol: str, price: float, bid: float | None = None, ask: float | None = None) -> QuoteEvent:
    sides = (None if side is None else D(side) for side in (bid, ask))
    return QuoteEvent(f"quote:{symbol}:{seconds}", at(seconds), symbol, D(price), *sides)


def stop(seconds: float, symbol: str, price: float | None, quantity: float | None = None) -> StopEvent:
    prices = (None if value is None else D(value) for value in (price, quantity))
    return StopEvent(f"stop:{symbol}:{seconds}", at(seconds), symbol, *prices)


def word(seconds: float, can_trade: bool, detail: str = "margin call") -> AccountEvent:
    return AccountEvent(f"account:{seconds}", at(seconds), can_trade, detail)


def tick(seconds: float) -> TickEvent:
    return TickEvent(f"tick:{seconds}", at(seconds))


# -- what came of it ---------------------------------------------------------------------------------------------------


def consequence(item: Consequence) -> str:
    match item:
        case Lockout(symbol, until):
            return f"lockout {symbol or 'account'} until {until}"
        case Cooldown(until):
            return f"cooldown {(until - NOON).total_seconds():g}"
        case ActionRequest():
            parts = [item.kind, item.symbol or "all"]
            parts += [] if item.quantity is None else [f"{item.quantity:f}"]
            parts += [] if item.price is None else [f"at {item.price.normalize():f}"]
            return " ".join(parts)


def said(breach: Breach) -> str:
    numbers = f"{breach.value}/{breach.limit}"
    return f"{breach.rule} {breach.symbol or 'account'} {numbers}: {', '.join(map(consequence, breach.consequences))}"


@dataclass(frozen=True)
class Scenario:
    """Events one after the other, and what the rule says at each: nothing where nothing is written."""

    name: str
    rule: str
    settings: dict[str, Any]
    steps: Sequence[tuple[Event, str] | tuple[Event]]


FLAT = "cancel_orders all, close_all all"
SCENARIOS = [
    Scenario("reduced to the limit, what came last first", "max_contracts", {"limit": 5}, [
        (fill(0, "ES", 3, 100),),
        (fill(1, "NQ", -2, 100),),
        (fill(2, "NQ", -1, 100, position=-3), "max_contracts account 6/5: reduce_to NQ -2"),
        (fill(3, "YM", 4, 100), "max_contracts account 10/5: reduce_to YM 0, reduce_to NQ -2"),
        (fill(4, "YM", -4, 100, position=0), "max_contracts account 6/5: reduce_to NQ -2"),
        (fill(5, "NQ", 1, 100, position=-2),),
    ]),
    Scenario("closed", "max_contracts", {"limit": 5, "action": "close"}, [
        (fill(0, "ES", 5, 100),),
        (fill(1, "NQ", -1, 100), f"max_contracts account 6/5: {FLAT}"),
    ]),
    Scenario("reduced to the limit", "max_contracts_per_instrument", {"limit": 5, "per_symbol": {"NQ": 2}}, [
        (fill(0, "ES", 5, 100),),
        (fill(1, "NQ", -2, 100),),
        (fill(2, "NQ", -1, 100, position=-3), "max_contracts_per_instrument NQ 3/2: reduce_to NQ -2"),
        (fill(3, "ES", 1, 100, position=6), "max_contracts_per_instrument ES 6/5: reduce_to ES 5"),
    ]),
    Scenario("closed", "max_contracts_per_instrument", {"limit": 5, "action": "close"}, [
        (fill(0, "ES", 6, 100), "max_contracts_per_instrument ES 6/5: cancel_orders ES, close_symbol ES"),
    ]),
    Scenario("flat and locked out", "daily_realised_loss", {"amount": 500}, [
        (fill(0, "ES", 2, 100, pnl=-4),),
        (fill(1, "ES", -1, 90, pnl=-495.99, position=1, entry=100),),
        (fill(2, "NQ", -1, 90, pnl=-0.01),
         f"daily_realised_loss account 500.00/500: lockout account until reset, {FLAT}"),
        (fill(3, "NQ", 1, 90, position=0),
         f"daily_realised_loss account 500.00/500: lockout account until reset, {FLAT}"),
        (fill(4, "ES", -1, 90, position=0),
         "daily_realised_loss account 500.00/500: lockout account until reset, cancel_orders all"),
        (fill(5, "ES", -1, 90, pnl=1, position=0),),
    ]),
    Scenario("one symbol flat and locked out", "daily_realised_loss", {"amount": 500, "scope": "symbol"}, [
        (fill(0, "ES", -1, 90, pnl=-499, position=1),),
        (fill(1, "NQ", -1, 90, pnl=-499, position=1),),
        (fill(2, "NQ", -1, 90, pnl=-1, position=1),
         "daily_realised_loss NQ 500/500: lockout NQ until reset, cancel_orders NQ, close_symbol NQ"),
    ]),
    Scenario("flat and locked out", "daily_unrealised_loss", {"amount": 100}, [
        (fill(0, "ES", 10, 100),),
        (fill(1, "NQ", -10, 100),),
        (quote(2, "ES", 91),),
        (quote(3, "NQ", 101),
         f"daily_unrealised_loss account 100/100: lockout account until reset, {FLAT}"),
        (quote(4, "NQ", 99),),
        (quote(5, "ES", 95, bid=89),
         f"daily_unrealised_loss account 100/100: lockout account until reset, {FLAT}"),
    ]),
    Scenario("one position closed and locked out", "daily_unrealised_loss", {"amount": 100, "scope": "symbol"}, [
        (fill(0, "ES", 10, 100),),
        (fill(1, "NQ", -10, 100),),
        (quote(2, "ES", 90.001),),
        (quote(3, "NQ", 100, ask=110),
         "daily_unrealised_loss NQ 100/100: lockout NQ until reset, cancel_orders NQ, close_symbol NQ"),
    ]),
    Scenario("all profit taken", "max_unrealised_profit", {"amount": 100}, [
        (fill(0, "ES", 10, 100),),
        (fill(1, "NQ", -10, 100),),
        (quote(2, "ES", 109.999),),
        (quote(3, "NQ", 99.999), f"max_unrealised_profit account 100.000/100: {FLAT}"),
    ]),
    Scenario("one profit taken", "max_unrealised_profit", {"amount": 100, "scope": "symbol"}, [
        (fill(0, "ES", 10, 100),),
        (quote(1, "ES", 110), "max_unrealised_profit ES 100/100: cancel_orders ES, close_symbol ES"),
    ]),
    Scenario("more than two in a minute", "trade_frequency",
             {"per_minute": 2, "per_hour": 50, "per_day": 50, "cooldown_minutes": 1.5}, [
        (fill(0, "A", 1, 10),),
        (fill(1, "B", 1, 10),),
        (fill(59.999, "C", 1, 10), "trade_frequency account 3/2: cooldown 149.999"),
        (tick(59.9999),),
        (fill(61, "D", 1, 10),),
        (fill(61.5, "E", 1, 10), "trade_frequency account 3/2: cooldown 151.5"),
    ]),
    Scenario("fills of one order are one trade", "trade_frequency",
             {"per_minute": 1, "per_hour": 50, "per_day": 50, "cooldown_minutes": 1}, [
        (fill(0, "A", 1, 10, order="x"),),
        (fill(1, "A", 1, 10, order="x", position=2),),
        (fill(60, "B", 1, 10),),
    ]),
    Scenario("more than three in an hour", "trade_frequency",
             {"per_minute": 1, "per_hour": 3, "per_day": 50, "cooldown_minutes": 10}, [
        (fill(0, "A", 1, 10),),
        (fill(1200, "B", 1, 10),),
        (fill(2400, "C", 1, 10),),
        (fill(3600, "D", 1, 10),),
        (fill(4799, "E", 1, 10), "trade_frequency account 4/3: cooldown 5399"),
    ]),
    Scenario("more than two in a day", "trade_frequency",
             {"per_minute": 1, "per_hour": 1, "per_day": 2, "cooldown_minutes": 10}, [
        (fill(0, "A", 1, 10),),
        (fill(3600, "B", 1, 10),),
        (fill(3601, "C", 1, 10), "trade_frequency account 3/2: lockout account until reset"),
    ]),
    Scenario("longer after a larger loss", "cooldown_after_loss", {"steps": {100: 5, 500: 30, 1000: 20}}, [
        (fill(0, "A", 10, 100, pnl=-600),),
        (fill(10, "A", -1, 90, pnl=-99.99, position=9),),
        (fill(20, "A", -1, 90, pnl=-100, position=8), "cooldown_after_loss account 100/100: cooldown 320"),
        (fill(30, "A", -1, 90, pnl=-400, position=7, order="x"),
         "cooldown_after_loss account 400/100: cooldown 330"),
        (fill(40, "A", -1, 90, pnl=-100, position=6, order="x"),
         "cooldown_after_loss account 500/500: cooldown 1840"),
        (tick(41),),
        (fill(50, "A", -7, 90, pnl=-1000, position=-1),
         "cooldown_after_loss account 1000/1000: cooldown 1850"),
    ]),
    Scenario("a stop is placed", "no_stop_loss_grace", {"seconds": 60}, [
        (fill(0, "ES", 2, 100),),
        (quote(30, "ES", 99, bid=98),),
        (tick(59.999),),
        (tick(60), "no_stop_loss_grace ES 60/60: place_stop ES 2 at 93.1"),
        (stop(61, "ES", 95, 1), "no_stop_loss_grace ES 61/60: place_stop ES 2 at 93.1"),
        (stop(62, "ES", 95, 2),),
        (tick(500),),
        (stop(501, "ES", None),),
        (tick(561), "no_stop_loss_grace ES 60/60: place_stop ES 2 at 93.1"),
        (fill(562, "ES", -5, 100, position=-3),),
        (tick(622), "no_stop_loss_grace ES 60/60: place_stop ES 3 at 105"),
    ]),
    Scenario("closed", "no_stop_loss_grace", {"seconds": 60, "action": "close"}, [
        (position(0, "ES", 2, 100),),
        (tick(60), "no_stop_loss_grace ES 60/60: cancel_orders ES, close_symbol ES"),
    ]),
    Scenario("closed outside hours", "session_block",
             {"start": "09:30", "end": "13:01", "close_positions": True}, [
        (fill(0, "ES", 2, 100),),
        (tick(59.999),),
        (tick(60), f"session_block account 1/0: {FLAT}"),
        (fill(61, "ES", -2, 100, position=0),),
    ]),
    Scenario("left alone outside hours", "session_block", {"start": "09:30", "end": "12:00"}, [
        (fill(0, "ES", 2, 100),),
    ]),
    Scenario("flat and locked out until it may trade", "auth_loss_guard", {}, [
        (word(0, True),),
        (fill(1, "ES", 2, 100),),
        (word(2, False), f"auth_loss_guard account None/None: lockout account until condition, {FLAT}"),
        (fill(3, "ES", -2, 100, position=0),
         "auth_loss_guard account None/None: lockout account until condition, cancel_orders all"),
        (word(4, True),),
    ]),
    Scenario("closed", "symbol_blocks", {"symbols": ["GME", "X*"]}, [
        (fill(0, "GM", 2, 100),),
        (fill(1, "XOM", -2, 100), "symbol_blocks XOM 2/0: cancel_orders XOM, close_symbol XOM"),
        (fill(2, "XOM", 2, 100, position=0),),
        (quote(3, "GME", 20),),
        (fill(4, "GME", 1, 20), "symbol_blocks GME 1/0: cancel_orders GME, close_symbol GME"),
    ]),
    Scenario("left alone", "symbol_blocks", {"symbols": ["X*"], "close_positions": False}, [
        (fill(1, "XOM", -2, 100),),
    ]),
    Scenario("break-even, then trailing", "trade_management",
             {"break_even_after": 0.02, "trail_after": 0.04, "trail_by": 0.01}, [
        (fill(0, "ES", 2, 100),),
        (quote(1, "ES", 101.999),),
        (quote(2, "ES", 102), "trade_management ES 0.02/0.02: place_stop ES 2 at 100"),
        (stop(3, "ES", 97, 2), "trade_management ES 0.02/0.02: move_stop ES 2 at 100"),
        (stop(4, "ES", 100, 2),),
        (quote(5, "ES", 103.999),),
        (quote(6, "ES", 105, bid=104), "trade_management ES 0.04/0.04: move_stop ES 2 at 102.96"),
        (stop(7, "ES", 102.96, 2),),
        (quote(8, "ES", 110), "trade_management ES 0.1/0.04: move_stop ES 2 at 108.9"),
        (stop(9, "ES", 108.9, 2),),
        (quote(10, "ES", 109),),
    ]),
    Scenario("of a short", "trade_management",
             {"break_even_after": 0.02, "trail_after": 0.04, "trail_by": 0.05}, [
        (fill(0, "ES", -2, 100),),
        (quote(1, "ES", 98), "trade_management ES 0.02/0.02: place_stop ES 2 at 100"),
        (quote(2, "ES", 96), "trade_management ES 0.04/0.02: place_stop ES 2 at 100"),
        (quote(3, "ES", 90), "trade_management ES 0.1/0.04: place_stop ES 2 at 94.5"),
        (stop(4, "ES", 94.5, 2),),
        (quote(5, "ES", 95),),
    ]),
    Scenario("flat and locked out", "daily_realised_profit", {"amount": 500}, [
        (fill(0, "ES", -1, 100, pnl=500.01, position=1),
         f"daily_realised_profit account 500.01/500: lockout account until reset, {FLAT}"),
        (fill(1, "NQ", 1, 100, pnl=-0.02),),
        (fill(2, "NQ", -1, 100, pnl=0.01, position=0),
         f"daily_realised_profit account 500.00/500: lockout account until reset, {FLAT}"),
    ]),
    Scenario("one symbol flat and locked out", "daily_realised_profit", {"amount": 500, "scope": "symbol"}, [
        (fill(0, "ES", -1, 100, pnl=400, position=1),),
        (fill(1, "NQ", -1, 100, pnl=500, position=0),
         "daily_realised_profit NQ 500/500: lockout NQ until reset, cancel_orders NQ"),
    ]),
]  # fmt: skip


def scenario_table() -> list[dict[str, Any]]:
    """One row per scenario: rule, what happens, settings, and the sentences it ends in."""
    return [
        {
            "rule": scenario.rule,
            "what": scenario.name,
            "settings": scenario.settings,
            "said": [step[1] for step in scenario.steps if len(step) == 2],
        }
        for scenario in SCENARIOS
    ]
