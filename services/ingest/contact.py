"""Keep record of when we were looking, so that "no trade" and "not looking" can be told apart afterwards.

A record is made when a connection stands and every few seconds while it does, and with each poll; a process that is
killed therefore leaves the truth behind. A database that is away only delays the record.
"""

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

import structlog

from libs.common.domain.contact import LookBack, Span, Way
from libs.common.domain.errors import Unavailable
from services.ingest.core.contact import CHAIN_PATIENCE, CONFIRM_EVERY, Life, Poll
from services.ingest.store.contact import ChainRow

UNSAVED_MAX: Final = 1_000
STOP_SECONDS: Final = 2.0
STOPPED: Final = "stopped"
WITHHOLDS: Final = "doubted: the API shows a fill that was not delivered"
CAME_LATE: Final = "doubted: a fill was delivered late"
DELIVERED_WITHIN: Final = timedelta(seconds=5)
"""Between a block's time and the delivery of its logs, clocks apart included."""
PLACES_MAX: Final = 20_000
"""Logs that are remembered as delivered; what is fetched again is younger."""
ENDED_MAX: Final = 16

_log = structlog.get_logger()


class Records(Protocol):
    """The part of the store that keeps contact."""

    async def polled(self, wallet: str, poll: Poll) -> None:
        """Note a complete poll."""

    async def looked_back(self, wallet: str, look: LookBack) -> None:
        """Note a complete listing of the past."""

    async def poll_failed(self, wallet: str, reason: str) -> None:
        """Count a failed poll."""

    async def polls_stop(self, wallets: Collection[str]) -> None:
        """Keep why polling is about to end."""

    async def keep_chain(self, rows: Sequence[ChainRow], looks: Sequence[LookBack]) -> None:
        """Write contact with the chain."""


@dataclass(slots=True)
class _Ended:
    """Contact that is over, as written in `row`; `full` is what it may claim where nothing proves that it withheld.

    Logs of blocks behind `head` were to be pushed.
    """

    row: ChainRow
    head: int
    full: datetime
    told: datetime
    is_suspect: bool
    missed_at: datetime | None = None


class ChainContact:
    """Contact of this process with the chain, one life of a connection after the other."""

    def __init__(self, records: Records, now: Callable[[], datetime]) -> None:
        self._records = records
        self._now = now
        self._life: Life | None = None
        self._row: ChainRow | None = None
        self._unsaved: list[ChainRow] = []
        self._looks: list[LookBack] = []
        self._saved_at: datetime | None = None
        self._quiet: Span | None = None
        self._head = self._socket_head = 0
        self._places: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._ended: deque[_Ended] = deque(maxlen=ENDED_MAX)

    async def opened(self) -> None:
        """Note that every followed wallet is subscribed to from now on.

        A connection that was only quiet when it was replaced was not lost, and contact goes on: the heal that follows
        fetches what the moments between brought.
        """
        now = self._now()
        if self._life and self._row:
            if now - self._life.through <= CHAIN_PATIENCE:
                self._quiet = Span(self._life.delivered_at + DELIVERED_WITHIN, now - DELIVERED_WITHIN)
                await self.stands()
                return
            await self.lost("replaced, and not up again soon")
        self._life, self._quiet = Life.begin(now), None
        self._row = ChainRow(now, now, CHAIN_PATIENCE)
        await self._save()

    def begins_behind(self, head: int) -> None:
        """Note the chain's head right after the subscription; logs of later blocks are to be pushed."""
        self._socket_head = head
        if not self._quiet:
            self._head = head

    def delivered(self) -> None:
        """Note that the socket delivered a log."""
        if self._life:
            self._life.deliver(self._now())

    def answered(self) -> None:
        """Note that a socket that was quiet for long answered."""
        if self._life:
            self._life.answer(self._now())

    def withholds(self, since: datetime | None) -> None:
        """Note that a fill of `since` has not been delivered although the API shows it for long; None: none is missed.

        From then on the socket is not believed, though it stands: it may not be replaced before a minute has passed.
        """
        if self._life:
            self._life.withhold(since)

    def saw(self, place: tuple[str, int], block: int, event_time: datetime, *, fetched: bool) -> None:
        """Note a log by its block's hash and its index; one that is fetched, and never was delivered, is proof.

        Contact that was claimed for its time ends before it, whatever the socket was lost for; of one that was taken
        for quiet as well.
        """
        known = place in self._places
        self._places[place] = None
        while len(self._places) > PLACES_MAX:
            self._places.popitem(last=False)
        if not fetched or known:
            return
        for ended in self._ended:
            if ended.head < block and event_time < ended.full:
                event_time = max(event_time, ended.row.since)
                ended.missed_at = event_time if ended.missed_at is None else min(event_time, ended.missed_at)
                ended.row.through = min(ended.missed_at, ended.row.through)
                self._unsaved.append(ended.row)
        if self._life and self._quiet and self._quiet.start < event_time < self._quiet.end:
            self._life.withhold(event_time)
            self._life.withhold(None)

    async def stands(self) -> None:
        """Note that the socket is up; to be called about every second, writes every five."""
        await self._begin_anew()
        if self._life is None or self._row is None:
            return
        now = self._now()
        self._life.stand(now)
        before = self._row.patience
        self._row.through = self._life.proven_through()
        self._row.patience = timedelta() if self._life.withholds else CHAIN_PATIENCE
        self._row.ended_by = WITHHOLDS if self._life.withholds else None
        if self._saved_at is None or now - self._saved_at >= CONFIRM_EVERY or self._row.patience != before:
            await self._save()

    def leaves(self) -> None:
        """Note that we are about to close a socket that stands: the last poll may have begun since it was last said."""
        if self._life:
            self._life.stand(self._now())

    async def healed(self, since: datetime) -> None:
        """Note that all logs from `since` up to the subscription have been fetched and committed.

        Whoever seemed to withhold a fill is cleared by that if there is no log of it.
        """
        await self._begin_anew()
        for ended in self._ended:
            if ended.is_suspect and since <= ended.told:
                ended.is_suspect = False
                ended.row.through = ended.full if ended.missed_at is None else ended.missed_at
                self._unsaved.append(ended.row)
        if self._life and since < self._life.since:
            self._looks.append(LookBack(Span(since, self._life.since), self._now(), Way.GETLOGS))
            await self._save()

    async def lost(self, reason: str) -> datetime | None:
        """Note that the connection is gone, and cut back what cannot be believed of it.

        Returns since when it may have withheld fills, which is to be fetched; None if nothing says that it had.
        """
        if self._life is None or self._row is None:
            return None
        if self._life.withholds and not reason.startswith("doubted"):
            reason = f"{WITHHOLDS}; {reason}"
        is_suspect = self._life.withheld_at is not None
        told = self._life.told_through if is_suspect else None
        full, self._row.through = self._life.believed_through(reason), self._life.proven_through(reason)
        if reason == CAME_LATE:
            full, is_suspect = self._row.through, False
        self._ended.append(_Ended(self._row, self._head, full, told or full, is_suspect))
        self._row.patience, self._row.ended_by = timedelta(), reason[:200]
        self._unsaved.append(self._row)
        self._life = self._row = None
        await self._save()
        return told

    async def _begin_anew(self) -> None:
        """Go on behind a gap when all that was withheld has come, late."""
        if self._life and self._life.withheld_at is not None and not self._life.withholds:
            await self.lost(CAME_LATE)
            await self.opened()
            self._head = self._socket_head

    async def _save(self) -> None:
        """Write what is new, or keep it for the next time."""
        rows = [*self._unsaved, *([self._row] if self._row else [])]
        try:
            await self._records.keep_chain(rows, self._looks)
        except Unavailable as error:
            del self._unsaved[:-UNSAVED_MAX], self._looks[:-UNSAVED_MAX]
            _log.warning("contact_not_kept", source="CHAIN", error=str(error)[:200])
            return
        self._unsaved, self._looks, self._saved_at = [], [], self._now()


class PollContact:
    """Contact with the Data API, wallet by wallet, shared by all replicas."""

    def __init__(self, records: Records, now: Callable[[], datetime]) -> None:
        self._records = records
        self._now = now

    async def polled(self, wallet: str, start: int, began: datetime, interval_seconds: float) -> None:
        """Note a complete, recorded poll from `start` (epoch seconds) on; raises Unavailable.

        To be called before the poll's checkpoint is kept, which must not be ahead of this.
        """
        interval = timedelta(seconds=interval_seconds)
        since = datetime.fromtimestamp(start, began.tzinfo)
        await self._records.polled(wallet, Poll(since, began, self._now(), interval))

    async def looked_back(self, wallet: str, start: int, end: int, *, by_hand: bool = False) -> None:
        """Note that what happened from `start` to `end` (epoch seconds) was listed and recorded; raises Unavailable."""
        span = Span(datetime.fromtimestamp(start, UTC), datetime.fromtimestamp(end, UTC))
        await self._records.looked_back(wallet, LookBack(span, self._now(), Way.BACKFILL if by_hand else Way.POLL))

    async def failed(self, wallet: str, reason: str) -> None:
        """Count a poll that failed; a database that is away keeps its own silence."""
        with contextlib.suppress(Unavailable):
            await self._records.poll_failed(wallet, reason)

    async def stop(self, wallets: Collection[str]) -> None:
        """Note that this process stops polling."""
        with contextlib.suppress(Unavailable):
            await self._records.polls_stop(wallets)


async def take_leave(chain: ChainContact, polls: PollContact, wallets: Collection[str]) -> None:
    """Say that we stop, so that the gap that follows has its reason; at most for two seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STOP_SECONDS):
            await chain.lost(STOPPED)
            await polls.stop(wallets)
