"""Forget the raw payload of a sighting after 30 days; what it said stays."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog

from libs.common.domain.errors import Unavailable

KEPT: Final = timedelta(days=30)
BATCH_MAX: Final = 500
LOOK_SECONDS: Final = 600.0
PAUSE_SECONDS: Final = 0.5
"""Between two batches, so that a backlog delays nobody."""

_log = structlog.get_logger()


class Payloads(Protocol):
    """The part of the store that forgets payloads."""

    async def drop_payloads(self, before: datetime, limit: int) -> int:
        """Forget the oldest payloads."""


class Retention:
    """Forgets in small batches, every ten minutes."""

    def __init__(self, store: Payloads, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now

    async def forget(self) -> bool:
        """Forget one batch; returns whether there may be more. A database that is away is asked next time."""
        try:
            dropped = await self._store.drop_payloads(self._now() - KEPT, BATCH_MAX)
        except Unavailable as error:
            _log.warning("payloads_not_dropped", error=str(error)[:200])
            return False
        if dropped:
            _log.info("payloads_dropped", sightings=dropped)
        return dropped == BATCH_MAX

    async def run(self) -> None:
        """Forget what is too old, for ever."""
        while True:
            more = await self.forget()
            await asyncio.sleep(PAUSE_SECONDS if more else LOOK_SECONDS)
