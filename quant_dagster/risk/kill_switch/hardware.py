"""The kill switch on the wall: a button, a tamper line and a lamp on GPIO pins, through gpiozero.

The button connects its pin to ground, the tamper line holds its pin at ground through the housing; both pins are pulled
up, so a cut wire to the tamper line is a kill. Debouncing is done here and not by gpiozero, whose ``bounce_time`` means
"ignore what follows" with one pin library, "wait until it is quiet" with another and nothing with a third. Nor is its
``Button`` used, whose thread for long presses keeps the pins, and the lamp on, for a second after they are let go.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self

from quant_dagster.errors import ConfigurationError
from quant_dagster.risk.control import ControlMode
from quant_dagster.risk.kill_switch import heartbeat
from quant_dagster.risk.kill_switch.software import engaged
from quant_dagster.risk.permission import kill, permission
from quant_dagster.settings import KillSwitchSettings, Settings
from quant_dagster.storage.ledger import Ledger

ACTOR = "kill_switch:hardware"
POLL_SECONDS = 0.02
_REASONS = {
    "pressed": "the button was pressed",
    "stuck": "the button is stuck",
    "tamper": "the tamper line is open",
}
_BLINK_SECONDS = 0.25


class HardwareSwitch:
    """The pins, and what they have said since they were last asked. Use it as a context: leaving it turns the lamp off.

    Parameters
    ----------
    settings
        Pins and times.
    pin_factory
        A gpiozero pin factory; None: the one of this machine.
    monotonic
        Seconds of a clock that never goes back.

    Raises
    ------
    ConfigurationError
        gpiozero is not installed, or the pins cannot be had.
    """

    _counted: bool
    """Whether the press that began at ``_held_since`` was told."""

    def __init__(
        self, settings: KillSwitchSettings, *, pin_factory: Any = None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._monotonic = monotonic
        self._lock = Lock()
        self._held_since: float | None = None
        self._latched: set[str] = set()
        self._button, self._tamper, self._led = self._open(pin_factory)
        self._follow_button()
        self._follow_tamper()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pins.close()

    def causes(self) -> set[str]:
        """Reasons to kill since the last call and now: ``pressed``, ``stuck``, ``tamper``. Empty: none."""
        self._follow_button()
        self._follow_tamper()
        with self._lock:
            causes, self._latched = self._latched, set()
            if self._held_since is not None:
                held = self._monotonic() - self._held_since
                if held >= self._settings.debounce_seconds:
                    self._counted = True
                    causes.add("pressed")
                if held > self._settings.stuck_seconds:
                    causes.add("stuck")
        return causes

    def show(self, *, allowed: bool) -> None:
        """The lamp: on while trading is allowed, blinking while it is not."""
        if allowed:
            self._led.on()
        else:
            self._led.blink(on_time=_BLINK_SECONDS, off_time=_BLINK_SECONDS)

    def _follow_button(self) -> None:
        """Called by gpiozero at every edge, and at every look in case one was lost."""
        with self._lock:
            pressed, now = self._button.is_active, self._monotonic()
            if pressed and self._held_since is None:
                self._held_since, self._counted = now, False
            if not pressed and self._held_since is not None:
                if not self._counted and now - self._held_since >= self._settings.debounce_seconds:
                    self._latched.add("pressed")
                self._held_since = None

    def _follow_tamper(self) -> None:
        if not self._tamper.is_active:
            self._on_tamper()

    def _on_tamper(self) -> None:
        """However short: a line that opened was opened."""
        with self._lock:
            self._latched.add("tamper")

    def _open(self, pin_factory: Any) -> tuple[Any, Any, Any]:
        try:
            gpiozero = import_module("gpiozero")
        except ImportError as error:
            raise ConfigurationError(
                "the hardware kill switch needs gpiozero: install quant_dagster[hardware] and a pin library (lgpio)"
            ) from error
        settings = self._settings
        with ExitStack() as pins:
            try:
                button, tamper = (
                    pins.enter_context(gpiozero.DigitalInputDevice(pin, pull_up=True, pin_factory=pin_factory))
                    for pin in (settings.button_pin, settings.tamper_pin)
                )
                led = pins.enter_context(gpiozero.LED(settings.led_pin, pin_factory=pin_factory))
            except gpiozero.GPIOZeroError as error:
                raise ConfigurationError(
                    f"GPIO pins {settings.button_pin} (button), {settings.tamper_pin} (tamper line) and "
                    f"{settings.led_pin} (lamp) of risk.kill_switch cannot be had: {error}"
                ) from error
            self._pins = pins.pop_all()
        button.when_activated = self._follow_button
        button.when_deactivated = self._follow_button
        tamper.when_deactivated = self._on_tamper
        return button, tamper, led


def run(
    switch: HardwareSwitch,
    ledger: Ledger,
    settings: Settings,
    home: Path,
    *,
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Watch the switch until interrupted, beating every ``beat_seconds``; a press, tampering or any failure kills.

    The lamp is off from the moment this ends, however it ends, and the heartbeat falls silent.
    """
    shown: bool | None = None
    due = monotonic()
    with switch:
        try:
            while True:
                causes = switch.causes()
                if causes or monotonic() >= due:
                    due = monotonic() + settings.risk.kill_switch.beat_seconds
                    allowed = _report(ledger, settings, home, causes)
                    if allowed is not shown:
                        switch.show(allowed=allowed)
                        shown = allowed
                sleep(POLL_SECONDS)
        except Exception as error:
            reason = f"the hardware switch failed: {type(error).__name__}: {error}"
            kill(ledger, settings, home, actor=ACTOR, reason=reason, automatic=True)
            raise


def _report(ledger: Ledger, settings: Settings, home: Path, causes: set[str]) -> bool:
    """Kill if there is a cause, beat, and say whether trading is allowed."""
    state, detail = heartbeat.OK, "armed"
    if causes:
        state = min(causes, key=("tamper", "stuck", "pressed").index)
        detail = " and ".join(_REASONS[cause] for cause in sorted(causes))
        kill(ledger, settings, home, actor=ACTOR, reason=detail, automatic=True)
    elif (reason := engaged(settings.risk.kill_switch, home)) is not None:
        state, detail = "killed", reason
    with ledger.write() as connection:
        heartbeat.beat(connection, heartbeat.HARDWARE, state=state, detail=detail, at=ledger.now())
        return permission(connection, settings, home, ledger.now()).mode is ControlMode.NORMAL
