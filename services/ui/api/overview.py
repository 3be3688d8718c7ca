"""GET /api/overview: what the overview shows, as JSON; amounts are integer micros of USDC."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from services.ui.queries.board import Board
from services.ui.queries.curve import Curve, Range, smallest_range
from services.ui.queries.overview import Overview

_WINDOW = "Window of the curve; without it the smallest that holds everything"


class OverviewAnswer(BaseModel):
    """The overview with its age: `stale_because` says why nothing newer is known, null when it is fresh."""

    taken_at: datetime
    stale_because: str | None
    overview: Overview
    curve: Curve | None


def router(board: Board) -> APIRouter:
    """Return the route."""
    routes = APIRouter(tags=["overview"])

    @routes.get("/overview")
    async def overview(
        wanted: Annotated[Range | None, Query(alias="range", description=_WINDOW)] = None,
    ) -> OverviewAnswer:
        """Return the three answers, limits, users, markets, decisions, skips, and one window of the curve."""
        seen = await board.overview()
        figures = seen.value.facts.figures
        curve = None
        if figures is not None:
            curve = await board.curve(wanted or smallest_range(figures.opened_at, datetime.now(UTC)))
        return OverviewAnswer(
            taken_at=seen.taken_at,
            stale_because=seen.error,
            overview=seen.value,
            curve=curve.value if curve else None,
        )

    return routes
