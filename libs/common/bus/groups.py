"""Consumer groups: made at the start of their stream, found again after they vanished, and how far each one is."""

from dataclasses import dataclass
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from libs.common.bus import keys
from libs.common.bus.failures import as_text
from libs.common.bus.streams import Stream
from libs.common.messages import Message

START = "0"
"""Where a new group begins. FastStream's own `$` would skip everything published before the first start."""

LAG_PAGE = 1_000

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class GroupState:
    """How far a group is. `lag` counts undelivered entries, `pending` delivered and unacknowledged ones."""

    name: str
    lag: int
    pending: int
    last_delivered: str
    consumers: int


async def ensure_groups(redis: Redis, stream: Stream[Message]) -> list[str]:
    """Create every group the map gives `stream`, and the stream; return the groups that were missing."""
    made: list[str] = []
    states = await group_states(redis, stream.name)
    for group in stream.groups:
        if group in states:
            continue
        try:
            await redis.xgroup_create(stream.name, group, id=START, mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        else:
            made.append(group)
            await redis.set(keys.recreated(stream.name, group), "1")
            _log.info("group_created", stream=stream.name, group=group)
    return made


async def group_states(redis: Redis, stream: str) -> dict[str, GroupState]:
    """Return the state of every group on a stream; empty when there is no such stream."""
    try:
        rows: list[dict[str, Any]] = await redis.xinfo_groups(stream)
    except ResponseError as error:
        if "no such key" in str(error):
            return {}
        raise
    states = {}
    for row in rows:
        last = as_text(row["last-delivered-id"])
        lag = row.get("lag")
        if lag is None:  # Redis cannot tell after deletions inside the stream: count what is there, up to a page
            lag = len(await redis.xrange(stream, min=f"({last}", count=LAG_PAGE) or ())
        name = as_text(row["name"])
        states[name] = GroupState(name, int(lag), int(row["pending"]), last, int(row["consumers"]))
    return states


async def trim(redis: Redis, stream: Stream[Message], states: dict[str, GroupState]) -> int:
    """Remove entries that every group of the map has acknowledged; return how many.

    Nothing goes while a group of the map is missing. Groups the map does not know hold nothing back.
    """
    if any(group not in states for group in stream.groups):
        return 0
    floors = []
    for group in stream.groups:
        floor = states[group].last_delivered
        if states[group].pending:
            summary = await redis.xpending(stream.name, group)
            floor = as_text(summary["min"]) if summary["min"] else floor
        floors.append(floor)
    lowest = min(floors, key=order)
    if order(lowest) == (0, 0):
        return 0
    return int(await redis.xtrim(stream.name, minid=lowest, approximate=True))


def order(entry_id: str) -> tuple[int, int]:
    """Return an entry id as numbers that sort in stream order."""
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number or 0)
