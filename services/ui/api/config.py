"""GET and POST /api/config/global and /api/config/user/{id}: what is set, what is inherited, and changing it."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from uuid import UUID

import structlog
from fastapi import APIRouter, Body, Header, HTTPException, Path, Query, Response
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.db.settings import ConfigConflictError, UnknownUserError
from libs.common.db.settings_view import SettingsView
from libs.common.domain.config_problem import ConfigRejected
from libs.common.domain.errors import Rejected
from services.ui.auth import ADMIN
from services.ui.queries.settings import change_settings, user_of, view_settings

_log = structlog.get_logger()

Values = Annotated[
    dict[str, Any],
    Body(
        description="Settings by name; null takes one back to what is inherited, what is left out stays as it is. "
        "The global layer also takes bankroll_micros, for portfolios yet to be opened.",
        examples=[{"copy_pct": "0.5", "max_spread_micros": 30_000, "below_min": None}],
    ),
]
Replace = Annotated[bool, Query(description="Take back what the body leaves out.")]
Match = Annotated[str | None, Header(alias="If-Match", description="The etag that was read; 412 when it is old.")]
UserName = Annotated[str, Path(alias="id", max_length=60, description="A followed user, by id or name.")]
Announce = Callable[[UUID | None], Awaitable[None]]


def router(engine: AsyncEngine, announce: Announce) -> APIRouter:
    """Return the routes; `announce` has the simulators merge at once, who would within a second anyway."""
    routes = APIRouter(prefix="/config", tags=["config"])

    async def change(
        user: UUID | None, values: dict[str, Any], replace: bool, if_match: str | None, response: Response
    ) -> SettingsView:
        etag = if_match.strip().removeprefix("W/").strip('"') if if_match else None
        try:
            changed, view = await change_settings(engine, user, values, ADMIN, replace=replace, if_match=etag)
        except (Rejected, ConfigConflictError) as error:
            raise refusal(error) from error
        for each in changed:
            _log.info("config_changed", user_id=str(each) if each else None, actor=ADMIN)
            await announce(each)
        response.headers["etag"] = f'"{view.etag}"'
        return view

    @routes.get("/global")
    async def read_global(response: Response) -> SettingsView:
        """Return the global configuration."""
        return _with_etag(await view_settings(engine, None), response)

    @routes.post("/global")
    async def change_global(
        values: Values, response: Response, replace: Replace = False, if_match: Match = None
    ) -> SettingsView:
        """Change the global configuration; in force within two seconds, with the next decision after that."""
        return await change(None, values, replace, if_match, response)

    @routes.get("/user/{id}")
    async def read_user(user: UserName, response: Response) -> SettingsView:
        """Return the configuration of a user, by id or name, with what is inherited."""
        return _with_etag(await view_settings(engine, await find(engine, user)), response)

    @routes.post("/user/{id}")
    async def change_user(
        user: UserName, values: Values, response: Response, replace: Replace = False, if_match: Match = None
    ) -> SettingsView:
        """Change what is set for one user; in force within two seconds, with the next decision after that."""
        return await change(await find(engine, user), values, replace, if_match, response)

    return routes


async def find(engine: AsyncEngine, user: str) -> UUID:
    """Return the id of a user given by id or name; 404 where there is none."""
    try:
        return await user_of(engine, user)
    except UnknownUserError as error:
        raise HTTPException(404, str(error)) from error


def refusal(error: Exception) -> HTTPException:
    """Return the answer to what is refused: 412 for an old etag, else 422, with `loc` and `msg` where fields are known.

    The place of a problem that lies in another layer than the one that was sent is in its `ctx`.
    """
    if isinstance(error, ConfigConflictError):
        return HTTPException(412, str(error))
    if not isinstance(error, ConfigRejected):
        return HTTPException(422, [{"loc": ["body"], "msg": str(error), "type": "value_error"}])
    return HTTPException(
        422,
        [
            {
                "loc": ["body", each.name] if each.name else ["body"],
                "msg": each.message,
                "type": "value_error",
                "ctx": {"where": error.where},
            }
            for each in error.problems
        ],
    )


def _with_etag(view: SettingsView, response: Response) -> SettingsView:
    response.headers["etag"] = f'"{view.etag}"'
    return view
