"""POST /api/control/pause and /api/control/breakers/reset: stop or resume copying, reset a drawdown breaker."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

import structlog
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StrictBool, model_validator
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.db.switches import PAUSE, reset_key
from libs.common.domain.errors import Rejected
from libs.common.domain.kinds import Scope
from services.ui.api.config import find, refusal
from services.ui.auth import ADMIN
from services.ui.queries.board import Board
from services.ui.queries.control import Control, reset_drawdown, set_paused

_log = structlog.get_logger()


class Pause(BaseModel):
    """What is wanted."""

    model_config = ConfigDict(extra="forbid")

    paused: StrictBool


class Reset(BaseModel):
    """Whose drawdown breaker: a portfolio's id, or EXEC_GLOBAL, or EXEC_USER with a user (by id or name)."""

    model_config = ConfigDict(extra="forbid")

    portfolio_id: UUID | None = None
    scope: Literal["EXEC_USER", "EXEC_GLOBAL"] | None = None
    user: Annotated[str, Field(max_length=60)] | None = None

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.portfolio_id is None) == (self.scope is None):
            raise ValueError("expected either portfolio_id or scope")
        if (self.scope == "EXEC_USER") != (self.user is not None):
            raise ValueError("expected user with scope EXEC_USER, and only then")
        return self


class ResetDone(BaseModel):
    """What the breaker's peak is from now on, in micros."""

    portfolio_id: UUID
    scope: Scope
    user: str | None
    peak_equity_micros: int
    at: datetime


def router(engine: AsyncEngine, board: Board, announce: Callable[[str], Awaitable[None]]) -> APIRouter:
    """Return the route; `announce` tells the simulators at once, who would see it with the next decision anyway."""
    routes = APIRouter(tags=["control"])

    @routes.post("/control/pause")
    async def pause(wish: Pause) -> Control:
        """Pause or resume copying. Trades are seen all the same; while paused, every one is skipped."""
        control = await set_paused(engine, wish.paused, ADMIN)
        board.expire()
        _log.info("control_changed", paused=control.paused, actor=ADMIN)
        await announce(PAUSE)
        return control

    @routes.post("/control/breakers/reset")
    async def reset(wish: Reset) -> ResetDone:
        """Reset the drawdown breaker of one portfolio: its peak becomes its equity. Audited."""
        user = None if wish.user is None else await find(engine, wish.user)
        scope = None if wish.scope is None else Scope(wish.scope)
        try:
            done = await reset_drawdown(engine, ADMIN, wish.portfolio_id, scope, user)
        except Rejected as error:
            raise refusal(error) from error
        board.expire()
        _log.info("breaker_reset", portfolio_id=str(done.portfolio_id), actor=ADMIN)
        await announce(reset_key(done.portfolio_id))
        return ResetDone(
            portfolio_id=done.portfolio_id,
            scope=done.scope,
            user=done.user,
            peak_equity_micros=done.equity_micros,
            at=done.at,
        )

    return routes
