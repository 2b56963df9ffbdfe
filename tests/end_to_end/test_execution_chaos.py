"""Whatever happens on the way to the broker: as many orders as intents, every execution booked once, to the cent."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.chaos import Storm


def weather(home: Path, seed: int, intents: int) -> None:
    done = Storm(home, seed, intents).run()
    print(done.summary())
    assert done.problems == [], f"{done.summary()}\n{done.output[-4000:]}"
    assert done.kills >= 3
    assert done.kills + done.cuts + done.silences + done.outages + done.corrections + done.busts >= 10


@pytest.mark.slow
def test_nothing_is_lost_or_doubled_in_a_storm(tmp_path: Path) -> None:
    weather(tmp_path, seed=1, intents=1000)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1, 21))
def test_nothing_is_lost_or_doubled_in_twenty_storms(tmp_path: Path, seed: int) -> None:
    weather(tmp_path, seed, intents=1000)
