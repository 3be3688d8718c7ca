"""The chain node: JSON-RPC over a websocket, with log subscriptions; subscriptions never replay, eth_getLogs does."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from itertools import count
from secrets import token_hex
from typing import Any

import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect

from services.sandbox.chain import Chain, Filter, Reorg
from services.sandbox.exchange import Exchange
from services.sandbox.faults import Faults
from services.sandbox.history import Log

OUTBOX_MAX = 200_000
"""Notifications one slow reader may be behind before it is cut off; they are written only when sent."""
CHAIN_ID = "0x89"
RANGE_REFUSED = (
    "Under the Free tier plan, you can make eth_getLogs requests with up to a {most} block range. "
    "Based on your parameters, this block range should work: [{first}, {last}]. "
    "Upgrade to PAYG for expanded block range."
)


class RpcError(Exception):
    """A JSON-RPC error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Connection:
    """One open websocket: its subscriptions and what it still has to be told."""

    def __init__(self, socket: WebSocket) -> None:
        self.socket = socket
        self.subscriptions: dict[str, Filter] = {}
        self.outbox: asyncio.Queue[tuple[str, Log, Reorg | None] | bytes | None] = asyncio.Queue(OUTBOX_MAX)
        self.opened_ms = 0
        self.dropped = False

    def offer(self, log: Log, taken_from: Reorg | None) -> None:
        """Queue a log for every subscription it matches; a reader too far behind is dropped."""
        for name, wanted in self.subscriptions.items():
            if wanted.matches(log):
                self._put((name, log, taken_from))

    def answer(self, text: bytes) -> None:
        """Queue an answer."""
        self._put(text)

    def drop(self) -> None:
        """Cut the connection."""
        self.dropped = True
        while not self.outbox.empty():
            self.outbox.get_nowait()
        self.outbox.put_nowait(None)

    def _put(self, item: tuple[str, Log, Reorg | None] | bytes) -> None:
        if self.dropped:
            return
        if self.outbox.full():
            self.drop()
        else:
            self.outbox.put_nowait(item)


class RpcFace:
    """Answers JSON-RPC and keeps the open connections, which the pump feeds."""

    def __init__(
        self, exchange: Exchange, chain: Chain, faults: Faults, counts: Counter[str], *, log_range_blocks: int
    ) -> None:
        self._exchange = exchange
        self._chain = chain
        self._faults = faults
        self._counts = counts
        self._range = log_range_blocks
        self._numbers = count(1)
        self.connections: set[Connection] = set()
        self._methods: dict[str, Callable[[Connection, list[Any]], object]] = {
            "eth_chainId": lambda connection, params: CHAIN_ID,
            "net_version": lambda connection, params: str(int(CHAIN_ID, 16)),
            "eth_blockNumber": lambda connection, params: hex(chain.head(self._now())),
            "eth_getBlockByNumber": self._block,
            "eth_getLogs": self._logs,
            "eth_subscribe": self._subscribe,
            "eth_unsubscribe": self._unsubscribe,
        }

    def since_start(self) -> int | None:
        """Return ms since play started, None before."""
        started = self._exchange.timeline.started_ms
        return None if started is None else self._now() - started

    def refusing(self) -> bool:
        """Tell whether a fault keeps connections closed now."""
        since = self.since_start()
        return any(self._faults.find("rpc", name, since) for name in ("down", "ws_drop"))

    async def serve(self, socket: WebSocket) -> None:
        """Serve one websocket until it closes."""
        if self.refusing():
            self._counts["rpc.refused"] += 1
            await socket.close()
            return
        await socket.accept()
        connection = Connection(socket)
        connection.opened_ms = self._now()
        self.connections.add(connection)
        writer = asyncio.create_task(self._written(connection))
        try:
            while True:
                text = await socket.receive_text()
                self._counts["rpc"] += 1
                answer = self._answer(connection, text)
                if answer is not None:
                    connection.answer(answer)
        except (WebSocketDisconnect, KeyError, RuntimeError):
            pass  # gone, or it sent bytes, which no client of a node does
        finally:
            self.connections.discard(connection)
            writer.cancel()

    async def _written(self, connection: Connection) -> None:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # it went away while we wrote
            await self._write(connection)

    async def _write(self, connection: Connection) -> None:
        """Send what is queued, each log written at the moment it goes out."""
        while True:
            item = await connection.outbox.get()
            if item is None:
                await connection.socket.close(1011)
                return
            if isinstance(item, tuple):
                name, log, taken_from = item
                body = self._chain.written(log, self._now(), removed_from=taken_from)
                item = (
                    b'{"jsonrpc":"2.0","method":"eth_subscription","params":{"subscription":"'
                    + name.encode()
                    + b'","result":'
                    + body
                    + b"}}"
                )
                self._counts["rpc.logs"] += 1
            else:
                slow = self._faults.find("rpc", "slow", self.since_start())
                await asyncio.sleep(slow.delay_ms / 1000 if slow else 0)
            if any(self._faults.find("rpc", name, self.since_start()) for name in ("malformed", "truncated", "html")):
                item = item[: len(item) // 2]
            await connection.socket.send_text(item.decode())

    def _now(self) -> int:
        return self._exchange.timeline.now()

    def _answer(self, connection: Connection, text: str) -> bytes | None:
        try:
            asked = orjson.loads(text)
        except ValueError:
            return orjson.dumps(_failed(None, -32700, "parse error"))
        if isinstance(asked, list):
            return b"[" + b",".join(self._one(connection, each) for each in asked) + b"]"
        return self._one(connection, asked)

    def _one(self, connection: Connection, asked: Any) -> bytes:
        if not isinstance(asked, dict) or not isinstance(asked.get("method"), str):
            return orjson.dumps(_failed(None, -32600, "invalid request"))
        number, method, params = asked.get("id"), asked["method"], asked.get("params") or []
        self._counts[f"rpc.{method}"] += 1
        since = self.since_start()
        if self._faults.find("rpc", "rate_limit", since):
            return orjson.dumps(_failed(number, 429, "Your app has exceeded its compute units per second capacity."))
        if self._faults.find("rpc", "server_error", since):
            return orjson.dumps(_failed(number, -32000, "internal error"))
        handler = self._methods.get(method)
        if handler is None:
            return orjson.dumps(_failed(number, -32601, f"the method {method} does not exist/is not available"))
        try:
            result = handler(connection, params)
        except RpcError as error:
            return orjson.dumps(_failed(number, error.code, str(error)))
        except (ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
            return orjson.dumps(_failed(number, -32602, f"invalid argument: {error}"))
        return orjson.dumps({"jsonrpc": "2.0", "id": number, "result": result})

    def _subscribe(self, connection: Connection, params: list[Any]) -> str:
        if params[0] != "logs":
            raise RpcError(-32602, f"unsupported subscription type {params[0]!r}")
        name = "0x" + format(next(self._numbers), "04x") + token_hex(14)
        connection.subscriptions[name] = Filter.of(params[1] if len(params) > 1 else {})
        return name

    def _unsubscribe(self, connection: Connection, params: list[Any]) -> bool:
        return connection.subscriptions.pop(params[0], None) is not None

    def _block(self, connection: Connection, params: list[Any]) -> object:
        now = self._now()
        number = self._number(params[0], now)
        return self._chain.block(number, now) if 0 <= number <= self._chain.head(now) else None

    def _logs(self, connection: Connection, params: list[Any]) -> object:
        now, asked = self._now(), params[0]
        self._exchange.advance(now)
        first = self._number(asked.get("fromBlock", "latest"), now)
        last = self._number(asked.get("toBlock", "latest"), now)
        if last < first:
            raise RpcError(-32000, "invalid block range params")
        if last - first + 1 > self._range:
            raise RpcError(
                -32600, RANGE_REFUSED.format(most=self._range, first=hex(first), last=hex(first + self._range - 1))
            )
        found = [orjson.Fragment(log) for log in self._chain.logs(Filter.of(asked), first, last, now)]
        return found * 2 if self._faults.find("rpc", "duplicate_rows", self.since_start()) else found

    def _number(self, asked: object, now: int) -> int:
        if asked in {"latest", "pending"}:
            return self._chain.head(now)
        if asked in {"finalized", "safe"}:
            return self._chain.head(now) - 3
        if asked == "earliest":
            return 0
        return int(str(asked), 16)


def _failed(number: object, code: int, message: str) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}}
