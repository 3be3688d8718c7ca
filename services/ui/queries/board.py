"""Read models shared by all who look: read at most once per cadence, kept while the database is away."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.bus.status import stream_status
from libs.common.db.engine import transaction
from libs.common.domain.errors import ShadowbookError, Unavailable
from services.ui.queries.curve import RANGES, Curve, Range, ending_at, read_curve
from services.ui.queries.overview import Facts, Overview, Slow, read_facts, read_slow
from services.ui.queries.verdict import Waiting

T = TypeVar("T")

_log = structlog.get_logger()

CADENCE_SECONDS: Final = 10.0
SLOW_SECONDS: Final = 60.0
FEW_DECISIONS: Final = 2_000
SHORT: Final = timedelta(hours=6)
RETRY_SECONDS: Final = 3.0
READ_SECONDS_MAX: Final = 8.0
BUS_SECONDS_MAX: Final = 2.0


@dataclass(frozen=True, slots=True)
class Seen(Generic[T]):
    """A value, when it was read, and why nothing newer is known (None: it is as new as it should be)."""

    value: T
    taken_at: datetime
    error: str | None = None


class Shared(Generic[T]):
    """One value for everybody. Whoever asks first after the cadence reads it anew; the others wait for that."""

    def __init__(self, read: Callable[[], Awaitable[T]], pace: Callable[[T], float]) -> None:
        """Share what `read` returns; `pace` says after how many seconds that is to be read anew."""
        self._read = read
        self._pace = pace
        self._lock = asyncio.Lock()
        self._seen: Seen[T] | None = None
        self._due = 0.0

    async def look(self) -> Seen[T]:
        """Return the newest value; raises Unavailable when there never was one."""
        async with self._lock:
            if time.monotonic() >= self._due:
                await self._refresh()
            if self._seen is None:
                raise Unavailable("the database is away and nothing was read yet")
            return self._seen

    def expire(self) -> None:
        """Let the next look read anew."""
        self._due = 0.0

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(READ_SECONDS_MAX):
                value = await self._read()
        except (ShadowbookError, SQLAlchemyError, TimeoutError) as error:
            self._due = time.monotonic() + RETRY_SECONDS
            reason = str(error)[:200] or "the database does not answer in time"
            _log.warning("read_failed", error=reason)
            if self._seen is not None:
                self._seen = Seen(self._seen.value, self._seen.taken_at, reason)
            return
        self._due = time.monotonic() + self._pace(value)
        self._seen = Seen(value, datetime.now(UTC))


def slow_pace(slow: Slow) -> float:
    """Return how often to read what is dear once there is much of it."""
    return CADENCE_SECONDS if slow.reasons.decisions < FEW_DECISIONS else SLOW_SECONDS


def curve_pace(curve: Curve) -> float:
    """Return how often to read a curve: as often as a new point would be seen."""
    return CADENCE_SECONDS if curve.until - curve.since <= SHORT else SLOW_SECONDS


class Board:
    """All read models of the dashboard."""

    def __init__(self, engine: AsyncEngine, redis_url: str) -> None:
        self._engine = engine
        self._redis_url = redis_url
        self._facts: Shared[Facts] = Shared(self._read_facts, lambda _: CADENCE_SECONDS)
        self._slow: Shared[Slow] = Shared(self._read_slow, slow_pace)
        self._curves: dict[Range, Shared[Curve]] = {
            name: Shared(self._curve_reader(name), curve_pace) for name in RANGES
        }

    async def overview(self) -> Seen[Overview]:
        """Return the overview; raises Unavailable when the database is away and nothing was read yet."""
        facts = await self._facts.look()
        slow = await self._slow.look()
        return Seen(Overview(facts=facts.value, slow=slow.value), facts.taken_at, facts.error or slow.error)

    async def keep_fresh(self, stop: asyncio.Event, report: Callable[[str | None], None]) -> None:
        """Read the overview every cadence until `stop`, whoever looks or not; `report` hears why it could not."""
        while not stop.is_set():
            try:
                report((await self.overview()).error)
            except Unavailable as error:
                report(str(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CADENCE_SECONDS):
                    await stop.wait()

    async def facts(self) -> Seen[Facts]:
        """Return the fast part alone."""
        return await self._facts.look()

    async def curve(self, wanted: Range) -> Seen[Curve] | None:
        """Return a window of the global curve, or None before the portfolio is opened."""
        facts = await self._facts.look()
        if facts.value.figures is None:
            return None
        seen = await self._curves[wanted].look()
        return Seen(ending_at(seen.value, facts.value.figures, facts.value.taken_at), seen.taken_at, seen.error)

    def expire(self) -> None:
        """Let the next look show what was just changed."""
        self._facts.expire()

    async def _read_facts(self) -> Facts:
        return await read_facts(self._engine, await self._waiting(), datetime.now(UTC))

    async def _read_slow(self) -> Slow:
        return await read_slow(self._engine, (await self._facts.look()).value, datetime.now(UTC))

    async def _waiting(self) -> Waiting:
        try:
            async with asyncio.timeout(BUS_SECONDS_MAX):
                groups = await stream_status(self._redis_url)
        except (Unavailable, TimeoutError):
            return Waiting(messages=None)
        return Waiting(messages=sum(group.lag + group.pending for group in groups))

    def _curve_reader(self, wanted: Range) -> Callable[[], Awaitable[Curve]]:
        async def read() -> Curve:
            facts = (await self._facts.look()).value
            if facts.figures is None:
                raise Unavailable("the global portfolio is not open yet")
            async with transaction(self._engine) as connection:
                return await read_curve(connection, facts.figures, facts.people, wanted, datetime.now(UTC))

        return read
