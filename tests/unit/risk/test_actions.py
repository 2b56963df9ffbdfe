"""Automatic actions as wishes: what each kind wants, once per trigger, and how its record goes on."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select

from quant_dagster.errors import RiskError
from quant_dagster.risk import actions
from quant_dagster.risk.actions import ActionKind, ActionState, Held, RiskAction
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import audit_log, metadata, risk_actions

AT = datetime(2023, 1, 4, 21, tzinfo=UTC)
DAY = date(2023, 1, 4)
BOOK = {
    "A": Held(Decimal(101), Decimal("100.00")),
    "B": Held(Decimal(-50), Decimal("20.00")),
    "C": Held(Decimal(0), Decimal("5.00")),
    "D": Held(Decimal(250), Decimal("10.00"), Decimal(100)),
    "E": Held(Decimal(103), Decimal("7.00")),
}


@pytest.fixture
def desk() -> Ledger:
    """A ledger in memory: these tests look at rows, not at transactions."""
    ledger = Ledger("sqlite://", lambda: AT)
    with ledger.write() as connection:
        metadata.create_all(connection)
    return ledger


def ask(desk: Ledger, kind: ActionKind, held: dict[str, Held] | None = None, **changes: Any) -> str | None:
    given = {"trigger": "t", "actor": "ann", "reason": "because", "at": AT}
    with desk.write() as connection:
        return actions.request(connection, kind, BOOK if held is None else held, **given | changes)


def only(desk: Ledger) -> RiskAction:
    with desk.read() as connection:
        (action,) = actions.every(connection)
    return action


def audited(desk: Ledger) -> list[tuple[str, str, str]]:
    with desk.read() as connection:
        rows = connection.execute(select(audit_log).order_by(audit_log.c.sequence)).all()
    return [(row.event_key, row.action, row.payload) for row in rows]


@pytest.mark.parametrize(
    ("kind", "given", "quantities", "stops"),
    [
        (ActionKind.CLOSE_ALL, {}, {"A": 0, "B": 0, "D": 0, "E": 0}, {}),
        (ActionKind.CLOSE_SYMBOL, {"symbol": "B"}, {"B": 0}, {}),
        (ActionKind.CLOSE_SYMBOL, {"symbol": "C"}, {}, {}),
        (ActionKind.HALVE, {}, {"A": 50, "B": -25, "D": 100, "E": 51}, {}),
        (ActionKind.HALVE, {"symbol": "A"}, {"A": 50}, {}),
        (ActionKind.HALVE, {"symbol": "E"}, {"E": 51}, {}),
        (ActionKind.REDUCE_TO, {"symbol": "A", "quantity": Decimal(30)}, {"A": 30}, {}),
        (ActionKind.REDUCE_TO, {"symbol": "X", "quantity": Decimal(30)}, {}, {}),
        (ActionKind.TIGHTEN_STOPS, {"distance": Decimal("0.02")}, {},
         {"A": "98.00", "B": "20.40", "D": "9.80", "E": "6.86"}),
        (ActionKind.PLACE_STOP, {"symbol": "A", "price": Decimal("95.5")}, {}, {"A": "95.5"}),
        (ActionKind.MOVE_STOP, {"symbol": "B", "price": Decimal(21)}, {}, {"B": "21"}),
        (ActionKind.CANCEL_ORDERS, {}, {}, {}),
    ],
)  # fmt: skip
def test_what_each_kind_wants(desk: Ledger, kind: ActionKind, given: Any, quantities: Any, stops: Any) -> None:
    made = ask(desk, kind, **given)
    action = only(desk)
    assert action == RiskAction(
        made, kind, given.get("symbol"), "t", "ann", "because", {n: Decimal(q) for n, q in quantities.items()},
        {n: Decimal(s) for n, s in stops.items()}, ActionState.WORKING, (), AT, None,
    )  # fmt: skip
    assert len(made) == 24
    ((key, word, payload),) = audited(desk)
    assert (key, word) == (f"risk_action:{made}", "risk_action")
    for part in (f'"kind":"{kind}"', '"trigger":"t"', '"reason":"because"', '"targets":', '"quantities":'):
        assert part in payload


def test_a_trigger_asks_once_for_a_kind_a_symbol_and_a_price(desk: Ledger) -> None:
    assert ask(desk, ActionKind.HALVE) is not None
    assert ask(desk, ActionKind.HALVE, {"A": Held(Decimal(50), Decimal(100))}) is None
    assert only(desk).quantities["A"] == 50, "what was wanted first stays wanted"
    assert len(audited(desk)) == 1
    others = [
        ask(desk, ActionKind.HALVE, trigger="another"),
        ask(desk, ActionKind.HALVE, symbol="A"),
        ask(desk, ActionKind.CLOSE_ALL),
        ask(desk, ActionKind.MOVE_STOP, symbol="A", price=Decimal(95)),
        ask(desk, ActionKind.MOVE_STOP, symbol="A", price=Decimal(96)),
    ]
    assert len({*others}) == 5
    assert None not in others


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (ActionKind.REDUCE_TO, {"symbol": "A"},
         "an action 'reduce_to' needs a symbol and the quantity to be left with"),
        (ActionKind.REDUCE_TO, {"quantity": Decimal(1)},
         "an action 'reduce_to' needs a symbol and the quantity to be left with"),
        (ActionKind.PLACE_STOP, {"symbol": "A"}, "an action 'place_stop' needs a symbol and the price of the stop"),
        (ActionKind.MOVE_STOP, {"price": Decimal(1)}, "an action 'move_stop' needs a symbol and the price of the stop"),
    ],
)  # fmt: skip
def test_an_action_without_what_it_needs_is_refused(desk: Ledger, kind: ActionKind, changes: Any, message: str) -> None:
    with pytest.raises(RiskError) as refused:
        ask(desk, kind, **changes)
    assert str(refused.value) == message
    with desk.read() as connection:
        assert actions.every(connection) == []


@pytest.mark.parametrize(
    ("quantity", "price", "distance", "tick", "stop"),
    [(100, "100.00", "0.05", "0.01", "95.00"), (-100, "100.00", "0.05", "0.01", "105.00"),
     (100, "99.99", "0.05", "0.01", "95.00"), (100, "100", "0.05", "0.25", "95.00"),
     (100, "101.1", "0.02", "0.5", "99.0"), (-100, "101.1", "0.02", "0.5", "103.0")],
)  # fmt: skip
def test_a_stop_lies_on_the_grid_on_the_losing_side(desk: Ledger, quantity, price, distance, tick, stop) -> None:
    held = {"X": Held(Decimal(quantity), Decimal(price), Decimal(1), Decimal(tick))}
    ask(desk, ActionKind.TIGHTEN_STOPS, held, distance=Decimal(distance))
    assert only(desk).stops == {"X": Decimal(stop)}


@pytest.mark.parametrize(
    ("wanted", "held", "missing"),
    [(0, 100, -100), (50, 100, -50), (100, 100, None), (100, 50, None), (0, -100, 100), (-50, -100, 50),
     (50, -100, 100), (-50, 100, -100), (0, 0, None), (50, 0, None), (-50, 0, None), (1, 2, -1), (0, 1, -1)],
)  # fmt: skip
def test_only_what_shrinks_a_position_is_missing(wanted: int, held: int, missing: int | None) -> None:
    action = RiskAction("a", ActionKind.REDUCE_TO, "X", "t", "a", "r", {"X": Decimal(wanted)}, {}, ActionState.WORKING,
                        (), AT)  # fmt: skip
    assert action.missing({"X": Decimal(held)}) == ({} if missing is None else {"X": Decimal(missing)})
    assert action.missing({"OTHER": Decimal(held)}) == {}, "nothing held, nothing missing"


def test_sessions_that_were_tried_are_counted_once_each(desk: Ledger) -> None:
    ask(desk, ActionKind.CLOSE_ALL)
    for day in (DAY, DAY, DAY - timedelta(days=1)):
        with desk.write() as connection:
            (action,) = actions.working(connection)
            actions.attempted(connection, action, day)
    assert only(desk).tried == (DAY - timedelta(days=1), DAY)
    assert only(desk).quantities == {"A": 0, "B": 0, "D": 0, "E": 0}
    with desk.read() as connection:
        assert connection.execute(select(risk_actions.c.attempts)).scalar_one() == 2


@pytest.mark.parametrize("state", [ActionState.DONE, ActionState.ESCALATED])
def test_an_action_ends_once(desk: Ledger, state: ActionState) -> None:
    ask(desk, ActionKind.CLOSE_ALL)
    ask(desk, ActionKind.HALVE, at=AT - timedelta(hours=1))
    with desk.write() as connection:
        older, action = actions.working(connection)
        assert (older.kind, action.kind) == (ActionKind.HALVE, ActionKind.CLOSE_ALL), "oldest first"
        actions.attempted(connection, action, DAY)
        (action,) = [one for one in actions.working(connection) if one.kind is ActionKind.CLOSE_ALL]
        for reason in ("first", "second"):
            actions.conclude(connection, action, state, reason=reason, at=AT + timedelta(hours=1))
        assert [one.kind for one in actions.working(connection)] == [ActionKind.HALVE]
        (ended,) = [one for one in actions.every(connection) if one.kind is ActionKind.CLOSE_ALL]
    assert (ended.state, ended.concluded_at) == (state, AT + timedelta(hours=1))
    said = [row for row in audited(desk) if row[1] == f"risk_action_{state}"]
    assert said == [
        (f"risk_action:{action.action_id}:{state}", f"risk_action_{state}", '{"attempts":1,"reason":"first"}')
    ]
    with desk.write() as connection:
        actions.conclude(connection, action, ActionState.DONE, reason="again", at=AT)
    assert len([row for row in audited(desk) if row[1].startswith("risk_action_")]) == 1


@pytest.mark.parametrize(
    "change",
    [
        "kind = 'panic_buy'",
        "state = 'lost'",
        "targets = '{}'",
        """targets = '{"quantities":{"A":"x"},"stops":{},"tried":[]}'""",
        """targets = '{"quantities":{},"stops":{},"tried":["soon"]}'""",
        "targets = '[]'",
    ],
)
def test_a_row_that_cannot_be_read_is_an_error(desk: Ledger, change: str) -> None:
    made = ask(desk, ActionKind.CLOSE_ALL)
    with desk.write() as connection:
        connection.exec_driver_sql(f"UPDATE risk_actions SET {change}")
    with desk.read() as connection, pytest.raises(RiskError) as refused:
        actions.every(connection)
    assert str(refused.value) == f"risk action {made} in the ledger cannot be read: no new orders"
