"""Tells the bus of committed attempts; what Redis would not take is kept and sent again."""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from libs.common.domain.errors import Unavailable
from libs.common.domain.kinds import Decision, Scope
from libs.common.messages import AttemptDecided
from services.simulator.records import Decided
from services.simulator.store.rows import Candidate

KEPT_MAX: Final = 20_000
"""What falls out is found by the ledger's sweep."""

_log = structlog.get_logger()


class Announcer:
    """Publishes attempts.decided for one scope."""

    def __init__(self, scope: Scope, publish: Callable[[Sequence[AttemptDecided]], Awaitable[None]]) -> None:
        self._scope = scope
        self._publish = publish
        self._kept: deque[AttemptDecided] = deque(maxlen=KEPT_MAX)

    def __len__(self) -> int:
        return len(self._kept)

    async def decided(self, decided: Sequence[Decided], known: Sequence[Candidate]) -> None:
        """Announce what was decided, and again what turned out to be decided already."""
        self._kept.extend(
            AttemptDecided(
                attempt_id=each.attempt_id,
                group_id=each.group.id,
                scope=self._scope,
                user_id=each.group.user_id,
                decision=each.outcome.decision,
                occurred_at=each.group.first_event_time,
                observed_at=each.clock.decided_at,
            )
            for each in decided
        )
        if decided:
            executed = sum(each.outcome.decision is Decision.EXECUTE for each in decided)
            _log.info("attempts_decided", scope=self._scope, executed=executed, skipped=len(decided) - executed)
        await self.again(known)

    async def again(self, known: Sequence[Candidate]) -> None:
        """Announce attempts that exist already: a crash may have fallen between commit and publish."""
        self._kept.extend(
            AttemptDecided(
                attempt_id=each.attempted.id,
                group_id=each.group.id,
                scope=self._scope,
                user_id=each.group.user_id,
                decision=each.attempted.decision,
                occurred_at=each.group.first_event_time,
                observed_at=each.attempted.decided_at,
            )
            for each in known
            if each.attempted is not None
        )
        await self.flush()

    async def flush(self) -> None:
        """Publish what is kept; an outage leaves it for the next time."""
        # Taken at once, because decisions and the sweep flush side by side.
        messages, self._kept = list(self._kept), deque[AttemptDecided](maxlen=KEPT_MAX)
        if not messages:
            return
        try:
            await self._publish(messages)
        except Unavailable as error:
            _log.warning("announcements_wait", messages=len(messages), error=str(error)[:200])
            self._kept.extendleft(reversed(messages))
