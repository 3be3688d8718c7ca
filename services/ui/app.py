"""Composition root of the dashboard: the only place that constructs."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final, TypeVar
from uuid import UUID

import structlog
import uvicorn

from libs.common.bus import Bus
from libs.common.bus.streams import CONFIG_CHANGED, CONFIG_TEST_REQUESTED, CONTROL_CHANGED, Stream
from libs.common.db.checkpoints import beat
from libs.common.db.dead_letters import PostgresDeadLetters
from libs.common.db.engine import make_engine
from libs.common.domain.errors import Unavailable
from libs.common.messages import ConfigChanged, ConfigTestRequested, ControlChanged, Message
from libs.common.observability.health import Health
from libs.common.observability.http import serve_http
from services.ui.queries.board import Board
from services.ui.settings import Settings
from services.ui.web import web

SERVICE: Final = "ui"
POOL_SIZE: Final = 4
KEEP_ALIVE_SECONDS: Final = 30
STOP_SECONDS: Final = 5
ANNOUNCE_SECONDS: Final = 2.0
CONNECTIONS_MAX: Final = 200
FIGURES_SECONDS_MAX: Final = 60.0
"""How old the figures may be before this process calls itself degraded."""

M = TypeVar("M", bound=Message)

_log = structlog.get_logger()


class Server(uvicorn.Server):
    """A server that leaves signals to the process frame."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield


class _News:
    """Tells the simulators of intents. They look at the rows anyway, so a bus that is away costs seconds at most."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def control_changed(self, key: str) -> None:
        """Say that a switch was turned; decisions read it in their own transaction."""
        now = datetime.now(UTC)
        await self._tell(CONTROL_CHANGED, ControlChanged(key=key, occurred_at=now, observed_at=now))

    async def config_changed(self, user: UUID | None) -> None:
        """Have a configuration merged at once."""
        now, scope = datetime.now(UTC), "GLOBAL" if user is None else "USER"
        values = {"scope": scope, "user_id": user, "occurred_at": now, "observed_at": now}
        await self._tell(CONFIG_CHANGED, ConfigChanged.model_validate(values))

    async def test_requested(self, run_id: UUID) -> None:
        """Have the test of a configuration begun at once."""
        now = datetime.now(UTC)
        await self._tell(CONFIG_TEST_REQUESTED, ConfigTestRequested(run_id=run_id, occurred_at=now, observed_at=now))

    async def _tell(self, stream: Stream[M], message: M) -> None:
        try:
            async with asyncio.timeout(ANNOUNCE_SECONDS):
                await self._bus.publish(stream, [message])
        except (Unavailable, TimeoutError) as error:
            _log.warning("announcement_skipped", stream=stream.name, error=str(error)[:200])


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run the dashboard until `stop`."""
    redis_url = settings.redis_url.get_secret_value()
    engine = make_engine(settings.database_url.get_secret_value(), application=settings.instance, pool_size=POOL_SIZE)
    health = Health(SERVICE, settings.instance)
    health.require("figures", within_seconds=FIGURES_SECONDS_MAX)
    door = serve_http(health, settings.http_port)
    bus = Bus(redis_url, service=SERVICE, instance=settings.instance, dead_letters=PostgresDeadLetters(engine))

    news = _News(bus)

    def report(error: str | None) -> None:
        """Say how reading went."""
        health.set_fault("database", error)
        if error is None:
            health.progress("figures")

    board = Board(engine, redis_url)
    config = uvicorn.Config(
        web(settings, engine, board, news.control_changed, news.config_changed, news.test_requested),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,  # its lines would hold login tokens
        server_header=False,
        proxy_headers=False,
        ws="websockets-sansio",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
        limit_concurrency=CONNECTIONS_MAX,
    )
    beating = asyncio.create_task(beat(engine, SERVICE, settings.instance, settings.http_port, health.snapshot))
    reading = asyncio.create_task(board.keep_fresh(stop, report))
    try:
        await _run(Server(config), stop, reading)
    finally:
        beating.cancel()
        reading.cancel()
        await bus.stop()
        door.close()
        await engine.dispose()


async def _run(server: Server, stop: asyncio.Event, reading: asyncio.Task[None]) -> None:
    """Serve until `stop`; a server that ends by itself could not start, and has said why."""
    serving = asyncio.create_task(server.serve())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping, reading}, return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    stopping.cancel()
    await serving
    if reading.done():
        reading.result()
    if not stop.is_set():
        raise RuntimeError("the web server stopped by itself: is the dashboard's port taken?")
