"""Waiting until a tape has been played and all that came of it is done (SPEC 14)."""

import asyncio
import sys
import time
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.db.drain import Backlog, backlog, database_now
from libs.common.db.engine import make_engine
from libs.common.domain.errors import Unavailable
from services.cli.errors import StackError
from services.cli.stack.readiness import ask

LOOK_INTERVAL_SECONDS = 0.5
SETTLED_LOOKS = 2  # a message may be between two rows at the moment of one look
DRAIN_TIMEOUT_SECONDS = 1800.0
SAY_INTERVAL_SECONDS = 15.0


async def wait_until_drained(database_url: str, redis_url: str, sandbox_port: int) -> int:
    """Wait for the end of the tape and of the work; returns the number of open dead letters."""
    engine = make_engine(database_url, application="shadowbook-up", pool_size=1)
    try:
        await _tape_ended(sandbox_port)
        ended_at = await _patiently_now(engine)
        await _ask_for_polls(engine, redis_url)
        return await _work_done(engine, redis_url, ended_at)
    finally:
        await engine.dispose()


async def _tape_ended(sandbox_port: int) -> None:
    """Return when the sandbox has shown everything, API lag included."""
    while True:
        status, body = await asyncio.to_thread(ask, f"http://127.0.0.1:{sandbox_port}/_sandbox/status")
        if status == 200 and body.get("ended"):
            return
        await asyncio.sleep(LOOK_INTERVAL_SECONDS)


async def _patiently_now(engine: AsyncEngine) -> datetime:
    while True:
        try:
            return await database_now(engine)
        except Unavailable:
            await asyncio.sleep(LOOK_INTERVAL_SECONDS)


async def _work_done(engine: AsyncEngine, redis_url: str, ended_at: datetime) -> int:
    """Return the open dead letters once nothing waits; says now and then what is waited for."""
    deadline = time.monotonic() + DRAIN_TIMEOUT_SECONDS
    say_after = time.monotonic() + SAY_INTERVAL_SECONDS
    settled = 0
    while True:
        left = await _look(engine, redis_url, ended_at)
        settled = settled + 1 if left.is_empty else 0
        if settled >= SETTLED_LOOKS:
            return left.dead_letters_open
        what = ", ".join(f"{name}: {count}" for name, count in left.waiting.items())
        if time.monotonic() > deadline:
            raise StackError(
                f"not drained {DRAIN_TIMEOUT_SECONDS:.0f} s after the tape's end; still waiting for {what}"
            )
        if time.monotonic() > say_after and what:
            sys.stdout.write(f"  the tape has ended; waiting for {what}\n")
            sys.stdout.flush()
            say_after = time.monotonic() + SAY_INTERVAL_SECONDS
        await asyncio.sleep(LOOK_INTERVAL_SECONDS)


async def _look(engine: AsyncEngine, redis_url: str, ended_at: datetime) -> Backlog:
    from libs.common.bus.status import stream_status

    try:
        left = await backlog(engine, ended_at)
        undelivered = sum((row.lag or 0) + row.pending for row in await stream_status(redis_url))
    except Unavailable as error:
        return Backlog({f"an outage to end ({error})": 1}, 0)
    if undelivered:
        return Backlog(left.waiting | {"undelivered messages": undelivered}, left.dead_letters_open)
    return left


async def _ask_for_polls(engine: AsyncEngine, redis_url: str) -> None:
    """Ask ingest to poll now; without an answer the next regular poll does."""
    from libs.common.bus import Bus
    from libs.common.bus.streams import RECONCILE_REQUESTED
    from libs.common.db.dead_letters import PostgresDeadLetters
    from libs.common.messages import ReconcileRequested

    now = datetime.now(UTC)
    bus = Bus(redis_url, service="operator", instance="up", dead_letters=PostgresDeadLetters(engine))
    try:
        wish = ReconcileRequested(occurred_at=now, observed_at=now, requested_by="up --exit-when-drained")
        await bus.publish(RECONCILE_REQUESTED, [wish])
    except Unavailable:
        return
    finally:
        await bus.stop()
