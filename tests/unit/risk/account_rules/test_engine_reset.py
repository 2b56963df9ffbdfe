"""The daily reset, seen before it is recorded, slept through, and set back; and its settings."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import func, select

from quant_dagster.errors import ConfigurationError, RiskError
from quant_dagster.risk.account_rules.engine import AccountRules
from quant_dagster.risk.account_rules.events import TickEvent
from quant_dagster.risk.account_rules.state import Trade
from quant_dagster.settings import RiskSettings, load_settings
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import daily_resets
from tests.unit.risk.account_rules.engine_states import DAY, MOMENT, TO_RESET, locked, state
from tests.unit.risk.account_rules.scenarios import (
    LATER,
    NOON,
    RESET,
    D,
    at,
    feed,
    fill,
    rules,
    stop,
    tick,
    word,
)


def test_the_reset_begins_sums_and_counts_anew_and_leaves_the_rest(desk: Ledger) -> None:
    account = rules(auth_loss_guard={}, daily_realised_loss={"amount": 500})
    feed(
        desk, account, word(0, False), stop(1, "ES", 90, 9), fill(2, "ES", 5, 100, pnl=-500),
        fill(TO_RESET - 3600, "ES", 1, 100, position=6, order="hour ago"),
        fill(TO_RESET - 3599, "ES", 1, 100, position=7, order="within the hour", pnl=-1),
    )  # fmt: skip
    before = state(desk, account)
    assert before.trades_today() == 3
    pending = state(desk, account, RESET)
    feed(desk, account, tick(TO_RESET))
    after = state(desk, account, RESET)
    assert (after.trading_day, after.realised_pnl, after.trades_today()) == (date(2023, 3, 9), {}, 0)
    assert after.trades == {"within the hour": Trade(at(TO_RESET - 3599), D(-1), False)}
    assert (after.holdings, after.can_trade) == (before.holdings, False)
    assert [rule for rule, _, _ in locked(desk, RESET)] == ["auth_loss_guard"]
    assert (pending.trading_day, pending.realised_pnl, pending.trades) == (after.trading_day, {}, after.trades)


def test_a_reset_that_is_due_is_seen_before_it_is_recorded(desk: Ledger) -> None:
    account = rules()
    assert state(desk, account, RESET).trading_day == date(2023, 3, 9)
    feed(desk, account, fill(0, "ES", -1, 100, pnl=-500))
    assert state(desk, account, RESET - MOMENT).realised_pnl == {"ES": D(-500)}
    assert state(desk, account, RESET).realised_pnl == {}
    assert state(desk, account, NOON - timedelta(days=30)).realised_pnl == {"ES": D(-500)}
    with desk.read() as connection:
        assert connection.execute(select(daily_resets.c.trading_day)).scalars().all() == [DAY]


def test_a_process_that_slept_through_resets_does_one(desk: Ledger) -> None:
    account = rules()
    feed(desk, account, fill(0, "ES", -1, 100, pnl=-500))
    feed(desk, account, tick(TO_RESET + 5 * 86400), tick(TO_RESET + 5 * 86400 + 1))
    with desk.read() as connection:
        rows = connection.execute(select(daily_resets).order_by(daily_resets.c.trading_day)).all()
    # Five days later the clocks have gone forward: 17:00 is 22:00 UTC, and 23:00 UTC is in the day after.
    assert [(row.trading_day, row.reset_at) for row in rows] == [
        (DAY, datetime(2023, 3, 7, 23, tzinfo=UTC)), (date(2023, 3, 14), datetime(2023, 3, 13, 22, tzinfo=UTC)),
    ]  # fmt: skip
    held = state(desk, account, at(TO_RESET + 5 * 86400))
    assert (held.holdings["ES"].position, held.realised_pnl) == (-1, {})


def test_a_clock_that_goes_back_resets_nothing(desk: Ledger) -> None:
    account = rules(daily_realised_loss={"amount": 500})
    feed(desk, account, fill(TO_RESET, "ES", -1, 100, pnl=-300))
    feed(desk, account, tick(TO_RESET - 10))
    assert feed(desk, account, fill(TO_RESET + 1, "ES", -1, 100, pnl=-200))[0].value == 500
    with desk.read() as connection:
        assert connection.execute(select(func.count()).select_from(daily_resets)).scalar() == 1


def test_a_batch_over_the_reset_counts_each_event_in_its_day(desk: Ledger) -> None:
    account = rules(daily_realised_loss={"amount": 500})
    losses = [fill(TO_RESET + second, "ES", -1, 100, pnl=-300) for second in (1, 0, -1)]
    assert [(b.value, b.began) for b in feed(desk, account, *losses)] == [(600, at(TO_RESET + 1))]


def test_an_episode_goes_on_over_the_reset(desk: Ledger) -> None:
    account = rules(max_contracts={"limit": 1})
    feed(desk, account, fill(0, "ES", 2, 100))
    assert [breach.began for breach in feed(desk, account, tick(TO_RESET + 1))] == [at(0)]


def test_the_reset_time_is_a_setting(desk: Ledger) -> None:
    account = AccountRules(RiskSettings.model_validate({"account_rules": {
        "reset_time": "19:00", "reset_time_zone": "UTC", "daily_realised_loss": {"enabled": True, "amount": 1},
    }, "clock_tolerance_seconds": 0}))  # fmt: skip
    feed(desk, account, fill(0, "ES", -1, 100, pnl=-1))
    assert locked(desk, NOON) == [("daily_realised_loss", None, at(3600))]
    with pytest.raises(RiskError, match="check the clock"):
        feed(desk, account, TickEvent("t", LATER + MOMENT))


def test_limits_of_symbols_in_the_rule_on_the_total_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"risk\.account_rules\.max_contracts\.per_symbol"):
        load_settings({"risk": {"account_rules": {"max_contracts": {"per_symbol": {"ES": 1}}}}})
