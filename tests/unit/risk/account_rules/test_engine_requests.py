"""What the rules ask for: ids of requests, episodes, reasons."""

from __future__ import annotations

from typing import Any

import pytest

from quant_dagster.risk.account_rules.breaches import ActionKind, ActionRequest, Breach
from quant_dagster.risk.account_rules.state import NEVER
from quant_dagster.storage.ledger import Ledger
from tests.unit.risk.account_rules.scenarios import (
    D,
    at,
    feed,
    fill,
    position,
    quote,
    rules,
    tick,
    word,
)


def ids(found: list[Breach]) -> list[tuple[str, str]]:
    return [(request.kind, breach.action_id(request)) for breach in found for request in breach.requests]


def test_a_request_keeps_its_id_while_it_is_worked_on_and_gets_a_new_one_when_a_position_is_opened_again(
    desk: Ledger,
) -> None:
    account = rules(daily_realised_loss={"amount": 500})
    first = ids(feed(desk, account, fill(0, "ES", -3, 100, pnl=-500)))
    assert [kind for kind, _ in first] == ["cancel_orders", "close_all"]
    assert {len(name) for _, name in first} == {64} and len({name for _, name in first}) == 2
    assert ids(feed(desk, account, fill(1, "ES", 1, 100, position=-2))) == first
    assert ids(feed(desk, account, fill(2, "ES", 2, 100, position=0))) == first[:1]
    opened = ids(feed(desk, account, fill(3, "NQ", 1, 100)))
    assert [kind for kind, _ in opened] == ["cancel_orders", "close_all"]
    assert not {name for _, name in opened} & {name for _, name in first}


def test_ids_tell_episodes_and_requests_apart() -> None:
    def breach(**more: Any) -> Breach:
        fields = {"rule": "r", "symbol": None, "value": D(1), "limit": D(2), "reason": "x", "began": at(0)}
        return Breach(**{**fields, **more}, consequences=())

    request = {"kind": ActionKind.MOVE_STOP, "symbol": "ES", "quantity": D(1), "price": D(2), "opened_at": at(0)}
    changed = [{}, {"kind": ActionKind.PLACE_STOP}, {"symbol": "NQ"}, {"quantity": D(2)}, {"price": D(3)},
               {"opened_at": at(1)}]  # fmt: skip
    episodes = [breach(), breach(rule="s"), breach(symbol="ES"), breach(began=at(1))]
    names = {item.action_id(ActionRequest(**{**request, **change})) for item in episodes for change in changed}
    assert len(names) == len(changed) * len(episodes)
    same = breach(value=D(5), reason="y").action_id(ActionRequest(**{**request, "quantity": D("1.0")}))
    assert same == breach().action_id(ActionRequest(**request))
    place = [ActionRequest(ActionKind.PLACE_STOP, "ES", D(1), D(price)) for price in (5, 6)]
    assert breach().action_id(place[0]) == breach().action_id(place[1])
    assert breach(symbol="ES").trigger == "r:ES:2023-03-08T18:00:00+00:00"
    assert breach().trigger == "r:*:2023-03-08T18:00:00+00:00"


def test_an_episode_that_ends_and_comes_again_is_another(desk: Ledger) -> None:
    account = rules(max_contracts_per_instrument={"limit": 5})
    began = []
    for second, held in enumerate((6, 7, 5, 6)):
        began += [breach.began for breach in feed(desk, account, position(second, "ES", held, 100))]
        began += [breach.began for breach in feed(desk, account, quote(second + 0.5, "NQ", 1))]
    assert began == [at(0), at(0), at(3)]


def test_in_one_batch_each_episode_is_told_once_with_its_newest_numbers(desk: Ledger) -> None:
    account = rules(max_contracts_per_instrument={"limit": 5})
    events = [position(second, "ES", held, 100) for second, held in enumerate((6, 7, 5, 9, 8))]
    assert [(b.value, b.began) for b in feed(desk, account, *events)] == [(7, at(0)), (8, at(3))]


def test_what_must_be_closed_and_when_its_newest_position_was_opened(desk: Ledger) -> None:
    account = rules(auth_loss_guard={})
    (breach,) = feed(desk, account, word(0, False))
    assert breach.requests == (ActionRequest(ActionKind.CANCEL_ORDERS, opened_at=NEVER),)
    feed(desk, account, fill(1, "ES", 1, 10), fill(3, "NQ", 1, 10))
    (breach,) = feed(desk, account, fill(4, "ES", 1, 10, position=2))
    assert breach.requests == (
        ActionRequest(ActionKind.CANCEL_ORDERS, opened_at=at(3)), ActionRequest(ActionKind.CLOSE_ALL, opened_at=at(3)),
    )  # fmt: skip
    account = rules(max_contracts_per_instrument={"limit": 1, "action": "close"})
    (breach,) = feed(desk, account, quote(5, "ES", 10))
    assert [request.opened_at for request in breach.requests] == [at(1), at(1)]


@pytest.mark.parametrize(("section", "events", "reason"), [
    ({"max_contracts": {"limit": 2.5}}, [position(0, "ES", 2, 9), position(1, "NQ", -1, 9)],
     "3 held in all, more than 2.5"),
    ({"max_contracts_per_instrument": {}}, [position(0, "ES", -100_001, 9)], "100001 of ES held, more than 100000"),
    ({"daily_realised_loss": {"amount": 9.5, "scope": "symbol"}}, [fill(0, "ES", -1, 9, pnl=-10)],
     "ES's realised loss of the day is 10.00, limit 9.50"),
    ({"daily_unrealised_loss": {"amount": 10}}, [position(0, "ES", 5, 9, 11)],
     "the account's open loss is 10.00, limit 10.00"),
    ({"max_unrealised_profit": {"amount": 10}}, [position(0, "ES", 5, 11, 9)],
     "the account's open profit is 10.00, to be taken at 10.00"),
    ({"daily_realised_profit": {"amount": 9.5}}, [fill(0, "ES", -1, 9, pnl=10)],
     "the account's realised profit of the day is 10.00, goal 9.50"),
    ({"trade_frequency": {"per_hour": 1}}, [fill(0, "ES", -1, 9), fill(1, "ES", -1, 9)],
     "2 trades in one hour, more than 1"),
    ({"cooldown_after_loss": {}}, [fill(0, "ES", -1, 9, pnl=-1234.5, position=0)],
     "ES was closed at a loss of 1234.50, 1000.00 or more: a pause of 5 minutes"),
    ({"no_stop_loss_grace": {}}, [position(0, "ES", 1, 9), tick(60.5)],
     "ES has had no stop for its whole position for 60.5 s, allowed 60 s"),
    ({"session_block": {"close_positions": True, "days": [0, 6]}}, [position(0, "ES", 1, 9)],
     "1 positions held outside 09:30 to 16:00 America/New_York on Mon, Sun"),
    ({"auth_loss_guard": {}}, [word(0, False)], "the broker says the account may not trade: margin call"),
    ({"symbol_blocks": {"symbols": ["E?"]}}, [position(0, "ES", -3, 9)], "-3 of ES held, which 'E?' blocks"),
    ({"trade_management": {}}, [position(0, "ES", 1, 10.25, 10)],
     "ES has gained 2.50%: its stop goes to 10"),
])  # fmt: skip
def test_the_reason_says_what_was_measured_against_what(
    desk: Ledger, section: dict[str, Any], events: list[Any], reason: str
) -> None:
    assert [breach.reason for breach in feed(desk, rules(**section), *events)] == [reason]


def test_what_cost_nothing_has_no_gain(desk: Ledger) -> None:
    assert feed(desk, rules(trade_management={}), position(0, "ES", 1, 10, 0)) == []


def test_all_rules_look_at_the_same_event(desk: Ledger) -> None:
    account = rules(
        max_contracts={"limit": 1}, max_contracts_per_instrument={"limit": 1}, symbol_blocks={"symbols": ["ES"]}
    )
    assert [breach.rule for breach in feed(desk, account, fill(0, "ES", 2, 10))] == [
        "max_contracts", "max_contracts_per_instrument", "symbol_blocks",
    ]  # fmt: skip
