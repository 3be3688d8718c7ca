"""Composition root of the sandbox: one play, four faces, one port."""

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from typing import Any

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, WebSocketRoute

from libs.common.observability.health import Health
from services.sandbox.chain import Chain
from services.sandbox.exchange import Exchange
from services.sandbox.faults import Faults, read_faults
from services.sandbox.market.synthetic import SyntheticExchange
from services.sandbox.playback import TapeExchange
from services.sandbox.settings import Settings
from services.sandbox.tape import Head
from services.sandbox.timeline import Timeline, wall_clock_ms
from services.sandbox.wire.answers import Refused
from services.sandbox.wire.clob import ClobFace
from services.sandbox.wire.control import ControlFace
from services.sandbox.wire.cursors import Cursors
from services.sandbox.wire.data_api import DataFace
from services.sandbox.wire.faulty import FaultyFace
from services.sandbox.wire.gamma import GammaFace
from services.sandbox.wire.pump import LogPump
from services.sandbox.wire.rpc import RpcFace

HOST = "127.0.0.1"
BEAT_SECONDS = 1.0
MESSAGE_BYTES_MAX = 1 << 20

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A built sandbox: the web app, and what runs beside it."""

    app: Starlette
    exchange: Exchange
    pump: LogPump
    data: DataFace
    health: Health


def build_exchange(settings: Settings, clock: Callable[[], int] = wall_clock_ms) -> Exchange:
    """Return the exchange the settings ask for; raises TapeError for a tape that cannot be played."""
    speed = Fraction(settings.speed)
    if settings.tape is not None:
        folder = settings.tape.resolve()

        def timeline_of(head: Head) -> Timeline:
            key = f"tape {head.name} {folder} {speed}"
            return Timeline(start_ms=head.start_ms, speed=speed, key=key, state_dir=settings.state_dir, clock=clock)

        return TapeExchange(folder, timeline_of)
    key = f"synthetic {settings.seed} {speed}"
    return SyntheticExchange(
        settings.seed,
        Timeline(start_ms=0, speed=speed, key=key, state_dir=settings.state_dir, sleeps=True, clock=clock),
    )


def build(settings: Settings, clock: Callable[[], int] = wall_clock_ms) -> Sandbox:
    """Wire everything; raises TapeError or FaultsError."""
    exchange = build_exchange(settings, clock)
    exchange.timeline.beat()
    faults = read_faults(settings.faults) if settings.faults else Faults()
    health = Health("sandbox", settings.instance)
    health.require("beat", within_seconds=10)
    counts: Counter[str] = Counter()
    cursors = Cursors(sha256(exchange.name.encode()).digest())
    chain = Chain(exchange, faults)
    rpc = RpcFace(exchange, chain, faults, counts, log_range_blocks=settings.log_range_blocks)
    data = DataFace(exchange, faults, cursors)
    faces = {"data": data.routes(), "clob": ClobFace(exchange).routes(), "gamma": GammaFace(exchange, cursors).routes()}
    mounts: list[Mount] = []
    for target, routes in faces.items():
        face = Starlette(routes=routes, exception_handlers={Refused: _refused})
        mounts.append(Mount("/" + target, FaultyFace(face, target, faults, exchange.timeline, counts)))
    control = ControlFace(exchange, health, counts, data.shown_until)
    app = Starlette(routes=[*mounts, WebSocketRoute("/rpc", rpc.serve), *control.routes()])
    return Sandbox(app, exchange, LogPump(exchange, chain, rpc, faults), data, health)


async def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, Refused):
        return error.response
    raise error


async def _beat(sandbox: Sandbox) -> None:
    """Write signs of life and keep holdings folded, so that history may be forgotten."""
    while True:
        timeline = sandbox.exchange.timeline
        if timeline.beat():
            log.info("play_slept")
        sandbox.data.fold()
        sandbox.health.set_detail("playing", timeline.playing)
        sandbox.health.progress("beat")
        await asyncio.sleep(BEAT_SECONDS)


def listen(port: int) -> socket.socket:
    """Take the port (0: any free one); raises OSError naming it when it is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot serve http://{HOST}:{port}: {error.strerror}") from error
    return listener


class _Server(uvicorn.Server):
    """A server whose signals are the process frame's business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


def _server(app: Starlette) -> _Server:
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="critical",
        access_log=False,
        lifespan="off",
        ws="websockets-sansio",
        ws_max_size=MESSAGE_BYTES_MAX,
        ws_per_message_deflate=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=2,
        server_header=False,
    )
    return _Server(config)


@contextlib.asynccontextmanager
async def running(sandbox: Sandbox, listener: socket.socket) -> AsyncIterator[asyncio.Event]:
    """Serve until the block ends; the event is set when a part of it ends by itself, which leaving then raises."""
    server, ended = _server(sandbox.app), asyncio.Event()
    work: dict[str, Coroutine[Any, Any, None]] = {
        "server": server.serve([listener]),
        "pump": sandbox.pump.run(),
        "beat": _beat(sandbox),
    }
    tasks = [asyncio.create_task(each, name=name) for name, each in work.items()]
    for task in tasks:
        task.add_done_callback(lambda _: ended.set())
    try:
        while not server.started:
            _raise_from(tasks)
            await asyncio.sleep(0.01)
        yield ended
        _raise_from(tasks)
    finally:
        server.should_exit = True
        for task in tasks[1:]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        listener.close()
        sandbox.exchange.close()


def _raise_from(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task.done():
            task.result()
            raise RuntimeError(f"the sandbox's {task.get_name()} ended before it was told to")


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run the sandbox until told to stop; raises when the tape, the faults or the port will not do."""
    sandbox = build(settings)
    async with running(sandbox, listen(settings.http_port)) as ended:
        play = sandbox.exchange
        log.info("sandbox_started", mode=play.mode, play=play.name, playing=play.timeline.playing)
        waits = [asyncio.create_task(each.wait()) for each in (stop, ended)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
