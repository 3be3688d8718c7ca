"""A local Polymarket for tests: the real server on a free port, in this process or in one of its own."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import httpx
import websockets

from services.cli.stack.ports import free_port
from services.sandbox.app import HOST, build, listen, running
from services.sandbox.order_filled import EXCHANGE, EXCHANGE_V3, NEG_RISK_EXCHANGE, ORDER_FILLED, address_topic
from services.sandbox.settings import Settings
from services.sandbox.timeline import wall_clock_ms

START_SECONDS = 60
T = TypeVar("T")
Fault = Mapping[str, Any]


class HandClock:
    """A clock that stands until a test moves it, so that no instant of a play is missed and none comes early."""

    def __init__(self) -> None:
        self._began_ms = self._now_ms = wall_clock_ms()

    def __call__(self) -> int:
        """Return the time in ms of the epoch."""
        return self._now_ms

    def reach(self, at_ms: int) -> None:
        """Go on to so many ms after the clock was made."""
        self._now_ms = self._began_ms + at_ms


@dataclass(frozen=True)
class RunningSandbox:
    """A served sandbox."""

    port: int

    @property
    def url(self) -> str:
        """Return the root of everything."""
        return f"http://{HOST}:{self.port}"

    @property
    def data_api_url(self) -> str:
        """Return the Data API's base URL."""
        return f"{self.url}/data"

    @property
    def clob_url(self) -> str:
        """Return the CLOB's base URL."""
        return f"{self.url}/clob"

    @property
    def gamma_url(self) -> str:
        """Return Gamma's base URL."""
        return f"{self.url}/gamma"

    @property
    def rpc_ws_url(self) -> str:
        """Return the chain node's websocket."""
        return f"ws://{HOST}:{self.port}/rpc"

    async def play(self) -> dict[str, Any]:
        """Start the play; returns the status."""
        async with httpx.AsyncClient() as client:
            return dict((await client.post(f"{self.url}/_sandbox/play")).json())

    async def status(self) -> dict[str, Any]:
        """Return the status."""
        async with httpx.AsyncClient() as client:
            return dict((await client.get(f"{self.url}/_sandbox/status")).json())

    async def get(self, path: str, **params: object) -> httpx.Response:
        """Get a path under the root, past the CDN's cache."""
        given = {name: str(value) for name, value in params.items()}
        async with httpx.AsyncClient() as client:
            return await client.get(self.url + path, params={**given, "_": os.urandom(8).hex()})

    async def rows(self, wallet: str, **params: object) -> list[dict[str, Any]]:
        """Return a wallet's activity, all pages."""
        found: list[dict[str, Any]] = []
        cursor: dict[str, object] = {}
        while True:
            answer = (await self.get("/data/v2/activity", user=wallet, **params, **cursor)).json()
            found.extend(answer["data"])
            if not answer["pagination"]["has_more"]:
                return found
            cursor = {"cursor": answer["pagination"]["next_cursor"]}

    async def rpc(self, method: str, *params: object) -> dict[str, Any]:
        """Call one JSON-RPC method on a connection of its own; returns the whole answer."""
        async with websockets.connect(self.rpc_ws_url) as socket:
            await socket.send(json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}))
            return dict(json.loads(await socket.recv()))


def write_tape(folder: Path, head: Mapping[str, Any], **files: Sequence[Mapping[str, Any]]) -> Path:
    """Write a tape; `files` are named without their ending, the required ones may be left out and are then empty."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tape.json").write_text(json.dumps(head), encoding="utf-8")
    for name in {"activity", "books", "markets", *files}:
        lines = "".join(json.dumps(each) + "\n" for each in files.get(name, ()))
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return folder


def faults_file(folder: Path, faults: Sequence[Fault]) -> Path:
    """Write a faults file."""
    path = folder / "faults.jsonl"
    path.write_text("".join(json.dumps(dict(fault)) + "\n" for fault in faults), encoding="utf-8")
    return path


@asynccontextmanager
async def running_sandbox(
    *,
    tape: Path | None = None,
    speed: int | Decimal = 1,
    faults: Path | Sequence[Fault] | None = None,
    state_dir: Path | None = None,
    seed: int = 1,
    log_range_blocks: int = 10,
    clock: Callable[[], int] = wall_clock_ms,
) -> AsyncIterator[RunningSandbox]:
    """Serve a sandbox in this event loop; it waits for `play()`."""
    with tempfile.TemporaryDirectory() as folder:
        path = faults if faults is None or isinstance(faults, Path) else faults_file(Path(folder), faults)
        listener = listen(0)
        port = int(listener.getsockname()[1])
        settings = Settings(
            http_port=port,
            tape=tape,
            speed=Decimal(speed),
            faults=path,
            state_dir=state_dir,
            seed=seed,
            log_range_blocks=log_range_blocks,
        )
        async with running(build(settings, clock), listener):
            yield RunningSandbox(port)


class SandboxProcess:
    """A sandbox in a process of its own, which can be killed and started again on the same port."""

    def __init__(self, *, state_dir: Path, tape: Path | None = None, speed: int = 1, seed: int = 1) -> None:
        self.running = RunningSandbox(free_port())  # one that no outgoing connection gets while it is down
        given = {"HTTP_PORT": self.running.port, "STATE_DIR": state_dir, "SPEED": speed, "SEED": seed}
        if tape is not None:
            given["TAPE"] = tape
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SHADOWBOOK_")}
        self._environment = kept | {f"SHADOWBOOK_{name}": str(value) for name, value in given.items()}
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> RunningSandbox:
        """Start it and wait until it answers."""
        self._spawn()
        async with asyncio.timeout(START_SECONDS):
            while True:
                try:
                    await self.running.status()
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
                else:
                    return self.running

    def _spawn(self) -> None:
        command = [sys.executable, "-m", "services.sandbox"]
        self.process = subprocess.Popen(command, env=self._environment, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        """Kill it with -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


START_MS = 1_788_000_000_000
OTTER, HERON = "0x" + "a1" * 20, "0x" + "b2" * 20


def row(number: int, at_ms: int, *, wallet: str = OTTER, **more: Any) -> dict[str, Any]:
    """Return an activity row of a tape that starts at START_MS."""
    return {
        "proxy_wallet": wallet,
        "timestamp": (START_MS + at_ms) // 1000,
        "condition_id": "0xc0",
        "type": "TRADE",
        "size": 10 + number,
        "usdc_size": (10 + number) * 0.5,
        "transaction_hash": f"0x{number:064x}",
        "price": 0.5,
        "token_id": "1001",
        "side": "BUY",
        "outcome_index": 0,
        "_at_ms": START_MS + at_ms,
    } | more


def market(condition_id: str, *tokens: str, **more: Any) -> dict[str, Any]:
    """Return a Gamma market."""
    return {
        "id": str(int(tokens[0])),
        "question": "?",
        "conditionId": condition_id,
        "slug": condition_id,
        "endDate": "2026-08-29T12:00:00Z",
        "clobTokenIds": json.dumps(tokens),
        "outcomes": '["Yes", "No"]',
        "closed": False,
        "negRisk": False,
        "version": "v1",
    } | more


def book(token: str, at_ms: int, hash_: str) -> dict[str, Any]:
    """Return a book."""
    levels = [{"price": "0.40", "size": "5"}, {"price": "0.49", "size": "7"}]
    return {"market": "0xc0", "asset_id": token, "timestamp": str(START_MS + at_ms), "hash": hash_, "bids": levels,
            "asks": [{"price": "0.51", "size": "9"}], "last_trade_price": "0.5"}  # fmt: skip


def head(length_ms: int, api_lag_ms: int = 300) -> dict[str, Any]:
    """Return a tape's head with the two wallets."""
    wallets = [{"label": "otter", "wallet": OTTER}, {"label": "heron", "wallet": HERON}]
    return {
        "name": "t",
        "start_ms": START_MS,
        "end_ms": START_MS + length_ms,
        "wallets": wallets,
        "api_lag_ms": api_lag_ms,
    }


@asynccontextmanager
async def subscribed(sandbox: RunningSandbox, *wallets: str) -> AsyncIterator[websockets.ClientConnection]:
    """Open a websocket that is subscribed to the fills of wallets."""
    async with websockets.connect(sandbox.rpc_ws_url) as socket:
        topics = [ORDER_FILLED, None, [address_topic(wallet) for wallet in wallets]]
        asked = {"address": [EXCHANGE, NEG_RISK_EXCHANGE.upper().replace("0X", "0x"), EXCHANGE_V3], "topics": topics}
        await socket.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["logs", asked]}))
        assert json.loads(await socket.recv())["id"] == 1
        yield socket


async def receive(socket: Any, count: int, within_seconds: float = 30) -> list[dict[str, Any]]:
    """Return the next logs a subscription delivers."""
    async with asyncio.timeout(within_seconds):
        return [json.loads(await socket.recv())["params"]["result"] for _ in range(count)]


async def until(met: Callable[[], Awaitable[T]], within_seconds: float = 30) -> T:
    """Wait until something holds; returns what it found."""
    async with asyncio.timeout(within_seconds):
        while not (found := await met()):  # noqa: ASYNC110  what is waited for lies behind HTTP
            await asyncio.sleep(0.05)
        return found


async def all_rows(sandbox: RunningSandbox, count: int) -> list[dict[str, Any]]:
    """Return the rows of OTTER once there are so many."""
    rows = await sandbox.rows(OTTER)
    return rows if len(rows) >= count else []


async def ended(sandbox: RunningSandbox) -> bool:
    """Tell whether the play has ended."""
    return bool((await sandbox.status())["ended"])
