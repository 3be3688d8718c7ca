"""Openings and re-syncs: what followed wallets held at their follow, and what conversions made of it.

Positions are read once a follow, and kept before anything is made of them: killed anywhere, the next process goes on
from the same rows. Rows of tokens that were left alone since are booked at once; the others wait until activity is
complete up to the reading: positions and activity are served with seconds of lag, so a listing counts that was asked
for a while after the reading.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

import structlog
from sqlalchemy.exc import SQLAlchemyError

from libs.common.domain.errors import Rejected, Unavailable
from libs.common.domain.kinds import EntryType, EventKind
from libs.common.messages import EventDetected
from libs.common.observability import metrics
from libs.common.upstream.data_api import PositionListing, PositionRow
from services.ingest.core.positions import READINGS_MAX, Held, Owner, Sync
from services.ingest.core.readings import Reading
from services.ingest.roster import NotFollowedError
from services.ingest.store.positions import Due

LOOK_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 10.0
READ_AT_ONCE_MAX: Final = 2
"""Wallets whose positions are read at the same time, beside the polls."""
WALLETS_AT_ONCE_MAX: Final = 200
TURN_SECONDS: Final = 120.0
"""For so long other replicas leave a wallet alone; should it take longer, or its replica die, another reads it, too."""
TAKEN_SECONDS: Final = 5.0
"""When to look again at a wallet that another replica is reading."""
FRUITLESS_SECONDS: Final = 30.0
"""How long a wallet, and its turn, rest after a re-sync that could attach nothing."""
REACH_MARGIN_SECONDS: Final = 120

_log = structlog.get_logger()


class Holdings(Protocol):
    """The part of the Data API that tells what a wallet holds."""

    async def positions(self, wallet: str, *, closed_since: int) -> PositionListing:
        """Return what is held, and what was given up since."""


class Polls(Protocol):
    """The part of the poller that completes activity."""

    async def poll_now(self, wallet: str | None, seconds: int | None) -> None:
        """Poll now, reaching so far back, and return when that is done."""


class Takes(Protocol):
    """The part of the store that says whose turn it is among replicas."""

    async def take_turn(self, key: str, seconds: float) -> object | None:
        """Take a turn; None when another replica has it."""

    async def end_turn(self, key: str) -> None:
        """Give the turn to whoever wants it next."""


class Shelf(Protocol):
    """The part of the store that keeps position syncs."""

    async def due(self, settled: datetime) -> list[Due]:
        """Return wallets that need one."""

    async def reading(self, owner: Owner) -> Reading | None:
        """Return what was read for this follow so far."""

    async def keep_reading(self, owner: Owner, reading: Reading) -> Reading:
        """Keep a reading; returns what counts."""

    async def record_openings(
        self, owner: Owner, held: Mapping[str, Held], reading: Reading, *, complete: bool, last: bool, now: datetime
    ) -> tuple[list[Sync], list[str]]:
        """Record openings; return them and the tokens that are not clear yet."""

    async def record_adjustments(
        self, owner: Owner, held: Mapping[str, Held], *, until: datetime, now: datetime
    ) -> list[Sync]:
        """Record what conversions changed."""


def held_of(rows: Mapping[str, PositionRow]) -> dict[str, Held]:
    """Return position rows as the core sees them."""
    return {
        asset: Held(
            asset_id=asset,
            condition_id=row.condition_id,
            group=row.event_id or row.condition_id,
            share_micros=row.share_micros,
            price_micros=row.price_micros,
            as_of=datetime.fromtimestamp(row.last_event_at, UTC),
        )
        for asset, row in rows.items()
    }


def sync_message(sync: Sync, observed_at: datetime) -> EventDetected:
    """Return what is told of an opening or adjustment."""
    return EventDetected(
        event_id=sync.id,
        kind=EventKind.OPENING if sync.kind is EntryType.OPENING else EventKind.ADJUSTMENT,
        booked=True,
        user_id=sync.user_id,
        condition_id=sync.condition_id or None,
        asset_id=sync.asset_id,
        side=None,
        occurred_at=sync.event_time,
        observed_at=observed_at,
    )


class Positions:
    """Brings every followed wallet to what the exchange says it holds. Safe to run in several processes."""

    def __init__(
        self,
        api: Holdings,
        shelf: Shelf,
        polls: Polls,
        turns: Takes,
        recorded: Callable[[Sequence[Sync], datetime], None],
        *,
        settle_seconds: float,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._api = api
        self._shelf = shelf
        self._polls = polls
        self._turns = turns
        self._recorded = recorded
        self._settle = settle_seconds
        self._now = now
        self._sleep = sleep
        self._reading = asyncio.Semaphore(READ_AT_ONCE_MAX)
        self._busy: set[str] = set()

    async def run(self) -> None:
        """Look for wallets that need a sync, for ever."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                try:
                    for due in await self._shelf.due(self._now() - timedelta(seconds=self._settle)):
                        if due.owner.wallet not in self._busy and len(self._busy) < WALLETS_AT_ONCE_MAX:
                            self._busy.add(due.owner.wallet)
                            tasks.create_task(self._serve(due))
                except Unavailable as error:
                    _log.warning("positions_wait", error=str(error)[:200])
                await self._sleep(LOOK_SECONDS)

    async def _serve(self, due: Due) -> None:
        key = f"positions:{due.owner.wallet}"
        try:
            if await self._turns.take_turn(key, TURN_SECONDS) is None:
                await self._sleep(TAKEN_SECONDS)
                return
            try:
                await (self.open(due) if due.opening else self.adjust(due))
            finally:
                await self._turns.end_turn(key)
        except NotFollowedError:
            _log.info("positions_not_wanted", wallet=due.owner.wallet, reason="not followed, or not known to be yet")
            await self._sleep(RETRY_SECONDS)
        except (Unavailable, Rejected, SQLAlchemyError) as error:
            metrics.POSITION_READINGS.labels("failed").inc()
            _log.warning("positions_not_synced", wallet=due.owner.wallet, error=str(error)[:300])
            await self._sleep(RETRY_SECONDS)
        finally:
            self._busy.discard(due.owner.wallet)

    async def open(self, due: Due) -> None:
        """Record a wallet's openings; raises Unavailable, or Rejected when it is no longer followed."""
        owner = due.owner
        reading = await self._shelf.reading(owner)
        if reading is None:
            reading = await self._shelf.keep_reading(owner, await self._look(due))
        while True:
            # What nothing happened to since the follow needs no activity to be told.
            still = reading.still()
            made, unclear = await self._shelf.record_openings(
                owner, still, reading, complete=False, last=False, now=self._now()
            )
            self._tell(made)
            left = {asset: reading.held[asset] for asset in reading.pending if asset not in still or asset in unclear}
            await self._complete_activity(due, owner.followed_at, asked_at=reading.read_at)
            finished = reading.unreadable == 0 or reading.number >= READINGS_MAX
            made, unclear = await self._shelf.record_openings(
                owner, left, reading, complete=True, last=finished, now=self._now()
            )
            self._tell(made)
            if finished and not unclear:
                rows, unreadable = len(reading.held), reading.unreadable
                _log.info("wallet_opened", wallet=owner.wallet, rows=rows, unreadable=unreadable)
                return
            _log.warning("opening_unclear", wallet=owner.wallet, tokens=unclear[:10], unreadable=reading.unreadable)
            further = reading.again(unclear, await self._look(due))
            reading = await self._shelf.keep_reading(owner, further)

    async def adjust(self, due: Due) -> None:
        """Re-sync a wallet after its conversions; raises Unavailable, or Rejected when it is no longer followed."""
        # Those old enough that the positions must show them.
        until = self._now() - timedelta(seconds=self._settle)
        held, unreadable = await self._read(due)
        read_at = self._now()
        if unreadable:
            _log.warning("positions_unreadable", wallet=due.owner.wallet, rows=unreadable)
        await self._complete_activity(due, due.converted_at or due.owner.followed_at, asked_at=read_at)
        made = await self._shelf.record_adjustments(due.owner, held, until=until, now=self._now())
        self._tell(made)
        if not made:
            metrics.POSITION_READINGS.labels("fruitless").inc()
            _log.warning("conversion_not_attached", wallet=due.owner.wallet, since=due.converted_at, until=until)
            await self._sleep(FRUITLESS_SECONDS)

    async def _look(self, due: Due) -> Reading:
        held, unreadable = await self._read(due)
        return Reading(due.owner.followed_at, self._now(), 1, unreadable, held, sorted(held))

    async def _read(self, due: Due) -> tuple[dict[str, Held], int]:
        async with self._reading:
            listing = await self._api.positions(due.owner.wallet, closed_since=int(due.closed_since.timestamp()))
        metrics.POSITION_READINGS.labels("complete" if not listing.unreadable else "unreadable").inc()
        return held_of(listing.rows), listing.unreadable

    async def _complete_activity(self, due: Due, since: datetime, *, asked_at: datetime) -> None:
        """Return when activity is complete from `since` to what was read at `asked_at`; an outage is waited out.

        Raises Rejected when the wallet is no longer followed.
        """
        await self._sleep(max(0.0, self._settle - (self._now() - asked_at).total_seconds()))
        while True:
            reach = int((self._now() - since).total_seconds()) + REACH_MARGIN_SECONDS
            try:
                await self._polls.poll_now(due.owner.wallet, reach)
            except Unavailable as error:
                _log.warning("positions_wait_for_activity", wallet=due.owner.wallet, error=str(error)[:200])
                await self._sleep(RETRY_SECONDS)
            else:
                return

    def _tell(self, syncs: Sequence[Sync]) -> None:
        if syncs:
            now = self._now()
            self._recorded(syncs, now)
            for sync in syncs:
                metrics.POSITION_SYNCS.labels(sync.kind.value).inc()
            _log.info("positions_synced", wallet=syncs[0].wallet, syncs=len(syncs))
