"""GET /api/coverage: proof that no fill is missing, or where one may be."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.db.settings import UnknownUserError
from services.ui.queries.coverage import CoverageReport, find_coverage

HOURS_MAX = 24 * 366


def router(engine: AsyncEngine) -> APIRouter:
    """Return the route."""
    routes = APIRouter(tags=["coverage"])

    @routes.get("/coverage")
    async def coverage(
        hours: Annotated[int, Query(ge=1, le=HOURS_MAX, description="How far back, by the time of the fills")] = 24,
        user: Annotated[str | None, Query(max_length=60, description="Only this followed user")] = None,
    ) -> CoverageReport:
        """Return fills by source, lags and gaps in contact by user and UTC day. "No trade" is not "not looking"."""
        try:
            return await find_coverage(engine, hours, user)
        except UnknownUserError as error:
            raise HTTPException(422, str(error)) from error

    return routes
