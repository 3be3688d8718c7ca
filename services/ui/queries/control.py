"""The switch that stops copying. The simulator reads it in the transaction of every decision."""

from datetime import UTC, datetime
from typing import Final

from pydantic import BaseModel, ConfigDict
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from libs.common.db.engine import transaction
from libs.common.db.tables.config import ControlFlag
from services.ui.queries.logins import audit

PAUSE_KEY: Final = "engine_paused"

_FLAGS: Final = ControlFlag.__table__  # type: ignore[attr-defined]


class Control(BaseModel):
    """Whether copying is paused, since when and by whom; never touched: not paused."""

    model_config = ConfigDict(frozen=True)

    paused: bool = False
    since: datetime | None = None
    by: str | None = None


async def read_control(connection: AsyncConnection) -> Control:
    """Return the state of the switch."""
    query = select(_FLAGS.c.value, _FLAGS.c.updated_at, _FLAGS.c.updated_by).where(_FLAGS.c.key == PAUSE_KEY)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return Control()
    return Control(paused=any(value is True for value in row.value.values()), since=row.updated_at, by=row.updated_by)


async def set_paused(engine: AsyncEngine, paused: bool, actor: str) -> Control:
    """Turn the switch and write the audit row in one transaction; a switch that stands so already keeps its time."""
    now = datetime.now(UTC)
    async with transaction(engine) as connection:
        before = await read_control(connection)
        if before.since is not None and before.paused == paused:
            return before
        statement = insert(_FLAGS).values(key=PAUSE_KEY, value={"paused": paused}, updated_at=now, updated_by=actor)
        new = {name: statement.excluded[name] for name in ("value", "updated_at", "updated_by")}
        await connection.execute(statement.on_conflict_do_update(index_elements=["key"], set_=new))
        action = "control.pause" if paused else "control.resume"
        await audit(connection, actor, action, PAUSE_KEY, {"from": before.paused, "to": paused})
    return Control(paused=paused, since=now, by=actor)
