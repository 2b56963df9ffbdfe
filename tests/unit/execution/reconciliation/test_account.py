"""One reconciliation of the desk's account, from the broker's answers to the rows a person reads."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from quant_dagster.accounting import books, cash
from quant_dagster.accounting.actions import MarketAction, apply_corporate_actions
from quant_dagster.accounting.books import Side
from quant_dagster.cycle.broker_reconciliation import as_rows, reconcile_account, summary
from quant_dagster.execution.broker import BrokerAccount
from quant_dagster.execution.brokers.paper import PaperBroker
from quant_dagster.settings import ExecutionSettings
from quant_dagster.storage.ledger import Ledger
from tests.unit.execution.test_desk import approve, bars, desk_of
from tests.unit.execution.test_paper import MONDAY, TUESDAY, WEDNESDAY

OPENING = Decimal(1_000_000)


class RealAccount:
    """A broker that answers with the account of the paper one and, like a real one, has no market of its own."""

    name = "real"

    def __init__(self, paper: PaperBroker) -> None:
        self._paper = paper
        self.paid = Decimal(0)

    def open_orders(self) -> Any:
        return self._paper.open_orders()

    def executions(self, client_order_ids: Any = None) -> Any:
        return self._paper.executions(client_order_ids)

    def account(self) -> BrokerAccount:
        said = self._paper.account()
        return BrokerAccount("U1", "USD", {"USD": said.cash["USD"] + self.paid}, said.positions)


@pytest.fixture
def context(ledger: Ledger, tmp_path: Path) -> Any:
    broker = PaperBroker(tmp_path / "paper.db", ExecutionSettings(), volume_required=True, opening_cash=OPENING)
    with ledger.write() as connection:
        books.deposit(connection, OPENING, session=MONDAY, at=ledger.now(), reference="opening")
    approve(ledger)
    desk = desk_of(ledger, broker)
    desk.submit(MONDAY)
    desk.settle(TUESDAY, bars(TUESDAY))
    settings = SimpleNamespace(execution=ExecutionSettings(), portfolio=SimpleNamespace(initial_cash=1_000_000.0))
    return SimpleNamespace(ledger=ledger, broker=broker, settings=settings)


def dividend(ledger: Ledger) -> None:
    with ledger.write() as connection:
        action = MarketAction("IBM", WEDNESDAY, "dividend", amount=Decimal("1.66"))
        assert apply_corporate_actions(connection, [action], WEDNESDAY, ledger.now()) == 1


def test_the_paper_broker_agrees_after_a_session(context: Any) -> None:
    report = reconcile_account(context, TUESDAY, "cycle")
    assert report.agrees
    assert (report.compared["positions"], report.compared["fills"], report.compared["cash"]) == (1, 1, 1)
    assert summary(report)["agrees"] is True
    assert as_rows(report) == []


def test_dividends_and_deposits_are_no_difference_to_a_venue_that_knows_only_trades(context: Any) -> None:
    dividend(context.ledger)
    with context.ledger.write() as connection:
        at = context.ledger.now()
        cash.withdraw(connection, Decimal(500), session=WEDNESDAY, at=at, reference="rent")
    assert reconcile_account(context, WEDNESDAY, "cycle").agrees


def test_a_real_account_owes_a_dividend_until_it_is_paid_and_no_other_money(context: Any) -> None:
    context.broker = RealAccount(context.broker)
    dividend(context.ledger)
    assert reconcile_account(context, WEDNESDAY, "cycle").agrees, "not paid yet"
    context.broker.paid = Decimal(166)
    assert reconcile_account(context, WEDNESDAY, "timer").agrees, "paid"
    context.broker.paid = Decimal(150)
    report = reconcile_account(context, WEDNESDAY, "reconnect")
    assert [row["kind"] for row in as_rows(report)] == ["cash"]
    assert report.paused


def test_a_broker_that_bought_more_is_found(context: Any) -> None:
    (said,) = context.broker.executions(None)
    assert said.side is Side.BUY
    paper = context.broker
    context.broker = RealAccount(paper)
    context.broker.account = lambda: BrokerAccount("U1", "USD", paper.account().cash, {"IBM": Decimal(101)})
    report = reconcile_account(context, TUESDAY, "command", equity=Decimal(1))
    (row,) = as_rows(report)
    assert (row["kind"], row["ours"], row["theirs"], row["state"]) == ("position", "100", "101", "open")
    assert report.equity_gap is None, "this broker does not say its own"
