"""Composition root of the grouper: the only place that constructs."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from libs.common.bus import Bus
from libs.common.bus.streams import EVENTS_DETECTED, GROUPS_CLOSED
from libs.common.domain.errors import Unavailable
from libs.common.frame import opened_frame
from libs.common.messages import EventDetected, GroupClosed
from services.grouper.closing import FAILURES_MAX, ClosingClock
from services.grouper.core import key_of
from services.grouper.handlers import on_events_detected
from services.grouper.settings import Settings
from services.grouper.store import GroupStore

SERVICE: Final = "grouper"
REST_SECONDS: Final = 0.2
"""A group closes two seconds after its first event, so events may be read unhurried."""
SWEEP_SECONDS: Final = 10
SWEEP_OLDER_THAN: Final = timedelta(seconds=30)
SWEEP_REACH: Final = timedelta(days=1)
"""Regular sweeps look back this far; the look at start goes to the beginning."""
BEGINNING: Final = datetime(2020, 1, 1, tzinfo=UTC)
START_BATCH: Final = 5_000

_log = structlog.get_logger()


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run one grouper until `stop`."""
    async with opened_frame(SERVICE, settings) as frame:
        frame.health.require("closing", within_seconds=15)
        store = GroupStore(frame.engine)
        clock = _clock(settings, store, frame.bus)
        handle = on_events_detected(store, clock.start)
        frame.bus.consume(EVENTS_DETECTED, SERVICE, handle, batch_max=500, rest_seconds=REST_SECONDS)
        await _take_up(store, clock, stop)
        await frame.bus.start()
        sweeping = asyncio.create_task(_sweep(store, frame.bus))
        try:
            await clock.run(stop, lambda: frame.health.progress("closing"))
        finally:
            sweeping.cancel()


def _clock(settings: Settings, store: GroupStore, bus: Bus) -> ClosingClock:
    async def publish(groups: list[GroupClosed]) -> None:
        await bus.publish(GROUPS_CLOSED, groups)
        _log.info("groups_closed", groups=len(groups))

    async def give_up(event: EventDetected, error: Exception) -> None:
        await bus.give_up(EVENTS_DETECTED, SERVICE, event, error, attempts=FAILURES_MAX + 1)

    return ClosingClock(
        store,
        publish,
        give_up,
        window=timedelta(milliseconds=settings.aggregation_window_ms),
        keys_max=settings.keys_per_close_max,
        now=lambda: datetime.now(UTC),
    )


async def _take_up(store: GroupStore, clock: ClosingClock, stop: asyncio.Event) -> None:
    """Start the clocks of events that a former life left without a group."""
    since = BEGINNING
    while not stop.is_set():
        try:
            events = await store.stragglers(since, datetime.now(UTC), START_BATCH)
        except Unavailable as error:
            _log.warning("start_waits", error=str(error)[:200])
            await asyncio.sleep(1)
            continue
        for event in events:
            if key := key_of(event):
                clock.start(key, event)
        if events:
            _log.info("ungrouped_events_taken_up", events=len(events))
        if len(events) < START_BATCH:
            return
        await clock.tick()


async def _sweep(store: GroupStore, bus: Bus) -> None:
    """Refill the stream with events that no grouper closed, forever."""

    async def rows(limit: int) -> list[EventDetected]:
        now = datetime.now(UTC)
        return await store.stragglers(now - SWEEP_REACH, now - SWEEP_OLDER_THAN, limit)

    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        with contextlib.suppress(Unavailable):
            await bus.sweep(EVENTS_DETECTED, SERVICE, rows)
