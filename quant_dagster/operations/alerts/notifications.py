"""Telling people: Slack messages in Block Kit, each alert once, and the log when there is no Slack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, select

from quant_dagster.errors import QuantError
from quant_dagster.observability.logs import get_logger
from quant_dagster.settings import NotificationSettings
from quant_dagster.storage.ledger import Ledger, insert_new
from quant_dagster.storage.ledger_tables import alerts

MAX_BLOCKS = 50
"""Blocks Slack accepts in one message."""
_MAX_SECTION_TEXT = 3000
_MAX_HEADER_TEXT = 150

log = get_logger("quant_dagster.notifications")


class NotificationError(QuantError):
    """Slack refused or could not be reached; the alert counts as not delivered and is tried again."""


class Severity(StrEnum):
    """How much an alert matters."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


_MARKS = {
    Severity.INFO: ":information_source:",
    Severity.WARNING: ":warning:",
    Severity.ERROR: ":x:",
    Severity.CRITICAL: ":rotating_light:",
}


@dataclass(frozen=True)
class Alert:
    """Something people should hear of.

    Attributes
    ----------
    key
        Names the event: an alert of the same key is sent once.
    details
        Lines under the title, each a fact.
    link
        Where to look.
    """

    key: str
    severity: Severity
    title: str
    details: tuple[str, ...] = field(default_factory=tuple)
    link: str | None = None


def blocks(alert: Alert) -> list[dict[str, Any]]:
    """The alert as Slack blocks: a header, the details in sections, and a link; never more than 50 blocks."""
    header = {"type": "header", "text": _plain(f"{alert.severity.value.upper()}: {alert.title}"[:_MAX_HEADER_TEXT])}
    result: list[dict[str, Any]] = [header]
    sections = [_section(_escape(line)) for line in alert.details]
    room = MAX_BLOCKS - 1 - (1 if alert.link else 0)
    if len(sections) > room:
        left_out = len(sections) - room + 1
        sections = [*sections[: room - 1], _section(f"… and {left_out} more")]
    result += sections
    if alert.link:
        context = {"type": "mrkdwn", "text": f"{_MARKS[alert.severity]} <{alert.link}|Open in Dagster>"}
        result.append({"type": "context", "elements": [context]})
    return result


def untold(connection: Connection, found: Sequence[Alert]) -> list[Alert]:
    """Those of ``found`` that nobody was told of yet."""
    told = select(alerts.c.alert_key).where(alerts.c.alert_key.in_([alert.key for alert in found]))
    known = set(connection.execute(told).scalars())
    return [alert for alert in found if alert.key not in known]


class Notifier:
    """Sends alerts once each.

    Parameters
    ----------
    settings
        Token, channel and address of Slack; without a token alerts are logged, and that is said once.
    ledger
        Remembers which alerts were delivered, across processes.
    """

    def __init__(self, settings: NotificationSettings, ledger: Ledger) -> None:
        self.settings = settings
        self.ledger = ledger
        self._said_no_token = False

    def send(self, alert: Alert) -> bool:
        """Deliver an alert unless it has been; says whether it was delivered to Slack now.

        Raises
        ------
        NotificationError
            Slack refused it or was unreachable. Nothing is remembered, so that it can be tried again.
        """
        with self.ledger.read() as connection:
            if not untold(connection, [alert]):
                return False
        delivered = self._deliver(alert)
        with self.ledger.write() as connection:
            row = {
                "alert_key": alert.key,
                "severity": alert.severity.value,
                "title": alert.title,
                "delivered": int(delivered),
                "recorded_at": self.ledger.now(),
            }
            insert_new(connection, alerts, row)
        return delivered

    def _deliver(self, alert: Alert) -> bool:
        log.warning("alert", key=alert.key, severity=alert.severity.value, title=alert.title, details=alert.details)
        if self.settings.slack_token is None:
            if not self._said_no_token:
                self._said_no_token = True
                log.warning("no Slack token: alerts are only logged; set QUANT_NOTIFICATIONS__SLACK_TOKEN to send them")
            return False
        from slack_sdk import WebClient
        from slack_sdk.errors import SlackApiError, SlackClientError
        from slack_sdk.http_retry.builtin_handlers import RateLimitErrorRetryHandler

        client = WebClient(
            token=self.settings.slack_token.get_secret_value(), base_url=self.settings.slack_base_url, timeout=10
        )
        client.retry_handlers.append(RateLimitErrorRetryHandler(max_retry_count=3))
        text = f"{alert.severity.value.upper()}: {alert.title}"
        try:
            client.chat_postMessage(channel=self.settings.slack_channel, text=text, blocks=blocks(alert))
        except SlackApiError as error:
            raise NotificationError(f"Slack refused alert '{alert.key}': {error.response.get('error')}") from error
        except (SlackClientError, OSError) as error:
            raise NotificationError(f"Slack at {self.settings.slack_base_url} is unreachable: {error}") from error
        return True


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": True}


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text[:_MAX_SECTION_TEXT]}}


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
