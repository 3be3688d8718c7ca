"""Ending a decision transaction that stands still, whatever its process is doing, so that another can go on.

The server itself cuts off who stops between two statements (`IDLE_MS`). Who stops while an answer is on its way is
not idle for the server, and would keep its locks for as long as it sleeps.
"""

from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from services.simulator.store.driver import Query, driver_connection

STILL_SECONDS: Final = 1
"""A holder whose client let its server wait for so long, while others waited for the lock, stands still."""

_END: Final = Query("""
SELECT a.pid, a.state, a.wait_event, pg_terminate_backend(a.pid) AS ended
FROM pg_stat_activity a
WHERE a.usename = current_user AND a.datname = current_database() AND a.xact_start IS NOT NULL
  AND a.wait_event_type = 'Client' AND a.state_change < clock_timestamp() - make_interval(secs => :seconds)
  AND EXISTS (
    SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.relation = CAST('portfolio' AS regclass) AND l.granted
      AND l.mode = 'RowShareLock')
""")
"""Only the simulators' own role is touched, and nobody whose server works or waits for a lock itself; RowShareLock is
what locking rows takes."""

_log = structlog.get_logger()


async def end_stuck_holders(engine: AsyncEngine) -> int:
    """End the transactions of simulators that stand still with portfolios locked; return how many."""
    async with driver_connection(engine) as connection:
        rows = await _END.rows(connection, seconds=STILL_SECONDS)
    for row in rows:
        _log.warning("stuck_holder_ended", backend=row["pid"], state=row["state"], wait=row["wait_event"])
    return len(rows)
