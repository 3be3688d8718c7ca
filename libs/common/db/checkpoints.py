"""What a service remembers between lives, and the heartbeat by which it is found alive."""

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from libs.common.db.tables.system import SystemCheckpoint

HEARTBEAT_SECONDS: Final = 5

_TABLE = SystemCheckpoint.__table__  # type: ignore[attr-defined]
_log = structlog.get_logger()


async def save_checkpoint(connection: AsyncConnection, service: str, key: str, value: Mapping[str, Any]) -> None:
    """Store `value` under (service, key) in the caller's transaction."""
    now = datetime.now(UTC)
    statement = insert(_TABLE).values(service=service, key=key, value=dict(value), updated_at=now)
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["service", "key"], set_={"value": statement.excluded.value, "updated_at": now}
        )
    )


async def load_checkpoint(connection: AsyncConnection, service: str, key: str) -> dict[str, Any] | None:
    """Return what was stored under (service, key), or None."""
    query = select(_TABLE.c.value).where(_TABLE.c.service == service, _TABLE.c.key == key)
    value: dict[str, Any] | None = await connection.scalar(query)
    return value


async def load_checkpoints(connection: AsyncConnection, service: str, prefix: str) -> dict[str, dict[str, Any]]:
    """Return every checkpoint of `service` whose key starts with `prefix`, by key."""
    query = select(_TABLE.c.key, _TABLE.c.value).where(_TABLE.c.service == service, _TABLE.c.key.startswith(prefix))
    return {row.key: row.value for row in await connection.execute(query)}


async def beat(
    engine: AsyncEngine, service: str, instance: str, http_port: int, snapshot: Callable[[], Mapping[str, Any]]
) -> None:
    """Register this process every HEARTBEAT_SECONDS until cancelled; a database outage only skips beats."""
    started_at = datetime.now(UTC)
    while True:
        value = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "http_port": http_port,
            "started_at": started_at.isoformat(),
            "beat_at": datetime.now(UTC).isoformat(),
            **snapshot(),
        }
        try:
            async with engine.begin() as connection:
                await save_checkpoint(connection, service, f"process:{instance}", value)
        except (SQLAlchemyError, OSError) as error:
            _log.warning("heartbeat_skipped", error=str(error)[:200])
        await asyncio.sleep(HEARTBEAT_SECONDS)
