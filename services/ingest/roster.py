"""Whom we follow, looked up every second, so that a new follow needs no restart."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import structlog

from libs.common.domain.errors import Rejected, Unavailable
from services.ingest.reading import Follow

LOOK_SECONDS: Final = 1.0

_log = structlog.get_logger()


class UnreadWalletsError(Unavailable):
    """Some wallets could not be read now; the others, if there were any, could."""

    def __init__(self, wallets: Sequence[str], error: Exception) -> None:
        super().__init__(f"{len(wallets)} wallets could not be read, the first because of: {error}")
        self.wallets = wallets


class NotFollowedError(Rejected):
    """A wallet that is not followed: not yet known to be, or not any more."""

    def __init__(self, wallet: str) -> None:
        super().__init__(f"expected a followed wallet, got {wallet}")


class Follows(Protocol):
    """The part of the store that knows whom we follow."""

    async def follows(self) -> dict[str, Follow]:
        """Return every followed wallet."""


class Roster:
    """The followed wallets as last read."""

    def __init__(self, store: Follows) -> None:
        self._store = store
        self._follows: dict[str, Follow] = {}
        self._watchers: list[asyncio.Event] = []

    @property
    def follows(self) -> Mapping[str, Follow]:
        """Followed wallets by address."""
        return self._follows

    def watch(self) -> asyncio.Event:
        """Return an event that is set at each change; the watcher clears it."""
        event = asyncio.Event()
        self._watchers.append(event)
        return event

    async def look(self) -> None:
        """Read whom we follow; raises Unavailable."""
        found = await self._store.follows()
        if found == self._follows:
            return
        _log.info(
            "follows_changed",
            wallets=len(found),
            new=sorted(found.keys() - self._follows.keys())[:20],
            gone=sorted(self._follows.keys() - found.keys())[:20],
        )
        self._follows = found
        for event in self._watchers:
            event.set()

    async def run(self, progress: Callable[[], None]) -> None:
        """Look every second, for ever."""
        while True:
            try:
                await self.look()
                progress()
            except Unavailable as error:
                _log.warning("follows_not_read", error=str(error)[:200])
            await asyncio.sleep(LOOK_SECONDS)
