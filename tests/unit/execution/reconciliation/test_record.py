"""Breaks are written down once, lock and pause, and only a person concludes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import select

from quant_dagster.accounting import books
from quant_dagster.accounting.books import Account, Side
from quant_dagster.errors import BooksError, ControlError
from quant_dagster.execution.booking import book_executions
from quant_dagster.execution.broker import BrokerAccount
from quant_dagster.execution.brokers.paper import PaperBroker
from quant_dagster.execution.desk import ExecutionDesk
from quant_dagster.execution.reconciliation.balancing import accept, balance, propose
from quant_dagster.execution.reconciliation.breaks import BreakKind
from quant_dagster.execution.reconciliation.compare import Theirs, compare
from quant_dagster.execution.reconciliation.ours import traded_books
from quant_dagster.execution.reconciliation.record import Recorded, Run, open_breaks, record
from quant_dagster.market_data import quarantine
from quant_dagster.observability import audit
from quant_dagster.operations.verification import verify_ledger
from quant_dagster.risk import operators
from quant_dagster.risk.control import ControlMode, read_mode
from quant_dagster.settings import ExecutionSettings
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import audit_log, reconciliation_breaks, reconciliation_runs
from tests.unit.execution.test_desk import approve, bars, desk_of
from tests.unit.execution.test_paper import MONDAY, TUESDAY, WEDNESDAY

OPENING = Decimal(1_000_000)
PERSON = {"operator": "ada", "passphrase": "correct horse battery", "reason": "the broker's statement of Tuesday"}


@pytest.fixture
def broker(tmp_path: Path) -> PaperBroker:
    return PaperBroker(tmp_path / "paper.db", ExecutionSettings(), volume_required=True, opening_cash=OPENING)


@pytest.fixture
def desk(ledger: Ledger, broker: PaperBroker) -> ExecutionDesk:
    """After a hundred shares of IBM were bought; an operator is there."""
    operators.add(ledger, "ada", PERSON["passphrase"])
    approve(ledger)
    desk = desk_of(ledger, broker)
    desk.submit(MONDAY)
    desk.settle(TUESDAY, bars(TUESDAY))
    return desk


def reconcile(
    ledger: Ledger,
    broker: PaperBroker,
    change: Callable[[Theirs], Theirs] = lambda theirs: theirs,
    session: date = TUESDAY,
) -> Recorded:
    theirs = change(Theirs(broker.open_orders(), broker.executions(None), broker.account()))
    with ledger.write() as connection:
        found = compare(traded_books(connection, "USD", OPENING), theirs, cash_tolerance=Decimal("0.01"))
        return record(connection, Run("paper", session, "cycle", ledger.now()), found)


def of(recorded: Recorded, kind: BreakKind) -> str:
    return next(row["break_id"] for row in recorded.open if row["kind"] == kind)


def account(theirs: Theirs, **changed: object) -> Theirs:
    values = {name: getattr(theirs.account, name) for name in BrokerAccount.__dataclass_fields__}
    return replace(theirs, account=BrokerAccount(**values | changed))  # type: ignore[arg-type]


def ten_more(theirs: Theirs) -> Theirs:
    return account(theirs, positions={"IBM": Decimal(110)})


def less_cash(theirs: Theirs) -> Theirs:
    return account(theirs, cash={"USD": theirs.account.cash["USD"] - 25})


def locked(ledger: Ledger, session: date = TUESDAY) -> dict[str, str]:
    with ledger.read() as connection:
        return quarantine.active(connection, session)


def sound(ledger: Ledger) -> bool:
    return verify_ledger(ledger).problems == () and audit.verify(ledger).problems == ()


def test_an_account_that_agrees_is_written_down_and_locks_nothing(ledger: Ledger, desk, broker: PaperBroker) -> None:
    assert reconcile(ledger, broker).open == ()
    with ledger.read() as connection:
        row = connection.execute(select(reconciliation_runs)).mappings().one()
    assert (row["breaks"], row["compared"]["fills"], row["compared"]["positions"]) == (0, 1, 1)
    assert locked(ledger) == {}
    assert read_mode(ledger).mode is ControlMode.NORMAL


def test_a_position_break_locks_its_instrument_and_is_one_row_however_often_it_is_seen(
    ledger: Ledger, desk, broker: PaperBroker
) -> None:
    first, second = reconcile(ledger, broker, ten_more), reconcile(ledger, broker, ten_more)
    assert (first.opened, second.opened, len(second.open)) == (1, 0, 1)
    assert "IBM" in locked(ledger)
    assert read_mode(ledger).mode is ControlMode.NORMAL
    report = verify_ledger(ledger)
    assert report.sound
    assert any("10 more at the broker" in item for item in report.open_items)


def test_a_break_that_is_gone_is_agreed_and_its_lock_waits_for_a_person(
    ledger: Ledger, desk, broker: PaperBroker
) -> None:
    reconcile(ledger, broker, ten_more)
    assert reconcile(ledger, broker).closed == 1
    with ledger.read() as connection:
        row = connection.execute(select(reconciliation_breaks)).mappings().one()
    assert (row["state"], row["closed_by"]) == ("agreed", "reconciliation:paper")
    assert "IBM" in locked(ledger)
    assert reconcile(ledger, broker, ten_more).opened == 1, "seen again after it was gone, it is a new one"
    assert sound(ledger)


def test_cash_that_nobody_can_explain_pauses_the_desk(ledger: Ledger, desk, broker: PaperBroker) -> None:
    found = reconcile(ledger, broker, less_cash)
    assert found.paused
    assert read_mode(ledger).mode is ControlMode.PAUSE
    assert locked(ledger) == {}


@pytest.mark.parametrize(
    "who",
    [
        PERSON | {"passphrase": "not the passphrase"},
        PERSON | {"operator": "reconciliation:paper"},
        PERSON | {"operator": "desk", "passphrase": ""},
        PERSON | {"reason": "  "},
    ],
)
def test_nobody_but_an_operator_with_a_reason_concludes_a_break(
    ledger: Ledger, desk, broker: PaperBroker, who: dict[str, str]
) -> None:
    break_id = of(reconcile(ledger, broker, less_cash), BreakKind.CASH)
    with pytest.raises(ControlError):
        balance(ledger, break_id, **who, session=TUESDAY, currency="USD")
    with pytest.raises(ControlError):
        accept(ledger, break_id, **who, session=TUESDAY)
    with ledger.read() as connection:
        assert len(open_breaks(connection)) == 1
        assert books.balances(connection).total(Account.ADJUSTMENT) == 0


def test_a_person_balances_a_position_at_a_price_and_the_lock_is_released(
    ledger: Ledger, desk, broker: PaperBroker
) -> None:
    break_id = of(reconcile(ledger, broker, ten_more), BreakKind.POSITION)
    with ledger.read() as connection:
        cash = books.balances(connection).cash
        assert propose(connection, break_id).needs_price
    with pytest.raises(ControlError, match="price"):
        balance(ledger, break_id, **PERSON, session=TUESDAY, currency="USD")
    balance(ledger, break_id, **PERSON, session=TUESDAY, currency="USD", price=Decimal(150))
    with ledger.read() as connection:
        held, balances = books.holding_of(connection, "IBM"), books.balances(connection)
        assert (held.quantity, held.adjustments, balances.cash) == (110, 1500, cash)
        row = connection.execute(select(audit_log).where(audit_log.c.event_key == f"break:{break_id}:balanced")).one()
    assert row.actor == "ada"
    assert PERSON["reason"] in row.payload
    assert locked(ledger) == {}
    assert sound(ledger)
    with pytest.raises(ControlError, match="not open but balanced"):
        balance(ledger, break_id, **PERSON, session=TUESDAY, currency="USD", price=Decimal(150))


def test_a_person_balances_cash(ledger: Ledger, desk, broker: PaperBroker) -> None:
    break_id = of(reconcile(ledger, broker, less_cash), BreakKind.CASH)
    with ledger.read() as connection:
        before = books.balances(connection).cash
    balance(ledger, break_id, **PERSON, session=TUESDAY, currency="USD")
    with ledger.read() as connection:
        assert books.balances(connection).cash == before - 25
    assert read_mode(ledger).mode is ControlMode.PAUSE, "loosening is a decision of its own"
    assert sound(ledger)


def test_an_accepted_difference_is_no_break_until_it_changes(ledger: Ledger, desk, broker: PaperBroker) -> None:
    break_id = of(reconcile(ledger, broker, ten_more), BreakKind.POSITION)
    accept(ledger, break_id, **PERSON, session=TUESDAY)
    assert locked(ledger) == {}
    again = reconcile(ledger, broker, ten_more)
    assert (again.open, again.known) == ((), 1)
    eleven = reconcile(ledger, broker, lambda theirs: account(theirs, positions={"IBM": Decimal(111)}))
    assert len(eleven.open) == 1
    assert sound(ledger)


def hidden(broker: PaperBroker) -> Callable[[Theirs], Theirs]:
    """The broker as if the purchase had never been."""
    return lambda theirs: account(replace(theirs, executions=()), positions={}, cash={"USD": OPENING})


def test_a_fill_the_broker_does_not_know_is_taken_out_by_a_person(ledger: Ledger, desk, broker: PaperBroker) -> None:
    found = reconcile(ledger, broker, hidden(broker))
    assert {row["kind"] for row in found.open} == {"fill", "position", "cash"}
    balance(ledger, of(found, BreakKind.FILL), **PERSON, session=TUESDAY, currency="USD")
    with ledger.read() as connection:
        assert books.holding_of(connection, "IBM").quantity == 0
    again = reconcile(ledger, broker, hidden(broker))
    assert (again.open, again.closed) == ((), 2)
    assert locked(ledger) == {}, "what followed from the fill was concluded with it"
    assert sound(ledger)


@pytest.mark.parametrize("kind", [BreakKind.CASH, BreakKind.POSITION])
def test_what_a_corrected_fill_has_changed_is_not_balanced_before_the_next_comparison(
    ledger: Ledger, desk, broker: PaperBroker, kind: BreakKind
) -> None:
    found = reconcile(ledger, broker, hidden(broker))
    balance(ledger, of(found, BreakKind.FILL), **PERSON, session=TUESDAY, currency="USD")
    with ledger.read() as connection:
        before = books.balances(connection)
    with pytest.raises(ControlError, match="'quant broker reconcile' first"):
        balance(ledger, of(found, kind), **PERSON, session=TUESDAY, currency="USD", price=Decimal(150))
    with ledger.read() as connection:
        after = books.balances(connection)
    assert (after.cash, after.holdings) == (before.cash, before.holdings)
    assert reconcile(ledger, broker, hidden(broker)).open == (), "the same difference would have been entered twice"


def test_an_execution_of_no_order_is_booked_under_one_that_a_person_vouches_for(
    ledger: Ledger, desk, broker: PaperBroker
) -> None:
    (said,) = broker.executions(None)
    stray = replace(said, execution_id="stray", client_order_id="", quantity=Decimal(10), commission=Decimal(1))
    paid = stray.side.sign * stray.quantity * stray.price + 1

    def with_stray(theirs: Theirs) -> Theirs:
        cash = {"USD": theirs.account.cash["USD"] - paid}
        return account(
            replace(theirs, executions=[*theirs.executions, stray]), positions={"IBM": Decimal(110)}, cash=cash
        )

    assert book_executions(ledger, "paper", [stray]).unknown == 1
    found = reconcile(ledger, broker, with_stray)
    assert len(found.open) == 3
    balance(ledger, of(found, BreakKind.FILL), **PERSON, session=TUESDAY, currency="USD")
    with ledger.read() as connection:
        assert books.holding_of(connection, "IBM").quantity == 110
    assert reconcile(ledger, broker, with_stray).open == ()
    assert locked(ledger) == {}
    assert book_executions(ledger, "paper", [stray]).new == 0, "heard of again, it is known"
    taken_back = replace(stray, quantity=Decimal(0), correction=1)
    assert book_executions(ledger, "paper", [taken_back]).corrected == 1
    assert sound(ledger)


def test_a_fill_that_the_broker_tells_otherwise_is_corrected_by_a_person(
    ledger: Ledger, desk, broker: PaperBroker
) -> None:
    (said,) = broker.executions(None)
    cheaper = replace(said, price=said.price - 1)

    def told(theirs: Theirs) -> Theirs:
        cash = {"USD": theirs.account.cash["USD"] + said.quantity}
        return account(replace(theirs, executions=[cheaper]), cash=cash)

    found = reconcile(ledger, broker, told)
    assert {row["kind"] for row in found.open} == {"fill", "cash"}
    balance(ledger, of(found, BreakKind.FILL), **PERSON, session=TUESDAY, currency="USD")
    with ledger.read() as connection:
        assert books.holding_of(connection, "IBM").cost == said.quantity * cheaper.price
    assert reconcile(ledger, broker, told).open == ()
    assert sound(ledger)


def test_an_execution_that_contradicts_our_order_is_not_booked_by_a_person_either(
    ledger: Ledger, desk, broker: PaperBroker
) -> None:
    (said,) = broker.executions(None)
    stray = replace(said, execution_id="stray", side=Side.SELL, quantity=Decimal(10), commission=Decimal(0))
    found = reconcile(ledger, broker, lambda theirs: replace(theirs, executions=[*theirs.executions, stray]))
    with pytest.raises(BooksError, match="execution stray fits no order of ours"):
        balance(ledger, of(found, BreakKind.FILL), **PERSON, session=TUESDAY, currency="USD")
    with ledger.read() as connection:
        assert books.holding_of(connection, "IBM").quantity == 100
    assert sound(ledger)


def test_a_commission_that_differs_is_paid_by_a_person_and_locks_nothing(
    ledger: Ledger, desk, broker: PaperBroker
) -> None:
    (said,) = broker.executions(None)
    dearer = replace(said, commission=(said.commission or Decimal(0)) + 2)

    def charged(theirs: Theirs) -> Theirs:
        return replace(theirs, executions=[dearer])

    found = reconcile(ledger, broker, charged)
    assert [row["kind"] for row in found.open] == ["commission"]
    assert locked(ledger) == {}
    balance(ledger, of(found, BreakKind.COMMISSION), **PERSON, session=TUESDAY, currency="USD")
    with ledger.read() as connection:
        assert books.holding_of(connection, "IBM").commission == dearer.commission
    assert reconcile(ledger, broker, charged).open == ()
    assert sound(ledger)


def test_an_order_break_has_no_entry_and_can_be_accepted(ledger: Ledger, desk, broker: PaperBroker) -> None:
    approve(ledger, session=WEDNESDAY)
    desk.submit(WEDNESDAY)
    found = reconcile(ledger, broker, lambda theirs: replace(theirs, orders=()), WEDNESDAY)
    break_id = of(found, BreakKind.ORDER)
    with pytest.raises(ControlError, match="cannot be balanced"):
        balance(ledger, break_id, **PERSON, session=WEDNESDAY, currency="USD")
    accept(ledger, break_id, **PERSON, session=WEDNESDAY)
    assert sound(ledger)


def test_a_change_of_a_concluded_break_behind_the_chains_back_is_found(
    ledger: Ledger, desk, broker: PaperBroker
) -> None:
    reconcile(ledger, broker, less_cash)
    with ledger.write() as connection:
        connection.execute(reconciliation_breaks.update().values(state="balanced"))
    problems = " ".join(verify_ledger(ledger).problems)
    assert "no audit row says who" in problems
    assert "is not there" in problems
