"""Start and stop of a process: settings, logs, event loop, signals, exit code; here is its one catch-all."""

import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, Protocol, TypeVar

import structlog
import uvloop
from pydantic import ValidationError
from pydantic_settings import SettingsError

from libs.common.observability.logging import configure


class FrameSettings(Protocol):
    """What the frame needs of a service's settings."""

    @property
    def instance(self) -> str:
        """Name of this process."""

    @property
    def log_format(self) -> Any:
        """`json` or `pretty`."""

    @property
    def log_level(self) -> Any:
        """Name of the lowest level that is written."""


S = TypeVar("S", bound=FrameSettings)
Serve = Callable[[S, asyncio.Event], Awaitable[None]]

EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2
SHUTDOWN_SECONDS = 25.0
"""How long `serve` may take to return after the first signal; supervisord kills at 30."""


def describe(error: ValidationError) -> list[str]:
    """List what is wrong with the settings, one line a field, without the values (they may be secrets)."""
    return [f"{'.'.join(str(part) for part in item['loc']) or 'environment'}: {item['msg']}" for item in error.errors()]


async def _until_stopped(settings: S, serve: Serve[S]) -> None:
    """Run `serve` and turn SIGTERM and SIGINT into its stop event; a second signal or a slow stop cancels it."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    work = asyncio.ensure_future(serve(settings, stop))
    deadline: list[asyncio.TimerHandle] = []

    def on_signal(number: int) -> None:
        if stop.is_set():
            work.cancel()
            return
        structlog.get_logger().info("stop_requested", signal=signal.Signals(number).name)
        stop.set()
        deadline.append(loop.call_later(SHUTDOWN_SECONDS, work.cancel))

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    try:
        await work
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
        structlog.get_logger().warning("stop_forced", after_seconds=SHUTDOWN_SECONDS)
    finally:
        for handle in deadline:
            handle.cancel()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def main(name: str, settings_class: Callable[[], S], serve: Serve[S]) -> int:
    """Run a service until it is told to stop; returns 0 after a stop, 1 after a failure, 2 for bad settings."""
    try:
        settings = settings_class()
    except (ValidationError, SettingsError) as error:
        lines = describe(error) if isinstance(error, ValidationError) else [str(error)]
        for line in lines:
            sys.stderr.write(f"{name}: settings: {line}\n")
        return EXIT_USAGE
    configure(name, settings.instance, settings.log_format, settings.log_level)
    log = structlog.get_logger()
    log.info("process_started")
    gc.freeze()  # what the imports left lives as long as the process: no collection needs to look at it again
    try:
        uvloop.run(_until_stopped(settings, serve))
    except Exception:  # the very top: say why, then let the supervisor start the next life
        log.exception("process_failed")
        return EXIT_FAILED
    log.info("process_stopped")
    return EXIT_OK


def run(name: str, settings_class: Callable[[], S], serve: Serve[S]) -> NoReturn:
    """Run a service and exit the interpreter with its code; the body of every `__main__`."""
    code = main(name, settings_class, serve)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    sys.exit(code)
