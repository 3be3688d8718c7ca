"""What a group remembers about its messages beyond Redis' own bookkeeping, so that it outlives the process.

Recorded failures (never deliveries), what each consumer is running right now, and how often a process died running it.
Acknowledging goes through here too, because it ends all of that in one round trip.
"""

import asyncio
import traceback as tracebacks
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import structlog
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, RedisError

from libs.common.bus import keys
from libs.common.bus.connection import is_away
from libs.common.bus.dead_letter import MIRROR_MAX, mirror_fields
from libs.common.domain.dead_letter import DeadLetter

ERROR_MAX_CHARS = 2_000
TRACEBACK_MAX_CHARS = 20_000

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Failure:
    """The recorded failures of one message: how many, the last one, when the first and the last."""

    attempts: int
    error: str
    traceback: str
    first_at: datetime
    last_at: datetime

    def to_json(self) -> bytes:
        """Return the stored form."""
        return orjson.dumps(self)

    @classmethod
    def from_json(cls, raw: bytes | str) -> "Failure":
        """Return the failure stored as `raw`."""
        document = orjson.loads(raw)
        for name in ("first_at", "last_at"):
            document[name] = datetime.fromisoformat(document[name])
        return cls(**document)


def as_text(raw: bytes | str) -> str:
    """Return a reply of Redis as text."""
    return raw.decode() if isinstance(raw, bytes) else raw


def describe(error: BaseException) -> str:
    """Return type and text of an error in one line."""
    return f"{type(error).__name__}: {error}"[:ERROR_MAX_CHARS]


def trace(error: BaseException) -> str:
    """Return the end of an error's traceback, the part that names the line."""
    return "".join(tracebacks.format_exception(error))[-TRACEBACK_MAX_CHARS:]


def one_more(before: Failure | None, error: BaseException, now: datetime) -> Failure:
    """Return the record after one more failure."""
    first_at, attempts = (before.first_at, before.attempts + 1) if before else (now, 1)
    return Failure(attempts, describe(error), trace(error), first_at, now)


class FailureLog:
    """The memory of one group as one of its consumers keeps it. A Redis that is away delays it, never fails it."""

    def __init__(self, redis: Redis, stream: str, group: str, consumer: str) -> None:
        self._redis = redis
        self._stream = stream
        self._group = group
        self._consumer = consumer
        self._failures = keys.failures(stream, group)
        self._deaths = keys.deaths(stream, group)
        self._running = keys.running(stream, group)
        self._unacknowledged: list[str] = []
        self._unmirrored: list[DeadLetter] = []
        self._noted: set[str] = set()
        self._sending = asyncio.Lock()

    @property
    def owed(self) -> Sequence[str]:
        """Entries that are done but not yet acknowledged, because Redis was away."""
        return self._unacknowledged

    async def running(self, ids: Sequence[str]) -> None:
        """Say what runs from now on; if the process dies, these are the suspects."""
        await self._tell(self._redis.hset(self._running, self._consumer, ",".join(ids)))

    async def idle(self) -> None:
        """Say that nothing runs."""
        await self._tell(self._redis.hdel(self._running, self._consumer))

    async def note(self, message_id: str, failure: Failure) -> None:
        """Store the record of a failed message."""
        self._noted.add(message_id)
        await self._tell(self._redis.hset(self._failures, message_id, failure.to_json()))

    async def recall(self, ids: Sequence[str]) -> dict[str, Failure]:
        """Return the records of those `ids` that failed before, in any process."""
        if not ids:
            return {}
        found = {
            message_id: Failure.from_json(raw)
            for message_id, raw in zip(ids, await self._redis.hmget(self._failures, list(ids)), strict=True)
            if raw is not None
        }
        self._noted.update(found)
        return found

    async def count_deaths(self, consumer: str, ids: Iterable[str]) -> dict[str, int]:
        """Count one more death for those `ids` that `consumer` was running when it ended; return their totals."""
        mark = await self._redis.hget(self._running, consumer)
        suspects = sorted(set(as_text(mark).split(",")) & set(ids)) if mark else []
        if not suspects:
            return {}
        async with self._redis.pipeline(transaction=True) as pipe:
            for message_id in suspects:
                pipe.hincrby(self._deaths, message_id, 1)
            pipe.hdel(self._running, consumer)
            totals = await pipe.execute()
        self._noted.update(suspects)
        return dict(zip(suspects, totals, strict=False))

    def owe(self, ids: Iterable[str]) -> None:
        """Acknowledge `ids` with the next round trip."""
        self._unacknowledged.extend(ids)

    async def finish(self, ids: Iterable[str], letters: Iterable[DeadLetter] = ()) -> bool:
        """Mirror `letters` and acknowledge `ids`; what Redis misses now is owed and sent later."""
        self._unacknowledged.extend(ids)
        self._unmirrored.extend(letters)
        return await self.flush()

    async def flush(self) -> bool:
        """Send what is owed and say that nothing runs; return whether nothing is owed any more."""
        async with self._sending:
            return await self._flush()

    async def _flush(self) -> bool:
        done, letters = list(self._unacknowledged), list(self._unmirrored)
        try:
            await self._mirror(letters)
            del self._unmirrored[: len(letters)]
            await self._acknowledge(done)
            del self._unacknowledged[: len(done)]
        except (RedisError, OSError) as error:
            if not is_away(error):
                raise
            _log.warning("acknowledge_delayed", stream=self._stream, group=self._group, owed=len(done))
            return False
        return True

    async def _mirror(self, letters: Sequence[DeadLetter]) -> None:
        if not letters:
            return
        try:
            async with self._redis.pipeline(transaction=True) as pipe:
                for letter in letters:
                    pipe.xadd(f"{self._stream}.dlq", mirror_fields(letter), maxlen=MIRROR_MAX, approximate=True)
                await pipe.execute()
        except OutOfMemoryError:  # acknowledging is what makes room again, so it must not wait for the mirror
            _log.warning("mirror_skipped", stream=self._stream, letters=[str(letter.id) for letter in letters])

    async def _acknowledge(self, done: Sequence[str]) -> None:
        if not done:
            return
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.xack(self._stream, self._group, *done)
            if noted := self._noted.intersection(done):
                pipe.hdel(self._failures, *noted)
                pipe.hdel(self._deaths, *noted)
            pipe.hdel(self._running, self._consumer)
            await pipe.execute()
        self._noted -= noted

    async def _tell(self, command: Any) -> None:
        try:
            await command
        except (RedisError, OSError) as error:
            if not is_away(error):
                raise
            _log.debug("failure_log_delayed", stream=self._stream, group=self._group, error=str(error))
