"""What decisions are made from, on a desk that holds positions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from quant_dagster.accounting import books
from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.inputs import approval_inputs
from quant_dagster.cycle.session import SessionCycle, newest_session


def test_positions_outside_the_decided_symbols_count_in_the_risk(replayed_home: Path) -> None:
    everything = TradingContext()
    session = newest_session(everything, everything.now())
    with everything.ledger.read() as connection:
        held = {s for s, holding in books.balances(connection).holdings.items() if holding.quantity}
    symbol = min(held)
    context = TradingContext(symbols=[symbol])
    inputs = approval_inputs(context, session, SessionCycle(context, session).panel)
    whole = approval_inputs(everything, session, SessionCycle(everything, session).panel)
    assert [state.symbol for state in inputs.states] == [symbol]
    assert set(inputs.held_facts) == held - {symbol}
    assert set(inputs.scenario_symbols) == held
    for name in held:
        column, same = inputs.scenario_symbols.index(name), whole.scenario_symbols.index(name)
        np.testing.assert_array_equal(inputs.scenario_returns[:, column], whole.scenario_returns[:, same])
        if name != symbol:
            assert inputs.held_facts[name].price_session == session
