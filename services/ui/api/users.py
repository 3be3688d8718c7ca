"""POST /api/users/{id}/enabled: copy a user or not."""

from collections.abc import Awaitable, Callable
from datetime import datetime

import structlog
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, StrictBool
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.db.switches import disabled_key
from services.ui.api.config import UserName, find
from services.ui.auth import ADMIN
from services.ui.queries.board import Board
from services.ui.queries.settings import enable_user

_log = structlog.get_logger()


class Wish(BaseModel):
    """What is wanted."""

    model_config = ConfigDict(extra="forbid")

    enabled: StrictBool


class Enabled(BaseModel):
    """Whether a user is copied, since when and by whom."""

    enabled: bool
    since: datetime | None
    by: str | None


def router(engine: AsyncEngine, board: Board, announce: Callable[[str], Awaitable[None]]) -> APIRouter:
    """Return the route; `announce` tells the simulators, who would see it with the next decision anyway."""
    routes = APIRouter(tags=["users"])

    @routes.post("/users/{id}/enabled")
    async def change(user: UserName, wish: Wish) -> Enabled:
        """Copy a user (by id or name) or not, from the next decision on; their fills are shadowed all the same."""
        found = await find(engine, user)
        switch = await enable_user(engine, found, wish.enabled, ADMIN)
        board.expire()
        _log.info("user_switched", user_id=str(found), enabled=wish.enabled, actor=ADMIN)
        await announce(disabled_key(found))
        return Enabled(enabled=not switch.on, since=switch.since, by=switch.by)

    return routes
