"""Tests of a configuration as the dashboard asks for them; the simulator answers."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.db.config_tests import cancel_run, read_run, request_run
from libs.common.db.engine import transaction
from libs.common.domain.config_test import RunView, read_draft, read_range


async def request_test(
    engine: AsyncEngine,
    draft: dict[str, Any],
    user: str | None,
    *,
    hours: int | None,
    since: datetime | None,
    until: datetime | None,
    by: str,
) -> UUID:
    """Ask for a test; return its id. Raises Rejected, naming the setting, for a draft or range that is not valid."""
    document = read_draft(draft, user)
    start, end = read_range(datetime.now(UTC), hours, since, until)
    async with transaction(engine) as connection:
        return await request_run(connection, document, user, start, end, by)


async def find_test(engine: AsyncEngine, run_id: UUID) -> RunView | None:
    """Return a test with its progress, and its result once it has one."""
    async with transaction(engine) as connection:
        return await read_run(connection, run_id)


async def cancel_test(engine: AsyncEngine, run_id: UUID, by: str) -> RunView | None:
    """Call a test off, if it has not ended; return it as it stands, None where there is none."""
    async with transaction(engine) as connection:
        await cancel_run(connection, run_id, by)
        return await read_run(connection, run_id)
