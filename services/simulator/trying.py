"""What an operator asks of the simulator to try a configuration: ask for a test and watch it.

With the stack up the simulator's worker does it; with the stack down the caller does.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.bus import Bus
from libs.common.bus.streams import CONFIG_TEST_REQUESTED
from libs.common.db.config_tests import cancel_run, is_finished, read_run, request_run
from libs.common.db.dead_letters import PostgresDeadLetters
from libs.common.db.engine import make_engine, transaction
from libs.common.domain.config_test import RunView, read_draft, read_range
from libs.common.domain.errors import Rejected, Unavailable
from libs.common.messages import ConfigTestRequested
from services.simulator.commands import OPERATOR, read_json
from services.simulator.config_test import work

__all__ = ["Wish", "try_config"]

LOOK_SECONDS: Final = 0.25


@dataclass(frozen=True, slots=True)
class Wish:
    """What to test: a configuration file, or its content; a range as in `read_range`."""

    draft: Path | Mapping[str, Any]
    user: str | None = None
    hours: int | None = None
    since: datetime | None = None
    until: datetime | None = None


async def try_config(
    database_url: str, redis_url: str | None, wish: Wish, cancelled: asyncio.Event
) -> AsyncIterator[RunView]:
    """Ask for a test and yield how far it is, at last how it ended; `cancelled` calls it off.

    Without `redis_url` the stack is down and the test is done here. Raises Rejected when the wish is not valid.
    """
    content = read_json(wish.draft) if isinstance(wish.draft, Path) else wish.draft
    if isinstance(content, Mapping) and "wallets" in content and "start_ms" in content:
        content = content.get("config") or {}
    draft = read_draft(content, wish.user, str(wish.draft) if isinstance(wish.draft, Path) else "draft")
    since, until = read_range(datetime.now(UTC), wish.hours, wish.since, wish.until)
    engine = make_engine(database_url, application="shadowbook-test-config", pool_size=3)
    try:
        async with transaction(engine) as connection:
            run_id = await request_run(connection, draft, wish.user, since, until, OPERATOR)
        worker = None
        if redis_url is None:
            worker = asyncio.create_task(work(engine, f"operator-{uuid4()}"))
        else:
            await _announce(engine, redis_url, run_id)
        async for run in _watched(engine, run_id, cancelled):
            yield run
            if worker is not None and worker.done():
                worker.result()
        if worker is not None:
            await worker
    finally:
        await engine.dispose()


async def _watched(engine: AsyncEngine, run_id: UUID, cancelled: asyncio.Event) -> AsyncIterator[RunView]:
    asked_off = False
    while True:
        async with transaction(engine) as connection:
            if cancelled.is_set() and not asked_off:
                asked_off = True
                await cancel_run(connection, run_id, OPERATOR)
            run = await read_run(connection, run_id)
        if run is None:
            raise Rejected(f"test {run_id} is gone: too many others ended since")
        yield run
        if is_finished(run) or (asked_off and run.state == "QUEUED"):
            return
        await asyncio.sleep(LOOK_SECONDS)


async def _announce(engine: AsyncEngine, redis_url: str, run_id: UUID) -> None:
    now = datetime.now(UTC)
    bus = Bus(redis_url, service=OPERATOR, instance="shadowbook-test-config", dead_letters=PostgresDeadLetters(engine))
    try:
        message = ConfigTestRequested(run_id=run_id, occurred_at=now, observed_at=now)
        await bus.publish(CONFIG_TEST_REQUESTED, [message])
    except Unavailable:
        return  # the simulator looks for waiting tests anyway
    finally:
        await bus.stop()
