"""Alerts: each once, within Slack's limits, and never lost when Slack says no."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from quant_dagster.observability.logs import configure_logging
from quant_dagster.operations.alerts.notifications import (
    MAX_BLOCKS,
    Alert,
    NotificationError,
    Notifier,
    Severity,
    blocks,
)
from quant_dagster.settings import NotificationSettings
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import alerts
from tests.support.replays import environment
from tests.support.slack_server import TOKEN, SlackServer, slack_server

ALERT = Alert("check:run1:bars:contract:", Severity.ERROR, "check contract of bars failed", ("3 rows",), "http://ui/1")


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with slack_server() as server:
        yield server


@pytest.fixture
def notifier(slack: SlackServer, ledger: Ledger) -> Notifier:
    return Notifier(NotificationSettings(slack_token=SecretStr(TOKEN), slack_base_url=slack.base_url), ledger)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    configure_logging(tmp_path)
    return tmp_path / "logs" / "system.jsonl"


def remembered(ledger: Ledger) -> list[tuple[str, int]]:
    with ledger.read() as connection:
        return [tuple(row) for row in connection.execute(select(alerts.c.alert_key, alerts.c.delivered))]


def test_an_alert_arrives_as_blocks_with_a_link_and_a_plain_text(notifier: Notifier, slack: SlackServer) -> None:
    assert notifier.send(ALERT)
    (message,) = slack.messages
    assert message["channel"] == "#trading"
    assert message["text"] == "ERROR: check contract of bars failed"
    sent = message["blocks"]
    assert [block["type"] for block in sent] == ["header", "section", "context"]
    assert "<http://ui/1|Open in Dagster>" in sent[2]["elements"][0]["text"]


@pytest.mark.parametrize("lines", [0, 1, 47, 48, 49, 50, 500])
@pytest.mark.parametrize("link", [None, "http://ui"])
def test_no_message_passes_slacks_limits(lines: int, link: str | None) -> None:
    alert = Alert("k", Severity.CRITICAL, "t" * 400, tuple(f"{n}:" + "x" * 5000 for n in range(lines)), link)
    made = blocks(alert)
    assert len(made) <= MAX_BLOCKS
    assert len(made[0]["text"]["text"]) <= 150
    sections = [block["text"]["text"] for block in made if block["type"] == "section"]
    assert all(len(text) <= 3000 for text in sections)
    shown = sum(text[0].isdigit() for text in sections)
    said = [text for text in sections if text.startswith("…")]
    assert said == ([f"… and {lines - shown} more"] if shown < lines else [])
    assert (made[-1]["type"] == "context") == (link is not None)


def test_a_message_of_five_hundred_lines_is_taken_by_slack(notifier: Notifier, slack: SlackServer) -> None:
    assert notifier.send(Alert("k", Severity.ERROR, "many", tuple(map(str, range(500))), "http://ui"))
    assert len(slack.messages[0]["blocks"]) == MAX_BLOCKS


def test_what_slack_reads_as_markup_is_escaped() -> None:
    (_, section) = blocks(Alert("k", Severity.INFO, "t", ("<!channel> a & b",)))
    assert section["text"]["text"] == "&lt;!channel&gt; a &amp; b"


def test_an_alert_is_sent_once(notifier: Notifier, slack: SlackServer, ledger: Ledger) -> None:
    assert [notifier.send(ALERT) for _ in range(3)] == [True, False, False]
    assert not Notifier(notifier.settings, ledger).send(ALERT), "another notifier knows as well"
    assert len(slack.messages) == 1
    assert remembered(ledger) == [(ALERT.key, 1)]


def test_an_alert_of_another_key_is_another_alert(notifier: Notifier, slack: SlackServer) -> None:
    assert notifier.send(ALERT)
    assert notifier.send(Alert("check:run2:bars:contract:", Severity.ERROR, ALERT.title))
    assert len(slack.messages) == 2


def test_another_process_does_not_send_it_again(notifier: Notifier, slack: SlackServer, tmp_path: Path) -> None:
    program = (
        "import sys; from quant_dagster.operations.alerts.notifications import *;"
        "from quant_dagster.storage.ledger import Ledger; from quant_dagster.settings import NotificationSettings;"
        "n = Notifier(NotificationSettings(slack_token=sys.argv[2], slack_base_url=sys.argv[3]), Ledger(sys.argv[1]));"
        f"print(n.send(Alert({ALERT.key!r}, Severity.ERROR, 'again')), n.send(Alert('new', Severity.ERROR, 'new')))"
    )
    assert notifier.send(ALERT)
    url = notifier.ledger.url.render_as_string(hide_password=False)
    done = subprocess.run(
        [sys.executable, "-c", program, url, TOKEN, slack.base_url],
        env=environment(tmp_path), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1:] == ["False True"], done.stderr
    assert not notifier.send(Alert("new", Severity.ERROR, "new"))
    assert len(slack.messages) == 2


def test_without_a_token_alerts_are_logged_and_that_is_said_once(ledger: Ledger, log: Path) -> None:
    notifier = Notifier(NotificationSettings(), ledger)
    assert not notifier.send(ALERT)
    assert not notifier.send(Alert("other", Severity.WARNING, "something else", ("a detail",)))
    assert not notifier.send(ALERT)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    said = [line for line in lines if line["event"].startswith("no Slack token")]
    assert len(said) == 1
    assert "QUANT_NOTIFICATIONS__SLACK_TOKEN" in said[0]["event"]
    logged = [(line["key"], line["severity"], line["title"]) for line in lines if line["event"] == "alert"]
    assert logged == [(ALERT.key, "error", ALERT.title), ("other", "warning", "something else")]
    assert remembered(ledger) == [(ALERT.key, 0), ("other", 0)]


def test_the_token_is_in_no_log(notifier: Notifier, slack: SlackServer, log: Path) -> None:
    notifier.send(ALERT)
    slack.fail_next("channel_not_found")
    with pytest.raises(NotificationError) as refused:
        notifier.send(Alert("other", Severity.ERROR, "x"))
    assert TOKEN not in log.read_text() + str(refused.value)


@pytest.mark.parametrize("error", ["channel_not_found", "invalid_auth", "is_archived"])
def test_an_alert_slack_refused_is_sent_the_next_time(
    notifier: Notifier, slack: SlackServer, ledger: Ledger, error: str
) -> None:
    slack.fail_next(error)
    with pytest.raises(NotificationError, match=error):
        notifier.send(ALERT)
    assert remembered(ledger) == []
    assert notifier.send(ALERT)
    assert len(slack.messages) == 1


def test_a_server_error_is_a_notification_error(notifier: Notifier, slack: SlackServer, ledger: Ledger) -> None:
    slack.fail_next("internal_error", status=500)
    with pytest.raises(NotificationError, match="internal_error"):
        notifier.send(ALERT)
    assert remembered(ledger) == []


def test_a_slack_that_is_not_there_is_a_notification_error(ledger: Ledger) -> None:
    with slack_server() as gone:
        address = gone.base_url
    notifier = Notifier(NotificationSettings(slack_token=SecretStr(TOKEN), slack_base_url=address), ledger)
    with pytest.raises(NotificationError, match="unreachable"):
        notifier.send(ALERT)
    assert remembered(ledger) == []


def test_a_rate_limit_is_waited_out_for_as_long_as_slack_says(
    notifier: Notifier, slack: SlackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    slack.fail_next("ratelimited", status=429, retry_after=7)
    slack.fail_next("ratelimited", status=429, retry_after=3)
    assert notifier.send(ALERT)
    assert slack.requests == 3
    assert len(slack.messages) == 1
    assert [int(seconds) for seconds in waited] == [7, 3]


def test_a_rate_limit_without_end_is_given_up_and_tried_again_later(
    notifier: Notifier, slack: SlackServer, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    for _ in range(4):
        slack.fail_next("ratelimited", status=429, retry_after=1)
    with pytest.raises(NotificationError, match="ratelimited"):
        notifier.send(ALERT)
    assert remembered(ledger) == []
    assert notifier.send(ALERT)
