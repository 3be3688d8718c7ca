"""Clocks close keys on time, announce what they closed, and give up on one key without hurting its neighbours."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from libs.common.domain.errors import Rejected, Unavailable
from libs.common.domain.identity import identify
from libs.common.domain.kinds import EventKind, Side
from libs.common.messages import EventDetected, GroupClosed
from services.grouper.closing import BACKOFF, FAILURES_MAX, ClosingClock
from services.grouper.core import Key, key_of
from services.grouper.handlers import on_events_detected

START = datetime(2026, 9, 28, 9, 0, tzinfo=UTC)
WINDOW = timedelta(seconds=2)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


class FakeStore:
    """Closes one group per key, unless the key is broken or the database is away; takes `seconds` to do so."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.seconds = 0.0
        self.meanwhile: list[Callable[[], None]] = []
        self.closed_at: list[datetime] = []
        self.broken: set[str] = set()
        self.away = False
        self.closed: list[Key] = []
        self.events: set[UUID] = set()

    async def close(self, keys: Mapping[Key, datetime], now: datetime, window: timedelta) -> list[GroupClosed]:
        if self.away:
            raise Unavailable("no database")
        if any(key.subject in self.broken for key in keys):
            raise ZeroDivisionError("a bug")
        self.closed += keys
        self.closed_at.append(now)
        self.clock.now += timedelta(seconds=self.seconds)
        while self.meanwhile:
            self.meanwhile.pop()()
        return [
            GroupClosed(
                group_id=identify("group", key.subject),
                kind=key.kind,
                user_id=key.user_id,
                occurred_at=now,
                observed_at=now,
            )
            for key in keys
        ]

    async def known(self, event_ids: Sequence[UUID]) -> set[UUID]:
        return self.events & set(event_ids)


class Stage:
    def __init__(self) -> None:
        self.clock = Clock()
        self.store = FakeStore(self.clock)
        self.published: list[GroupClosed] = []
        self.given_up: list[EventDetected] = []
        self.redis_away = False
        self.announced = asyncio.Event()
        self.closing = ClosingClock(
            self.store, self._publish, self._give_up, window=WINDOW, keys_max=10, now=self.clock
        )

    async def _publish(self, groups: list[GroupClosed]) -> None:
        if self.redis_away:
            raise Unavailable("no redis")
        self.published += groups
        self.announced.set()

    async def _give_up(self, event: EventDetected, error: Exception) -> None:
        self.given_up.append(event)

    def start(self, event: EventDetected) -> None:
        key = key_of(event)
        assert key
        self.closing.start(key, event)


def event(asset: str, *, at: datetime = START, booked: bool = True) -> EventDetected:
    return EventDetected(
        event_id=uuid4(), kind=EventKind.TRADE, booked=booked, user_id=UUID(int=1), condition_id=None, asset_id=asset,
        side=Side.BUY, occurred_at=at, observed_at=at,
    )  # fmt: skip


async def test_a_key_closes_two_seconds_after_its_first_event() -> None:
    stage = Stage()
    stage.start(event("1"))
    stage.clock.now = START + WINDOW - timedelta(milliseconds=1)
    await stage.closing.tick()
    assert stage.published == []
    stage.clock.now = START + WINDOW
    await stage.closing.tick()
    assert len(stage.published) == 1
    assert stage.closing.open_keys == 0


async def test_a_later_event_of_the_key_keeps_its_own_clock() -> None:
    stage = Stage()
    stage.start(event("1"))
    stage.start(event("1", at=START + timedelta(seconds=1)))
    stage.clock.now = START + WINDOW
    await stage.closing.tick()
    assert stage.closing.open_keys == 1


async def test_a_broken_key_is_given_up_on_and_its_neighbours_pass() -> None:
    stage = Stage()
    stage.store.broken = {"bad"}
    poison = event("bad")
    for each in (event("1"), poison, event("2")):
        stage.start(each)
    stage.clock.now = START + WINDOW
    for failures in range(1, FAILURES_MAX + 2):
        assert stage.given_up == []
        await stage.closing.tick()
        assert {key.subject for key in stage.store.closed} == {"1", "2"}
        await stage.closing.tick()  # too soon to try it again
        stage.clock.now += BACKOFF * 2**failures
    assert stage.given_up == [poison]
    assert stage.closing.open_keys == 0


async def test_a_key_that_fails_for_a_moment_is_closed_after_it() -> None:
    stage = Stage()
    stage.store.broken = {"bad"}
    stage.start(event("bad"))
    stage.clock.now = START + WINDOW
    await stage.closing.tick()
    stage.store.broken = set()
    stage.clock.now += BACKOFF * 2
    await stage.closing.tick()
    assert (len(stage.published), stage.given_up, stage.closing.open_keys) == (1, [], 0)


async def test_an_outage_is_waited_for_and_never_counted() -> None:
    stage = Stage()
    stage.start(event("1"))
    stage.clock.now = START + WINDOW
    stage.store.away = True
    for _ in range(FAILURES_MAX + 2):
        with pytest.raises(Unavailable):
            await stage.closing.tick()
    stage.store.away = False
    await stage.closing.tick()
    assert len(stage.published) == 1
    assert stage.given_up == []


async def test_what_could_not_be_announced_is_announced_later() -> None:
    stage = Stage()
    stage.start(event("1"))
    stage.clock.now = START + WINDOW
    stage.redis_away = True
    with pytest.raises(Unavailable):
        await stage.closing.tick()
    stage.redis_away = False
    await stage.closing.tick()
    assert len(stage.published) == 1
    assert len(stage.store.closed) == 1


async def test_the_loop_wakes_for_an_event_and_ends_when_told() -> None:
    stage = Stage()
    stop = asyncio.Event()
    stage.clock.now = START + WINDOW
    running = asyncio.create_task(stage.closing.run(stop, lambda: None))
    stage.start(event("1"))
    async with asyncio.timeout(30):
        await stage.announced.wait()
        stop.set()
        await running


async def test_an_event_that_ingest_never_committed_is_rejected() -> None:
    stage = Stage()
    handle = on_events_detected(stage.store, stage.closing.start)
    with pytest.raises(Rejected, match="unknown event_id"):
        await handle([event("1")])
    assert stage.closing.open_keys == 0


async def test_events_that_are_not_copied_start_no_clock() -> None:
    stage = Stage()
    unbooked, booked = event("1", booked=False), event("2")
    stage.store.events = {unbooked.event_id, booked.event_id}
    await on_events_detected(stage.store, stage.closing.start)([unbooked, booked])
    assert stage.closing.open_keys == 1


async def test_what_falls_due_while_others_are_closed_is_closed_next() -> None:
    stage = Stage()
    first, second = event("1"), event("1", at=START + timedelta(milliseconds=10))
    stage.start(first)
    stage.start(second)
    stage.clock.now = START + WINDOW
    stage.store.seconds = 0.05
    await stage.closing.tick()
    assert stage.store.closed_at[-1] >= second.observed_at + WINDOW
    assert stage.closing.open_keys == 0


async def test_what_is_heard_of_late_while_its_key_is_closed_is_closed_next() -> None:
    stage = Stage()
    stage.start(event("1"))
    stage.clock.now = START + WINDOW
    late = event("1", at=START - WINDOW)
    stage.store.meanwhile = [lambda: stage.start(late)]
    await stage.closing.tick()
    assert len(stage.store.closed) == 2


async def test_what_falls_due_while_a_key_is_closed_alone_is_closed_next() -> None:
    stage = Stage()
    stage.store.broken = {"bad"}
    second = event("1", at=START + timedelta(milliseconds=10))
    for each in (event("bad"), event("1"), second):
        stage.start(each)
    stage.clock.now = START + WINDOW
    stage.store.seconds = 0.05
    await stage.closing.tick()
    assert stage.store.closed_at[-1] >= second.observed_at + WINDOW
    assert stage.closing.open_keys == 1  # the broken one
