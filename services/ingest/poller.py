"""Poll every wallet's activity: completeness, verification, and all that leaves no OrderFilled log."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import structlog

from libs.common.domain.errors import Rejected, Unavailable
from libs.common.observability import metrics
from libs.common.upstream.data_api import ActivityListing
from services.ingest.core.polling import RECONNECT_REACH_SECONDS, Reach, poll_interval, retry_delay
from services.ingest.reading import Follow
from services.ingest.roster import Roster

TICK_SECONDS: Final = 0.25
STAGGER_SECONDS: Final = 0.05
ELSEWHERE_SHARE: Final = 0.5
"""A wallet that another replica polled within this share of the interval is left for now."""

_log = structlog.get_logger()


class Activity(Protocol):
    """The part of the Data API that lists a wallet's activity."""

    async def activity(self, wallet: str, *, start: int | None) -> ActivityListing:
        """Return a complete listing."""


class Listings(Protocol):
    """The part of the intake that records listings."""

    async def record_listing(self, listing: ActivityListing, follow: Follow) -> int:
        """Record a complete listing."""


class Memory(Protocol):
    """The part of the store that keeps checkpoints."""

    async def checkpoint(self, key: str) -> dict[str, Any] | None:
        """Return what is kept under a key."""

    async def remember(self, key: str, value: dict[str, Any]) -> None:
        """Keep a value under a key."""


@dataclass(slots=True)
class _Wallet:
    """One wallet's turn."""

    due: float
    first: bool = True
    failures: int = 0
    wished: int | None = None
    waiting: list["asyncio.Future[None]"] = field(default_factory=list)
    polling: bool = False


def checkpoint_key(wallet: str) -> str:
    """Return the checkpoint key of a wallet's polls: {"completed_at": iso, "through": epoch s, "rows": n}."""
    return f"poll:{wallet}"


class Poller:
    """Polls each followed wallet in turn, further back where something may have been missed."""

    def __init__(
        self,
        api: Activity,
        intake: Listings,
        memory: Memory,
        roster: Roster,
        *,
        at_once: int,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._intake = intake
        self._memory = memory
        self._roster = roster
        self._now = now
        self._clock = clock
        self._room = asyncio.Semaphore(at_once)
        self._wallets: dict[str, _Wallet] = {}
        self._woken = asyncio.Event()
        self.interval = poll_interval(0)

    def reach_back_after_reconnect(self) -> None:
        """Poll every wallet at once, five minutes back: the websocket may have missed something."""
        self._wish(list(self._wallets), RECONNECT_REACH_SECONDS)

    async def poll_now(self, wallet: str | None, seconds: int | None) -> None:
        """Poll `wallet` (None: all) now, reaching `seconds` back, and return when that is done.

        Raises Rejected for a wallet that is not followed, Unavailable when the API could not be asked.
        """
        if wallet is not None and wallet not in self._roster.follows:
            raise Rejected(f"expected a followed wallet, got {wallet}")
        self._arrange()
        wanted = list(self._wallets) if wallet is None else [wallet]
        done: list[asyncio.Future[None]] = []
        for each in wanted:
            done.append(asyncio.get_running_loop().create_future())
            self._wallets[each].waiting.append(done[-1])
        self._wish(wanted, seconds)
        results = await asyncio.gather(*done, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def run(self, progress: Callable[[], None]) -> None:
        """Start the polls that are due, for ever."""
        try:
            await self._run(progress)
        finally:
            for wallet, turn in self._wallets.items():
                for future in turn.waiting:
                    if not future.done():
                        future.set_exception(Unavailable(f"the poller stopped before it polled {wallet}"))

    async def _run(self, progress: Callable[[], None]) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._arrange()
                if not self._wallets:
                    progress()
                now = self._clock()
                for wallet, turn in self._wallets.items():
                    if turn.due <= now and not turn.polling:
                        turn.polling = True
                        tasks.create_task(self._take_turn(wallet, turn, progress))
                self._woken.clear()
                try:
                    async with asyncio.timeout(TICK_SECONDS):
                        await self._woken.wait()
                except TimeoutError:
                    pass

    def _arrange(self) -> None:
        """Give new wallets a turn at once, and forget those no longer followed."""
        follows = self._roster.follows
        for wallet in self._wallets.keys() - follows.keys():
            for future in self._wallets.pop(wallet).waiting:
                if not future.done():
                    future.set_exception(Rejected(f"{wallet} is no longer followed"))
        new = [wallet for wallet in follows if wallet not in self._wallets]
        for place, wallet in enumerate(new):
            self._wallets[wallet] = _Wallet(due=self._clock() + place * STAGGER_SECONDS)
        self.interval = poll_interval(len(self._wallets))
        metrics.POLL_INTERVAL.set(self.interval)

    def _wish(self, wallets: list[str], seconds: int | None) -> None:
        at = None if seconds is None else int(self._now().timestamp()) - seconds
        for wallet in wallets:
            turn = self._wallets[wallet]
            turn.due = self._clock()
            if at is not None:
                turn.wished = at if turn.wished is None else min(turn.wished, at)
        self._woken.set()

    async def _take_turn(self, wallet: str, turn: _Wallet, progress: Callable[[], None]) -> None:
        wished, waiting = turn.wished, list(turn.waiting)
        outcome: Exception | None = Unavailable(f"the poll of {wallet} was cut short")
        try:
            async with self._room:
                wished, waiting = turn.wished, list(turn.waiting)
                turn.wished, turn.waiting = None, []
                await self._poll(wallet, first=turn.first, wished=wished, alone=not waiting)
            turn.first, turn.failures, outcome = False, 0, None
            if turn.wished is None and not turn.waiting:  # else someone wished for more meanwhile, and it is due
                turn.due = self._clock() + self.interval
            progress()
        except (Unavailable, Rejected) as error:
            outcome = error
            turn.failures += 1
            turn.wished = wished if turn.wished is None or wished is None else min(turn.wished, wished)
            turn.due = self._clock() + retry_delay(turn.failures, self.interval)
            metrics.POLLS.labels("rejected" if isinstance(error, Rejected) else "unavailable").inc()
            _log.warning("poll_failed", wallet=wallet, failures=turn.failures, error=str(error)[:300])
        finally:
            turn.polling = False
            for future in waiting:
                if not future.done():
                    future.set_exception(outcome) if outcome else future.set_result(None)

    async def _poll(self, wallet: str, *, first: bool, wished: int | None, alone: bool) -> None:
        follow = self._roster.follows.get(wallet)
        if follow is None:
            return
        last = await self._memory.checkpoint(checkpoint_key(wallet)) or {}
        began = self._now()
        through = last.get("through")
        reach = Reach(through if isinstance(through, int) else None, wished)
        age = began.timestamp() - reach.through if reach.through is not None else self.interval
        if alone and not first and wished is None and age < self.interval * ELSEWHERE_SHARE:
            # Checkpoints are shared: with several replicas, whoever comes first has polled for all.
            metrics.POLLS.labels("elsewhere").inc()
            return
        listing = await self._api.activity(wallet, start=reach.start(int(began.timestamp()), first=first))
        rows = await self._intake.record_listing(listing, follow)
        await self._memory.remember(
            checkpoint_key(wallet),
            {
                "completed_at": self._now().isoformat(),
                "through": int(began.timestamp()),
                "rows": len(listing.rows) + len(listing.unreadable),
            },
        )
        metrics.POLLS.labels("complete").inc()
        _log.debug("poll_completed", wallet=wallet, rows=len(listing.rows), news=rows, pages=listing.pages)
