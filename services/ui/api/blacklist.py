"""GET /api/blacklist, POST /api/markets/{condition_id}/blacklist: markets that nothing is opened in."""

from typing import Annotated

import structlog
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StrictBool
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.db.blacklist import REASON_LENGTH_MAX, Listed
from libs.common.domain.errors import Rejected
from services.ui.api.config import Announce, find, refusal
from services.ui.auth import ADMIN
from services.ui.queries.settings import blacklist, blacklist_market

_log = structlog.get_logger()


class Wish(BaseModel):
    """What is wanted, for all or for the copies of one user (by id or name).

    For a user false makes an exception from what counts for all, and null takes the user's own row back.
    """

    model_config = ConfigDict(extra="forbid")

    blacklisted: StrictBool | None
    user: Annotated[str, Field(max_length=60)] | None = None
    reason: Annotated[str, Field(max_length=REASON_LENGTH_MAX)] = ""


class Done(BaseModel):
    """What stands now."""

    condition_id: str
    user: str | None
    blacklisted: bool | None
    changed: bool


def router(engine: AsyncEngine, announce: Announce) -> APIRouter:
    """Return the routes; `announce` has the simulators merge at once."""
    routes = APIRouter(tags=["markets"])

    @routes.get("/blacklist")
    async def read() -> list[Listed]:
        """Return every market that is blacklisted, or excepted from it for a user, the youngest change first."""
        return await blacklist(engine)

    @routes.post("/markets/{condition_id}/blacklist")
    async def change(condition_id: str, wish: Wish) -> Done:
        """Blacklist a market or take it off; in force within two seconds. Nothing is opened there, reductions pass."""
        user = None if wish.user is None else await find(engine, wish.user)
        try:
            condition, changed = await blacklist_market(
                engine, condition_id, user, wish.blacklisted, wish.reason, ADMIN
            )
        except Rejected as error:
            raise refusal(error) from error
        if changed:
            _log.info("blacklist_changed", condition_id=condition, blacklisted=wish.blacklisted, actor=ADMIN)
            await announce(user)
        return Done(condition_id=condition, user=wish.user, blacklisted=wish.blacklisted, changed=changed)

    return routes
