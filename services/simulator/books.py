"""The desk that gets each group its one book: claimed by one process of either scope, fetched together, shared.

A group is brought here when it falls due, so no book is fetched too early. What another process claimed is looked up
until it is there; a claim that yields nothing for RECLAIM_SECONDS is taken over. A book that cannot be had for
`patience_seconds` is given up, and the group is decided without one.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

import structlog

from libs.common.domain.book import Book
from libs.common.domain.errors import ShadowbookError
from libs.common.observability.metrics import BOOKS_FETCHED
from services.simulator.core.facts import Group

BOOKS_PER_CALL: Final = 250
LOOK_SECONDS: Final = 0.012
"""How often to look for books that another process fetches."""
CALL_SECONDS: Final = 0.06
"""Least time between two calls; groups that fall due meanwhile share the next one."""
CLAIM_SECONDS: Final = 1.0
"""How often to try to take over a claim."""
RETRY_SECONDS: Final = 0.2
"""How soon to ask again for a book that was missing."""
OUTAGE_SECONDS: Final = 0.5
LEAST_SECONDS: Final = 0.5
"""Time any call gets, however little is left of the patience."""

_log = structlog.get_logger()


class BookSource(Protocol):
    """The exchange, as far as books go."""

    async def books(self, asset_ids: Sequence[str]) -> Mapping[str, Book]:
        """Return the books of those tokens that have one."""


class BookRows(Protocol):
    """Where books and claims are kept."""

    async def settled(self, group_ids: Sequence[UUID]) -> set[UUID]:
        """Return the groups whose book was fetched or given up."""

    async def claim(self, groups: Sequence[Group]) -> set[UUID]:
        """Claim groups; return those that are ours now."""

    async def save(self, groups: Mapping[UUID, Book], fetched_at: datetime) -> None:
        """Keep the book of each group."""

    async def give_up(self, group_ids: Sequence[UUID], error: str) -> None:
        """Say that these groups must be decided without a book."""


@dataclass(slots=True)
class _Wish:
    """One group that needs a book. `claim_at`, `ask_at` and `give_up_at` are on the monotonic clock."""

    group: Group
    claim_at: float
    is_ours: bool = False
    ask_at: float = 0.0
    give_up_at: float = 0.0
    was_asked: bool = False
    error: str = "the exchange has no book of this token"


class BookDesk:
    """Gets books for groups and reports each group once its book is settled."""

    def __init__(
        self,
        source: BookSource,
        rows: BookRows,
        settled: Callable[[Sequence[UUID]], None],
        *,
        now: Callable[[], datetime],
        claim_after_seconds: float = 0.0,
        patience_seconds: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`claim_after_seconds` leaves the other scope's process the first try, so that the exchange is asked once."""
        self._source, self._rows, self._settled = source, rows, settled
        self._now, self._clock, self._sleep = now, clock, sleep
        self._claim_after, self._patience = claim_after_seconds, patience_seconds
        self._wishes: dict[UUID, _Wish] = {}
        self._wake = asyncio.Event()
        self._next_call = 0.0

    def __len__(self) -> int:
        return len(self._wishes)

    def want(self, groups: Sequence[Group]) -> None:
        """Get books for groups that are due."""
        for group in groups:
            if group.id not in self._wishes:
                self._wishes[group.id] = _Wish(group, self._clock() + self._claim_after)
        if self._wishes:
            self._wake.set()

    async def run(self) -> None:
        """Serve wishes until cancelled; an outage of the database only delays them."""
        while True:
            if not self._wishes:
                self._wake.clear()
                await self._wake.wait()
            try:
                await self.tick()
            except Exception as error:  # noqa: BLE001  groups wait for their books; the desk must not fall
                _log.warning("books_wait", error=f"{type(error).__name__}: {error}"[:300])
                await self._sleep(OUTAGE_SECONDS)
            if self._wishes:
                await self._sleep(self._pause())

    async def tick(self) -> None:
        """Look for what others fetched, claim what nobody did, and fetch what is ours and may be asked for."""
        await self._claim()
        await self._look()
        await self._abandon()
        await self._fetch()

    async def _claim(self) -> None:
        now = self._clock()
        unclaimed = [wish for wish in self._wishes.values() if not wish.is_ours and wish.claim_at <= now]
        if not unclaimed:
            return
        ours = await self._rows.claim([wish.group for wish in unclaimed])
        for wish in unclaimed:
            wish.claim_at = now + CLAIM_SECONDS
            if wish.group.id in ours:
                wish.is_ours = True
                wish.give_up_at = now + self._patience

    async def _look(self) -> None:
        others = [group_id for group_id, wish in self._wishes.items() if not wish.is_ours]
        if others:
            self._finish(await self._rows.settled(others))

    async def _fetch(self) -> None:
        now = self._clock()
        if now < self._next_call:
            return
        wishes = [wish for wish in self._wishes.values() if wish.is_ours and wish.ask_at <= now]
        assets = list(dict.fromkeys(wish.group.asset_id or "" for wish in wishes))[:BOOKS_PER_CALL]
        asked = [wish for wish in wishes if wish.group.asset_id in set(assets)]
        if not asked:
            return
        self._next_call = now + CALL_SECONDS
        found: Mapping[str, Book] = {}
        try:
            async with asyncio.timeout(max(LEAST_SECONDS, min(wish.give_up_at for wish in asked) - now)):
                found = await self._source.books(assets)
        except (ShadowbookError, TimeoutError) as error:
            for wish in asked:
                wish.error = f"{type(error).__name__}: {error}"[:300]
            BOOKS_FETCHED.labels(outcome="unavailable").inc(len(asked))
        fetched_at = self._now()
        books = {wish.group.id: found[wish.group.asset_id or ""] for wish in asked if wish.group.asset_id in found}
        if books:
            await self._rows.save(books, fetched_at)
            BOOKS_FETCHED.labels(outcome="fetched").inc(len(books))
            self._finish(books)
        for wish in asked:
            wish.was_asked, wish.ask_at = True, self._clock() + RETRY_SECONDS

    async def _abandon(self) -> None:
        now = self._clock()
        hopeless = [wish for wish in self._wishes.values() if wish.was_asked and wish.give_up_at <= now]
        by_error: dict[str, list[UUID]] = {}
        for wish in hopeless:
            by_error.setdefault(wish.error, []).append(wish.group.id)
        for error, group_ids in by_error.items():
            await self._rows.give_up(group_ids, error)
            _log.warning("books_unavailable", groups=len(group_ids), error=error)
            BOOKS_FETCHED.labels(outcome="given_up").inc(len(group_ids))
            self._finish(group_ids)

    def _finish(self, group_ids: Mapping[UUID, Book] | Sequence[UUID] | set[UUID]) -> None:
        done = [group_id for group_id in group_ids if self._wishes.pop(group_id, None) is not None]
        if done:
            self._settled(done)

    def _pause(self) -> float:
        """Return how long until something can be done."""
        now = self._clock()
        waits = [LOOK_SECONDS if not wish.is_ours else wish.ask_at - now for wish in self._wishes.values()]
        soonest = max(min(waits), 0.002)
        if all(wish.is_ours for wish in self._wishes.values()):
            soonest = max(soonest, self._next_call - now)
        return min(soonest, LOOK_SECONDS)
