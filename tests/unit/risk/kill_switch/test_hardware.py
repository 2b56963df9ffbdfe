"""The button, the tamper line and the lamp, on gpiozero's own mock pins: real devices, real threads, another clock."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gpiozero.pins.mock import MockFactory
from sqlalchemy import select, text

from quant_dagster.errors import ConfigurationError, RiskError
from quant_dagster.risk.control import ControlMode, escalate, history, read_mode
from quant_dagster.risk.kill_switch.hardware import HardwareSwitch, run
from quant_dagster.risk.permission import read_permission
from quant_dagster.settings import KillSwitchSettings, Settings
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import heartbeats
from tests.unit.risk.kill_switch.desks import START, Moment, audited, desk_settings

PINS = KillSwitchSettings()


class Wall:
    """What is screwed to the wall: a button, a housing that may be opened, a lamp; and seconds that pass when told."""

    def __init__(self) -> None:
        self.factory = MockFactory()
        self.now = 100.0
        self.button, self.tamper = self.factory.pin(PINS.button_pin), self.factory.pin(PINS.tamper_pin)
        for pin in (self.button, self.tamper):
            pin.function = "input"
            pin.pull = "up"
        self.tamper.drive_low()

    def press(self) -> None:
        self.button.drive_low()

    def release(self) -> None:
        self.button.drive_high()

    @property
    def lamp(self):
        return self.factory.pin(PINS.led_pin)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Iterator[Wall]:
    wall = Wall()
    # A device that is made sets its pull, and a mock pin then reads as if nothing were connected: what is connected
    # stays connected.
    pull = type(wall.button)._set_pull

    def connected(pin, value) -> None:
        before = pin.state
        pull(pin, value)
        pin._change_state(before)

    monkeypatch.setattr(type(wall.button), "_set_pull", connected)
    yield wall
    wall.factory.reset()


@pytest.fixture
def switch(wall: Wall) -> Iterator[HardwareSwitch]:
    with HardwareSwitch(PINS, pin_factory=wall.factory, monotonic=lambda: wall.now) as switch:
        yield switch


def test_an_untouched_switch_has_no_cause(switch: HardwareSwitch) -> None:
    assert switch.causes() == set()


def test_a_contact_shorter_than_the_debounce_is_a_bounce(wall: Wall, switch: HardwareSwitch) -> None:
    for _ in range(20):
        wall.press()
        wall.now += 0.04
        assert switch.causes() == set()
        wall.release()
        wall.now += 0.001
    assert switch.causes() == set()


@pytest.mark.parametrize("looked", [True, False])
def test_a_press_of_the_debounce_time_is_one_press(wall: Wall, looked: bool) -> None:
    settings = KillSwitchSettings(debounce_seconds=0.0625)
    with HardwareSwitch(settings, pin_factory=wall.factory, monotonic=lambda: wall.now) as switch:
        wall.press()
        wall.now += 0.0625
        if looked:  # while it is held
            assert switch.causes() == {"pressed"}
        wall.release()
        assert switch.causes() == (set() if looked else {"pressed"})
        assert switch.causes() == set()
        wall.now += 1
        wall.press()
        wall.now += 0.0625
        wall.release()
        assert switch.causes() == {"pressed"}


def test_a_button_held_longer_than_the_stuck_time_is_stuck(wall: Wall, switch: HardwareSwitch) -> None:
    wall.press()
    wall.now += 10
    assert switch.causes() == {"pressed"}
    wall.now += 0.125
    assert switch.causes() == {"pressed", "stuck"}
    assert switch.causes() == {"pressed", "stuck"}
    wall.release()
    assert switch.causes() == set()


def test_a_button_that_is_held_from_the_start_counts(wall: Wall) -> None:
    wall.press()
    with HardwareSwitch(PINS, pin_factory=wall.factory, monotonic=lambda: wall.now) as switch:
        wall.now += 1
        assert switch.causes() == {"pressed"}


def test_an_edge_that_was_lost_is_seen_at_the_next_look(wall: Wall, switch: HardwareSwitch) -> None:
    wall.button._change_state(False)
    assert switch.causes() == set()
    wall.now += 1
    assert switch.causes() == {"pressed"}
    wall.button._change_state(True)
    assert switch.causes() == set()
    wall.tamper._change_state(True)
    assert switch.causes() == {"tamper"}


def test_the_tamper_line_opened_for_a_moment_is_a_cause(wall: Wall, switch: HardwareSwitch) -> None:
    wall.tamper.drive_high()
    wall.tamper.drive_low()
    assert switch.causes() == {"tamper"}
    assert switch.causes() == set()
    wall.tamper.drive_high()
    assert switch.causes() == {"tamper"}
    assert switch.causes() == {"tamper"}


def test_a_tamper_line_that_is_not_connected_is_a_cause_from_the_start(wall: Wall) -> None:
    wall.tamper.drive_high()
    with HardwareSwitch(PINS, pin_factory=wall.factory) as switch:
        assert switch.causes() == {"tamper"}


def test_edges_of_other_threads_are_not_lost(wall: Wall, switch: HardwareSwitch) -> None:
    def somebody() -> None:
        wall.press()
        wall.now += 1
        wall.release()

    thread = threading.Thread(target=somebody)
    thread.start()
    thread.join()
    assert switch.causes() == {"pressed"}


def test_the_lamp(wall: Wall, switch: HardwareSwitch, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    blink = switch._led.blink
    monkeypatch.setattr(switch._led, "blink", lambda **times: (asked.append(times), blink(**times)))
    assert not wall.lamp.state
    switch.show(allowed=True)
    assert wall.lamp.state
    wall.lamp.clear_states()
    switch.show(allowed=False)
    for _ in range(1000):  # a thread of its own blinks
        if len(wall.lamp.states) >= 4:
            break
        threading.Event().wait(0.01)
    wall.lamp.assert_states([True, False, True, False])
    switch.show(allowed=True)
    assert wall.lamp.state
    assert asked == [{"on_time": 0.25, "off_time": 0.25}]
    switch.__exit__(None, None, None)
    assert wall.lamp.function == "input"  # nothing drives it: dark


def test_the_pins_are_those_of_the_settings(wall: Wall) -> None:
    other = KillSwitchSettings(button_pin=5, tamper_pin=6, led_pin=13)
    wall.factory.pin(6).drive_low()
    with HardwareSwitch(other, pin_factory=wall.factory, monotonic=lambda: wall.now) as switch:
        switch.show(allowed=True)
        assert wall.factory.pin(13).state
        assert (wall.factory.pin(5).pull, wall.factory.pin(6).pull) == ("up", "up")
        wall.factory.pin(5).drive_low()
        wall.now += 1
        assert switch.causes() == {"pressed"}
        wall.factory.pin(6).drive_high()
        assert switch.causes() == {"pressed", "tamper"}


def test_pins_that_cannot_be_had_are_named_and_none_is_kept(wall: Wall) -> None:
    same = KillSwitchSettings(button_pin=5, tamper_pin=6, led_pin=5)
    said = r"^GPIO pins 5 \(button\), 6 \(tamper line\) and 5 \(lamp\) of risk.kill_switch cannot be had: .*in use"
    with pytest.raises(ConfigurationError, match=said):
        HardwareSwitch(same, pin_factory=wall.factory)
    wall.factory.pin(6).drive_low()
    with HardwareSwitch(KillSwitchSettings(button_pin=5, tamper_pin=6, led_pin=7), pin_factory=wall.factory):
        pass


@pytest.mark.filterwarnings("ignore:Falling back")
def test_a_machine_without_pins_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "native")
    with pytest.raises(ConfigurationError, match=r"GPIO pins 17 .* cannot be had"):
        HardwareSwitch(PINS)


def test_gpiozero_missing_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gpiozero", None)
    with pytest.raises(
        ConfigurationError, match=r"needs gpiozero: install quant_dagster\[hardware\] and a pin library"
    ):
        HardwareSwitch(PINS)


# -- the loop ---------------------------------------------------------------------------------------------------------


class Done(BaseException):
    """The end of a test's script: like Ctrl-C, no failure of the switch."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return desk_settings(tmp_path, kill_switch={"hardware": True, "beat_seconds": 1, "silence_seconds": 10})


@pytest.fixture
def watch(wall: Wall, switch: HardwareSwitch, books: Ledger, moment: Moment, settings: Settings, tmp_path: Path):
    """Run the loop; after each round it sleeps, and the next step of the script happens. Says how long it slept."""

    def run_script(*script: Callable[[], object]) -> list[float]:
        slept: list[float] = []
        steps = iter(script)

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            for step in steps:
                step()
                return
            raise Done

        with pytest.raises(Done):
            run(switch, books, settings, tmp_path, sleep=sleep, monotonic=lambda: wall.now)
        return slept

    return run_script


def last_beat(ledger: Ledger):
    with ledger.read() as connection:
        return connection.execute(select(heartbeats)).one()


def test_it_beats_and_the_lamp_is_on_while_trading_is_allowed(
    watch, wall: Wall, switch: HardwareSwitch, books: Ledger, moment: Moment, settings: Settings, tmp_path: Path
) -> None:
    beats: list[object] = []

    def pass_time(seconds: float) -> Callable[[], None]:
        def step() -> None:
            beats.append(last_beat(books).beat_at)
            wall.now += seconds
            moment.move(seconds)

        return step

    def lamp_is_on() -> None:
        assert wall.lamp.state
        assert read_permission(books, settings, tmp_path).mode is ControlMode.NORMAL

    slept = watch(lamp_is_on, pass_time(0.75), pass_time(0.25), pass_time(0.75), pass_time(0.25), lamp_is_on)
    assert slept == [0.02] * 7
    assert [(at - START).total_seconds() for at in beats] == [0, 0, 1, 1]
    row = last_beat(books)
    assert (row.name, row.state, row.detail) == ("hardware_switch", "ok", "armed")
    assert (row.beat_at - START).total_seconds() == 2
    assert wall.lamp.function == "input"  # and dark once it ended
    moment.move(10.5)
    assert read_permission(books, settings, tmp_path).codes == ("kill_heartbeat",)


def test_a_press_kills_once_at_once_and_release_does_not_un_kill(
    watch, wall: Wall, books: Ledger, settings: Settings, tmp_path: Path
) -> None:
    def press() -> None:
        wall.press()
        wall.now += 0.0625

    def killed() -> None:
        row = last_beat(books)
        assert (row.state, row.detail) == ("pressed", "the button was pressed")
        assert (tmp_path / "KILL").read_text().startswith("kill_switch:hardware: the button was pressed (")
        wall.release()
        wall.now += 1

    def still_killed() -> None:
        row = last_beat(books)
        assert row.state == "killed" and row.detail.startswith(f"kill file {tmp_path}/KILL: kill_switch:hardware")

    watch(press, killed, still_killed, press, wall.release)
    with books.read() as connection:
        (change,) = history(connection, 9)
    assert (change.mode, change.actor, change.automatic) == ("EMERGENCY", "kill_switch:hardware", True)
    assert [action for _, action, _ in audited(books)] == ["control_mode", "kill"]
    assert read_permission(books, settings, tmp_path).codes == ("control_emergency", "kill_file", "kill_heartbeat")


def test_a_bounce_does_not_kill(watch, wall: Wall, books: Ledger) -> None:
    def bounce() -> None:
        wall.press()
        wall.now += 0.03
        wall.release()

    watch(bounce, bounce, lambda: None)
    assert read_mode(books).mode is ControlMode.NORMAL


@pytest.mark.parametrize("cause", ["tamper", "stuck"])
def test_tampering_and_a_stuck_button_kill_and_are_told(watch, wall: Wall, books: Ledger, cause: str) -> None:
    def happen() -> None:
        if cause == "tamper":
            wall.tamper.drive_high()
        wall.press()
        wall.now += 11

    watch(happen, lambda: None)
    row = last_beat(books)
    details = {"tamper": "the button was pressed and the button is stuck and the tamper line is open",
               "stuck": "the button was pressed and the button is stuck"}  # fmt: skip
    assert (row.state, row.detail) == (cause, details[cause])
    assert read_mode(books).mode is ControlMode.EMERGENCY
    assert read_mode(books).reason == details[cause]


def test_a_file_removed_while_the_button_is_held_comes_back(watch, wall: Wall, tmp_path: Path) -> None:
    def press() -> None:
        wall.press()
        wall.now += 1

    watch(press, (tmp_path / "KILL").unlink, lambda: None)
    assert (tmp_path / "KILL").exists()


def test_the_lamp_blinks_in_every_mode_but_normal(
    watch, wall: Wall, switch: HardwareSwitch, books: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[bool] = []
    monkeypatch.setattr(switch, "show", lambda *, allowed: shown.append(allowed))

    def pause() -> None:
        with books.write() as connection:
            escalate(connection, ControlMode.PAUSE, actor="x", reason="x", at=START)
        wall.now += 1

    def later() -> None:
        wall.now += 1

    watch(later, pause, later)
    assert shown == [True, False]  # set only when it changes


def test_any_failure_kills_and_the_lamp_goes_off(
    switch: HardwareSwitch, wall: Wall, books: Ledger, settings: Settings, tmp_path: Path
) -> None:
    with books.write() as connection:
        escalate(connection, ControlMode.PAUSE, actor="x", reason="x", at=START)
        connection.execute(text("UPDATE control_state SET mode = 'SLEEPY'"))
    with pytest.raises(Exception, match="trading is killed all the same") as failure:
        run(switch, books, settings, tmp_path, sleep=lambda _: None, monotonic=lambda: wall.now)
    assert isinstance(failure.value.__context__, RiskError)
    assert (tmp_path / "KILL").exists()
    assert wall.lamp.function == "input"


def test_a_failing_device_kills_and_says_how(
    switch: HardwareSwitch, wall: Wall, books: Ledger, settings: Settings, tmp_path: Path
) -> None:
    def sleep(_seconds: float) -> None:
        switch._button.close()

    with pytest.raises(Exception, match="closed or uninitialized"):
        run(switch, books, settings, tmp_path, sleep=sleep, monotonic=lambda: wall.now)
    state = read_mode(books)
    assert (state.mode, state.actor) == (ControlMode.EMERGENCY, "kill_switch:hardware")
    assert state.reason.startswith("the hardware switch failed: GPIODeviceClosed: DigitalInputDevice is closed")
    assert (tmp_path / "KILL").exists()
