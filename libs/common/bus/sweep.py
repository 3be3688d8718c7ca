"""Refill a stream from Postgres: what a group should have seen and did not, because Redis lost it or was away."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import structlog
from redis.asyncio import Redis

from libs.common.bus import keys
from libs.common.bus.dead_letter import DeadLetterStore
from libs.common.bus.groups import ensure_groups, group_states
from libs.common.bus.streams import Stream
from libs.common.bus.wire import encode
from libs.common.messages import Message

M = TypeVar("M", bound=Message)
Rows = Callable[[int], Awaitable[Sequence[M]]]

SWEEP_MAX = 1_000
LOCK_SECONDS = 30

_log = structlog.get_logger()


async def sweep(redis: Redis, letters: DeadLetterStore, stream: Stream[M], group: str, rows: Rows[M]) -> int:
    """Publish what `rows(limit)` finds missing, to `group` alone; return how many.

    Only while nothing of the group is on its way, or once after its stream was made anew; one sweep of a group at a
    time; never what has an open or discarded dead letter. `rows` returns the oldest first and leaves out whatever is
    younger than 30 s and, so that they do not fill the page, subjects with such letters.
    """
    stream.require_group(group)
    await ensure_groups(redis, stream)
    lock = keys.sweeping(stream.name, group)
    if not await redis.set(lock, "1", nx=True, ex=LOCK_SECONDS):
        return 0
    try:
        recreated = keys.recreated(stream.name, group)
        state = (await group_states(redis, stream.name)).get(group)
        idle = state is not None and state.lag == 0 and state.pending == 0
        if not idle and not await redis.get(recreated):
            return 0
        found = list(await rows(SWEEP_MAX))[:SWEEP_MAX]
        subjects = [subject for message in found if (subject := stream.subject_of(message)) is not None]
        blocked = await letters.blocked(stream.name, group, subjects) if subjects else set()
        missing = [message for message in found if stream.subject_of(message) not in blocked]
        if missing:
            async with redis.pipeline(transaction=True) as pipe:
                for message in missing:
                    pipe.xadd(stream.name, encode(message, group=group))  # type: ignore[arg-type]  # bytes are fine
                await pipe.execute()
            _log.info("stream_swept", stream=stream.name, group=group, messages=len(missing))
        await redis.delete(recreated)
        return len(missing)
    finally:
        await redis.delete(lock)
