"""A dashboard as a process of its own, and a headless Chromium that looks at it."""

import asyncio
import contextlib
import os
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from urllib.request import urlopen

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Request, async_playwright
from sqlalchemy.ext.asyncio import AsyncEngine

from services.cli.stack.ports import free_port
from services.ui.commands import new_login_link
from tests.support.seed_ui import beat_once

START_SECONDS = 30.0
STOP_SECONDS = 15.0
BEAT_SECONDS = 4.0
DESK = (1440, 900)
PHONE = (390, 844)
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--hide-scrollbars",
)


class Dashboard:
    """The dashboard's process; `start` and `stop` may be called again with the same secret and port."""

    def __init__(self, database_url: str, operator_url: str, redis_url: str, folder: Path, **more: str) -> None:
        self.port, self.operator_url = free_port(), operator_url
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = folder / "ui.log"
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self._variables = kept | {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "SHADOWBOOK_INSTANCE": "ui-0",
            "SHADOWBOOK_HTTP_PORT": str(free_port({self.port})),
            "SHADOWBOOK_PORT": str(self.port),
            "SHADOWBOOK_STORAGE_SECRET": secrets.token_urlsafe(24),
            **more,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.ui"], env=self._variables, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError), urlopen(f"{self.url}/login", timeout=5):  # noqa: S310  our own address
                return
            time.sleep(0.05)
        raise AssertionError(f"the dashboard did not start:\n{self.log()}")

    def stop(self) -> int:
        """Ask it to stop; returns its exit code."""
        assert self.process is not None
        self.process.terminate()
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def log(self) -> str:
        """Return what it wrote."""
        return self._log.read_text()

    async def link(self) -> str:
        """Return a fresh one-time login link."""
        return await new_login_link(self.operator_url, self.url)


@asynccontextmanager
async def beating(engine: AsyncEngine, *, marks_age: timedelta = timedelta(seconds=14)) -> AsyncIterator[None]:
    """Keep the other processes registered, as if they ran."""

    stop = asyncio.Event()

    async def go_on() -> None:
        while not stop.is_set():
            await beat_once(engine, datetime.now(UTC), marks_age=marks_age)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT_SECONDS):
                    await stop.wait()

    await beat_once(engine, datetime.now(UTC), marks_age=marks_age)
    task = asyncio.create_task(go_on())
    try:
        yield
    finally:
        stop.set()
        await task


class Cable:
    """A line to a database that can be pulled and plugged in again; `url` goes through it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._there = (parts.hostname, parts.port or 5432)
        self._port = free_port()
        login = parts.netloc.rpartition("@")[0]
        self.url = urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{self._port}"))
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def plug_in(self) -> None:
        """Let connections through."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self._port)

    async def pull(self) -> None:
        """Break every connection and take no new one."""
        assert self._server is not None
        self._server.close()
        for writer in list(self._open):
            writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._there)
        self._open |= {writer, far_writer}
        try:
            await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))
        finally:
            self._open -= {writer, far_writer}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()


@dataclass(slots=True)
class Visitor:
    """A browser that keeps what went wrong and where it went."""

    context: BrowserContext
    page: Page
    troubles: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def hear(self, message: ConsoleMessage) -> None:
        """Keep errors and warnings of the console."""
        if message.type in {"error", "warning"}:
            self.troubles.append(message.text)

    def follow(self, request: Request) -> None:
        """Keep which host a request went to."""
        self.hosts.add(request.url.split("/")[2] if "://" in request.url else request.url[:20])

    async def sign_in(self, dashboard: Dashboard) -> None:
        """Sign in by a fresh link and wait for the overview."""
        await self.page.goto(await dashboard.link())
        await self.page.get_by_role("button", name="Sign in").click()
        await self.page.wait_for_url(f"{dashboard.url}/")
        await self.settled()

    async def settled(self) -> None:
        """Wait until the page is alive and its charts are drawn."""
        await self.page.wait_for_selector(".sb-panel, .sb-first")
        if await self.page.locator(".sb-chart").count():
            await self.page.wait_for_selector(".sb-chart svg path", state="attached")


@asynccontextmanager
async def chromium_at(path: str) -> AsyncIterator[Browser]:
    """Run a headless Chromium."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def visit(browser: Browser, *, dark: bool = False, size: tuple[int, int] = DESK) -> AsyncIterator[Visitor]:
    """Open a window with an empty profile."""
    context = await browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
        timezone_id="UTC",
        locale="en-GB",
    )
    visitor = Visitor(context, await context.new_page())
    visitor.page.on("console", lambda message: visitor.hear(message))
    visitor.page.on("pageerror", lambda error: visitor.troubles.append(str(error)))
    visitor.page.on("request", lambda request: visitor.follow(request))
    try:
        yield visitor
    finally:
        await context.close()
