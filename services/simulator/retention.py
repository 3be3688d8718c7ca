"""Forget books after 30 days; attempts keep what they were decided on, but can no longer be decided again."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog

from libs.common.domain.errors import Unavailable

KEPT: Final = timedelta(days=31)
"""30 days since a book was last wanted, and the day within which that is not written again."""
BATCH_MAX: Final = 500
LOOK_SECONDS: Final = 600.0
PAUSE_SECONDS: Final = 0.5
"""Between two batches, so that a backlog delays nobody."""

_log = structlog.get_logger()


class Books(Protocol):
    """The part of the store that forgets."""

    async def prune(self, before: datetime, limit: int) -> int:
        """Forget the oldest books and claims, at most `limit` of each."""


class Retention:
    """Forgets in small batches, every ten minutes."""

    def __init__(self, books: Books, now: Callable[[], datetime]) -> None:
        self._books = books
        self._now = now

    async def forget(self) -> bool:
        """Forget one batch; returns whether there may be more. A database that is away is asked next time."""
        try:
            gone = await self._books.prune(self._now() - KEPT, BATCH_MAX)
        except Unavailable as error:
            _log.warning("books_not_pruned", error=str(error)[:200])
            return False
        if gone:
            _log.info("books_pruned", rows=gone)
        return gone >= BATCH_MAX

    async def run(self) -> None:
        """Forget what is too old, for ever."""
        while True:
            more = await self.forget()
            await asyncio.sleep(PAUSE_SECONDS if more else LOOK_SECONDS)
