"""Panic conditions: exact windows, exact limits, any order of arrival."""

from __future__ import annotations

import math
import random
from datetime import datetime, timedelta
from typing import Any

import pytest

from quant_dagster.errors import RiskError
from quant_dagster.risk import panic
from quant_dagster.risk.control import ControlMode
from quant_dagster.risk.panic import Panic, PanicCondition
from quant_dagster.settings import PanicConditionSettings, PanicSettings
from tests.unit.risk.kill_switch.desks import START

OFF = PanicConditionSettings(enabled=False)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def only(name: str, **settings: Any) -> Panic:
    """One condition is watched, with these settings."""
    chosen = dict.fromkeys(PanicSettings.model_fields, OFF)
    chosen[name] = PanicConditionSettings(**({"window_seconds": 60, "limit": 10, "least": 1} | settings))
    return Panic(PanicSettings(**chosen))


def values(watch: Panic, seconds: float) -> list[float]:
    return [condition.value for condition in watch.conditions(at(seconds))]


def test_nothing_observed_is_no_panic() -> None:
    assert Panic(PanicSettings()).conditions(START) == []


# -- slippage ---------------------------------------------------------------------------------------------------------


def test_mean_slippage_above_the_limit() -> None:
    watch = only("slippage", least=2, mode="REDUCE")
    watch.fill(at(1), "AAPL", 25.0)
    assert watch.conditions(at(2)) == []  # one fill is too few to judge
    watch.fill(at(2), "MSFT", -5.0)
    assert watch.conditions(at(2)) == []  # 10 is the limit
    watch.fill(at(3), "MSFT", 12.5)
    expected = PanicCondition(
        "slippage", "panic_slippage", 32.5 / 3, 10.0, ControlMode.REDUCE,
        "mean slippage of 3 fills is 10.8 bps within 60 s, allowed are 10",
    )  # fmt: skip
    assert watch.conditions(at(3)) == [expected]


def test_the_window_is_open_behind_and_closed_in_front() -> None:
    watch = only("slippage")
    watch.fill(at(0), "AAPL", 20.0)
    assert values(watch, -0.000001) == []
    assert values(watch, 0) == [20.0]
    assert values(watch, 59.999999) == [20.0]
    assert values(watch, 60) == []


def test_what_was_observed_later_does_not_count_yet() -> None:
    watch = only("slippage")
    watch.fill(at(30), "AAPL", 40.0)
    watch.fill(at(10), "AAPL", 20.0)
    assert values(watch, 20) == [20.0]
    assert values(watch, 30) == [30.0]
    assert values(watch, 80) == [40.0]
    assert values(watch, 20) == [20.0]  # asking forgets nothing


@pytest.mark.parametrize("slippage", [math.nan, math.inf, -math.inf])
def test_slippage_that_is_no_number_is_an_error(slippage: float) -> None:
    said = r"^slippage of AAPL at 2023-01-03T14:30:00.00:00 is .*: give the fill's real slippage$"
    with pytest.raises(RiskError, match=said):
        only("slippage").fill(START, "AAPL", slippage)


# -- stale quotes -----------------------------------------------------------------------------------------------------


def test_the_share_of_watched_symbols_without_a_quote() -> None:
    watch = only("stale_quotes", limit=0.5)
    watch.watched("ABCDEFGH")
    for symbol in "ABCD":
        watch.quote(at(0), symbol, 10, 11)
    assert watch.conditions(at(59)) == []  # a half is the limit
    for symbol in "AB":
        watch.quote(at(5), symbol, 10, 11)
    expected = PanicCondition(
        "stale_quotes", "panic_stale_quotes", 0.75, 0.5, ControlMode.PAUSE,
        "6 of 8 symbols have no quote (C, D, E, F, G, ...) within 60 s, allowed are 0.5",
    )  # fmt: skip
    assert watch.conditions(at(60)) == [expected]


def test_five_stale_symbols_are_all_named() -> None:
    watch = only("stale_quotes", limit=0.5)
    watch.watched(["E", "D", "C", "B", "A"])
    (condition,) = watch.conditions(START)
    assert condition.value == 1.0
    assert condition.reason.startswith("5 of 5 symbols have no quote (A, B, C, D, E) within")


def test_silence_of_all_is_judged_and_too_few_symbols_are_not() -> None:
    watch = only("stale_quotes", limit=0.5, least=3)
    watch.watched("AB")
    assert watch.conditions(START) == []
    watch.watched("ABC")
    assert values(watch, 0) == [1.0]
    watch.watched("")
    assert only("stale_quotes", limit=0.5).conditions(START) == watch.conditions(START) == []


@pytest.mark.parametrize(
    ("bid", "ask"), [(0, 10), (-1, 10), (11, 10), (math.nan, 10), (10, math.nan), (10, math.inf), (math.inf, math.inf)]
)
def test_a_quote_that_cannot_be_is_no_quote(bid: float, ask: float) -> None:
    watch = only("stale_quotes", limit=0.5)
    watch.watched("A")
    watch.quote(START, "A", bid, ask)
    assert values(watch, 0) == [1.0]
    watch.quote(START, "A", 10, 10)  # locked, and real
    assert values(watch, 0) == []


def test_symbols_that_are_not_watched_are_not_kept() -> None:
    watch = only("stale_quotes", limit=0.5)
    watch.quote(START, "A", 10, 11)
    watch.watched("A")
    assert values(watch, 0) == [1.0]
    watch.quote(START, "A", 10, 11)
    watch.watched("AB")
    assert values(watch, 0) == []  # those that stay watched are kept
    watch.watched("B")
    watch.watched("A")
    assert values(watch, 0) == [1.0]


# -- spread -----------------------------------------------------------------------------------------------------------


def quotes(watch: Panic, symbol: str, spread: float, *seconds: float) -> None:
    """Quotes of a relative spread, in dyadic numbers that divide exactly."""
    for second in seconds:
        watch.quote(at(second), symbol, 1 - spread / 2, 1 + spread / 2)


def test_spreads_against_their_usual_ones() -> None:
    watch = only("spread", limit=4, least=2)
    watch.watched("ABC")
    for symbol in "ABC":
        quotes(watch, symbol, 2**-8, 1, 2, 3)
    quotes(watch, "A", 2**-3, 100, 101)  # 32 times
    assert values(watch, 120) == [32.0]
    quotes(watch, "B", 2**-6, 100, 101)  # 4 times
    assert values(watch, 120) == [18.0]
    quotes(watch, "C", 2**-6, 100, 101)
    assert watch.conditions(at(120)) == []  # the median is the limit
    quotes(watch, "C", 2**-5, 102, 103)
    expected = PanicCondition(
        "spread", "panic_spread", 6.0, 4.0, ControlMode.PAUSE,
        "spreads are 6.0 times their usual ones (median of 3 symbols) within 60 s, allowed are 4",
    )  # fmt: skip
    assert watch.conditions(at(120)) == [expected]


def test_the_spread_is_over_the_middle() -> None:
    watch = only("spread", limit=1)
    watch.watched("A")
    watch.quote(at(0), "A", 10, 14)  # 4 / 12
    watch.quote(at(100), "A", 10, 30)  # 20 / 20
    assert values(watch, 100) == [pytest.approx(3.0, rel=1e-15)]


def test_a_symbol_with_too_few_quotes_in_either_time_is_not_judged() -> None:
    watch = only("spread", limit=4, least=2)
    watch.watched("AB")
    quotes(watch, "A", 2**-8, 1, 2)
    quotes(watch, "A", 2**-3, 100)
    quotes(watch, "B", 2**-8, 1)
    quotes(watch, "B", 2**-3, 100, 101)
    assert watch.conditions(at(120)) == []
    quotes(watch, "B", 2**-8, 2)
    (condition,) = watch.conditions(at(120))
    assert "median of 1 symbols" in condition.reason


def test_the_usual_time_is_the_twelve_windows_before_the_newest() -> None:
    watch = only("spread", limit=4)
    watch.watched("A")
    quotes(watch, "A", 2**-8, 0)
    quotes(watch, "A", 2**-3, 120)
    assert watch.conditions(at(59)) == []  # the usual quote is itself in the window
    assert values(watch, 120) == [32.0]
    assert values(watch, 179) == [32.0]
    assert watch.conditions(at(180)) == []  # no quote in the window
    quotes(watch, "A", 2**-3, 779, 780)
    watch = only("spread", limit=4)
    watch.watched("A")
    quotes(watch, "A", 2**-8, 0)
    quotes(watch, "A", 2**-3, 779, 780)
    assert values(watch, 779) == [32.0]
    assert watch.conditions(at(780)) == []  # the usual quote is older than 12 windows before the newest one


def test_a_usual_spread_of_nothing_is_no_yardstick() -> None:
    watch = only("spread", limit=4)
    watch.watched("A")
    quotes(watch, "A", 0, 0)
    quotes(watch, "A", 2**-3, 100)
    assert watch.conditions(at(100)) == []


# -- errors -----------------------------------------------------------------------------------------------------------


def test_a_cascade_of_errors() -> None:
    watch = only("errors", limit=3, mode="EMERGENCY")
    for second, service in enumerate(["broker", "yahoo", "broker"]):
        watch.error(at(second), service)
    assert watch.conditions(at(3)) == []
    watch.error(at(3), "broker")
    expected = PanicCondition(
        "errors", "panic_errors", 4.0, 3.0, ControlMode.EMERGENCY,
        "4 requests failed (broker 3, yahoo 1) within 60 s, allowed are 3",
    )  # fmt: skip
    assert watch.conditions(at(59)) == [expected]
    assert watch.conditions(at(60)) == []


def test_too_few_errors_are_not_judged() -> None:
    watch = only("errors", limit=1, least=3)
    for second in (0, 1):
        watch.error(at(second), "broker")
    assert watch.conditions(at(2)) == []
    watch.error(at(2), "broker")
    assert values(watch, 2) == [3.0]


# -- all together -----------------------------------------------------------------------------------------------------


def everything_wrong(observations: list[tuple[Any, ...]], settings: PanicSettings) -> list[PanicCondition]:
    watch = Panic(settings)
    watch.watched("ABC")
    for kind, *given in observations:
        getattr(watch, kind)(*given)
    return watch.conditions(at(100))


def test_any_order_of_arrival_gives_the_same_answer_in_the_same_order() -> None:
    each = PanicConditionSettings(window_seconds=60, limit=0.5, least=1)
    settings = PanicSettings(slippage=each, stale_quotes=each, spread=each, errors=each)
    observations: list[tuple[Any, ...]] = [("fill", at(n), "A", float(n)) for n in range(45, 60)]
    observations += [("quote", at(n), "A", 10.0, 10.0 + n) for n in range(1, 100, 7)]
    observations += [("error", at(n), "broker") for n in range(30, 60)]
    expected = everything_wrong(observations, settings)
    assert [one.name for one in expected] == ["slippage", "stale_quotes", "spread", "errors"]
    shuffle = random.Random(1)
    for _ in range(20):
        shuffle.shuffle(observations)
        assert everything_wrong(observations, settings) == expected


@pytest.mark.parametrize("name", list(PanicSettings.model_fields))
def test_what_is_not_watched_for_is_not_found(name: str) -> None:
    watch = only(name, enabled=False)
    watch.watched("A")
    for second in range(20):
        watch.fill(at(second), "A", 100.0)
        watch.error(at(second), "broker")
    assert watch.conditions(at(70)) == []


def test_memory_is_bounded_and_the_newest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    assert panic.MOST_KEPT == 10_000
    monkeypatch.setattr(panic, "MOST_KEPT", 3)
    watch = only("slippage")
    for second in (9, 1, 5, 3, 7):
        watch.fill(at(second), "A", float(second * 10))
    assert values(watch, 10) == [70.0]  # 9, 7 and 5
    assert values(watch, 7) == [60.0]
