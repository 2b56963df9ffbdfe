"""What a session's splits and dividends do to what is held, at a broker and at a simulated venue."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from quant_dagster.accounting import books
from quant_dagster.cycle import corporate_actions
from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.corporate_actions import book_corporate_actions
from quant_dagster.execution.brokers.paper import PaperBroker
from quant_dagster.market_data.corporate_actions.levels import PriceLevel
from quant_dagster.operations.verification import verify_ledger
from quant_dagster.settings import load_settings
from quant_dagster.storage.tables import TABLES

SESSION = date(2022, 12, 28)


def desk(broker: str = "paper") -> TradingContext:
    context = TradingContext(load_settings({"execution": {"broker": broker}}))
    context.open_ledger()
    return context


def report(context: TradingContext, kind: str, symbol: str = "KO", **terms: float) -> None:
    """Have the home vendor report an action of the session."""
    known = context.lake.read("bars", columns=["known_at"], symbols=["KO"], start=SESSION)["known_at"][0]
    row = {"vendor": "embedded", "symbol": symbol, "session": SESSION, "kind": kind, "ratio": None, "amount": None,
           "origin": "reported", "confirmed_by": "", "known_at": known} | terms  # fmt: skip
    context.lake.merge("corporate_actions", pl.DataFrame([row], schema=TABLES["corporate_actions"].schema))


def held(context: TradingContext) -> Decimal:
    with context.ledger.read() as connection:
        return books.holding_of(connection, "KO").quantity


def cash(context: TradingContext) -> Decimal:
    with context.ledger.read() as connection:
        return books.balances(connection).cash


def test_at_a_broker_shares_split_once(replayed_home: Path) -> None:
    context = desk("ibkr")
    before = held(context)
    report(context, "split", ratio=2.0)
    assert book_corporate_actions(context, SESSION) == 1
    assert held(context) == 2 * before
    assert book_corporate_actions(context, SESSION) == 0
    assert held(context) == 2 * before
    assert verify_ledger(context.ledger).problems == ()


def test_at_a_broker_a_dividend_is_cash(replayed_home: Path) -> None:
    context = desk("ibkr")
    quantity, before = held(context), cash(context)
    report(context, "dividend", amount=0.44)
    assert book_corporate_actions(context, SESSION) == 1
    assert held(context) == quantity
    assert cash(context) - before == quantity * Decimal("0.44")


def test_on_prices_that_have_dividends_in_them_a_simulated_account_books_nothing(replayed_home: Path) -> None:
    context = desk()
    before = cash(context), held(context)
    report(context, "dividend", amount=0.44)
    report(context, "split", ratio=2.0)
    assert book_corporate_actions(context, SESSION) == 0
    assert (cash(context), held(context)) == before


def test_on_prices_as_traded_a_simulated_venue_splits_with_the_books(
    replayed_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corporate_actions, "levels_of", lambda vendors: {one.name: PriceLevel.RAW for one in vendors})
    context = desk()
    assert isinstance(context.broker, PaperBroker)
    before = held(context)
    report(context, "split", ratio=3.0)
    assert book_corporate_actions(context, SESSION) == 1
    assert held(context) == context.broker.account().positions["KO"] == 3 * before
    assert book_corporate_actions(context, SESSION) == 0
    assert context.broker.account().positions["KO"] == 3 * before, "the venue's book splits once, too"


def test_an_action_of_what_is_not_held_or_of_another_day_is_left_alone(replayed_home: Path) -> None:
    context = desk("ibkr")
    before = held(context)
    report(context, "split", symbol="NOPE", ratio=2.0)
    assert book_corporate_actions(context, SESSION) == 0
    report(context, "split", ratio=2.0)
    assert book_corporate_actions(context, date(2022, 12, 27)) == 0
    assert held(context) == before


def test_an_account_that_holds_nothing_has_nothing_to_split(quant_home: Path) -> None:
    assert book_corporate_actions(desk("ibkr"), SESSION) == 0
