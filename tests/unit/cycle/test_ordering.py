"""How an order is worked: by the algorithm that was asked for, with what it has to know, or by the next best."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from quant_dagster.accounting.books import Side
from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.order_entry import enter_order
from quant_dagster.cycle.ordering import OrderMaker
from quant_dagster.execution.algorithms import parent_log
from quant_dagster.execution.algorithms.parents import Algorithm, ParentOrder
from quant_dagster.risk.gate import OrderIntent, Outcome, RiskDecision
from quant_dagster.settings import load_settings
from tests.support.ledgers import sqlite_ledger
from tests.unit.cycle.approval_desk import facts

DECIDED = date(2013, 2, 27)


def entered(algorithm: str | None, **execution: Any) -> ParentOrder | None:
    """A person's order for 20 KO at a broker whose market trades all day; None: it is sent whole."""
    context = TradingContext(load_settings({"execution": {"broker": "ibkr", **execution}}))
    done = enter_order(context, "KO", Side.SELL, Decimal(20), algorithm=algorithm, actor="ann", reference="one")
    if done.worked == "whole":
        return None
    with context.ledger.read() as connection:
        parent = parent_log.get(connection, done.order_id)
    assert done.worked == parent.algorithm
    return parent


def test_vwap_without_minutes_follows_an_even_curve_and_says_so(replayed_home: Path) -> None:
    parent = entered("vwap")
    assert parent is not None and parent.algorithm is Algorithm.VWAP
    curve = parent.parameters["curve"]
    assert len({round(float(share), 9) for share in curve["shares"]}) == 1
    assert (curve["source"], curve["sessions"]) == ("uniform", 0)


def made(tmp_path: Path, clock: Callable[[], datetime], volatility: float | None, **costs: float) -> ParentOrder:
    """IBM, to be worked by Almgren-Chriss: the market is that of 2013-02-27, with its volume."""
    ledger = sqlite_ledger(tmp_path / "ledger.db", clock)
    intent = OrderIntent("p1", None, "s", DECIDED, "IBM", Side.BUY, Decimal(500), Decimal("202.33"))
    verdict = RiskDecision(intent, Outcome.APPROVED, Decimal(500), (), (), reduce_only=False)
    maker = OrderMaker(load_settings({"execution": costs}), DECIDED, Algorithm.ALMGREN_CHRISS).prepare()
    with ledger.write() as connection:
        worked = maker.make(connection, verdict, facts("IBM"), volatility, at=ledger.now())
        parent = parent_log.get(connection, "p1")
    ledger.close()
    assert worked == parent.algorithm
    return parent


def test_almgren_chriss_is_given_what_the_symbol_risks_and_costs(tmp_path: Path, clock: Callable[[], datetime]) -> None:
    parent = made(tmp_path, clock, 0.01, slippage_bps=4)
    assert parent.algorithm is Algorithm.ALMGREN_CHRISS
    impact = parent.parameters["impact"]
    price = facts("IBM").price
    assert (impact["half_spread"], impact["volatility"]) == (pytest.approx(price * 4e-4), pytest.approx(price * 0.01))


@pytest.mark.parametrize(("volatility", "slippage"), [(None, 4), (0.01, 0)])
def test_where_nobody_knows_what_trading_risks_or_costs_almgren_chriss_is_twap(
    tmp_path: Path, clock: Callable[[], datetime], volatility: float | None, slippage: float
) -> None:
    parent = made(tmp_path, clock, volatility, slippage_bps=slippage)
    assert parent.algorithm is Algorithm.TWAP
    assert "impact" not in parent.parameters


def test_an_order_is_sent_whole_when_it_is_asked_for_so_whatever_the_settings_say(replayed_home: Path) -> None:
    assert entered("none", algorithms={"algorithm": "pov"}) is None


def test_the_settings_algorithm_is_the_default(replayed_home: Path) -> None:
    parent = entered(None, algorithms={"algorithm": "iceberg"})
    assert parent is not None and parent.algorithm is Algorithm.ICEBERG
