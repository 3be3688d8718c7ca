"""POST /api/control/pause: stop or resume copying."""

from collections.abc import Awaitable, Callable

import structlog
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, StrictBool
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ui.auth import ADMIN
from services.ui.queries.board import Board
from services.ui.queries.control import Control, set_paused

_log = structlog.get_logger()


class Pause(BaseModel):
    """What is wanted."""

    model_config = ConfigDict(extra="forbid")

    paused: StrictBool


def router(engine: AsyncEngine, board: Board, announce: Callable[[str], Awaitable[None]]) -> APIRouter:
    """Return the route; `announce` tells the simulators at once, who would see it with the next decision anyway."""
    routes = APIRouter(tags=["control"])

    @routes.post("/control/pause")
    async def pause(wish: Pause) -> Control:
        """Pause or resume copying. Trades are seen all the same; while paused, every one is skipped."""
        control = await set_paused(engine, wish.paused, ADMIN)
        board.expire()
        _log.info("control_changed", paused=control.paused, actor=ADMIN)
        await announce("engine_paused")
        return control

    return routes
