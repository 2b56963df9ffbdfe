"""What may be traded now: the strictest of everything, and nothing at all where it cannot be told."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text

from quant_dagster.errors import RiskError, StorageError
from quant_dagster.observability import audit
from quant_dagster.risk import operators
from quant_dagster.risk.control import ControlChange, ControlMode, escalate, history, read_mode, set_mode
from quant_dagster.risk.kill_switch.conditions import KillCondition
from quant_dagster.risk.kill_switch.heartbeat import beat
from quant_dagster.risk.permission import Permission, enforce_kill, kill, permission, read_permission
from quant_dagster.settings import Settings
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import audit_log
from tests.unit.risk.kill_switch.desks import PASSPHRASE, START, Moment, audited, desk_settings, new_ledger

NORMAL, PAUSE, REDUCE, EMERGENCY = ControlMode
SILENT = "feed never gave a sign of life"


@pytest.fixture
def moment() -> Moment:
    return Moment()


@pytest.fixture
def books(tmp_path: Path, moment: Moment, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(operators._SCRYPT, "n", 4)
    ledger = new_ledger(tmp_path, moment)
    yield ledger
    ledger.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


@pytest.fixture
def settings(home: Path) -> Settings:
    return desk_settings(home)


def changes(ledger: Ledger) -> list[ControlChange]:
    with ledger.read() as connection:
        return history(connection, 99)


def test_a_new_desk_may_trade(ledger: Ledger, settings: Settings, home: Path) -> None:
    assert read_permission(ledger, settings, home) == Permission(NORMAL, (), ())


@pytest.mark.parametrize("mode", [PAUSE, REDUCE, EMERGENCY])
def test_the_stored_mode_is_obeyed(books: Ledger, settings: Settings, home: Path, mode: ControlMode) -> None:
    set_mode(books, mode, person="ada", reason="why")
    expected = Permission(mode, (f"control_{mode.name.lower()}",), ("ada: why",))
    assert read_permission(books, settings, home) == expected


@pytest.mark.parametrize("stored", [NORMAL, PAUSE, REDUCE, EMERGENCY])
@pytest.mark.parametrize("of_a_kill", ["PAUSE", "REDUCE", "EMERGENCY"])
def test_a_kill_makes_it_as_strict_as_the_stricter_of_both(
    books: Ledger, home: Path, stored: ControlMode, of_a_kill: str
) -> None:
    settings = desk_settings(home, kill_switch={"mode": of_a_kill, "heartbeats": {"feed": 5}})
    set_mode(books, stored, person="ada", reason="why")
    (home / "KILL").write_text("smoke")
    allowed = read_permission(books, settings, home)
    assert allowed.mode is max(stored, ControlMode[of_a_kill])
    control = () if stored is NORMAL else (f"control_{stored.name.lower()}",)
    assert allowed.codes == (*control, "kill_file", "kill_heartbeat")
    assert allowed.reasons[len(control) :] == (f"kill file {home}/KILL: smoke", SILENT)
    assert read_mode(books).mode is stored  # asking changes nothing


def test_what_cannot_be_read_is_an_error(books: Ledger, settings: Settings, home: Path) -> None:
    said = "the control state cannot be read, so no new orders: "
    with pytest.raises(RiskError, match=f"^{said}reading ledger sqlite:///{home}: unable to open"):
        read_permission(Ledger(f"sqlite:///{home}"), settings, home)
    with books.write() as connection:
        escalate(connection, PAUSE, actor="x", reason="x", at=START)
        connection.execute(text("UPDATE control_state SET mode = 'SLEEPY'"))
        with pytest.raises(RiskError, match="control mode 'SLEEPY' in the ledger is unknown"):
            permission(connection, settings, home, START)
        connection.execute(text("UPDATE audit_log SET recorded_at = 'yesterday'"))
        with pytest.raises(RiskError, match=f"^{said}.*yesterday"):
            permission(connection, settings, home, START)
        connection.execute(text("DROP TABLE control_state"))
        with pytest.raises(RiskError, match=f"^{said}.*no such table: control_state$"):
            permission(connection, settings, home, START)


def record(ledger: Ledger, key: str, seconds: float) -> None:
    with ledger.write() as connection:
        audit.append(connection, key, "something", actor="desk", at=START + timedelta(seconds=seconds))


def test_a_clock_behind_the_newest_record_allows_nothing(books: Ledger, home: Path, moment: Moment) -> None:
    settings = desk_settings(home, clock_tolerance_seconds=5)
    record(books, "ahead", 6)
    record(books, "written since", -60)
    moment.move(1)
    assert read_permission(books, settings, home).mode is NORMAL
    moment.move(-0.5)
    expected = (
        r"the clock says 2023-01-03T14:30:00.500000\+00:00 and is 5.5 s behind the newest record: no new orders until "
        "it is right, or an operator sets the control mode anew"
    )
    with pytest.raises(RiskError, match=expected):
        read_permission(books, settings, home)


def test_records_of_a_clock_that_ran_ahead_end_with_a_person_who_sets_the_mode(
    books: Ledger, settings: Settings, home: Path
) -> None:
    operators.add(books, "ada", PASSPHRASE)
    record(books, "next year", 365 * 86_400)
    with books.write() as connection:
        escalate(connection, PAUSE, actor="drawdown", reason="a rule vouches for nothing", at=START)
    with pytest.raises(RiskError, match="behind"):
        read_permission(books, settings, home)
    set_mode(books, NORMAL, person="ada", reason="clock put right", passphrase=PASSPHRASE, settings=settings)
    assert read_permission(books, settings, home).mode is NORMAL
    record(books, "ahead again", 60)
    with pytest.raises(RiskError, match="60 s behind"):
        read_permission(books, settings, home)


def test_the_record_of_the_person_counts(books: Ledger, settings: Settings, home: Path, moment: Moment) -> None:
    moment.move(60)
    set_mode(books, EMERGENCY, person="ada", reason="x")
    moment.move(-60)
    with pytest.raises(RiskError, match="60 s behind"):
        read_permission(books, settings, home)


def test_the_newest_thousand_records_are_looked_at(books: Ledger, settings: Settings, home: Path) -> None:
    row = {"action": "x", "actor": "x", "payload": "{}", "previous_hash": "", "hash": ""}
    rows = [{**row, "sequence": n, "event_key": str(n), "recorded_at": START} for n in range(1, 1001)]
    rows[0]["recorded_at"] = START + timedelta(seconds=60)
    with books.write() as connection:
        connection.execute(audit_log.insert(), rows)
    with pytest.raises(RiskError, match="60 s behind"):
        read_permission(books, settings, home)
    record(books, "one more", 0)
    assert read_permission(books, settings, home).mode is NORMAL


def test_a_kill_that_holds_becomes_the_stored_mode_once(books: Ledger, home: Path, moment: Moment) -> None:
    settings = desk_settings(home, kill_switch={"mode": "REDUCE", "heartbeats": {"feed": 5}})
    (home / "KILL").write_text("smoke")
    file = KillCondition("file", f"kill file {home}/KILL: smoke")
    moment.move(3)
    for _ in range(2):
        assert enforce_kill(books, settings, home) == (file, KillCondition("heartbeat", SILENT))
    at = START + timedelta(seconds=3)
    assert changes(books) == [ControlChange(1, "REDUCE", "NORMAL", "kill_switch:file", True, file.reason, at)]


def test_a_kill_outlives_its_file(books: Ledger, settings: Settings, home: Path) -> None:
    (home / "KILL").touch()
    enforce_kill(books, settings, home)
    (home / "KILL").unlink()
    assert enforce_kill(books, settings, home) == ()
    assert read_permission(books, settings, home).mode is EMERGENCY


def test_a_silent_process_escalates(books: Ledger, home: Path, moment: Moment) -> None:
    settings = desk_settings(home, kill_switch={"mode": "PAUSE", "heartbeats": {"feed": 5}})
    with books.write() as connection:
        beat(connection, "feed", state="ok", detail="", at=START)
    moment.move(5)
    assert enforce_kill(books, settings, home) == ()
    moment.move(1)
    enforce_kill(books, settings, home)
    (change,) = changes(books)
    assert (change.mode, change.actor) == ("PAUSE", "kill_switch:heartbeat")
    assert change.reason == "feed is silent for 6 s, allowed are 5 s"


def test_a_kill_by_a_person_is_file_mode_and_audit(ledger: Ledger, settings: Settings, home: Path) -> None:
    assert kill(ledger, settings, home, actor="a" * 65, reason="smoke", automatic=False) is True
    assert (home / "KILL").read_text().startswith("a" * 64 + ": smoke (2023-01-03T")
    (change,) = changes(ledger)
    assert (change.mode, change.actor, change.automatic, change.reason) == ("EMERGENCY", "a" * 64, False, "smoke")
    assert kill(ledger, settings, home, actor="bo", reason="fire", automatic=True) is False
    assert [row[1:] for row in audited(ledger)] == [("control_mode", "a" * 64), ("kill", "a" * 64)]
    with ledger.read() as connection:
        row = connection.execute(select(audit_log).where(audit_log.c.action == "kill")).one()
    assert row.payload == f'{{"file":"{home}/KILL","new":true,"reason":"smoke"}}'
    assert row.event_key == f"kill:{row.recorded_at.isoformat()}:{'a' * 64}"


def test_either_half_of_a_kill_alone_is_audited(books: Ledger, home: Path, moment: Moment) -> None:
    settings = desk_settings(home, kill_switch={"mode": "PAUSE"})
    set_mode(books, EMERGENCY, person="ada", reason="x")
    assert kill(books, settings, home, actor="bo", reason="file alone", automatic=True) is True
    assert [change.mode for change in changes(books)] == ["EMERGENCY"]
    assert audited(books)[-1][1:] == ("kill", "bo")
    operators.add(books, "ada", PASSPHRASE)
    (home / "KILL").unlink()
    for mode in (PAUSE, NORMAL):
        set_mode(books, mode, person="ada", reason="x", passphrase=PASSPHRASE, settings=settings)
    (home / "KILL").touch()
    moment.move(1)
    assert kill(books, settings, home, actor="bo", reason="mode alone", automatic=True) is False
    assert (changes(books)[0].mode, changes(books)[0].automatic) == ("PAUSE", True)
    assert audited(books)[-1] == ("kill:2023-01-03T14:30:01+00:00:bo", "kill", "bo")


def test_a_kill_whose_file_cannot_be_made_sets_the_mode(books: Ledger, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = desk_settings(tmp_path, kill_switch={"file": tmp_path / "file" / "KILL"})
    for _ in range(2):
        with pytest.raises(
            StorageError, match=f"^kill file {tmp_path}/file/KILL cannot be made .*killed all the same$"
        ):
            kill(books, settings, tmp_path, actor="ada", reason="smoke", automatic=False)
    assert read_mode(books).mode is EMERGENCY
    assert [action for _, action, _ in audited(books)] == ["control_mode", "kill"]  # not again
    with books.read() as connection:
        payload = connection.execute(select(audit_log.c.payload).order_by(audit_log.c.sequence.desc())).scalar()
    assert payload == f'{{"file":"{tmp_path}/file/KILL","new":false,"reason":"smoke"}}'


def test_a_kill_whose_mode_cannot_be_set_makes_the_file(books: Ledger, settings: Settings, home: Path) -> None:
    with books.write() as connection:
        escalate(connection, PAUSE, actor="x", reason="x", at=START)
        connection.execute(text("UPDATE control_state SET mode = 'SLEEPY'"))
    with pytest.raises(StorageError, match=r"^the control mode cannot be set .*SLEEPY.*; trading is killed all"):
        kill(books, settings, home, actor="ada", reason="smoke", automatic=False)
    assert (home / "KILL").exists()


def test_a_kill_that_fails_altogether_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = desk_settings(tmp_path, kill_switch={"file": tmp_path / "file" / "KILL"})
    empty = Ledger(f"sqlite:///{tmp_path}/empty.db")
    with pytest.raises(StorageError, match=r"made .* and the control mode cannot be set .*NOT killed: stop the"):
        kill(empty, settings, tmp_path, actor="ada", reason="smoke", automatic=False)
