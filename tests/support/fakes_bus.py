"""Stand-ins for what the bus talks to, and what its tests need again and again."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

import redis.asyncio as aioredis

from libs.common.bus import Bus, DeadLetter, DeadLetterStore, LetterStatus, RetryPolicy, Stream
from libs.common.domain.errors import Rejected, Unavailable
from libs.common.messages import ControlChanged, Message

M = TypeVar("M", bound=Message)

QUICK = RetryPolicy(
    retry_base_seconds=0.02,
    retry_cap_seconds=0.1,
    outage_base_seconds=0.02,
    outage_cap_seconds=0.1,
    stopped_probe_seconds=0.05,
    tick_seconds=0.05,
    upkeep_seconds=0.1,
)
"""The real policy with its times shortened; counts are the real ones."""


@dataclass(slots=True)
class InMemoryDeadLetters:
    """A dead letter store that can be switched away."""

    letters: dict[UUID, DeadLetter] = field(default_factory=dict)
    audit: list[tuple[str, str, UUID]] = field(default_factory=list)
    away: bool = False

    async def record(self, letters: Sequence[DeadLetter]) -> None:
        self._reach()
        for letter in letters:
            self.letters.setdefault(letter.id, letter)

    async def get(self, letter_id: UUID) -> DeadLetter | None:
        self._reach()
        return self.letters.get(letter_id)

    async def find(
        self,
        *,
        stream: str | None = None,
        group: str | None = None,
        status: LetterStatus | None = None,
        limit: int = 100,
    ) -> list[DeadLetter]:
        self._reach()
        found = [
            letter
            for letter in self.letters.values()
            if stream in (None, letter.stream) and group in (None, letter.group) and status in (None, letter.status)
        ]
        return sorted(found, key=lambda letter: letter.last_at, reverse=True)[:limit]

    async def settle(
        self, letter_id: UUID, status: LetterStatus, *, actor: str, reason: str, payload: str | None = None
    ) -> DeadLetter:
        self._reach()
        letter = self.letters.get(letter_id)
        if letter is None or letter.status is not LetterStatus.OPEN:
            raise Rejected(f"dead letter {letter_id}: expected it open")
        assert payload is None or payload
        self.letters[letter_id] = replace(letter, status=status, status_at=datetime.now(UTC), status_reason=reason)
        self.audit.append((actor, status.value, letter_id))
        return self.letters[letter_id]

    async def blocked(self, stream: str, group: str, subjects: Sequence[str]) -> set[str]:
        self._reach()
        return {
            letter.subject
            for letter in self.letters.values()
            if letter.subject in subjects
            and (letter.stream, letter.group) == (stream, group)
            and letter.status is not LetterStatus.REPLAYED
            and letter.subject is not None
        }

    def _reach(self) -> None:
        if self.away:
            raise Unavailable("the store was switched away")


@dataclass(slots=True)
class Spy(Generic[M]):
    """A handler that remembers its batches; `fate` may raise for one message, `gate` holds it up."""

    fate: Callable[[M], None] = lambda _message: None
    gate: asyncio.Event | None = None
    batches: list[list[M]] = field(default_factory=list)
    done: list[M] = field(default_factory=list)
    started: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, messages: Sequence[M]) -> None:
        self.batches.append(list(messages))
        self.started.set()
        if self.gate is not None:
            await self.gate.wait()
        for message in messages:
            self.fate(message)
        self.done.extend(messages)

    def tries(self, message: M) -> int:
        """Return how often the handler saw a message."""
        return sum(message in batch for batch in self.batches)


def control(key: str) -> ControlChanged:
    """Return a small message that is told apart by its key."""
    at = datetime(2026, 1, 2, tzinfo=UTC)
    return ControlChanged(occurred_at=at, observed_at=at, key=key)


def fails_for(key: str, error: Exception) -> Callable[[ControlChanged], None]:
    """Return a fate that raises for the message with this key."""

    def fate(message: ControlChanged) -> None:
        if message.key == key:
            raise error

    return fate


async def until(condition: Callable[[], Any], seconds: float = 30.0) -> None:
    """Wait for a condition, which may be awaitable; fail loudly when it does not come."""
    async with asyncio.timeout(seconds):
        while True:
            result = condition()
            if asyncio.iscoroutine(result):
                result = await result
            if result:
                return
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running_bus(
    url: str,
    *consumers: tuple[Stream[Any], str, Any],
    letters: DeadLetterStore | None = None,
    instance: str = "test-0",
    policy: RetryPolicy = QUICK,
    rest_seconds: float = 0.0,
    **options: Any,
) -> AsyncIterator[Bus]:
    """Run a bus with consumers (stream, group, handler) for the length of a block."""
    bus = Bus(
        url, service="test", instance=instance, dead_letters=letters or InMemoryDeadLetters(), policy=policy, **options
    )
    for stream, group, handler in consumers:
        bus.consume(stream, group, handler, rest_seconds=rest_seconds)
    await bus.start()
    try:
        yield bus
    finally:
        await bus.stop()


@asynccontextmanager
async def raw_redis(url: str) -> AsyncIterator[Any]:
    """Connect to Redis the way a person with a client does."""
    client = aioredis.Redis.from_url(url, decode_responses=True)
    try:
        yield client
    finally:
        await client.aclose()


async def pending(client: Any, stream: Stream[Any], group: str) -> int:
    """Return how many messages of a group are delivered and not acknowledged."""
    return int((await client.xpending(stream.name, group))["pending"])


async def is_drained(client: Any, stream: Stream[Any], group: str) -> bool:
    """Tell whether a group has nothing undelivered and nothing pending."""
    for row in await client.xinfo_groups(stream.name):
        if row["name"] == group:
            return bool(row["lag"] == 0 and row["pending"] == 0)
    return False
