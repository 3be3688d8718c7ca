"""`shadowbook verify --online` where the exchange does not tell what a followed wallet holds: nothing is proven."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from services.cli.__main__ import application
from services.cli.stack.ports import free_port
from services.ingest.commands import follow, unfollow
from tests.support.databases import Database

pytestmark = pytest.mark.integration

GOOD, REFUSED, GARBLED = ("0x" + each * 40 for each in "abc")


class PositionHost(BaseHTTPRequestHandler):
    """Says that nobody holds anything, refuses one wallet, and has a row of another that nobody can read."""

    def do_GET(self) -> None:
        wallet = parse_qs(urlsplit(self.path).query)["user"][0]
        rows = [{"token_id": None}] if wallet == GARBLED else []
        document = {"data": rows, "pagination": {"has_more": False}}
        content = json.dumps({"error": "no such user"} if wallet == REFUSED else document).encode()
        self.send_response(400 if wallet == REFUSED else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its parent's name
        pass


@pytest.fixture
def host() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), PositionHost)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


async def verify_online(
    monkeypatch: pytest.MonkeyPatch, database: Database, redis_url: str, url: str, *more: str
) -> tuple[int, str]:
    @contextmanager
    def session(_data_dir: Path | None, **_: Any) -> Iterator[Any]:
        yield SimpleNamespace(database_url=database.url(), redis_url=redis_url, data_api_url=url)

    monkeypatch.setattr("services.cli.stack.session", session)
    arguments = ("verify", "--online", *more)
    with capture_logs():
        app = application(arguments)
        result = await asyncio.to_thread(CliRunner().invoke, app, arguments, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.return_value, result.output


async def test_a_wallet_that_is_refused_or_garbled_is_named_and_the_others_are_compared(
    database: Database, redis_url: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wallet in (GOOD, REFUSED, GARBLED):
        await follow(database.url(), wallet, wallet[2:5])
    code, out = await verify_online(monkeypatch, database, redis_url, host, "--json")
    report = json.loads(out)
    assert (code, report["ok"], report["different"]) == (1, False, 0)
    unread = {each["wallet"]: each["error"] for each in report["unread"]}
    assert set(unread) == {REFUSED, GARBLED}
    assert "no such user" in unread[REFUSED]
    assert "could not be read" in unread[GARBLED]
    code, out = await verify_online(monkeypatch, database, redis_url, host)
    assert code == 1
    assert f"{REFUSED} could not be read: " in out
    for wallet in (REFUSED, GARBLED):
        await unfollow(database.url(), wallet)
    code, out = await verify_online(monkeypatch, database, redis_url, host, "--json")
    assert (code, json.loads(out)["ok"], json.loads(out)["unread"]) == (0, True, [])


async def test_with_the_api_down_nothing_is_said_to_be_right(
    database: Database, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await follow(database.url(), GOOD, "otter")
    url = f"http://127.0.0.1:{free_port()}"
    code, out = await verify_online(monkeypatch, database, redis_url, url, "--json")
    report = json.loads(out)
    assert (code, report["ok"], [each["wallet"] for each in report["unread"]]) == (1, False, [GOOD])
