"""Waiting for programs to be ready: each answers /health with 200 once it does its work."""

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.cli.errors import StackError
from services.cli.stack.data_dir import DataDir

READY_TIMEOUT_SECONDS = 90.0
PROBE_TIMEOUT_SECONDS = 2.0
PROBE_INTERVAL_SECONDS = 0.1
LOG_TAIL_LINES = 5
LOG_TAIL_BYTES = 20_000


def ask(url: str, *, post: bool = False) -> tuple[int, dict[str, Any]]:
    """Return status and JSON body of a local HTTP answer; status 0 when there was none."""
    request = urllib.request.Request(url, method="POST" if post else "GET")  # noqa: S310 - always http on loopback
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy must not see loopback
    try:
        with opener.open(request, timeout=PROBE_TIMEOUT_SECONDS) as answer:
            return answer.status, _body(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _body(error.read())
    except (OSError, http.client.HTTPException):
        return 0, {}


def wait_ready(data_dir: DataDir, ports: Mapping[str, int], timeout_seconds: float = READY_TIMEOUT_SECONDS) -> None:
    """Return when every program (name to port) is ready; raises StackError naming the one that is not, and why."""
    deadline = time.monotonic() + timeout_seconds
    waiting = dict(ports)
    while waiting:
        for name, port in tuple(waiting.items()):
            status, body = ask(f"http://127.0.0.1:{port}/health")
            if status == http.client.OK:
                del waiting[name]
            elif time.monotonic() > deadline:
                raise StackError(_explain(data_dir, name, timeout_seconds, body))
        if waiting:
            time.sleep(PROBE_INTERVAL_SECONDS)


def tail(log: Path, lines: int = LOG_TAIL_LINES) -> list[str]:
    """Return the last lines of a log; empty when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - max(LOG_TAIL_BYTES, lines * 500)))
            return file.read().decode(errors="replace").splitlines()[-lines:] if lines else []
    except FileNotFoundError:
        return []


def _explain(data_dir: DataDir, name: str, seconds: float, health: dict[str, Any]) -> str:
    said = ", ".join(f"{key} {value}" for key, value in health.items() if key in {"status", "faults", "waiting_for"})
    last = "".join(f"\n  | {line}" for line in tail(data_dir.log(name)))
    log = f"{data_dir.log(name)} ends with:{last or ' nothing'}"
    return f"{name} was not ready within {seconds:.0f} s ({said or 'no answer'}); {log}"


def _body(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
