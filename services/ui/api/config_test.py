"""POST /api/config/test and what belongs to it: what a draft configuration would have done."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.domain.config_test import HOURS_DEFAULT, HOURS_MAX, RunView
from libs.common.domain.errors import Rejected
from services.ui.auth import ADMIN
from services.ui.queries.config_tests import cancel_test, find_test, request_test

SETTINGS_MAX = 100
LABEL_MAX = 60

WakeTests = Callable[[UUID], Awaitable[None]]
"""Tells the simulators at once, who look for waiting tests anyway."""


class DraftTest(BaseModel):
    """What is to be tested: a draft over what is set, as a configuration file would hold it, or one user's settings."""

    model_config = ConfigDict(extra="forbid")

    draft: dict[str, Any] = Field(max_length=SETTINGS_MAX)
    user: str | None = Field(default=None, max_length=LABEL_MAX)
    hours: int | None = Field(
        default=None, ge=1, le=HOURS_MAX, description=f"How far back; {HOURS_DEFAULT} where no range is given"
    )
    since: datetime | None = None
    until: datetime | None = None


class Requested(BaseModel):
    """The test that was asked for."""

    id: UUID


def router(engine: AsyncEngine, wake: WakeTests | None = None) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["config"])

    @routes.post("/config/test", status_code=202)
    async def ask(wish: DraftTest) -> Requested:
        """Decide what was recorded again under a draft, beside the real thing; ask for the answer by the id."""
        try:
            run_id = await request_test(
                engine, wish.draft, wish.user, hours=wish.hours, since=wish.since, until=wish.until, by=ADMIN
            )
        except Rejected as error:
            raise HTTPException(422, str(error)) from error
        if wake is not None:
            await wake(run_id)
        return Requested(id=run_id)

    @routes.get("/config/test/{run_id}")
    async def look(run_id: UUID) -> RunView:
        """Return how far a test is, and its result: what ran, what the draft would have done, and the difference."""
        return _found(await find_test(engine, run_id))

    @routes.post("/config/test/{run_id}/cancel")
    async def cancel(run_id: UUID) -> RunView:
        """Call a test off; it stops within a second. One that has ended stays as it is."""
        return _found(await cancel_test(engine, run_id, ADMIN))

    return routes


def _found(run: RunView | None) -> RunView:
    if run is None:
        raise HTTPException(404)
    return run
