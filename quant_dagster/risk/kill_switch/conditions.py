"""Which kill conditions hold now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection

from quant_dagster.risk.kill_switch.heartbeat import silent
from quant_dagster.risk.kill_switch.software import engaged
from quant_dagster.settings import RiskSettings


@dataclass(frozen=True)
class KillCondition:
    """One reason to stop: where it comes from (``file`` or ``heartbeat``), and a sentence."""

    source: str
    reason: str

    @property
    def code(self) -> str:
        """Reason code of orders that are refused for it."""
        return f"kill_{self.source}"

    @property
    def actor(self) -> str:
        """Who a change of mode is put down to."""
        return f"kill_switch:{self.source}"


def kill_conditions(
    connection: Connection, settings: RiskSettings, home: Path, now: datetime
) -> tuple[KillCondition, ...]:
    """Every condition that holds; none: nothing is killed."""
    file = engaged(settings.kill_switch, home)
    found = [KillCondition("file", file)] if file is not None else []
    found += [KillCondition("heartbeat", silence.reason) for silence in silent(connection, settings, now)]
    return tuple(found)
