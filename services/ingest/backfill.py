"""Read again, by hand, what wallets did in the last hours: slowly beside the polls, and on where it was if killed."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

import structlog

from libs.common.domain.errors import Rejected, Unavailable
from services.ingest.contact import PollContact
from services.ingest.core.polling import retry_delay
from services.ingest.roster import NotFollowedError, Roster
from services.ingest.walk import Activity, Listings, parts_of

LOOK_SECONDS: Final = 1.0
TURN_SECONDS: Final = 60.0
"""A replica that dies in the middle keeps others from the wallet for this long; its successor goes on at once."""
RETRY_SECONDS_MAX: Final = 30.0
ROSTER_KNOWS_AFTER: Final = timedelta(seconds=15)
"""A wallet may be followed and asked for in one breath; the roster hears of it a moment later."""
REACH_HOURS_MAX: Final = 3 * 365 * 24
"""The API lists three years."""

_log = structlog.get_logger()


class Wishes(Protocol):
    """The part of the store that keeps backfills."""

    async def ask_backfill(self, wallet: str, wish: Mapping[str, Any]) -> dict[str, Any]:
        """Record a wish; one under way that begins as early goes on where it is."""

    async def open_backfills(self) -> list[str]:
        """Return the wallets whose backfill is not finished."""

    async def take_turn(self, key: str, seconds: float) -> dict[str, Any] | None:
        """Return what is kept under a key, or None when another replica has the turn."""

    async def end_turn(self, key: str, value: Mapping[str, Any] | None = None) -> None:
        """Give the turn to whoever wants it next."""

    async def advance_backfill(self, wallet: str, asked_at: str, progress: Mapping[str, Any]) -> bool:
        """Add to what is kept; false when the wish was replaced meanwhile."""


def backfill_key(wallet: str) -> str:
    """Return the checkpoint key of a wallet's last backfill; its fields are those of `backfill_wish` and `progress`."""
    return f"backfill:{wallet}"


def backfill_wish(now: datetime, hours: int, asked_by: str) -> dict[str, Any]:
    """Return the wish to read the last `hours`: `from` and `to` are epoch seconds, `at` is where it has got to."""
    last = int(now.timestamp())
    first = max(1, last - hours * 3600)
    return {
        "from": first,
        "to": last,
        "at": first,
        "rows": 0,
        "new": 0,
        "asked_at": now.isoformat(),
        "asked_by": asked_by[:100],
        "finished_at": None,
        "error": None,
    }


class Backfiller:
    """Works on open backfills, one wallet after the other; replicas take turns."""

    def __init__(
        self,
        api: Activity,
        intake: Listings,
        wishes: Wishes,
        roster: Roster,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        contact: PollContact | None = None,
    ) -> None:
        self._api = api
        self._contact = contact
        self._intake = intake
        self._wishes = wishes
        self._roster = roster
        self._now = now

    async def ask(self, wallet: str | None, hours: int, asked_by: str) -> None:
        """Wish for a backfill of `wallet` (None: all); raises NotFollowedError, or Unavailable."""
        if wallet is not None and wallet not in self._roster.follows:
            raise NotFollowedError(wallet)
        for each in sorted(self._roster.follows) if wallet is None else [wallet]:
            await self._wishes.ask_backfill(each, backfill_wish(self._now(), hours, asked_by))

    async def run(self) -> None:
        """Do what is wished for, for ever; an outage is waited out."""
        failures = 0
        while True:
            try:
                await self.work()
                failures, wait = 0, LOOK_SECONDS
            except Unavailable as error:
                failures += 1
                wait = retry_delay(failures, RETRY_SECONDS_MAX)
                _log.warning("backfill_waits", retry_in_seconds=wait, error=str(error)[:300])
            await asyncio.sleep(wait)

    async def work(self) -> None:
        """Bring every open backfill to its end, except those another replica is at.

        A wallet that cannot be read keeps none behind it from being read; raises the first Unavailable at the end.
        """
        failure: Unavailable | None = None
        for wallet in await self._wishes.open_backfills():
            wish = await self._wishes.take_turn(backfill_key(wallet), TURN_SECONDS)
            if wish:
                try:
                    await self._work_on(wallet, wish)
                except Unavailable as error:
                    failure = failure or error
                finally:
                    await self._wishes.end_turn(backfill_key(wallet))
        if failure:
            raise failure

    async def _work_on(self, wallet: str, wish: Mapping[str, Any]) -> None:
        asked_at, rows, new = str(wish["asked_at"]), int(wish["rows"]), int(wish["new"])
        follow = self._roster.follows.get(wallet)
        if follow is None:
            if self._now() - datetime.fromisoformat(asked_at) > ROSTER_KNOWS_AFTER:
                await self._finish(wallet, asked_at, "no longer followed")
            return
        first, last = int(wish["at"]), int(wish["to"])
        _log.info("backfill_started", wallet=wallet, since=_time(first), until=_time(last))
        try:
            async for part in parts_of(self._api, wallet, start=first, last=last, now=last):
                new += (await self._intake.record_listing(part, follow)).events
                rows += len(part.rows) + len(part.unreadable)
                at = last if part.end is None else part.end
                if self._contact and part.start is not None:
                    await self._contact.looked_back(wallet, part.start, at, by_hand=True)
                progress = {"at": at, "rows": rows, "new": new, "error": None}
                if not await self._wishes.advance_backfill(wallet, asked_at, progress):
                    return  # a wish for more took its place: the next look begins with that
                await self._wishes.take_turn(backfill_key(wallet), TURN_SECONDS)
        except Rejected as error:
            await self._finish(wallet, asked_at, str(error)[:300])
        except Unavailable as error:
            await self._wishes.advance_backfill(wallet, asked_at, {"error": str(error)[:300]})
            raise
        else:
            await self._finish(wallet, asked_at, None)

    async def _finish(self, wallet: str, asked_at: str, error: str | None) -> None:
        progress = {"finished_at": self._now().isoformat(), "error": error}
        await self._wishes.advance_backfill(wallet, asked_at, progress)
        _log.info("backfill_finished", wallet=wallet, error=error)


def _time(epoch_seconds: int) -> str:
    return datetime.fromtimestamp(epoch_seconds, UTC).isoformat()
