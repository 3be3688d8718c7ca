"""Poll every wallet's activity: completeness, verification, and all that leaves no OrderFilled log."""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from libs.common.domain.errors import Rejected, Unavailable
from libs.common.observability import metrics
from services.ingest.contact import PollContact
from services.ingest.core.polling import (
    INTERVAL_SECONDS,
    POLLS_PER_SECOND_MAX,
    RECONNECT_REACH_SECONDS,
    START_REACH_SECONDS,
    Reach,
    poll_interval,
    retry_delay,
)
from services.ingest.reading import Follow
from services.ingest.roster import NotFollowedError, Roster, UnreadWalletsError
from services.ingest.turn import Turn, Turns, earlier
from services.ingest.walk import Activity, Listings, parts_of

TICK_SECONDS: Final = 0.25
SAVED_SECONDS: Final = 0.75
"""For so long unused room is saved up: a poll that is wished for need not wait when others have just set out."""
ELSEWHERE_SHARE: Final = 0.5
"""A wallet that another replica polled within this share of the interval is left for now."""
TURN_SECONDS: Final = 30.0
"""A replica that dies in the middle of a poll keeps others from that wallet for this long."""
TAKEN_SECONDS: Final = 1.0
"""When to look again at a wallet that another replica is polling."""
MEASURED_OVER: Final = 20.0
"""Polls over which the measured interval is averaged."""

_log = structlog.get_logger()


class _TakenError(Exception):
    """Another replica polls the wallet now."""


def checkpoint_key(wallet: str) -> str:
    """Return the checkpoint key of a wallet's polls.

    {"completed_at": iso, "through": epoch s, "deep_at": epoch s of the last poll that reached back 15 min, "rows": n}.
    """
    return f"poll:{wallet}"


class Poller:
    """Polls each followed wallet in turn, further back where something may have been missed."""

    def __init__(
        self,
        api: Activity,
        intake: Listings,
        turns: Turns,
        roster: Roster,
        *,
        at_once: int,
        contact: PollContact | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._intake = intake
        self._turns = turns
        self._roster = roster
        self._contact = contact
        self._now = now
        self._clock = clock
        self._at_once = at_once
        self._wallets: dict[str, Turn] = {}
        self._polling = 0
        self._next_start = clock() - SAVED_SECONDS
        self._woken = asyncio.Event()
        self._born = int(now().timestamp())
        self._order = random.Random()  # noqa: S311  keeps replicas from polling in step, guards nothing
        self._measured = 0.0
        self.interval = poll_interval(0)

    def pace(self) -> dict[str, Any]:
        """Tell how often a wallet is polled: what the budget allows, what was measured, what is aimed at (seconds)."""
        every = max(self.interval, self._measured)
        return {"wallets": len(self._wallets), "every_seconds": round(every, 1), "aim_seconds": INTERVAL_SECONDS}

    def reach_back_after_reconnect(self) -> None:
        """Poll every wallet at once, five minutes back: the websocket may have missed something."""
        self._wish(list(self._wallets), RECONNECT_REACH_SECONDS)

    async def poll_now(self, wallet: str | None, seconds: int | None) -> None:
        """Poll `wallet` (None: all) now, reaching `seconds` back, and return when that is done.

        Raises NotFollowedError for a wallet that is not followed, UnreadWalletsError for those the API could not be
        asked about, and Unavailable where it could not about any of several.
        """
        if wallet is not None and wallet not in self._roster.follows:
            raise NotFollowedError(wallet)
        self._arrange()
        wanted = list(self._wallets) if wallet is None else [wallet]
        done: list[asyncio.Future[None]] = []
        for each in wanted:
            done.append(asyncio.get_running_loop().create_future())
            self._wallets[each].waiting.append(done[-1])
        self._wish(wanted, seconds)
        results = await asyncio.gather(*done, return_exceptions=True)
        failed = {each: result for each, result in zip(wanted, results, strict=True) if isinstance(result, Exception)}
        unread = [each for each, error in failed.items() if isinstance(error, Unavailable)]
        if unread and (len(unread) < len(wanted) or len(wanted) == 1):
            raise UnreadWalletsError(unread, failed[unread[0]])
        for error in failed.values():
            if wallet is not None or isinstance(error, Unavailable):
                raise error

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
                while (due := self._due()) is not None:
                    wallet, turn = due
                    turn.polling = True
                    self._polling += 1
                    tasks.create_task(self._take_turn(wallet, turn, progress))
                self._woken.clear()
                try:
                    async with asyncio.timeout(TICK_SECONDS):
                        await self._woken.wait()
                except TimeoutError:
                    pass

    def _due(self) -> tuple[str, Turn] | None:
        """Return who is polled next, and None while nobody is due, all hands are full, or it is too soon.

        Polls set out evenly, at most so many a second: a thousand that are due at once would else fill every queue.
        """
        now = self._clock()
        if self._polling >= self._at_once or now < self._next_start:
            return None
        due = [(wallet, turn) for wallet, turn in self._wallets.items() if turn.due <= now and not turn.polling]
        if not due:
            return None
        self._next_start = max(self._next_start, now - SAVED_SECONDS) + 1 / POLLS_PER_SECOND_MAX
        return min(due, key=lambda each: each[1].rank)

    def _arrange(self) -> None:
        """Give new wallets a turn at once, and forget those no longer followed."""
        follows = self._roster.follows
        for wallet in self._wallets.keys() - follows.keys():
            for future in self._wallets.pop(wallet).waiting:
                if not future.done():
                    future.set_exception(NotFollowedError(wallet))
        new = [wallet for wallet in follows if wallet not in self._wallets]
        late = bool(self._wallets)
        self._order.shuffle(new)
        for wallet in new:
            self._wallets[wallet] = Turn(due=self._clock(), urgent=late)
        self.interval = poll_interval(len(self._wallets))
        metrics.POLL_INTERVAL.set(max(self.interval, self._measured))

    def _wish(self, wallets: list[str], seconds: int | None) -> None:
        at = None if seconds is None else int(self._now().timestamp()) - seconds
        for wallet in wallets:
            turn = self._wallets[wallet]
            turn.due = self._clock()
            if at is not None:
                turn.wished = at if turn.wished is None else min(turn.wished, at)
        self._woken.set()

    async def _take_turn(self, wallet: str, turn: Turn, progress: Callable[[], None]) -> None:
        wished, waiting = turn.wished, turn.waiting
        turn.wished, turn.waiting = None, []
        outcome: Exception | None = Unavailable(f"the poll of {wallet} was cut short")
        try:
            age = await self._poll(wallet, first=turn.first, wished=wished, alone=not waiting)
            turn.first, turn.urgent, turn.failures, outcome = False, False, 0, None
            if turn.wished is None and not turn.waiting:  # else someone wished for more meanwhile, and it is due
                turn.due = self._clock() + self.interval - age
            progress()
        except _TakenError:
            turn.due = self._clock() + TAKEN_SECONDS
            turn.wished = earlier(turn.wished, wished)
            turn.waiting, waiting = waiting + turn.waiting, []
        except (Unavailable, Rejected) as error:
            outcome = error
            turn.failures += 1
            turn.wished = earlier(turn.wished, wished)
            turn.due = self._clock() + retry_delay(turn.failures, self.interval)
            metrics.POLLS.labels("rejected" if isinstance(error, Rejected) else "unavailable").inc()
            _log.warning("poll_failed", wallet=wallet, failures=turn.failures, error=str(error)[:300])
            if self._contact:
                await self._contact.failed(wallet, str(error))
        finally:
            turn.polling = False
            self._polling -= 1
            self._woken.set()
            for future in waiting:
                if not future.done():
                    future.set_exception(outcome) if outcome else future.set_result(None)

    async def _poll(self, wallet: str, *, first: bool, wished: int | None, alone: bool) -> float:
        """Poll a wallet and return the age in seconds of what is known of it: 0, or since another replica polled it."""
        follow = self._roster.follows.get(wallet)
        if follow is None:
            return 0.0
        key = checkpoint_key(wallet)
        last = await self._turns.take_turn(key, TURN_SECONDS)
        if last is None:
            raise _TakenError
        began = self._now()
        through, deep_at = _number(last, "through"), _number(last, "deep_at")
        first = first and (deep_at is None or deep_at < self._born)
        age = began.timestamp() - through if through is not None else self.interval
        if alone and not first and wished is None and age < self.interval * ELSEWHERE_SHARE:
            # Checkpoints are shared: with several replicas, whoever comes first has polled for all.
            await self._turns.end_turn(key)
            metrics.POLLS.labels("elsewhere").inc()
            return max(0.0, age)
        start = Reach(through, wished).start(int(began.timestamp()), first=first)
        kept: Mapping[str, Any] | None = None
        try:
            read = await self._read_all(follow, last, start)
            if self._contact:
                await self._contact.polled(wallet, start, began, self.interval)
            kept = read
        finally:
            await self._turns.end_turn(key, kept)
        if not first and wished is None and through is not None:
            self._measured += (age - self._measured) / (MEASURED_OVER if self._measured else 1.0)
        metrics.POLLS.labels("complete").inc()
        return 0.0

    async def _read_all(self, follow: Follow, last: Mapping[str, Any], start: int) -> dict[str, Any]:
        """Take in all that a wallet did from `start` on, and return the checkpoint of the complete poll.

        After each part but the last one the checkpoint moves on, so that a long way is gone once, whoever dies.
        """
        key, began = checkpoint_key(follow.wallet), int(self._now().timestamp())
        deep_at = began if start <= began - START_REACH_SECONDS else last.get("deep_at")
        through, rows, news, pages = last.get("through"), 0, 0, 0
        async for listing in parts_of(self._api, follow.wallet, start=start, last=None, now=began):
            news += (await self._intake.record_listing(listing, follow)).events
            rows += len(listing.rows) + len(listing.unreadable)
            pages += listing.pages
            if listing.end is not None:
                if self._contact and listing.start is not None:
                    await self._contact.looked_back(follow.wallet, listing.start, listing.end)
                through = listing.end if through is None else max(through, listing.end)
                await self._turns.remember(key, {**last, "through": through})
                await self._turns.take_turn(key, TURN_SECONDS)
        _log.debug("poll_completed", wallet=follow.wallet, rows=rows, news=news, pages=pages)
        return {"completed_at": self._now().isoformat(), "through": began, "deep_at": deep_at, "rows": rows}


def _number(kept: Mapping[str, Any], name: str) -> int | None:
    value = kept.get(name)
    return value if isinstance(value, int) else None
