"""How full the streams are, for the status page and the command line."""

from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from libs.common.bus.connection import connect, reaching
from libs.common.bus.failures import as_text
from libs.common.bus.groups import group_states
from libs.common.bus.streams import ALL


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """One group of one stream, in messages; `dead` counts dead letters that are still open."""

    name: str
    group: str
    length: int
    lag: int
    pending: int
    dead: int


async def read_status(redis: Redis) -> list[StreamStatus]:
    """Return the state of every group of the map, in flow order; a group not made yet lags by the whole stream."""
    result = []
    for stream in ALL:
        length = int(await redis.xlen(stream.name))
        states = await group_states(redis, stream.name)
        mirrored: Any = await redis.xrange(stream.dead_letters)
        dead = [as_text(fields.get(b"group", b"")) for _, fields in mirrored]
        for group in stream.groups:
            state = states.get(group)
            lag, pending = (state.lag, state.pending) if state else (length, 0)
            result.append(StreamStatus(stream.name, group, length, lag, pending, dead.count(group)))
    return result


async def stream_status(redis_url: str) -> list[StreamStatus]:
    """Return the state of every group of the map; raises Unavailable while Redis is away."""
    async with connect(redis_url) as redis:
        with reaching("status of the streams"):
            return await read_status(redis)
