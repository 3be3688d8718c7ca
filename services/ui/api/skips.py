"""GET /api/skips: what was not copied, why, and what each reason saved or cost."""

from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Query
from pydantic import AwareDatetime
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.domain.errors import Rejected
from libs.common.domain.kinds import Scope
from libs.common.domain.skips import Skips
from services.ui.queries.skips import find_skips


def router(engine: AsyncEngine) -> APIRouter:
    """Return the route."""
    routes = APIRouter(tags=["skips"])

    @routes.get("/skips")
    async def skips(
        user: Annotated[str | None, Query(max_length=60, description="Only groups of this followed user")] = None,
        since: Annotated[AwareDatetime | None, Query(description="Only decisions from this time on, with zone")] = None,
        scope: Annotated[Literal["EXEC_USER", "EXEC_GLOBAL"] | None, Query(description="Both if left out")] = None,
    ) -> Skips:
        """Return skips by reason, with the result their counterfactual would have at the latest marks, net of fees."""
        try:
            return await find_skips(engine, user, since, Scope(scope) if scope else None)
        except Rejected as error:
            raise HTTPException(422, str(error)) from error

    return routes
