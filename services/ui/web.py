"""The web application: routes, pages, static files, compression, and the gate before all of it."""

import gzip
import re
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

import nicegui
from fastapi import FastAPI
from fastapi.middleware.gzip import GZipMiddleware
from nicegui import app as nicegui_app
from nicegui import ui
from nicegui.dependencies import esm_modules
from nicegui.elements.echart import EChart  # noqa: F401  registers its module
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.ui.api import blacklist, config, config_test, control, coverage, docs, gap, health, skips, users
from services.ui.api import overview as overview_api
from services.ui.auth import Sessions
from services.ui.gate import Gate
from services.ui.pages import errors, login, overview
from services.ui.parts.shell import STATIC, head
from services.ui.queries.board import Board
from services.ui.settings import Settings

ASSET_SECONDS: Final = 365 * 24 * 3600
RECONNECT_SECONDS: Final = 30.0
COMPRESS_FROM_BYTES: Final = 500
COMPRESS_LEVEL: Final = 5
ASSETS_CACHED_MAX: Final = 200
CHART_MODULE: Final = "nicegui-echart"
"""What EChart, imported for this, registers."""


class AssetCache:
    """Compresses an unchanging asset once instead of for every cold visitor; `app` answers the rest."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._assets: dict[str, tuple[list[tuple[bytes, bytes]], bytes]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if not _is_asset(scope):
            await self._app(scope, receive, send)
            return
        found = self._assets.get(scope["path"])
        if found is None:
            found = await self._compressed(scope, receive, send)
        if found is not None:
            await send({"type": "http.response.start", "status": 200, "headers": found[0]})
            await send({"type": "http.response.body", "body": found[1]})

    async def _compressed(
        self, scope: Scope, receive: Receive, send: Send
    ) -> tuple[list[tuple[bytes, bytes]], bytes] | None:
        sent: list[Message] = []

        async def keep(message: Message) -> None:
            sent.append(message)

        plain = [(name, value) for name, value in scope["headers"] if not name.startswith((b"accept-enc", b"if-"))]
        await self._app({**scope, "headers": plain}, receive, keep)
        start = sent[0]
        if start["status"] != 200:
            for message in sent:
                await send(message)
            return None
        body = gzip.compress(b"".join(message.get("body", b"") for message in sent[1:]), 9)
        headers = [each for each in start["headers"] if each[0].lower() not in {b"content-length", b"content-encoding"}]
        headers += [(b"content-encoding", b"gzip"), (b"vary", b"accept-encoding")]
        headers.append((b"content-length", str(len(body)).encode()))
        if len(self._assets) < ASSETS_CACHED_MAX:
            self._assets[scope["path"]] = (headers, body)
        return headers, body


def _is_asset(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] != "GET":
        return False
    path = scope["path"]
    accepts = next((value for name, value in scope["headers"] if name == b"accept-encoding"), b"")
    return path.startswith(("/_nicegui/", "/_sb/")) and not path.endswith(".woff2") and b"gzip" in accepts


def rest(
    settings: Settings,
    sessions: Sessions,
    engine: AsyncEngine,
    board: Board,
    announce: Callable[[str], Awaitable[None]],
    announce_config: config.Announce | None = None,
    wake_tests: config_test.WakeTests | None = None,
) -> FastAPI:
    """Return login and the API, without pages and without the gate."""
    app = FastAPI(title="Shadowbook", version="1", docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(login.router(settings, sessions, engine))
    for routes in (health.router(board), overview_api.router(board), control.router(engine, board, announce)):
        app.include_router(routes, prefix="/api")
    app.include_router(coverage.router(engine), prefix="/api")
    app.include_router(gap.router(engine), prefix="/api")
    tell = announce_config or _tell_nobody
    for routes in (config.router(engine, tell), blacklist.router(engine, tell), users.router(engine, board, announce)):
        app.include_router(routes, prefix="/api")
    app.include_router(skips.router(engine), prefix="/api")
    app.include_router(config_test.router(engine, wake_tests), prefix="/api")
    app.include_router(docs.router(), prefix="/api")
    errors.install(app)
    return app


async def _tell_nobody(_user: UUID | None) -> None:
    """Leave it to the simulators to look."""


def web(
    settings: Settings,
    engine: AsyncEngine,
    board: Board,
    announce: Callable[[str], Awaitable[None]],
    announce_config: config.Announce | None = None,
    wake_tests: config_test.WakeTests | None = None,
) -> ASGIApp:
    """Return the application, gate included. Once per process: NiceGUI has one app."""
    sessions = Sessions(settings)
    app = rest(settings, sessions, engine, board, announce, announce_config, wake_tests)
    errors.install(nicegui_app)
    _dress_nicegui()
    overview.register(board)
    ui.run_with(
        app,
        title="Shadowbook",
        favicon=STATIC / "favicon.svg",
        language="en-GB",
        tailwind=False,
        show_welcome_message=False,
        reconnect_timeout=RECONNECT_SECONDS,
        binding_refresh_interval=None,
        gzip_middleware_factory=_compression,
    )
    return Gate(app, settings, sessions)


def _compression(app: ASGIApp) -> GZipMiddleware:
    return AssetCache(GZipMiddleware(app, minimum_size=COMPRESS_FROM_BYTES, compresslevel=COMPRESS_LEVEL))  # type: ignore[return-value]


def _dress_nicegui() -> None:
    """Give NiceGUI our files, head and brand; its dark mode follows the attribute that our first script sets."""
    nicegui_app.add_static_files("/_sb", STATIC, max_cache_age=ASSET_SECONDS)
    options = nicegui_app.config
    follow = "setDark(document.documentElement.dataset.theme==='dark');"
    options.vue_config_script = options.vue_config_script.replace("setDark(dark);", follow)
    options.quasar_config["brand"] = {"primary": "#4f46e5", "dark": "#13161b", "dark-page": "#0c0e12"}
    ui.add_head_html(head() + _chart_preload(), shared=True)


def _chart_preload() -> str:
    """Return preloads of the chart library, which a browser would find only after two hops."""
    for key, module in esm_modules.items():
        if module.name == CHART_MODULE:
            first = re.search(r"\./(index-[\w-]+\.js)", (module.path / "index.js").read_bytes().decode())
            root = f"/_nicegui/{nicegui.__version__}"
            urls = [f"esm/{key}/index.js", "static/dompurify.mjs", "static/utils/dynamic_properties.js"]
            urls += [f"esm/{key}/{first.group(1)}"] if first else []
            return "".join(f'<link rel="modulepreload" href="{root}/{url}">' for url in urls)
    return ""
