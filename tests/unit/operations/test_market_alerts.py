"""What Slack hears of the data: missing bars, low scores and changes of vendor, once each."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl

from quant_dagster.cycle.context import TradingContext
from quant_dagster.market_data.failover import record_switch
from quant_dagster.operations.alerts.market import market_alerts
from quant_dagster.operations.alerts.notifications import Notifier
from quant_dagster.settings import load_settings
from tests.support.slack_server import TOKEN, slack_server

LAST = date(2022, 12, 28)


def test_a_session_without_faults_is_not_worth_a_word(replayed_home: Path) -> None:
    assert market_alerts(TradingContext(), LAST) == []


def test_missing_bars_and_low_scores_are_told_with_the_symbols_once(replayed_home: Path) -> None:
    with slack_server() as slack:
        notifications = {"slack_token": TOKEN, "slack_base_url": slack.base_url}
        context = TradingContext(load_settings({"notifications": notifications}))
        bars = context.lake.read("bars", start=LAST, end=LAST)
        context.lake.replace("bars", bars.filter(pl.col("symbol") != "KO"), [LAST])
        scores = context.lake.read("quality", symbols=["XOM"], start=LAST, end=LAST)
        context.lake.merge("quality", scores.with_columns(score=pl.lit(0.1), issues=pl.lit("decimal_shift")))
        with context.ledger.write() as connection:
            record_switch(
                connection, "equity", "embedded_bokeh", "embedded", actor="failover", reason="it hangs",
                sessions=[LAST], at=context.now(),
            )  # fmt: skip
        alerts = market_alerts(context, LAST)
        assert [alert.title for alert in alerts] == [
            "equity prices now come from embedded_bokeh instead of embedded",
            "1 of 20 symbols have no bar for 2022-12-28",
            "1 symbols score below 0.6 on 2022-12-28",
        ]
        assert "it hangs" in alerts[0].details[0] and "2022-12-28" in alerts[0].details[1]
        assert alerts[1].details[0] == "KO"
        assert alerts[2].details == ("XOM: 0.10 decimal_shift",)
        notifier = Notifier(context.settings.notifications, context.ledger)
        for _ in range(2):
            for alert in market_alerts(context, LAST):
                notifier.send(alert)
        assert len(slack.messages) == 3


def test_a_session_that_was_not_loaded_yet_is_not_called_missing(replayed_home: Path) -> None:
    assert market_alerts(TradingContext(), date(2022, 12, 29)) == []
