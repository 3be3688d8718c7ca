"""Books of groups: who fetches which, the versions fetched, reading them back, and hearing of those others fetched."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.domain.book import Book
from libs.common.upstream.parts import chunks
from services.simulator.core.facts import Group
from services.simulator.store.driver import Connection, Query, driver_connection, driver_transaction, json_text
from services.simulator.store.rows import BookKey

RECLAIM_SECONDS: Final = 3
"""A claim whose book did not come by then belongs to a dead process."""
CACHE_MAX: Final = 2_000
KEPT: Final = timedelta(days=31)
"""30 days since a book was last wanted, and the day within which that is not written again. Then attempts keep what
they were decided on, but can no longer be decided again."""
CHANNEL: Final = "books_settled"
NAMED_MAX: Final = 200
"""Groups that one notification names; it has room for 8000 bytes."""
RECONNECT_SECONDS: Final = 1.0

_LOOK: Final = Query("""
SELECT group_id FROM group_book
WHERE group_id = ANY(CAST(:groups AS uuid[])) AND (fetched_at IS NOT NULL OR error IS NOT NULL)
""")
_CLAIM: Final = Query("""
INSERT INTO group_book (group_id, asset_id, claimed_by, claimed_at)
SELECT k.group_id, k.asset_id, :claimed_by, now()
FROM unnest(CAST(:groups AS uuid[]), CAST(:assets AS text[])) AS k (group_id, asset_id)
ORDER BY k.group_id
ON CONFLICT (group_id) DO UPDATE SET claimed_by = excluded.claimed_by, claimed_at = excluded.claimed_at
WHERE group_book.fetched_at IS NULL AND group_book.error IS NULL
  AND group_book.claimed_at < now() - make_interval(secs => :reclaim)
RETURNING group_id
""")
_INSERT_BOOKS: Final = Query("""
INSERT INTO book_snapshot (asset_id, hash, timestamp_ms, fetched_at, bids, asks)
SELECT r.asset_id, r.hash, r.timestamp_ms, r.fetched_at, r.bids, r.asks
FROM jsonb_populate_recordset(CAST(NULL AS book_snapshot), CAST(:rows AS jsonb)) r
ORDER BY r.asset_id, r.hash
ON CONFLICT (asset_id, hash) DO UPDATE SET fetched_at = excluded.fetched_at
WHERE book_snapshot.fetched_at < excluded.fetched_at - make_interval(days => 1)
RETURNING asset_id, hash, xmax = 0 AS is_new
""")
"""A version's `fetched_at` follows its use from day to day, so that its age says when it was last wanted."""
_SETTLE: Final = Query("""
WITH settled AS (
  UPDATE group_book b SET book_hash = k.hash, fetched_at = :fetched_at, error = :error
  FROM unnest(CAST(:groups AS uuid[]), CAST(:hashes AS text[])) AS k (group_id, hash)
  WHERE b.group_id = k.group_id AND b.fetched_at IS NULL AND b.error IS NULL
    AND (k.hash IS NOT NULL OR b.claimed_by = :claimed_by)
  RETURNING b.group_id
), told AS (
  SELECT pg_notify(:channel, string_agg(CAST(group_id AS text), ',')) FROM settled HAVING count(*) > 0
)
SELECT group_id FROM settled, told
""")
"""A book may be saved by whoever has it; only who holds the claim may say that there is none."""
_PRUNE_BOOKS: Final = Query("""
DELETE FROM book_snapshot WHERE (asset_id, hash) IN (
  SELECT asset_id, hash FROM book_snapshot WHERE fetched_at < :before ORDER BY fetched_at LIMIT :limit
  FOR UPDATE SKIP LOCKED)
RETURNING 1
""")
_PRUNE_CLAIMS: Final = Query("""
DELETE FROM group_book WHERE group_id IN (
  SELECT group_id FROM group_book WHERE claimed_at < :before ORDER BY claimed_at LIMIT :limit FOR UPDATE SKIP LOCKED)
RETURNING 1
""")

_log = structlog.get_logger()


class BookStore:
    """The rows of group_book and book_snapshot, with a small memory of versions, which never change."""

    def __init__(self, engine: AsyncEngine, instance: str) -> None:
        self._engine = engine
        self._instance = instance
        self._cache: OrderedDict[BookKey, Book] = OrderedDict()

    async def settled(self, group_ids: Sequence[UUID]) -> set[UUID]:
        """Return the groups whose book was fetched or given up."""
        async with driver_connection(self._engine) as connection:
            return {row["group_id"] for row in await _LOOK.rows(connection, groups=group_ids)}

    async def claim(self, groups: Sequence[Group]) -> set[UUID]:
        """Claim the groups nobody living fetches a book for; return those that are ours now."""
        async with driver_connection(self._engine) as connection:
            rows = await _CLAIM.rows(
                connection,
                groups=[group.id for group in groups],
                assets=[group.asset_id for group in groups],
                claimed_by=self._instance,
                reclaim=RECLAIM_SECONDS,
            )
        return {row["group_id"] for row in rows}

    async def save(self, groups: Mapping[UUID, Book], fetched_at: datetime) -> None:
        """Keep the book of each group, fetched at one time, once per version; whoever listens is told.

        Decisions must see what is kept, also when the exchange sends other levels under a hash it used before: what
        was kept first stays, and only what this call kept is remembered as it came.
        """
        books = {(book.asset_id, book.hash): book for book in groups.values()}
        rows = [
            {
                "asset_id": book.asset_id,
                "hash": book.hash,
                "timestamp_ms": book.timestamp_ms,
                "fetched_at": fetched_at,
                "bids": [[level.price_micros, level.share_micros] for level in book.bids],
                "asks": [[level.price_micros, level.share_micros] for level in book.asks],
            }
            for book in books.values()
        ]
        async with driver_transaction(self._engine) as connection:
            kept = await _INSERT_BOOKS.rows(connection, rows=json_text(rows))
            hashes = {each: book.hash for each, book in groups.items()}
            await _settle(connection, hashes, self._instance, fetched_at=fetched_at)
        self.remember(books[row["asset_id"], row["hash"]] for row in kept if row["is_new"])

    async def give_up(self, group_ids: Iterable[UUID], error: str) -> set[UUID]:
        """Say that these groups must be decided without a book; whoever listens is told.

        Returns those given up: one that another process took over meanwhile, or settled, is not ours to give up.
        """
        async with driver_transaction(self._engine) as connection:
            return await _settle(connection, dict.fromkeys(group_ids), self._instance, error=error[:500])

    async def prune(self, before: datetime, limit: int) -> int:
        """Forget at most `limit` books and as many claims that are older; return how many went."""
        async with driver_connection(self._engine) as connection:
            books = await _PRUNE_BOOKS.rows(connection, before=before, limit=limit)
            claims = await _PRUNE_CLAIMS.rows(connection, before=before, limit=limit)
        return len(books) + len(claims)

    async def listen(self, settled: Callable[[list[UUID]], None]) -> None:
        """Report groups whose books some process settles, for ever; what is missed meanwhile must be looked up."""
        while True:
            try:
                await self._listen_once(settled)
            except (SQLAlchemyError, OSError) as error:
                _log.warning("books_unheard", error=str(error)[:200])
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _listen_once(self, settled: Callable[[list[UUID]], None]) -> None:
        """Listen until the connection ends."""

        def hear(_connection: object, _pid: int, _channel: str, payload: str) -> None:
            settled([UUID(each) for each in payload.split(",")])

        async with self._engine.connect() as pooled:
            driver: Any = (await pooled.get_raw_connection()).driver_connection
            ended = asyncio.Event()
            driver.add_termination_listener(lambda _connection: ended.set())
            await driver.add_listener(CHANNEL, hear)
            try:
                await ended.wait()
            finally:
                await pooled.invalidate()

    def known(self, keys: Iterable[BookKey]) -> dict[BookKey, Book]:
        """Return those book versions that are in memory."""
        return {key: self._cache[key] for key in set(keys) if key in self._cache}

    def remember(self, books: Iterable[Book]) -> None:
        """Keep book versions in memory; the oldest make room."""
        for book in books:
            self._cache[book.asset_id, book.hash] = book
        while len(self._cache) > CACHE_MAX:
            self._cache.popitem(last=False)


async def _settle(
    connection: Connection,
    hashes: Mapping[UUID, str | None],
    claimed_by: str,
    *,
    fetched_at: datetime | None = None,
    error: str | None = None,
) -> set[UUID]:
    found: set[UUID] = set()
    for part in chunks(sorted(hashes), NAMED_MAX):
        rows = await _SETTLE.rows(
            connection,
            groups=part,
            hashes=[hashes[each] for each in part],
            fetched_at=fetched_at,
            error=error,
            claimed_by=claimed_by,
            channel=CHANNEL,
        )
        found.update(row["group_id"] for row in rows)
    return found
