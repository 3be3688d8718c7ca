"""The simulator's side of ConfigTestRun: claim, report, end. One run at a time, whatever the number of replicas."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.db.engine import transaction

WORKER_VARIABLE: Final = "CONFIG_TEST_WORKER"
"""Environment of a worker: the name under which it owns its run; whoever starts it releases the run should it die."""
TRIES_MAX: Final = 3
STALE_SECONDS: Final = 30
"""A RUNNING row without a heartbeat for so long belongs to a dead worker."""
KEPT_MAX: Final = 100
"""Ended runs that are kept; older ones go."""
ERROR_MAX: Final = 1_000
_LOCK: Final = text("SELECT pg_advisory_xact_lock(:key)")
_LOCK_KEY: Final = 0x5AD0C7E6

_DROP_CANCELLED: Final = text("""
UPDATE config_test_run SET state = 'CANCELLED', finished_at = clock_timestamp()
WHERE state = 'QUEUED' AND cancel_requested_at IS NOT NULL
""")
_FAIL_TRIED: Final = text("""
UPDATE config_test_run SET state = 'FAILED', finished_at = clock_timestamp(),
  error = 'the worker ended ' || tries || ' times in the middle of it, the last time after ' || done || ' decisions'
WHERE tries >= :tries AND (state = 'QUEUED' OR state = 'RUNNING'
  AND heartbeat_at < clock_timestamp() - make_interval(secs => :stale))
""")
_CLAIM: Final = text("""
UPDATE config_test_run r SET state = 'RUNNING', tries = r.tries + 1, worker = :worker, done = 0,
  heartbeat_at = clock_timestamp(), started_at = coalesce(r.started_at, clock_timestamp())
WHERE r.id = (
  SELECT w.id FROM config_test_run w
  WHERE w.state = 'QUEUED'
     OR w.state = 'RUNNING' AND w.heartbeat_at < clock_timestamp() - make_interval(secs => :stale)
  ORDER BY w.requested_at LIMIT 1 FOR UPDATE SKIP LOCKED)
AND NOT EXISTS (
  SELECT FROM config_test_run x
  WHERE x.state = 'RUNNING' AND x.heartbeat_at >= clock_timestamp() - make_interval(secs => :stale))
RETURNING r.id, r.user_id, r.draft, r.since, r.until
""")
_WAITS: Final = text("""
SELECT (count(*) FILTER (WHERE state = 'QUEUED') > 0
        OR count(*) FILTER (WHERE heartbeat_at < clock_timestamp() - make_interval(secs => :stale)) > 0)
   AND count(*) FILTER (WHERE state = 'RUNNING'
                          AND heartbeat_at >= clock_timestamp() - make_interval(secs => :stale)) = 0
FROM config_test_run WHERE state IN ('QUEUED', 'RUNNING')
""")
_UNHEARD: Final = text("""
SELECT id, requested_at FROM config_test_run
WHERE state = 'QUEUED' AND requested_at < :before
   OR state = 'RUNNING' AND heartbeat_at < clock_timestamp() - make_interval(secs => :stale)
ORDER BY requested_at LIMIT :limit
""")
_REPORT: Final = text("""
UPDATE config_test_run SET done = :done, total = :total, heartbeat_at = clock_timestamp()
WHERE id = :id AND worker = :worker AND state = 'RUNNING' RETURNING cancel_requested_at IS NOT NULL AS is_cancelled
""")
_END: Final = text("""
UPDATE config_test_run SET state = :state, error = :error, result = CAST(:result AS jsonb),
  done = coalesce(:done, done), finished_at = clock_timestamp()
WHERE id = :id AND worker = :worker AND state = 'RUNNING' RETURNING id
""")
_RELEASE: Final = text("UPDATE config_test_run SET state = 'QUEUED' WHERE worker = :worker AND state = 'RUNNING'")
_PRUNE: Final = text("""
DELETE FROM config_test_run WHERE id IN (
  SELECT id FROM config_test_run WHERE state NOT IN ('QUEUED', 'RUNNING') ORDER BY requested_at DESC OFFSET :kept)
""")


@dataclass(frozen=True, slots=True)
class Claimed:
    """A run that is ours to do."""

    id: UUID
    user_id: UUID | None
    draft: dict[str, Any]
    since: datetime
    until: datetime


class RunStore:
    """Rows of config_test_run; `worker` names one life of one process, so that a former owner writes nothing."""

    def __init__(self, engine: AsyncEngine, worker: str, *, stale_seconds: float = STALE_SECONDS) -> None:
        self._engine = engine
        self._worker = worker
        self._stale = stale_seconds

    async def claim(self) -> Claimed | None:
        """Take the oldest run that waits or whose worker is dead; None while another one runs."""
        async with transaction(self._engine) as connection:
            await connection.execute(_LOCK, {"key": _LOCK_KEY})
            await connection.execute(_DROP_CANCELLED)
            await connection.execute(_FAIL_TRIED, {"tries": TRIES_MAX, "stale": self._stale})
            row = (await connection.execute(_CLAIM, {"worker": self._worker, "stale": self._stale})).one_or_none()
        return None if row is None else Claimed(row.id, row.user_id, row.draft, row.since, row.until)

    async def waits(self) -> bool:
        """Tell whether there is something to claim."""
        async with transaction(self._engine) as connection:
            return bool((await connection.execute(_WAITS, {"stale": self._stale})).scalar_one())

    async def unheard(self, before: datetime, limit: int) -> list[tuple[UUID, datetime]]:
        """Return runs (id, when asked for) without result that were asked for `before` and nobody works on."""
        async with transaction(self._engine) as connection:
            parameters = {"before": before, "stale": self._stale, "limit": limit}
            return [(row.id, row.requested_at) for row in await connection.execute(_UNHEARD, parameters)]

    async def report(self, run_id: UUID, done: int, total: int) -> bool | None:
        """Say how far a run is; return whether it was called off, None if it is not ours any more."""
        async with transaction(self._engine) as connection:
            parameters = {"id": run_id, "worker": self._worker, "done": done, "total": total}
            row = (await connection.execute(_REPORT, parameters)).one_or_none()
            await connection.execute(_DROP_CANCELLED)
        return None if row is None else bool(row.is_cancelled)

    async def end(
        self,
        run_id: UUID,
        state: str,
        *,
        error: str | None = None,
        result: str | None = None,
        done: int | None = None,
    ) -> bool:
        """End a run; return False if it is not ours any more. `result` is JSON text."""
        async with transaction(self._engine) as connection:
            parameters = {"id": run_id, "worker": self._worker, "state": state, "result": result, "done": done}
            parameters["error"] = None if error is None else error[:ERROR_MAX]
            row = (await connection.execute(_END, parameters)).one_or_none()
            await connection.execute(_PRUNE, {"kept": KEPT_MAX})
        return row is not None

    async def release(self) -> None:
        """Put back what our worker, which is dead, left unfinished."""
        async with transaction(self._engine) as connection:
            await connection.execute(_RELEASE, {"worker": self._worker})
