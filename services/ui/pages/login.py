"""Login by a one-time link: GET shows a button and changes nothing, POST uses the link up and begins the session."""

from typing import Final
from urllib.parse import parse_qs

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.domain.errors import Unavailable
from services.ui.auth import ADMIN, SESSION_SECONDS, TOKEN_LENGTH_MAX, Sessions, may_use_link, token_hash
from services.ui.parts.html import esc
from services.ui.parts.shell import card, document
from services.ui.queries.logins import consume_token, is_token_good
from services.ui.settings import Settings

FORM_BYTES_MAX: Final = 2_048
_HOW: Final = (
    "Shadowbook is for one admin. Type <code>shadowbook login</code> in a terminal on this machine for a link."
)
_PRIVATE: Final = {"cache-control": "no-store"}

_log = structlog.get_logger()


def router(settings: Settings, sessions: Sessions, engine: AsyncEngine) -> APIRouter:
    """Return the routes of login and logout."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/login")
    async def show(request: Request, token: str = "") -> Response:
        if not token:
            return RedirectResponse("/", 303) if request.state.is_admin else _page("Sign in to Shadowbook", "", _how())
        if not _may(settings, request):
            return _refused()
        try:
            good = len(token) <= TOKEN_LENGTH_MAX and await is_token_good(engine, token_hash(token))
        except Unavailable:
            return _away()
        return _button(token) if good else _spent()

    @routes.post("/login")
    async def consume(request: Request) -> Response:
        if not _may(settings, request):
            return _refused()
        token = await _posted_token(request)
        try:
            good = token is not None and await consume_token(engine, token_hash(token), ADMIN)
        except Unavailable:
            return _away()
        if not good:
            return _spent()
        _log.info("admin_signed_in", method="one-time link")
        response = RedirectResponse("/", 303, headers=_PRIVATE)
        response.set_cookie(
            sessions.cookie,
            sessions.begin(),
            max_age=SESSION_SECONDS,
            path="/",
            secure=sessions.is_secure,
            httponly=True,
            samesite="lax",
        )
        return response

    @routes.post("/logout")
    async def leave() -> Response:
        response = RedirectResponse("/login", 303)
        response.delete_cookie(sessions.cookie, path="/", secure=sessions.is_secure, httponly=True, samesite="lax")
        return response

    return routes


def _may(settings: Settings, request: Request) -> bool:
    return may_use_link(settings, request.client.host if request.client else None, request.headers)


async def _posted_token(request: Request) -> str | None:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > FORM_BYTES_MAX:
            return None
    token = parse_qs(body.decode("ascii", "replace")).get("token", [""])[0]
    return token if 0 < len(token) <= TOKEN_LENGTH_MAX else None


def _page(title: str, text: str, more: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(document(title, card(title, text, more)), status, _PRIVATE)


def _how() -> str:
    return f'<p class="sb-sec">{_HOW}</p>'


def _button(token: str) -> HTMLResponse:
    form = (
        f'<form method="post" action="/login"><input type="hidden" name="token" value="{esc(token)}">'
        '<button class="sb-btn sb-p">Sign in</button></form>'
    )
    return _page("Sign in to Shadowbook", "This link works once, within ten minutes of being made.", form)


def _spent() -> HTMLResponse:
    return _page("This link does not work any more", "It was used already, or is older than ten minutes.", _how(), 403)


def _refused() -> HTMLResponse:
    text = "Login links work only on the machine Shadowbook runs on, without a proxy in between."
    return _page("Not from here", text, "", 403)


def _away() -> HTMLResponse:
    text = "The database does not answer. The link stays good: try again in a moment."
    return _page("Not right now", text, "", 503)
