"""The kill file: while it exists, trading is killed. Any program, or a person with ``touch``, can make it."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from quant_dagster.settings import KillSwitchSettings

_SHOWN = 500


def kill_file(settings: KillSwitchSettings, home: Path) -> Path:
    """Where the file is looked for: the setting's path (a relative one is below ``home``), else ``home/KILL``."""
    return home / (settings.file or "KILL")


def engage(path: Path, *, actor: str, reason: str, at: datetime) -> bool:
    """Make the file, with who did it and why, and see it onto the disk; says whether it was not there before.

    The first reason stays: engaging again changes nothing.

    Raises
    ------
    OSError
        The file can be neither found nor made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return False
    with open(descriptor, "w", encoding="utf-8", errors="replace") as file:
        file.write(f"{actor}: {reason} ({at.isoformat()})\n")
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return True


def engaged(settings: KillSwitchSettings, home: Path) -> str | None:
    """Why the file kills; None where there is certainly no such file.

    A link to nowhere is a file. A place that cannot be looked at kills, and so does a missing folder of a file that
    the settings name: it may be a disk that is not mounted. A missing ``home`` does not: it is a desk not yet used.
    """
    path = kill_file(settings, home)
    try:
        path.lstat()
    except FileNotFoundError:
        if settings.file is None or path.parent.is_dir():
            return None
        return f"kill file {path}: its folder is missing, so it cannot be told whether the file is there"
    except OSError as error:
        return f"kill file {path} cannot be looked for: {error.strerror}"
    return f"kill file {path}: {_content(path)}"


def _content(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            text = " ".join(file.read(_SHOWN).split())
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return text or "no reason given"
