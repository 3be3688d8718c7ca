"""GET /api/health: one word for anyone, details for the admin."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from libs.common.domain.errors import Unavailable
from services.ui.queries.board import Board
from services.ui.queries.health import HealthFacts
from services.ui.queries.verdict import Verdict


class Health(BaseModel):
    """`ok`, `degraded` (works, but something is wrong) or `down` (something that is needed does not run)."""

    status: str


class HealthDetails(Health):
    """What the admin sees besides."""

    verdict: Verdict
    facts: HealthFacts


def router(board: Board) -> APIRouter:
    """Return the route."""
    routes = APIRouter(tags=["health"])

    @routes.get("/health", response_model=HealthDetails | Health)
    async def health(request: Request) -> Health | JSONResponse:
        """Tell whether the stack works; with a session also how each part does. 503 while it does not."""
        try:
            seen = await board.facts()
        except Unavailable:
            return JSONResponse({"status": "down"}, 503)
        kind = seen.value.verdict.kind
        status = "down" if seen.error or kind == "bad" else "degraded" if kind == "warn" else "ok"
        answer = Health(status=status)
        if request.state.is_admin:
            answer = HealthDetails(status=status, verdict=seen.value.verdict, facts=seen.value.health)
        if status == "down":
            return JSONResponse(answer.model_dump(mode="json"), 503)
        return answer

    return routes
