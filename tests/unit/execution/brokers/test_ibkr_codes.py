"""The broker's message codes. Expected answers are those the broker's documentation of its codes gives reason for."""

from __future__ import annotations

import collections

import pytest

from quant_dagster.execution.brokers.codes import Answer
from quant_dagster.execution.brokers.ibkr import codes
from quant_dagster.execution.brokers.ibkr.codes import TABLE, answer_to

DOCUMENTED = [
    *range(100, 108), 109, 110, 111, *range(113, 127), 129, *range(131, 149), *range(151, 169), 200, 201, 202, 203,
    *range(300, 318), *range(319, 381), *range(382, 384), *range(385, 450), 481, *range(501, 514), 1100, 1101, 1102,
    1300, *range(2100, 2112), 2119, 2130, 2137, 2148, 2152, 2157, 2158, 2168, 2169, 10006, 10015, 10147, 10148, 10149,
    10197, 10318, 10329, 10349,
]  # fmt: skip
NO_CODES_OF_ORDERS = {381, 384}  # DDE only
UNASSIGNED = {128, 317, 318}


@pytest.mark.parametrize("number", [n for n in DOCUMENTED if n not in NO_CODES_OF_ORDERS | UNASSIGNED])
def test_every_documented_code_has_an_answer_of_its_own(number: int) -> None:
    assert number in TABLE
    assert TABLE[number].meaning


def test_no_code_stands_in_two_sections() -> None:
    found = collections.Counter(number for section in codes._SECTIONS for number in section)
    assert [number for number, times in found.items() if times > 1] == []


@pytest.mark.parametrize("number", [99999, 0, 600, 10999])
def test_an_unknown_code_is_asked_about_never_guessed(number: int) -> None:
    assert answer_to(number).answer is Answer.RECONCILE


@pytest.mark.parametrize("number", [399, 404, 2109, 2137, 10329, 10349])
def test_warnings_about_an_order_that_works_on_change_nothing(number: int) -> None:
    assert answer_to(number).answer is Answer.IGNORE


@pytest.mark.parametrize("number", [103, 104, 105, 135, 136, 161, 202, 1102, 10147, 10148])
def test_codes_that_leave_an_order_s_fate_open_are_asked_about(number: int) -> None:
    assert answer_to(number).answer is Answer.RECONCILE


@pytest.mark.parametrize("number", [110, 200, 201, 203, 321, 387, 388, 434, 10318])
def test_refusals_are_refusals(number: int) -> None:
    assert answer_to(number).answer is Answer.REJECT


@pytest.mark.parametrize("number", [326, 502, 503, 1100, 1300, 2110, 10015])
def test_what_only_a_person_or_the_broker_s_servers_can_mend_halts(number: int) -> None:
    assert answer_to(number).answer is Answer.HALT


@pytest.mark.parametrize("number", [100, 162, 2102, 10006, 10197])
def test_what_may_be_asked_again_later_is_retried(number: int) -> None:
    assert answer_to(number).answer is Answer.RETRY


@pytest.mark.parametrize("number", [2104, 2106, 2158])
def test_nobody_is_told_that_all_is_well(number: int) -> None:
    assert not answer_to(number).told
