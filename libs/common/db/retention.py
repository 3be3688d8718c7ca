"""Forget what is too old, in batches so small that a backlog delays nobody."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from libs.common.domain.errors import Unavailable

BATCH_MAX: Final = 500
LOOK_SECONDS: Final = 600.0
PAUSE_SECONDS: Final = 0.5
"""Between two batches."""

Prune = Callable[[datetime, int], Awaitable[int]]
"""Forgets at most so many of the oldest rows from before a time; returns how many went."""

_log = structlog.get_logger()


class Retention:
    """Forgets, every ten minutes, what is older than `kept`; `what` names it in the log."""

    def __init__(self, what: str, kept: timedelta, prune: Prune, now: Callable[[], datetime]) -> None:
        self._what = what
        self._kept = kept
        self._prune = prune
        self._now = now

    async def forget(self) -> bool:
        """Forget one batch; returns whether there may be more. A database that is away is asked next time."""
        try:
            gone = await self._prune(self._now() - self._kept, BATCH_MAX)
        except Unavailable as error:
            _log.warning("rows_not_pruned", what=self._what, error=str(error)[:200])
            return False
        if gone:
            _log.info("rows_pruned", what=self._what, rows=gone)
        return gone >= BATCH_MAX

    async def run(self) -> None:
        """Forget what is too old, for ever."""
        while True:
            more = await self.forget()
            await asyncio.sleep(PAUSE_SECONDS if more else LOOK_SECONDS)
