"""Pages for what does not exist and what went wrong; they never show an exception's text."""

from typing import Final

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from libs.common.domain.errors import Unavailable
from services.ui.parts.shell import card, document

_BACK: Final = '<div class="sb-act"><a class="sb-btn sb-p" href="/">Go to the overview</a></div>'
_AGAIN: Final = '<div class="sb-act"><a class="sb-btn sb-p" href="">Try again</a></div>'


def away_page() -> HTMLResponse:
    """Return the page shown while the database is away and nothing was read yet."""
    text = "The database does not answer yet. This page heals by itself when it is back."
    page = document("Database away", card("The database does not answer", text, _AGAIN))
    return HTMLResponse(page.replace("<head>", '<head><meta http-equiv="refresh" content="5">'), 503)


def install(app: FastAPI) -> None:
    """Let `app` answer failures with these pages, or with JSON under /api."""
    app.add_exception_handler(404, _not_found)
    app.add_exception_handler(Unavailable, _away)
    app.add_exception_handler(Exception, _failed)


async def _not_found(request: Request, error: Exception) -> Response:
    if _wants_json(request):
        return JSONResponse({"detail": "not found"}, 404)
    text = "There is nothing at this address."
    return HTMLResponse(document("Not found", card("This page does not exist", text, _BACK)), 404)


async def _away(request: Request, error: Exception) -> Response:
    if _wants_json(request):
        return JSONResponse({"detail": "the database does not answer; try again"}, 503, {"retry-after": "5"})
    return away_page()


async def _failed(request: Request, error: Exception) -> Response:
    if _wants_json(request):
        return JSONResponse({"detail": "internal error"}, 500)
    text = "Something in the dashboard failed; its log says what. Detection and copying are not touched by this."
    return HTMLResponse(document("Error", card("This page could not be made", text, _AGAIN)), 500)


def _wants_json(request: Request) -> bool:
    return request.url.path.startswith("/api/")
