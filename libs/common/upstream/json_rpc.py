"""A JSON-RPC connection to a Polygon node over one websocket: calls, subscriptions, notifications.

One object is one connection; when it breaks, every call in flight and the stream of notifications end with
Unavailable, and the owner makes a new one.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidURI, WebSocketException

from libs.common.domain.errors import Rejected, Unavailable

OPEN_SECONDS: Final = 10.0
CALL_SECONDS: Final = 10.0
PING_SECONDS: Final = 20.0
FRAME_BYTES_MAX: Final = 32 * 1024 * 1024
NOTIFICATIONS_MAX: Final = 20_000
"""Notifications waiting to be taken; beyond it the socket is not read, and the node waits."""

_ENDED: Final = object()


class RpcConnection:
    """An open connection; use `open_rpc` to get one."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._last_id = 0
        self._notifications: asyncio.Queue[Any] = asyncio.Queue(NOTIFICATIONS_MAX)
        self._broken: str | None = None
        self._reader = asyncio.create_task(self._read(), name="rpc-reader")

    @property
    def broken(self) -> str | None:
        """Why the connection ended, None while it lives."""
        return self._broken

    async def call(self, method: str, params: Sequence[Any] = (), timeout_seconds: float = CALL_SECONDS) -> Any:
        """Return the result of one call; raises Unavailable when no answer came, Rejected when the node refuses."""
        if self._broken:
            raise Unavailable(f"rpc {method}: {self._broken}")
        self._last_id += 1
        call_id = self._last_id
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._calls[call_id] = answer
        frame = orjson.dumps({"jsonrpc": "2.0", "id": call_id, "method": method, "params": list(params)})
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._socket.send(frame.decode())
                return await answer
        except TimeoutError as error:
            raise Unavailable(f"rpc {method}: no answer in {timeout_seconds:.0f} s") from error
        except WebSocketException as error:
            raise Unavailable(f"rpc {method}: {error}") from error
        finally:
            self._calls.pop(call_id, None)

    async def notifications(self) -> AsyncIterator[tuple[str, Any]]:
        """Yield (subscription id, result) as they come; ends by raising Unavailable when the connection does."""
        while True:
            item = await self._notifications.get()
            if item is _ENDED:
                raise Unavailable(f"rpc notifications: {self._broken}")
            yield item

    async def close(self) -> None:
        """Close the connection and wait for its reader."""
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader
        with contextlib.suppress(WebSocketException, OSError, TimeoutError):
            await self._socket.close()

    async def _read(self) -> None:
        reason = "closed by us"
        try:
            async for frame in self._socket:
                await self._take(frame)
            reason = "closed by the node"
        except (WebSocketException, OSError) as error:
            reason = f"{type(error).__name__}: {error}"
        finally:
            self._broken = reason
            for answer in self._calls.values():
                if not answer.done():
                    answer.set_exception(Unavailable(f"rpc: {reason}"))
            if self._notifications.full():
                self._notifications.get_nowait()
            self._notifications.put_nowait(_ENDED)

    async def _take(self, frame: str | bytes) -> None:
        try:
            document = orjson.loads(frame)
        except orjson.JSONDecodeError:
            return  # garbage on the line is the node's own affair; what it should have said is healed by polling
        for item in document if isinstance(document, list) else (document,):
            if not isinstance(item, Mapping):
                continue
            params = item.get("params")
            if item.get("method") == "eth_subscription" and isinstance(params, Mapping):
                await self._notifications.put((str(params.get("subscription")), params.get("result")))
            else:
                self._answer(item)

    def _answer(self, item: Mapping[str, Any]) -> None:
        call_id = item.get("id")
        answer = self._calls.get(call_id) if isinstance(call_id, int) else None
        if answer is None or answer.done():
            return
        if "error" in item:
            answer.set_exception(Rejected(f"rpc: {str(item['error'])[:200]}"))
        else:
            answer.set_result(item.get("result"))


async def open_rpc(url: str) -> RpcConnection:
    """Connect to the node at `url` (ws:// or wss://); raises Unavailable, without the URL: it may hold a key."""
    try:
        socket = await connect(
            url,
            open_timeout=OPEN_SECONDS,
            ping_interval=PING_SECONDS,
            ping_timeout=PING_SECONDS,
            close_timeout=2,
            max_size=FRAME_BYTES_MAX,
            max_queue=1024,
            compression=None,
            proxy=True if url.startswith("wss:") else None,
        )
    except (InvalidURI, InvalidHandshake, OSError, TimeoutError, EOFError) as error:
        raise Unavailable(f"rpc: cannot connect: {type(error).__name__}") from error
    return RpcConnection(socket)
