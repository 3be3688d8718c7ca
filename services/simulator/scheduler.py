"""The loop that lets hundreds of groups wait at once and decides each when it is due, in order.

It sleeps until something falls due, so waiting occupies nobody. Outages are waited out and never counted; a group whose
decision keeps raising is given up after FAILURES_MAX retries and passed over.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, Protocol
from uuid import UUID

import structlog
from sqlalchemy.exc import DBAPIError

from libs.common.domain.errors import Unavailable
from libs.common.domain.identity import identify
from libs.common.domain.kinds import Scope
from libs.common.observability.metrics import (
    ATTEMPTS,
    DECISION_DURATION,
    DECISION_LATENESS,
    GROUPS_WAITING,
    SKIP_REASONS,
)
from services.simulator.core.facts import Group
from services.simulator.core.rules import Rules
from services.simulator.core.schedule import LaneKey, Schedule, Waiting, needs_book, own_due
from services.simulator.records import Decided
from services.simulator.store.rows import Candidate
from services.simulator.turns import Chunk, UnwritableError

FAILURES_MAX: Final = 3
"""Retries of a decision that raises, before its group is given up."""
UNHEARD_OF: Final = 8
"""Groups read beyond those that are due here: older ones that only others heard of, and the next to come."""
IDLE_SECONDS: Final = 1.0
"""Longest sleep, so that health shows a living loop."""
GIVEN_UP_IN_A_ROW_MAX: Final = 10
"""Groups given up with no decision between; beyond it the code is wrong, not the groups: they wait for a better one."""
OUTAGE_SECONDS: Final = 0.5
ABSENT: Final = timedelta(milliseconds=500)
"""How soon to look again for a portfolio that the ledger has yet to open."""
BACKOFF: Final = timedelta(milliseconds=250)
BREATH_SECONDS: Final = (0.002, 0.006)
"""Between two transactions it rests as long as the last one took, within these bounds; what falls due meanwhile shares
the next one, so that a loaded machine decides in larger chunks."""
CONTENDED: Final = ("40", "55P03", "25P03")
"""SQL states of a lost race: serialisation failure, deadlock, lock timeout, cut off while idle."""

_log = structlog.get_logger()


class DecidesChunks(Protocol):
    """One decision transaction."""

    async def run(self, wanted: Mapping[UUID, Sequence[Group]], limit: int) -> Chunk:
        """Decide what is due in some portfolios and commit it."""


@lru_cache(maxsize=10_000)
def portfolio_id(scope: Scope, lane: LaneKey) -> UUID:
    """Return the id of the portfolio of a lane."""
    return identify("portfolio", scope, lane or "")


class Scheduler:
    """Waits, and decides on time. One per process."""

    def __init__(
        self,
        decider: DecidesChunks,
        *,
        scope: Scope,
        seed: int,
        chunk_max: int,
        rules_for: Callable[[UUID], Rules],
        want_books: Callable[[Sequence[Waiting]], None],
        announce: Callable[[Sequence[Decided], Sequence[Candidate]], Awaitable[None]],
        give_up: Callable[[Group, Exception], Awaitable[None]],
        now: Callable[[], datetime],
        is_outage: Callable[[BaseException], bool],
    ) -> None:
        """`rules_for` gives a user's latest rules as this process knows them: they say when to wake, no more."""
        self._decider, self._scope, self._seed, self._chunk_max = decider, scope, seed, chunk_max
        self._rules_for, self._want_books = rules_for, want_books
        self._announce, self._give_up = announce, give_up
        self._now, self._is_outage = now, is_outage
        self._schedule = Schedule(per_user=scope is Scope.EXEC_USER)
        self._given_up_in_a_row = 0
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._schedule)

    def wait_for(self, groups: Sequence[Group]) -> None:
        """Let groups wait for their decision."""
        for group in groups:
            self._schedule.add(group, own_due(group, self._rules_for(group.user_id), self._seed))
        if groups:
            self._wake.set()

    def rules_changed(self) -> None:
        """Note that `rules_for` gives other rules now: groups may fall due earlier."""
        self._schedule.reconsider(lambda group: own_due(group, self._rules_for(group.user_id), self._seed))
        self._wake.set()

    def books_settled(self, group_ids: Sequence[UUID]) -> None:
        """Note that the books of these groups were fetched or given up."""
        self._schedule.ready(group_ids)
        self._wake.set()

    def look(self) -> None:
        """Wake up and look."""
        self._wake.set()

    async def run(self, stop: asyncio.Event, progress: Callable[[], None]) -> None:
        """Decide until `stop`."""
        while not stop.is_set():
            progress()
            GROUPS_WAITING.labels(scope=self._scope.value).set(len(self._schedule))
            self._wake.clear()
            started = self._now()
            if await self.tick():
                least, most = BREATH_SECONDS
                await asyncio.sleep(min(most, max(least, (self._now() - started).total_seconds())))
            else:
                await self._sleep(stop)

    async def tick(self) -> bool:
        """Decide what is due; return whether anything was tried."""
        now = self._now()
        self._prepare(now)
        lanes = self._schedule.eligible(now)[: self._chunk_max]
        if not lanes:
            return False
        limit = max(1, self._chunk_max // len(lanes))
        try:
            await self._decide(lanes, limit)
        except Unavailable as error:
            await self._wait_out(error)
        except Exception as error:  # noqa: BLE001  a statement failed: find the group it was about
            if self._is_passing(error):
                await self._wait_out(error)
            else:
                await self._isolate(lanes)
        return True

    def _prepare(self, now: datetime) -> None:
        """Order the books of what comes up."""
        wishes = []
        for waiting in self._schedule.come_up(now):
            if needs_book(waiting.group, self._rules_for(waiting.group.user_id), max(now, waiting.due)):
                wishes.append(waiting)
            else:
                waiting.is_ready = True
        self._want_books(wishes)

    async def _decide(self, lanes: Sequence[LaneKey], limit: int) -> None:
        started = self._now()
        names = {portfolio_id(self._scope, lane): lane for lane in lanes}
        wanted = {
            portfolio: [waiting.group for waiting in self._schedule.waiting_in(lane, started, limit)]
            for portfolio, lane in names.items()
        }
        most = max((len(groups) for groups in wanted.values()), default=0)
        chunk = await self._decider.run(wanted, min(limit, most + UNHEARD_OF))
        now = self._now()
        self._schedule.remove([decided.group.id for decided in chunk.decided])
        self._schedule.remove([candidate.group.id for candidate in chunk.known])
        if chunk.decided:
            self._given_up_in_a_row = 0
        for portfolio in chunk.absent:
            self._schedule.hold(names[portfolio], now + ABSENT)
        for portfolio, blocked in chunk.blocked.items():
            waiting = self._schedule.add(blocked.group, blocked.due)
            self._schedule.hold(names[portfolio], blocked.until)
            if blocked.lacks_book and waiting.is_ready:  # the rules we knew of took it for history
                self._want_books([waiting])
        for group, error in chunk.failed:
            await self._count_failure(group, error)
        self._report(chunk.decided, started, now)
        await self._announce(chunk.decided, chunk.known)

    async def _isolate(self, lanes: Sequence[LaneKey]) -> None:
        """Decide lane by lane and group by group, so that what fails, fails alone."""
        for lane in lanes:
            first = self._schedule.head(lane)
            try:
                await self._decide([lane], 1)
            except Unavailable as error:
                await self._wait_out(error)
            except Exception as error:  # noqa: BLE001  counted against the group, retried, then given up
                group = error.group if isinstance(error, UnwritableError) else first.group if first else None
                if self._is_passing(error) or group is None:
                    await self._wait_out(error)
                else:
                    await self._count_failure(group, _cause(error))

    async def _count_failure(self, group: Group, error: Exception) -> None:
        """Count a failed decision; give the group up after FAILURES_MAX retries."""
        waiting = self._schedule.add(group, self._now())
        waiting.failures += 1
        _log.error("decision_failed", group_id=str(group.id), failures=waiting.failures, exc_info=error)
        if waiting.failures > FAILURES_MAX and self._given_up_in_a_row < GIVEN_UP_IN_A_ROW_MAX:
            self._given_up_in_a_row += 1
            await self._give_up(group, error)
            self._schedule.remove([group.id])
            return
        self._schedule.hold(self._schedule.lane_of(group), self._now() + BACKOFF * 2 ** min(waiting.failures, 6))

    def _is_passing(self, error: Exception) -> bool:
        """Tell whether an error says nothing of what was being decided."""
        error = _cause(error)
        state = getattr(error.orig if isinstance(error, DBAPIError) else error, "sqlstate", None) or ""
        return isinstance(error, Unavailable) or self._is_outage(error) or state.startswith(CONTENDED)

    async def _wait_out(self, error: BaseException) -> None:
        _log.warning("decisions_wait", error=str(error)[:200])
        await asyncio.sleep(OUTAGE_SECONDS)

    def _report(self, decided: Sequence[Decided], started: datetime, committed: datetime) -> None:
        scope = self._scope.value
        for each in decided:
            DECISION_DURATION.labels(scope=scope).observe((committed - started).total_seconds())
            DECISION_LATENESS.labels(scope=scope).observe(max(0.0, (committed - each.effective_due_at).total_seconds()))
            ATTEMPTS.labels(scope=scope, decision=each.outcome.decision.value).inc()
            for reason in each.outcome.reasons:
                SKIP_REASONS.labels(scope=scope, reason=reason.value).inc()

    async def _sleep(self, stop: asyncio.Event) -> None:
        """Sleep until something falls due, a message or a book arrives, or IDLE_SECONDS pass."""
        if stop.is_set():
            return
        wake = self._schedule.next_wake(self._now())
        seconds = IDLE_SECONDS
        if wake is not None:
            seconds = min(IDLE_SECONDS, max(0.001, (wake - self._now()).total_seconds()))
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return


def _cause(error: Exception) -> Exception:
    cause = error.__cause__
    return cause if isinstance(error, UnwritableError) and isinstance(cause, Exception) else error
