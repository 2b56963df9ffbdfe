"""Everything that kills is told, each with its code."""

from __future__ import annotations

from pathlib import Path

from quant_dagster.risk.kill_switch.conditions import KillCondition, kill_conditions
from quant_dagster.risk.kill_switch.heartbeat import beat
from quant_dagster.settings import KillSwitchSettings, RiskSettings
from quant_dagster.storage.ledger import Ledger
from tests.unit.risk.kill_switch.desks import START


def test_the_file_and_every_silence_are_told(books: Ledger, tmp_path: Path) -> None:
    settings = RiskSettings(kill_switch=KillSwitchSettings(heartbeats={"feed": 5, "desk": 5}))
    with books.write() as connection:
        never = ("desk never gave a sign of life", "feed never gave a sign of life")
        silent = tuple(KillCondition("heartbeat", reason) for reason in never)
        assert kill_conditions(connection, settings, tmp_path, START) == silent
        (tmp_path / "KILL").write_text("smoke")
        file = KillCondition("file", f"kill file {tmp_path}/KILL: smoke")
        assert kill_conditions(connection, settings, tmp_path, START) == (file, *silent)
        for name in ("feed", "desk"):
            beat(connection, name, state="ok", detail="", at=START)
        assert kill_conditions(connection, settings, tmp_path, START) == (file,)
        (tmp_path / "KILL").unlink()
        assert kill_conditions(connection, settings, tmp_path, START) == ()
    assert (file.code, file.actor) == ("kill_file", "kill_switch:file")
    assert (silent[0].code, silent[0].actor) == ("kill_heartbeat", "kill_switch:heartbeat")
