"""Ingest's Postgres: sightings in, events out, one transaction a batch, under a lock per chain transaction."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from libs.common.db.checkpoints import load_checkpoint, load_checkpoints, save_checkpoint
from libs.common.db.engine import transaction
from libs.common.domain.errors import Rejected
from libs.common.domain.kinds import EventStatus, Role, Side, Source
from services.ingest.core.activity import Fact, match_facts
from services.ingest.core.fills import Fill, FillChanges, FillSight
from services.ingest.core.matching import match_fills
from services.ingest.core.positions import Sync
from services.ingest.core.sightings import FactKey, FactSighting, FillKey, LogSighting, RowSighting
from services.ingest.reading import Follow
from services.ingest.store import statements
from services.ingest.store.columns import CHANGED, CREATED, FACT, SIGHT, columns
from services.ingest.store.counted import SERVICE, corrections_of, shared_turns
from services.ingest.store.positions import insert_syncs

PAYLOADS_KEPT: Final = timedelta(days=30)
"""Then the raw payload of a sighting goes; what it said stays."""


@dataclass(slots=True)
class Recorded:
    """What one committed batch was: new fills and facts, what changed, what was known already."""

    created: list[Fill] = field(default_factory=list)
    reversed: list[Fill] = field(default_factory=list)
    restated: list[Fill] = field(default_factory=list)
    mismatched: list[Fill] = field(default_factory=list)
    confirmed: list[Fill] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    known_facts: list[Fact] = field(default_factory=list)
    sightings: Counter[Source] = field(default_factory=Counter)
    waiting: set[str] = field(default_factory=set)
    """Transactions of which a row could not be placed yet."""
    unlogged: list[Fill] = field(default_factory=list)
    """Standing fills a listing showed and whose log has not been seen."""
    corrected: list[Sync] = field(default_factory=list)
    """What takes new events out of openings and adjustments that count them already."""

    def add(self, other: "Recorded") -> None:
        """Take over what another batch was."""
        self.created += other.created
        self.reversed += other.reversed
        self.restated += other.restated
        self.mismatched += other.mismatched
        self.confirmed += other.confirmed
        self.facts += other.facts
        self.known_facts += other.known_facts
        self.sightings += other.sightings
        self.waiting |= other.waiting
        self.unlogged += other.unlogged
        self.corrected += other.corrected


class IngestStore:
    """Reads whom we follow, writes what they did."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def record(
        self, logs: Sequence[LogSighting], rows: Sequence[RowSighting] = (), facts: Sequence[FactSighting] = ()
    ) -> Recorded:
        """Match and store sightings in one transaction and return what they were once it is committed.

        `rows` and `facts` must hold, of each (transaction, wallet) they touch, all rows of one complete listing.
        Raises Unavailable when the database is away; nothing is stored then.
        """
        fill_txs = {log.key.tx_hash for log in logs} | {row.key.tx_hash for row in rows}
        fact_txs = {fact.key.tx_hash for fact in facts}
        alone = sorted(_lock_number(tx_hash) for tx_hash in fill_txs | fact_txs)
        wallets = {each.key.wallet for part in (logs, rows, facts) for each in part}
        together = shared_turns(wallets)
        recorded = Recorded()
        counted: dict[str, dict[str, Any]] = {}
        async with transaction(self._engine) as connection:
            locks = {"keys": alone + together, "shared": [False] * len(alone) + [True] * len(together)}
            await connection.execute(statements.LOCK, locks)
            if fill_txs:
                changes = match_fills(await self._known_fills(connection, fill_txs), logs, rows, recorded.waiting)
                counted |= await self._write_fills(connection, changes)
                _take_over(recorded, changes, seen_by_api=bool(rows))
            if fact_txs:
                new, old = match_facts(await self._known_facts(connection, fact_txs), facts)
                counted |= await self._write_facts(connection, new)
                recorded.facts, recorded.known_facts = new, old
                recorded.sightings[Source.DATA_API] += len(new)
            recorded.corrected = corrections_of(recorded.created, recorded.facts, counted)
            await insert_syncs(connection, recorded.corrected, datetime.now(UTC))
        return recorded

    async def _known_fills(self, connection: AsyncConnection, txs: Iterable[str]) -> dict[str, list[Fill]]:
        known: defaultdict[str, list[Fill]] = defaultdict(list)
        for row in await connection.execute(statements.KNOWN_FILLS, {"txs": list(txs)}):
            known[row.tx_hash].append(_fill(row))
        return known

    async def _known_facts(self, connection: AsyncConnection, txs: Iterable[str]) -> dict[FactKey, list[datetime]]:
        known: defaultdict[FactKey, list[datetime]] = defaultdict(list)
        for row in await connection.execute(statements.KNOWN_FACTS, {"txs": list(txs)}):
            known[FactKey(*row[:-1])].append(row.detect_time)
        return known

    async def _write_fills(self, connection: AsyncConnection, changes: FillChanges) -> dict[str, dict[str, Any]]:
        """Write what changed; returns what openings count of the wallets of new fills, where it may count those."""
        # What gives up its log index first: a log paired again, or mined again, may take that of another fill.
        if changes.released:
            await connection.execute(statements.RELEASE_INDEXES, {"ids": list(changes.released)})
        if changes.changed:
            await connection.execute(statements.CHANGE_FILLS, columns(changes.changed.values(), CHANGED))
        for moved in changes.moved:
            await connection.execute(statements.MOVE_SIGHT, moved._asdict())
        sights = columns(changes.sights, SIGHT)
        if not changes.created:
            if changes.sights:
                await connection.execute(statements.INSERT_SIGHTS, sights)
            return {}
        news = columns(changes.created, CREATED)
        written = (await connection.execute(statements.INSERT_FILLS, news | sights)).all()
        lost = {fill.id for fill in changes.created} - {row.id for row in written}
        if lost:
            raise Rejected(f"expected new fills under their lock, found {sorted(map(str, lost))} recorded")
        return _counted(written)

    async def _write_facts(self, connection: AsyncConnection, new: Sequence[Fact]) -> dict[str, dict[str, Any]]:
        if not new:
            return {}
        sights = (
            FillSight(
                fact.id,
                Source.DATA_API,
                fact.sighting.seen_at,
                fact.sighting.key.share_micros,
                fact.sighting.key.usdc_micros,
                fact.sighting.wire,
            )
            for fact in new
        )
        written = await connection.execute(statements.INSERT_FACTS, columns(new, FACT) | columns(sights, SIGHT))
        return _counted(written.all())

    async def drop_payloads(self, before: datetime, limit: int) -> int:
        """Forget the raw objects of at most `limit` sightings older than `before`, oldest first; return how many."""
        async with transaction(self._engine) as connection:
            return (await connection.execute(statements.DROP_PAYLOADS, {"before": before, "limit": limit})).rowcount

    async def follows(self) -> dict[str, Follow]:
        """Return every followed wallet."""
        async with transaction(self._engine) as connection:
            rows = await connection.execute(statements.FOLLOWS)
            return {row.wallet: Follow(row.wallet, row.user_id, row.followed_at) for row in rows}

    async def checkpoint(self, key: str) -> dict[str, Any] | None:
        """Return what this service remembers under `key`."""
        async with transaction(self._engine) as connection:
            return await load_checkpoint(connection, SERVICE, key)

    async def checkpoints(self, prefix: str) -> dict[str, dict[str, Any]]:
        """Return what this service remembers under keys with this prefix."""
        async with transaction(self._engine) as connection:
            return await load_checkpoints(connection, SERVICE, prefix)

    async def remember(self, key: str, value: Mapping[str, Any]) -> None:
        """Store `value` under `key`."""
        async with transaction(self._engine) as connection:
            await save_checkpoint(connection, SERVICE, key, value)


def _take_over(recorded: Recorded, changes: FillChanges, *, seen_by_api: bool) -> None:
    recorded.created, recorded.reversed = changes.created, changes.reversed
    recorded.restated, recorded.mismatched = changes.restated, changes.mismatched
    recorded.confirmed = changes.confirmed
    recorded.sightings.update(sight.source for sight in changes.sights)
    if seen_by_api:
        seen = (*changes.created, *changes.confirmed)
        recorded.unlogged = [fill for fill in seen if fill.log_index is None and fill.stands]


def _counted(written: Iterable[Any]) -> dict[str, dict[str, Any]]:
    return {row.wallet: row.counted for row in written if row.counted is not None}


def _lock_number(tx_hash: str) -> int:
    return int.from_bytes(blake2b(tx_hash.encode(), digest_size=8).digest(), "big", signed=True)


def _fill(row: Any) -> Fill:
    return Fill(
        id=row.id,
        key=FillKey(row.tx_hash, row.wallet, row.asset_id, Side(row.side), row.share_micros),
        ordinal=row.ordinal,
        incarnation=row.incarnation,
        user_id=row.user_id,
        booked=row.booked,
        notional_micros=row.usdc_notional_micros,
        fee_micros=row.fee_micros,
        price_micros=row.price_micros,
        event_time=row.event_time,
        detect_time=row.detect_time,
        first_source=Source(row.first_source),
        status=EventStatus(row.status),
        role=Role(row.role) if row.role else None,
        log_index=row.log_index,
        block_number=row.block_number,
        block_hash=row.block_hash,
        mismatch=row.mismatch,
    )
