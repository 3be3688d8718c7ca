"""Recorded instants move to the play's clock, keep their shape, and stay where they were after a restart."""

from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from services.sandbox.rebase import MARKET_TIMES, rebase_object, rebase_text
from services.sandbox.timeline import Timeline

DAY_MS = 86_400_000


def tomorrow(ms: int) -> int:
    return ms + DAY_MS


class Clock:
    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def timeline(clock: Clock, folder: Path, *, speed: int = 8, sleeps: bool = False, key: str = "k") -> Timeline:
    return Timeline(start_ms=1_000_000, speed=Fraction(speed), key=key, state_dir=folder, sleeps=sleeps, clock=clock)


@pytest.mark.parametrize(
    ("text", "moved"),
    [
        ("2026-09-28T09:15:00Z", "2026-09-29T09:15:00Z"),
        ("2026-04-16T14:53:41.942744Z", "2026-04-17T14:53:41.942000Z"),
        ("2025-11-01 06:28:08+00", "2025-11-02 06:28:08+00"),
        ("2025-11-01T06:28:08+02:00", "2025-11-02T06:28:08+02:00"),
        ("2026-12-31", "2027-01-01"),
        ("1790704227", "1790790627"),
        ("1970-01-01", "1970-01-01"),
        ("soon", "soon"),
    ],
)
def test_a_time_keeps_its_shape(text: str, moved: str) -> None:
    assert rebase_text(text, tomorrow) == moved


def test_a_time_beyond_the_calendar_is_served_as_its_end() -> None:
    assert rebase_text("2030-01-01T00:00:00Z", lambda ms: 10**18) == "9999-01-01T00:00:00Z"


def test_only_named_times_move_and_private_keys_stay_home() -> None:
    market = {
        "endDate": "2026-09-28T09:15:00Z",
        "question": "2026-09-28",
        "volume": Decimal("1.50"),
        "_at_ms": 1,
        "events": [{"endDate": "2026-09-28T09:15:00Z", "id": "1"}],
    }
    assert rebase_object(market, MARKET_TIMES, tomorrow) == {
        "endDate": "2026-09-29T09:15:00Z",
        "question": "2026-09-28",
        "volume": Decimal("1.50"),
        "events": [{"endDate": "2026-09-29T09:15:00Z", "id": "1"}],
    }


def test_speed_divides_every_gap(tmp_path: Path) -> None:
    clock = Clock(5_000_000)
    play = timeline(clock, tmp_path)
    play.play()
    assert play.wall(1_000_000) == 5_000_000
    assert play.wall(1_080_000) == 5_010_000
    assert play.source(5_010_000) == 1_080_000


def test_time_stands_at_the_start_until_play(tmp_path: Path) -> None:
    clock = Clock(5_000_000)
    play = timeline(clock, tmp_path)
    clock.now += 60_000
    assert play.source(clock.now) == 1_000_000
    assert play.wall(1_000_000) == clock.now
    assert play.started_ms is None


def test_play_starts_once_and_survives_a_restart(tmp_path: Path) -> None:
    clock = Clock(5_000_000)
    timeline(clock, tmp_path).play()
    clock.now += 3_600_000
    again = timeline(clock, tmp_path)
    again.play()
    assert again.started_ms == 5_000_000
    assert again.wall(1_080_000) == 5_010_000


def test_state_of_another_play_is_not_taken_up(tmp_path: Path) -> None:
    timeline(Clock(5_000_000), tmp_path).play()
    assert not timeline(Clock(6_000_000), tmp_path, key="other").playing


def test_a_sleeping_market_wakes_where_it_fell_asleep(tmp_path: Path) -> None:
    clock = Clock(5_000_000)
    play = timeline(clock, tmp_path, speed=1, sleeps=True)
    play.play()
    clock.now += 30_000
    play.beat()
    clock.now += 8 * 3_600_000
    woken = timeline(clock, tmp_path, speed=1, sleeps=True)
    assert woken.beat()
    assert woken.wall(1_030_000) == 5_030_000
    reached = woken.source(clock.now)
    assert 1_030_000 < reached < 1_060_000
    assert woken.wall(reached + 1_000) == clock.now + 1_000


def test_a_short_absence_is_no_sleep(tmp_path: Path) -> None:
    clock = Clock(5_000_000)
    play = timeline(clock, tmp_path, speed=1, sleeps=True)
    play.play()
    clock.now += 30_000
    woken = timeline(clock, tmp_path, speed=1, sleeps=True)
    assert not woken.beat()
    assert woken.source(clock.now) == 1_030_000
