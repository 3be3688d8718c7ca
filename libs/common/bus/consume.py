"""One consumer: a FastStream batch subscriber for new messages, and the recovery FastStream does not give.

FastStream reads; `Delivery` decides fates; three loops here keep retrying what is parked, keep the subscriber alive
through lost groups and a Redis that went away, and look after the stream (dead consumers, lag, trimming).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

import structlog
from faststream import AckPolicy
from faststream.redis import RedisBroker, StreamSub
from faststream.redis.message import RedisBatchStreamMessage
from redis.asyncio import Redis

from libs.common.bus import keys
from libs.common.bus.connection import is_away
from libs.common.bus.delivery import Delivery
from libs.common.bus.failures import FailureLog
from libs.common.bus.groups import ensure_groups, group_states, trim
from libs.common.bus.policy import RetryPolicy
from libs.common.bus.recover import Found, Recovery
from libs.common.bus.reporting import Health, Metrics
from libs.common.bus.wire import is_for
from libs.common.messages import Message

M = TypeVar("M", bound=Message)

BLOCK_MS = 2_000
"""How long a read waits for news; below every socket timeout."""
LOST_REPLY_SECONDS = 10.0
"""Age of a pending entry this consumer never saw before its reply counts as lost."""
SILENCE_SECONDS = 20.0
"""Health degrades when a consumer did not look at its stream for this long."""

_log = structlog.get_logger()


async def _as_raw(raw: Any) -> RedisBatchStreamMessage:
    """Parse nothing: messages are read one by one later, so that a poisoned one spoils only itself."""
    return RedisBatchStreamMessage(raw_message=raw, body=b"", consumer=None, group=None)  # type: ignore[arg-type]


async def _decode_raw(message: Any) -> Any:
    return message.raw_message


class Consumer(Generic[M]):
    """Reads one stream as one member of one group."""

    def __init__(
        self,
        broker: RedisBroker,
        redis: Redis,
        delivery: Delivery[M],
        log: FailureLog,
        *,
        name: str,
        batch_max: int,
        timeout_seconds: float,
        rest_seconds: float,
        policy: RetryPolicy,
        health: Health,
        metrics: Metrics,
    ) -> None:
        self._redis = redis
        self._delivery = delivery
        self._log = log
        self._batch_max = batch_max
        self._rest_seconds = rest_seconds
        self._claim_idle_seconds = policy.claim_idle(timeout_seconds)
        self._policy = policy
        self._health = health
        self._metrics = metrics
        self._stream = delivery.stream
        self._group = delivery.group
        self._group_bytes = delivery.group.encode()
        self._recovery = Recovery(redis, self._stream.name, self._group, name, log)
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._resumed = False
        self._labels = {"stream": self._stream.name, "group": self._group}
        self._part = f"bus:{self._stream.name}:{self._group}"
        self._where = _log.bind(**self._labels)
        self._subscriber: Any = broker.subscriber(
            stream=StreamSub(
                self._stream.name,
                group=self._group,
                consumer=name,
                batch=True,
                max_records=batch_max,
                polling_interval=BLOCK_MS,
            ),
            ack_policy=AckPolicy.MANUAL,
            parser=_as_raw,
            decoder=_decode_raw,
        )
        self._subscriber(self._on_batch)

    async def start(self) -> None:
        """Make the groups, adopt the previous life's leftovers, read; a Redis that is away is awaited aside."""
        self._health.require(self._part, SILENCE_SECONDS)
        await self._guarded(self._keep_reading)
        for loop in (self._retry_loop, self._tick_loop, self._upkeep_loop):
            self._tasks.append(asyncio.create_task(loop(), name=f"{self._part}:{loop.__name__}"))

    async def stop_reading(self) -> None:
        """Let pauses end and the running handler finish, then read no more and take no further retries."""
        self._stopping.set()
        self._wake.set()
        for task in self._tasks[1:]:
            task.cancel()
        reading = list(self._subscriber.tasks)
        await self._subscriber.stop()
        await asyncio.gather(*reading, return_exceptions=True)

    async def finish(self, timeout_seconds: float) -> None:
        """Wait for the running retry, then end the loops and tell Redis that nothing runs."""
        if self._tasks:
            await asyncio.wait(self._tasks[:1], timeout=timeout_seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._log.flush()
        await self._log.idle()

    async def _on_batch(self, raw: dict[str, Any]) -> None:
        """Deliver what FastStream read; return, and so let it read on, once nothing says to pause or rest."""
        entries, skipped = [], []
        for raw_id, fields in zip(raw["message_ids"], raw["data"], strict=True):
            message_id = raw_id.decode()
            if fields and is_for(fields, self._group_bytes):
                entries.append(self._delivery.admit(message_id, fields))
            else:
                skipped.append(message_id)
        await self._delivery.deliver(entries, skipped)
        self._health.progress(self._part)
        self._wake.set()
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set() and (pause := self._delivery.hold_seconds(loop.time())) > 0:
            await self._rest(self._stopping, min(pause, self._policy.outage_cap_seconds))
        if self._rest_seconds and len(raw["message_ids"]) < self._batch_max:
            await self._rest(self._stopping, self._rest_seconds)

    async def _retry_loop(self) -> None:
        """Deliver parked messages when they are due; a stopped consumer tries one per probe."""
        loop = asyncio.get_running_loop()
        parked = self._delivery.parked
        while not self._stopping.is_set():
            if self._delivery.stopped and (pause := self._delivery.hold_seconds(loop.time())) > 0:
                await self._rest(self._stopping, pause)
                continue
            due = parked.take(loop.time(), 1 if self._delivery.stopped else self._batch_max)
            if due:
                await self._guarded(lambda batch=due: self._delivery.deliver(batch))  # type: ignore[misc]
                continue
            upcoming = parked.next_due()
            self._wake.clear()
            await self._rest(self._wake, None if upcoming is None else max(0.0, upcoming - loop.time()))

    async def _tick_loop(self) -> None:
        while not self._stopping.is_set():
            await self._rest(self._stopping, self._policy.tick_seconds)
            if not self._stopping.is_set():
                await self._guarded(self._keep_reading)

    async def _keep_reading(self) -> None:
        """Start the subscriber, or start it again: it ends for good when its group vanished."""
        await self._redis.ping()
        await self._log.flush()
        if self._subscriber.running and any(not task.done() for task in self._subscriber.tasks):
            self._health.progress(self._part)
            return
        await ensure_groups(self._redis, self._stream)
        if not self._resumed:
            self._adopt(await self._recovery.leftovers(self._policy.parked_max), "own")
            self._resumed = True
        if not self._stopping.is_set():
            await self._subscriber.start()
            self._where.info("consumer_started")
            self._health.progress(self._part)

    async def _upkeep_loop(self) -> None:
        while not self._stopping.is_set():
            await self._rest(self._stopping, self._policy.upkeep_seconds)
            if not self._stopping.is_set():
                await self._guarded(self._upkeep)

    async def _upkeep(self) -> None:
        """Show life, find lost and abandoned messages, measure, trim."""
        await self._recovery.show_life()
        self._adopt(await self._recovery.lost(self._knows, LOST_REPLY_SECONDS), "lost")
        room = self._policy.parked_max - len(self._delivery.parked)
        if room > 0:
            self._adopt(await self._recovery.abandoned(self._claim_idle_seconds, room), "claimed")
        states = await group_states(self._redis, self._stream.name)
        if self._group in states:
            self._metrics.observe("lag", states[self._group].lag, **self._labels)
            self._metrics.observe("pending", states[self._group].pending, **self._labels)
        unknown = sorted(set(states) - set(self._stream.groups))
        self._metrics.observe("unknown_groups", len(unknown), stream=self._stream.name)
        if unknown:
            self._where.warning("unknown_groups_found", groups=unknown, expected=list(self._stream.groups))
        lock_ms = int(self._policy.upkeep_seconds * 900)
        if await self._redis.set(keys.trimming(self._stream.name), "1", nx=True, px=lock_ms):
            trimmed = await trim(self._redis, self._stream, states)
            self._metrics.count("trimmed", trimmed, stream=self._stream.name)

    def _knows(self, message_id: str) -> bool:
        return (
            message_id in self._delivery.parked or message_id in self._delivery.flight or message_id in self._log.owed
        )

    def _adopt(self, found: Sequence[Found], origin: str) -> None:
        """Queue messages taken over, to be delivered at once."""
        if not found:
            return
        self._where.warning("messages_recovered", origin=origin, messages=len(found))
        self._metrics.count("recovered", len(found), origin=origin, **self._labels)
        mine = [entry for entry in found if is_for(entry.fields, self._group_bytes)]
        others = [entry.id for entry in found if not is_for(entry.fields, self._group_bytes)]
        admitted = [self._delivery.admit(entry.id, entry.fields, entry.failure, entry.deaths) for entry in mine]
        self._delivery.parked.add(admitted, asyncio.get_running_loop().time())
        self._log.owe(others)
        self._wake.set()

    async def _guarded(self, work: Callable[[], Awaitable[object]]) -> None:
        """Do background work that the next round repeats: an outage of Redis is expected, anything else is logged."""
        try:
            await work()
        except Exception as error:  # noqa: BLE001  a loop that ended here would strand messages in silence
            if is_away(error) or isinstance(error, TimeoutError):
                self._where.warning("redis_away", error=str(error))
            else:
                self._where.error("bus_upkeep_failed", exc_info=error)

    @staticmethod
    async def _rest(event: asyncio.Event, seconds: float | None) -> None:
        """Wait for an event, at most `seconds` long."""
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return
