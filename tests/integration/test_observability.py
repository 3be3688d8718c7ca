"""A process as the supervisor sees it: its HTTP door, its logs, its end."""

import asyncio
import json
import os
import signal
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from libs.common.observability import Health, serve_http

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]

PROGRAM = """
import asyncio, logging, structlog
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings
from libs.common.observability.process import run

class Settings(BaseSettings):
    instance: str
    log_format: str = "json"
    log_level: str = "INFO"
    password: SecretStr = Field(min_length=8)

async def serve(settings, stop):
    structlog.get_logger().info("work_began", redis_url="redis://me:hunter22@host/0", password="hunter22")
    logging.getLogger("library").warning("says %s", "something")
    if settings.instance == "broken":
        raise RuntimeError("could not reach redis://me:hunter22@host/0")
    await stop.wait()

run("test", Settings, serve)
"""


def get(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  our own loopback
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


async def start(**environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def test_the_door_tells_health_by_status_and_metrics_by_name() -> None:
    health = Health("test", "test-0")
    health.require("work", 60)
    door = serve_http(health, 0)
    try:
        status, body = get(f"http://127.0.0.1:{door.port}/health")
        assert (status, json.loads(body)["status"]) == (503, "starting")
        health.progress("work")
        status, body = get(f"http://127.0.0.1:{door.port}/health")
        assert (status, json.loads(body)["status"]) == (200, "ok")
        status, body = get(f"http://127.0.0.1:{door.port}/metrics")
        assert status == 200
        assert b"shadowbook_bus_lag_messages" in body
        assert b"process_resident_memory_bytes" in body
        assert get(f"http://127.0.0.1:{door.port}/else")[0] == 404
    finally:
        door.close()


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot serve http://127.0.0.1:{port}"):
            serve_http(Health("test", "test-0"), port)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_a_process_in_order_and_its_logs_are_json_without_secrets(number: signal.Signals) -> None:
    process = await start(INSTANCE="test-0", PASSWORD="hunter22")
    assert process.stdout is not None
    lines = [await process.stdout.readline() for _ in range(3)]
    process.send_signal(number)
    out, err = await process.communicate()
    events = [json.loads(line) for line in [*lines, *out.splitlines()]]
    assert process.returncode == 0
    assert err == b""
    assert [event["event"] for event in events] == [
        "process_started",
        "work_began",
        "says something",
        "stop_requested",
        "process_stopped",
    ]
    assert all((event["service"], event["instance"]) == ("test", "test-0") for event in events)
    assert b"hunter22" not in b"".join(lines) + out


async def test_a_failure_ends_a_process_with_code_one_and_its_traceback_without_secrets() -> None:
    process = await start(INSTANCE="broken", PASSWORD="hunter22")
    out, _ = await process.communicate()
    last = json.loads(out.splitlines()[-1])
    assert process.returncode == 1
    assert last["event"] == "process_failed"
    assert "RuntimeError: could not reach redis://me:***@host/0" in last["exception"]
    assert b"hunter22" not in out


async def test_bad_settings_end_a_process_with_code_two_and_one_line_each_without_values() -> None:
    process = await start(PASSWORD="short")
    out, err = await process.communicate()
    assert process.returncode == 2
    assert out == b""
    assert err.decode().splitlines() == [
        "test: settings: instance: Field required",
        "test: settings: password: Value should have at least 8 items after validation, not 5",
    ]
