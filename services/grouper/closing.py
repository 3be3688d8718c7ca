"""When groups close: every event starts a clock for its key; when one runs out, the key's due groups are closed.

Memory only wakes; what is closed is read from Postgres. A grouper that dies loses nothing: the next start and the sweep
find events that are in no group.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

import structlog

from libs.common.domain.errors import Unavailable
from libs.common.messages import EventDetected, GroupClosed
from services.grouper.core import Key

LOOK_BACK: Final = timedelta(minutes=2)
"""How far before the first event heard of others are looked for that no group has: heard of by a grouper that died or
stands still. Who opens a group is told by those before, so a chain of them must be seen from its beginning."""
RETRY_SECONDS: Final = 0.5
BACKOFF: Final = timedelta(milliseconds=250)
"""A key that failed n times is tried again after 2 ** n of these."""
FAILURES_MAX: Final = 3
"""Recorded failures of one key on its own before its events are given up on."""

_log = structlog.get_logger()


class Closer(Protocol):
    """The part of the store that closing needs."""

    async def close(self, keys: dict[Key, datetime], now: datetime, window: timedelta) -> list[GroupClosed]:
        """Close what is due."""


class ClosingClock:
    """Clocks of open keys, and the loop that closes them on time."""

    def __init__(
        self,
        store: Closer,
        publish: Callable[[list[GroupClosed]], Awaitable[None]],
        give_up: Callable[[EventDetected, Exception], Awaitable[None]],
        *,
        window: timedelta,
        keys_max: int,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._publish = publish
        self._give_up = give_up
        self._window = window
        self._keys_max = keys_max
        self._now = now
        self._open: dict[Key, dict[UUID, EventDetected]] = {}
        self._failures: dict[Key, int] = {}
        self._again: dict[Key, datetime] = {}
        """When to try those that failed again."""
        self._unannounced: list[GroupClosed] = []
        self._wake = asyncio.Event()

    def start(self, key: Key, event: EventDetected) -> None:
        """Start the clock of an event, unless it runs already."""
        self._open.setdefault(key, {}).setdefault(event.event_id, event)
        self._wake.set()

    @property
    def open_keys(self) -> int:
        """Return how many keys have a running clock."""
        return len(self._open)

    async def run(self, stop: asyncio.Event, progress: Callable[[], None]) -> None:
        """Close groups as they fall due until `stop`."""
        while not stop.is_set():
            progress()
            try:
                await self.tick()
            except Unavailable as error:
                _log.warning("closing_waits", error=str(error)[:200])
                await asyncio.sleep(RETRY_SECONDS)
            await self._sleep(stop)

    async def tick(self) -> None:
        """Close everything that is due now, and announce it."""
        while keys := self._due():
            now, heard = self._now(), self._heard(keys)
            try:
                self._unannounced += await self._store.close(keys, now, self._window)
            except Unavailable:
                raise
            except Exception as error:  # noqa: BLE001  closing decides the fate of its keys, as the bus does of messages
                await self._isolate(list(keys), error)
            else:
                self._forget(heard, now)
            await self._announce()
        await self._announce()

    def _due(self) -> dict[Key, datetime]:
        """Return up to `keys_max` keys whose first clock has run out, each with the earliest detection to look at."""
        now = self._now()
        due: dict[Key, datetime] = {}
        for key, events in self._open.items():
            first = min(event.observed_at for event in events.values())
            if first + self._window <= now and self._again.get(key, now) <= now:
                due[key] = first - LOOK_BACK
                if len(due) == self._keys_max:
                    break
        return due

    def _heard(self, keys: Iterable[Key]) -> dict[Key, set[UUID]]:
        """Return the events that were heard of by now: those that a closing which begins now can see."""
        return {key: set(self._open[key]) for key in keys}

    def _forget(self, heard: Mapping[Key, set[UUID]], now: datetime) -> None:
        """Stop the clocks that had run out at `now`, when the closing began; the others are for the next one."""
        for key, seen in heard.items():
            left = {
                identity: event
                for identity, event in self._open[key].items()
                if identity not in seen or event.observed_at + self._window > now
            }
            self._failures.pop(key, None)
            self._again.pop(key, None)
            if left:
                self._open[key] = left
            else:
                del self._open[key]

    async def _isolate(self, keys: list[Key], error: Exception) -> None:
        """Close `keys` one by one after a failure of all together; a key that keeps failing is given up on."""
        _log.error("closing_failed", keys=len(keys), error=str(error)[:500], exc_info=len(keys) == 1)
        for key in keys:
            first = min(event.observed_at for event in self._open[key].values())
            now, heard = self._now(), self._heard([key])
            try:
                self._unannounced += await self._store.close({key: first - LOOK_BACK}, now, self._window)
            except Unavailable:
                raise
            except Exception as alone:  # noqa: BLE001  whatever it is, the neighbours must pass
                self._failures[key] = self._failures.get(key, 0) + 1
                self._again[key] = self._now() + BACKOFF * 2 ** self._failures[key]
                if self._failures[key] > FAILURES_MAX:
                    for event in self._open.pop(key).values():
                        await self._give_up(event, alone)
                    del self._failures[key], self._again[key]
            else:
                self._forget(heard, now)

    async def _announce(self) -> None:
        if self._unannounced:
            await self._publish(self._unannounced)
            self._unannounced = []

    async def _sleep(self, stop: asyncio.Event) -> None:
        """Sleep until the next clock runs out or an event arrives."""
        self._wake.clear()
        now = self._now()
        wakes = [
            max(min(event.observed_at for event in events.values()) + self._window, self._again.get(key, now))
            for key, events in self._open.items()
        ]
        wait = min(1.0, max(0.0, (min(wakes) - now).total_seconds())) if wakes else 1.0
        if stop.is_set():
            return
        try:
            async with asyncio.timeout(wait + 0.001):
                await self._wake.wait()
        except TimeoutError:
            return
