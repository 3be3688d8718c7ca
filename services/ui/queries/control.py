"""Pause, and the reset of breakers. The simulator reads both in the transaction of every decision."""

from datetime import datetime
from typing import Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from libs.common.db import switches
from libs.common.db.engine import transaction
from libs.common.domain.kinds import Scope

PAUSE_KEY: Final = switches.PAUSE


class Control(BaseModel):
    """Whether copying is paused, since when and by whom; never touched: not paused."""

    model_config = ConfigDict(frozen=True)

    paused: bool = False
    since: datetime | None = None
    by: str | None = None


async def read_control(connection: AsyncConnection) -> Control:
    """Return the state of the switch."""
    return _control(await switches.read_switch(connection, PAUSE_KEY))


async def set_paused(engine: AsyncEngine, paused: bool, actor: str) -> Control:
    """Turn the switch and write the audit row in one transaction; a switch that stands so already keeps its time."""
    async with transaction(engine) as connection:
        return _control(await switches.set_paused(connection, paused, actor))


async def reset_drawdown(
    engine: AsyncEngine, actor: str, portfolio: UUID | None, scope: Scope | None, user: UUID | None
) -> switches.Reset:
    """Ask for peak := equity in one executable portfolio; raises Rejected where there is none."""
    async with transaction(engine) as connection:
        return await switches.reset_drawdown(connection, actor, portfolio=portfolio, scope=scope, user=user)


def _control(switch: switches.Switch) -> Control:
    return Control(paused=switch.on, since=switch.since, by=switch.by)
