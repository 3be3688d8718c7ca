"""What stands before every page, route and socket: known host, same origin, session; and the headers of the answer.

A plain ASGI layer, because it must also guard websockets and NiceGUI's own routes.
"""

from http.cookies import CookieError, SimpleCookie
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.ui.auth import Sessions, is_same_origin
from services.ui.settings import Settings

OPEN_PATHS: Final = frozenset({"/login", "/api/health", "/favicon.ico"})
OPEN_PREFIX: Final = "/_sb/"
READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# NiceGUI needs unsafe-eval for formatters of charts and unsafe-inline for its bootstrap.
CSP: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self' ws: wss:; frame-ancestors 'none'; base-uri 'self'; "
    "form-action 'self'; object-src 'none'"
)
_ALWAYS: Final = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class Gate:
    """Lets through what may pass; says in `scope["state"]["is_admin"]` who asks."""

    def __init__(self, app: ASGIApp, settings: Settings, sessions: Sessions) -> None:
        self._app = app
        self._settings = settings
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Judge one request or socket."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        is_admin = self._sessions.is_admin(_cookie(headers, self._sessions.cookie))
        scope.setdefault("state", {})["is_admin"] = is_admin
        refusal = self._refusal(scope, headers, is_admin)
        if refusal is None:
            await self._app(scope, receive, self._with_headers(send))
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "not allowed"})
        else:
            await refusal(scope, receive, self._with_headers(send))

    def _refusal(self, scope: Scope, headers: Headers, is_admin: bool) -> Response | None:
        path, is_socket = scope["path"], scope["type"] == "websocket"
        if headers.get("host") not in self._settings.hosts:
            return PlainTextResponse("This name is not mine.\n", status_code=421)
        if (is_socket or scope["method"] not in READS) and not is_same_origin(self._settings.origins, headers):
            return JSONResponse({"detail": "expected a request from the dashboard's own pages"}, status_code=403)
        if is_admin or path in OPEN_PATHS or path.startswith(OPEN_PREFIX):
            return None
        if is_socket or path.startswith(("/api/", "/_nicegui")) or scope["method"] not in READS:
            return JSONResponse({"detail": "expected a session: sign in at /login"}, status_code=401)
        return RedirectResponse("/login", status_code=303)

    def _with_headers(self, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _ALWAYS.items():
                    headers.setdefault(name, value)
                if self._settings.is_https:
                    headers.setdefault("strict-transport-security", "max-age=31536000")
            await send(message)

        return sending


def _cookie(headers: Headers, name: str) -> str | None:
    jar = SimpleCookie()
    try:
        jar.load(headers.get("cookie", ""))
    except CookieError:
        return None
    return jar[name].value if name in jar else None
