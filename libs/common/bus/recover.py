"""Pending messages nobody works on: what this consumer's previous life left, what a lost reply hid, what the dead hold.

Redis never redelivers by itself; every pending entry of a group is found again here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from libs.common.bus.failures import Failure, FailureLog, as_text
from libs.common.bus.wire import Fields

PAGE = 500


@dataclass(frozen=True, slots=True)
class Found:
    """A pending entry taken over, with what is remembered of it."""

    id: str
    fields: Fields
    failure: Failure | None
    deaths: int


class Recovery:
    """Takes pending entries of one group over for one of its consumers."""

    def __init__(self, redis: Redis, stream: str, group: str, consumer: str, log: FailureLog) -> None:
        self._redis = redis
        self._stream = stream
        self._group = group
        self._consumer = consumer
        self._log = log

    async def leftovers(self, limit: int) -> list[Found]:
        """Take over what this consumer name left pending in its previous life. Call before reading starts."""
        ids: list[str] = []
        start = "-"
        while len(ids) < limit:
            page = await self._pending(self._consumer, start, 0)
            if not page:
                break
            ids += page
            start = f"({page[-1]}"
        deaths = await self._log.count_deaths(self._consumer, ids)
        return await self._take(ids[:limit], 0, deaths)

    async def lost(self, known: Callable[[str], bool], idle_seconds: float) -> list[Found]:
        """Take over entries delivered to this consumer whose reply never arrived: pending, yet not `known`."""
        found: list[str] = []
        start = "-"
        while page := await self._pending(self._consumer, start, idle_seconds):
            found += [message_id for message_id in page if not known(message_id)]
            start = f"({page[-1]}"
        return await self._take(found, 0, {})

    async def abandoned(self, idle_seconds: float, limit: int) -> list[Found]:
        """Take over what consumers hold that gave no sign of life for `idle_seconds`."""
        taken: list[Found] = []
        for row in await self._consumers():
            name, idle = as_text(row["name"]), row["idle"] / 1000
            if name == self._consumer or not row["pending"] or idle < idle_seconds:
                continue
            ids = await self._pending(name, "-", idle_seconds)
            if ids[: limit - len(taken)]:
                ids = ids[: limit - len(taken)]
                found = await self._take(ids, idle_seconds, {})
                deaths = await self._log.count_deaths(name, [entry.id for entry in found])
                taken += [Found(entry.id, entry.fields, entry.failure, deaths.get(entry.id, 0)) for entry in found]
        return taken

    async def show_life(self) -> None:
        """Let Redis see that this consumer lives although it does not read: claim an entry that never exists."""
        await self._redis.xclaim(self._stream, self._group, self._consumer, 0, ["0-1"], justid=True)

    async def _consumers(self) -> list[dict[str, Any]]:
        try:
            rows: list[dict[str, Any]] = await self._redis.xinfo_consumers(self._stream, self._group)
        except ResponseError as error:
            if "NOGROUP" in str(error) or "no such key" in str(error):
                return []
            raise
        return rows

    async def _pending(self, consumer: str, start: str, idle_seconds: float) -> list[str]:
        try:
            rows: Any = await self._redis.xpending_range(
                self._stream,
                self._group,
                start,
                "+",
                PAGE,
                consumername=consumer,
                idle=int(idle_seconds * 1000) if idle_seconds else None,
            )
        except ResponseError as error:
            if "NOGROUP" in str(error):
                return []
            raise
        return [as_text(row["message_id"]) for row in rows]

    async def _take(self, ids: Sequence[str], idle_seconds: float, deaths: dict[str, int]) -> list[Found]:
        """Claim entries atomically; those that another took first, or that were trimmed, are not among the result."""
        found = []
        for at in range(0, len(ids), PAGE):
            page: list[Any] = list(ids[at : at + PAGE])
            claimed: Any = await self._redis.xclaim(
                self._stream, self._group, self._consumer, int(idle_seconds * 1000), page
            )
            entries = [(as_text(entry_id), fields) for entry_id, fields in claimed if entry_id is not None and fields]
            failures = await self._log.recall([entry_id for entry_id, _ in entries])
            found += [
                Found(entry_id, fields, failures.get(entry_id), deaths.get(entry_id, 0)) for entry_id, fields in entries
            ]
        return found
