"""Tell the bus what was committed, without making ingest wait for it.

What cannot be told is kept and told later; beyond a limit the oldest is dropped, since every consumer's sweep finds
events it was not told of.
"""

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Final
from uuid import UUID

import structlog

from libs.common.domain.errors import Unavailable
from libs.common.domain.kinds import EventKind
from libs.common.messages import EventDetected
from services.ingest.core.activity import Fact
from services.ingest.core.fills import Fill
from services.ingest.core.sightings import POSITION_TYPES
from services.ingest.store import Recorded

WAITING_MAX: Final = 20_000
BATCH_MAX: Final = 1_000
REMEMBERED_MAX: Final = 100_000
AGAIN_WITHIN: Final = timedelta(minutes=15)
"""A known event seen again by a process that never told of it is told again when it is not older than this."""
RETRY_SECONDS_FIRST: Final = 0.5
RETRY_SECONDS_MAX: Final = 5.0

_log = structlog.get_logger()


def fill_message(fill: Fill, condition_id: str | None, observed_at: datetime) -> EventDetected:
    """Return what is told of a fill."""
    return EventDetected(
        event_id=fill.id,
        kind=EventKind.TRADE,
        status=fill.status,
        booked=fill.booked,
        user_id=fill.user_id,
        condition_id=condition_id,
        asset_id=fill.key.asset_id,
        side=fill.key.side,
        occurred_at=fill.event_time,
        observed_at=observed_at,
    )


def fact_message(fact: Fact) -> EventDetected:
    """Return what is told of an event that is no fill."""
    sighting = fact.sighting
    return EventDetected(
        event_id=fact.id,
        kind=sighting.kind,
        booked=sighting.booked,
        user_id=sighting.user_id,
        condition_id=sighting.key.condition_id or None,
        asset_id=sighting.key.asset_id or None,
        side=None,
        occurred_at=sighting.event_time,
        observed_at=fact.detect_time,
    )


class Announcer:
    """A queue between committing and publishing."""

    def __init__(
        self,
        publish: Callable[[Sequence[EventDetected]], Awaitable[None]],
        condition_of: Callable[[str], str | None],
        now: Callable[[], datetime],
    ) -> None:
        self._publish = publish
        self._condition_of = condition_of
        self._now = now
        self._waiting: deque[EventDetected] = deque(maxlen=WAITING_MAX)
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._told: OrderedDict[UUID, None] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many messages wait for the bus."""
        return len(self._waiting)

    def announce(self, recorded: Recorded) -> None:
        """Queue what a committed batch calls for: news, reversals, restatements, and what may never have been told."""
        now = self._now()
        self._add(self._fill_message(fill, fill.detect_time) for fill in (*recorded.created, *recorded.restated))
        self._add(self._fill_message(fill, now) for fill in recorded.reversed)
        self._add(fact_message(fact) for fact in recorded.facts if fact.sighting.kind in POSITION_TYPES)
        again = now - AGAIN_WITHIN
        self._add(
            self._fill_message(fill, fill.detect_time)
            for fill in recorded.confirmed
            if fill.id not in self._told and fill.detect_time >= again
        )
        self._add(
            fact_message(fact)
            for fact in recorded.known_facts
            if fact.sighting.kind in POSITION_TYPES and fact.id not in self._told and fact.detect_time >= again
        )

    def tell(self, messages: Iterable[EventDetected]) -> None:
        """Queue messages made elsewhere."""
        self._add(messages)

    async def run(self) -> None:
        """Publish what is queued, for ever; an outage of the bus only delays it."""
        failures = 0
        while True:
            await self._filled.wait()
            batch = list(islice(self._waiting, BATCH_MAX))
            try:
                await self._publish(batch)
            except Unavailable as error:
                failures += 1
                _log.warning("events_not_announced", waiting=len(self._waiting), error=str(error)[:200])
                await asyncio.sleep(min(RETRY_SECONDS_MAX, RETRY_SECONDS_FIRST * 2 ** min(failures - 1, 8)))
                continue
            failures = 0
            self._remove(batch)

    async def flush(self, timeout_seconds: float) -> None:
        """Wait until everything queued is published, at most `timeout_seconds`; what is left is found by sweeps."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while self._waiting:
                    self._emptied.clear()
                    await self._emptied.wait()

    def _fill_message(self, fill: Fill, observed_at: datetime) -> EventDetected:
        return fill_message(fill, self._condition_of(fill.key.asset_id), observed_at)

    def _add(self, messages: Iterable[EventDetected]) -> None:
        for message in messages:
            self._waiting.append(message)
            self._told[message.event_id] = None
            self._filled.set()
        while len(self._told) > REMEMBERED_MAX:
            self._told.popitem(last=False)

    def _remove(self, published: Sequence[EventDetected]) -> None:
        # Only the head is removed, and only if an overflow has not already dropped it.
        for message in published:
            if self._waiting and self._waiting[0] is message:
                self._waiting.popleft()
        if not self._waiting:
            self._filled.clear()
            self._emptied.set()
