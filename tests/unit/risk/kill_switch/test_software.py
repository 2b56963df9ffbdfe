"""The kill file: there or not to be looked at is a kill."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from quant_dagster.risk.kill_switch.software import engage, engaged, kill_file
from quant_dagster.settings import KillSwitchSettings
from tests.unit.risk.kill_switch.desks import START

DEFAULT = KillSwitchSettings()


def test_the_file_is_kill_at_home_or_where_the_settings_say(tmp_path: Path) -> None:
    assert kill_file(DEFAULT, tmp_path) == tmp_path / "KILL"
    assert kill_file(KillSwitchSettings(file=Path("stop/now")), tmp_path) == tmp_path / "stop/now"
    assert kill_file(KillSwitchSettings(file=Path("/run/kill")), tmp_path) == Path("/run/kill")


def test_no_file_is_no_kill(tmp_path: Path) -> None:
    assert engaged(DEFAULT, tmp_path) is None
    assert engaged(DEFAULT, tmp_path / "a home not yet used") is None
    assert engaged(KillSwitchSettings(file=Path("stop")), tmp_path) is None


def test_the_file_says_who_and_why_and_the_first_reason_stays(tmp_path: Path) -> None:
    path = tmp_path / "not" / "yet" / "KILL"
    assert engage(path, actor="ada", reason="smoke\nin the hall \udcff", at=START) is True
    assert path.read_bytes() == b"ada: smoke\nin the hall ? (2023-01-03T14:30:00+00:00)\n"
    assert path.stat().st_mode & 0o777 == 0o644 & ~_umask()
    assert engage(path, actor="bo", reason="fire", at=START) is False
    said = engaged(DEFAULT, path.parent)
    assert said == f"kill file {path}: ada: smoke in the hall ? (2023-01-03T14:30:00+00:00)"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_the_file_and_its_name_are_on_the_disk_when_it_is_engaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []

    def fsync(descriptor: int) -> None:
        content = (tmp_path / "KILL").read_text()
        synced.append((os.path.samestat(os.fstat(descriptor), tmp_path.stat()), content))

    monkeypatch.setattr(os, "fsync", fsync)
    open_before = len(os.listdir("/proc/self/fd"))
    engage(tmp_path / "KILL", actor="ada", reason="x", at=START)
    line = "ada: x (2023-01-03T14:30:00+00:00)\n"
    assert synced == [(False, line), (True, line)]
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_a_touched_file_kills(tmp_path: Path) -> None:
    (tmp_path / "KILL").touch()
    assert engaged(DEFAULT, tmp_path) == f"kill file {tmp_path}/KILL: no reason given"


def test_a_long_reason_is_cut_and_bytes_that_are_no_text_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "KILL").write_bytes(b"\xff" + b"x" * 1000)
    assert engaged(DEFAULT, tmp_path) == f"kill file {tmp_path}/KILL: �{'x' * 499}"


def test_a_link_to_nowhere_and_a_folder_kill(tmp_path: Path) -> None:
    (tmp_path / "KILL").symlink_to(tmp_path / "nowhere")
    assert engaged(DEFAULT, tmp_path) == f"kill file {tmp_path}/KILL: cannot be read (No such file or directory)"
    folder = tmp_path / "folder"
    (folder / "KILL").mkdir(parents=True)
    assert engaged(DEFAULT, folder) == f"kill file {folder}/KILL: cannot be read (Is a directory)"


def test_a_place_that_cannot_be_looked_at_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "a file"
    home.touch()
    assert engaged(DEFAULT, home) == f"kill file {home}/KILL cannot be looked for: Not a directory"

    def forbidden(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "lstat", forbidden)
    assert engaged(DEFAULT, tmp_path) == f"kill file {tmp_path}/KILL cannot be looked for: Permission denied"


def test_a_missing_folder_of_a_named_file_kills(tmp_path: Path) -> None:
    named = KillSwitchSettings(file=tmp_path / "not mounted" / "KILL")
    assert engaged(named, tmp_path) == (
        f"kill file {tmp_path}/not mounted/KILL: its folder is missing, so it cannot be told whether the file is there"
    )


def test_a_file_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        engage(tmp_path / "file" / "KILL", actor="ada", reason="x", at=START)
