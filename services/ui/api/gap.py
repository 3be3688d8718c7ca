"""GET /api/gap: why each copy is behind the wallet it follows."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.db.settings import UnknownUserError
from services.ui.queries.gap import TrackingGap, find_gaps

HOURS_MAX = 24 * 366


def router(engine: AsyncEngine) -> APIRouter:
    """Return the route."""
    routes = APIRouter(tags=["gap"])

    @routes.get("/gap")
    async def gap(
        hours: Annotated[int | None, Query(ge=1, le=HOURS_MAX, description="Only the last hours")] = None,
        user: Annotated[str | None, Query(max_length=60, description="Only this followed user")] = None,
    ) -> list[TrackingGap]:
        """Return each user's tracking gap since the follow, or of the last hours, split by cause."""
        try:
            return await find_gaps(engine, hours, user)
        except UnknownUserError as error:
            raise HTTPException(422, str(error)) from error

    return routes
