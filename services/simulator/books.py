"""The desk that gets each group its one book: claimed by one process of either scope, fetched together, shared.

A group comes here shortly before it falls due, so that the claim is settled when the book may be fetched: at its due,
never earlier. Books that another process fetches are announced by the database, and looked up where that is lost. A
claim that yields nothing for RECLAIM_SECONDS is taken over. A book that cannot be had for `patience_seconds` is given
up, and the group is decided without one.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

import structlog

from libs.common.domain.book import Book
from libs.common.domain.errors import PartlyAnswered, ShadowbookError
from libs.common.observability.metrics import BOOKS_FETCHED
from services.simulator.core.facts import Group
from services.simulator.core.schedule import Waiting

BOOKS_PER_CALL: Final = 250
CALL_SECONDS: Final = 0.06
"""Time between two calls in the long run, which leaves a part of the exchange's budget to marks and polls."""
CALLS_SAVED_UP: Final = 10
"""Calls that may follow sooner after a calm spell. The fewer are left, the longer the first group of a call waits for
others to share it: up to CALL_SECONDS, so that no group waits much longer than the budget makes all wait."""
CALL_SECONDS_MIN: Final = 0.03
"""Groups that fall due within this time of a call share the next one."""
LOOK_SECONDS: Final = 0.25
"""How often to look for books that another process fetches, should its announcement be lost."""
GATHER_SECONDS: Final = 0.1
"""How long claims wait for each other, long before any of their groups is due."""
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

    async def give_up(self, group_ids: Sequence[UUID], error: str) -> set[UUID]:
        """Say that these groups must be decided without a book; return those that were still ours to give up."""


@dataclass(slots=True)
class Wish:
    """One group that needs a book. All times are on the monotonic clock; `ask_at` is never before the group's due."""

    group: Group
    claim_at: float
    ask_at: float
    look_at: float
    give_up_at: float
    is_ours: bool = False
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
        stands_back_seconds: float | None = None,
        patience_seconds: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """With `stands_back_seconds` it claims only what nobody settled so long after the due."""
        self._source, self._rows, self._settled = source, rows, settled
        self._now, self._clock = now, clock
        self._stands_back, self._patience = stands_back_seconds, patience_seconds
        self._wishes: dict[UUID, Wish] = {}
        self._wake = asyncio.Event()
        self._last_call = -math.inf
        self._paid_until = -math.inf

    def __len__(self) -> int:
        return len(self._wishes)

    def want(self, coming: Sequence[Waiting]) -> None:
        """Get books for groups that are about to fall due."""
        now, clock = self._now(), self._clock()
        for each in coming:
            if each.group.id not in self._wishes:
                due = clock + max(0.0, (each.due - now).total_seconds())
                claim_at = min(due, clock + GATHER_SECONDS) if self._stands_back is None else due + self._stands_back
                self._wishes[each.group.id] = Wish(each.group, claim_at, due, due + LOOK_SECONDS, due + self._patience)
        if coming:
            self._wake.set()

    def settled_elsewhere(self, group_ids: Iterable[UUID]) -> None:
        """Note that another process settled the books of these groups."""
        self._finish(group_ids)

    async def run(self) -> None:
        """Serve wishes until cancelled; an outage of the database only delays them."""
        async with asyncio.TaskGroup() as calls:
            while True:
                self._wake.clear()
                if asked := self.next_call():
                    calls.create_task(self.call(asked))
                try:
                    await self.tend()
                except Exception as error:  # noqa: BLE001  groups wait for their books; the desk must not fall
                    _log.warning("books_wait", error=f"{type(error).__name__}: {error}"[:300])
                    await asyncio.sleep(OUTAGE_SECONDS)
                try:
                    async with asyncio.timeout(self._pause()):
                        await self._wake.wait()
                except TimeoutError:
                    pass

    async def tend(self) -> None:
        """Claim what nobody did, look for what others fetched, and give up what is hopeless."""
        now = self._clock()
        await self._claim(now)
        await self._look(now)
        await self._abandon(now)

    def next_call(self) -> list[Wish]:
        """Return the wishes to ask for in one call now, if a call may be made now; the caller must make it."""
        now = self._clock()
        ready = [wish for wish in self._wishes.values() if wish.is_ours and wish.ask_at <= now]
        if not ready or now < self._call_at(min(wish.ask_at for wish in ready)):
            return []
        assets = set(list(dict.fromkeys(wish.group.asset_id for wish in ready))[:BOOKS_PER_CALL])
        asked = [wish for wish in ready if wish.group.asset_id in assets]
        self._last_call, self._paid_until = now, max(self._paid_until, now) + CALL_SECONDS
        for wish in asked:
            wish.ask_at = math.inf
        return asked

    async def call(self, asked: Sequence[Wish]) -> None:
        """Ask the exchange for the books of these wishes; what it has is settled, the rest is asked for again."""
        again = RETRY_SECONDS
        try:
            await self._fetch(asked)
        except Exception as error:  # noqa: BLE001  the books of these groups wait; others are served
            _log.warning("books_wait", error=f"{type(error).__name__}: {error}"[:300])
            again = OUTAGE_SECONDS
        finally:
            for wish in asked:
                wish.was_asked, wish.ask_at = True, self._clock() + again
            self._wake.set()

    async def _claim(self, now: float) -> None:
        others = [wish for wish in self._wishes.values() if not wish.is_ours]
        if all(wish.claim_at > now for wish in others):
            return
        unclaimed = [wish for wish in others if wish.claim_at <= now + GATHER_SECONDS]
        ours = await self._rows.claim([wish.group for wish in unclaimed])
        for wish in unclaimed:
            wish.claim_at = now + CLAIM_SECONDS
            if wish.group.id in ours:
                wish.is_ours = True
                wish.give_up_at = max(wish.ask_at, now) + self._patience

    async def _look(self, now: float) -> None:
        others = [group_id for group_id, wish in self._wishes.items() if not wish.is_ours and wish.look_at <= now]
        if others:
            self._finish(await self._rows.settled(others))
            for group_id in others:
                if wish := self._wishes.get(group_id):
                    wish.look_at = now + LOOK_SECONDS

    async def _fetch(self, asked: Sequence[Wish]) -> None:
        now = self._clock()
        assets = list(dict.fromkeys(wish.group.asset_id or "" for wish in asked))
        found: Mapping[str, Book] = {}
        try:
            async with asyncio.timeout(max(LEAST_SECONDS, min(wish.give_up_at for wish in asked) - now)):
                found = await self._source.books(assets)
        except (ShadowbookError, TimeoutError) as error:
            found = error.found if isinstance(error, PartlyAnswered) else found
            failed = [wish for wish in asked if wish.group.asset_id not in found]
            for wish in failed:
                wish.error = f"{type(error).__name__}: {error}"[:300]
            BOOKS_FETCHED.labels(outcome="unavailable").inc(len(failed))
        fetched_at = self._now()
        books = {wish.group.id: found[wish.group.asset_id or ""] for wish in asked if wish.group.asset_id in found}
        if books:
            await self._rows.save(books, fetched_at)
            BOOKS_FETCHED.labels(outcome="fetched").inc(len(books))
            self._finish(books)

    async def _abandon(self, now: float) -> None:
        hopeless = [
            wish
            for wish in self._wishes.values()
            if wish.is_ours and wish.was_asked and wish.give_up_at <= now and wish.ask_at < math.inf
        ]
        by_error: dict[str, list[UUID]] = {}
        for wish in hopeless:
            by_error.setdefault(wish.error, []).append(wish.group.id)
        for error, group_ids in by_error.items():
            given_up = await self._rows.give_up(group_ids, error)
            _log.warning("books_unavailable", groups=len(given_up), error=error)
            BOOKS_FETCHED.labels(outcome="given_up").inc(len(given_up))
            self._finish(given_up)
            for group_id in set(group_ids) - given_up:  # we stood still, and another took the claim over
                if lost := self._wishes.get(group_id):
                    lost.is_ours, lost.look_at, lost.claim_at = False, now, now + CLAIM_SECONDS

    def _finish(self, group_ids: Iterable[UUID]) -> None:
        done = [group_id for group_id in group_ids if self._wishes.pop(group_id, None) is not None]
        if done:
            self._settled(done)

    def _call_at(self, first: float) -> float:
        """Return when to make the call whose first wish may be asked for at `first`.

        Calls are paid for until `_paid_until`; of what is saved up, the part that is spent by then is the part of
        CALL_SECONDS that the first wish waits: (call_at - first) / CALL_SECONDS = spent / CALLS_SAVED_UP.
        """
        gathered = (CALLS_SAVED_UP * first + self._paid_until) / (CALLS_SAVED_UP + 1)
        allowed = self._paid_until - CALLS_SAVED_UP * CALL_SECONDS
        return max(first, gathered, allowed, self._last_call + CALL_SECONDS_MIN)

    def _pause(self) -> float | None:
        """Return how long until something can be done; None while nothing is wished."""
        waits = [min(wish.claim_at, wish.look_at) for wish in self._wishes.values() if not wish.is_ours]
        first = min((wish.ask_at for wish in self._wishes.values() if wish.is_ours), default=math.inf)
        waits += [self._call_at(first)] if first < math.inf else []
        waits += [wish.give_up_at for wish in self._wishes.values() if wish.is_ours and wish.was_asked]
        soonest = min(waits, default=math.inf)
        return None if soonest == math.inf else max(0.001, soonest - self._clock())
