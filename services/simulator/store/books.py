"""Books of groups: who fetches which, the versions fetched, and reading them back."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.db.engine import transaction
from libs.common.domain.book import Book
from services.simulator.core.facts import Group
from services.simulator.store.driver import json_text
from services.simulator.store.rows import BookKey

RECLAIM_SECONDS: Final = 3
"""A claim whose book did not come by then belongs to a dead process."""
CACHE_MAX: Final = 2_000

_LOOK: Final = text("""
SELECT group_id FROM group_book
WHERE group_id = ANY(CAST(:groups AS uuid[])) AND (fetched_at IS NOT NULL OR error IS NOT NULL)
""")
_CLAIM: Final = text("""
INSERT INTO group_book (group_id, asset_id, claimed_by, claimed_at)
SELECT k.group_id, k.asset_id, :claimed_by, now()
FROM unnest(CAST(:groups AS uuid[]), CAST(:assets AS text[])) AS k (group_id, asset_id)
ORDER BY k.group_id
ON CONFLICT (group_id) DO UPDATE SET claimed_by = excluded.claimed_by, claimed_at = excluded.claimed_at
WHERE group_book.fetched_at IS NULL AND group_book.error IS NULL
  AND group_book.claimed_at < now() - make_interval(secs => :reclaim)
RETURNING group_id
""")
_INSERT_BOOKS: Final = text("""
INSERT INTO book_snapshot (asset_id, hash, timestamp_ms, fetched_at, bids, asks)
SELECT r.asset_id, r.hash, r.timestamp_ms, r.fetched_at, r.bids, r.asks
FROM jsonb_populate_recordset(CAST(NULL AS book_snapshot), CAST(:rows AS jsonb)) r
ORDER BY r.asset_id, r.hash
ON CONFLICT (asset_id, hash) DO NOTHING
""")
_SETTLE: Final = text("""
UPDATE group_book b SET book_hash = k.hash, fetched_at = k.fetched_at, error = k.error
FROM unnest(CAST(:groups AS uuid[]), CAST(:hashes AS text[]), CAST(:fetched AS timestamptz[]), CAST(:errors AS text[]))
  AS k (group_id, hash, fetched_at, error)
WHERE b.group_id = k.group_id AND b.fetched_at IS NULL AND b.error IS NULL
""")


class BookStore:
    """The rows of group_book and book_snapshot, with a small memory of versions, which never change."""

    def __init__(self, engine: AsyncEngine, instance: str) -> None:
        self._engine = engine
        self._instance = instance
        self._cache: OrderedDict[BookKey, Book] = OrderedDict()

    async def settled(self, group_ids: Sequence[UUID]) -> set[UUID]:
        """Return the groups whose book was fetched or given up."""
        async with transaction(self._engine) as connection:
            return set((await connection.execute(_LOOK, {"groups": group_ids})).scalars())

    async def claim(self, groups: Sequence[Group]) -> set[UUID]:
        """Claim the groups nobody living fetches a book for; return those that are ours now."""
        parameters = {
            "groups": [group.id for group in groups],
            "assets": [group.asset_id for group in groups],
            "claimed_by": self._instance,
            "reclaim": RECLAIM_SECONDS,
        }
        async with transaction(self._engine) as connection:
            return set((await connection.execute(_CLAIM, parameters)).scalars())

    async def save(self, groups: Mapping[UUID, Book], fetched_at: datetime) -> None:
        """Keep the book of each group, fetched at one time, once per version."""
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
        self.remember(books.values())
        async with transaction(self._engine) as connection:
            await connection.execute(_INSERT_BOOKS, {"rows": json_text(rows)})
            await connection.execute(
                _SETTLE, _settlement({each: book.hash for each, book in groups.items()}, fetched_at)
            )

    async def give_up(self, group_ids: Iterable[UUID], error: str) -> None:
        """Say that these groups must be decided without a book."""
        ids = sorted(group_ids)
        nothing = [None] * len(ids)
        parameters = {"groups": ids, "hashes": nothing, "fetched": nothing, "errors": [error[:500]] * len(ids)}
        async with transaction(self._engine) as connection:
            await connection.execute(_SETTLE, parameters)

    def known(self, keys: Iterable[BookKey]) -> dict[BookKey, Book]:
        """Return those book versions that are in memory."""
        return {key: self._cache[key] for key in set(keys) if key in self._cache}

    def remember(self, books: Iterable[Book]) -> None:
        """Keep book versions in memory; the oldest make room."""
        for book in books:
            self._cache[book.asset_id, book.hash] = book
        while len(self._cache) > CACHE_MAX:
            self._cache.popitem(last=False)


def _settlement(hashes: Mapping[UUID, str], fetched_at: datetime) -> dict[str, list[object]]:
    ids = sorted(hashes)
    return {
        "groups": list(ids),
        "hashes": [hashes[each] for each in ids],
        "fetched": [fetched_at] * len(ids),
        "errors": [None] * len(ids),
    }
