"""A JSON-RPC connection to a Polygon node over one websocket: calls, subscriptions, notifications.

One object is one connection; when it breaks, every call in flight and the stream of notifications end with
Unavailable, and the owner makes a new one. A node's own answers are typed by their remedy::

    Unavailable
    +-- NodeBusyError        not now: rate limited, overloaded, or a block not there yet; ask again
    Rejected
    +-- NodeRefusedError     no: asking again will not help
        +-- RangeTooWideError    not so many blocks at once
"""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from libs.common.domain.errors import Rejected, Unavailable
from libs.common.upstream.metrics import NoMetrics, UpstreamMetrics
from libs.common.upstream.samples import SHOWN_MAX, note_ignored

OPEN_SECONDS: Final = 10.0
CALL_SECONDS: Final = 10.0
PING_SECONDS: Final = 20.0
"""Between two pings, and as long for the answer: a line that died without a word is noticed in twice this."""
CLOSE_SECONDS: Final = 2.0
FRAME_BYTES_MAX: Final = 32 * 1024 * 1024
NOTIFICATIONS_MAX: Final = 20_000
"""Notifications waiting to be taken; beyond it the socket is not read, and the node waits."""

_ENDED: Final = object()
_BUSY_CODES: Final = frozenset({429, 503, -32007, -32603})
"""429 and -32007 are rate limits (Alchemy, QuickNode), -32603 is an internal error."""
_NOT_THERE_YET = re.compile(r"invalid block range|beyond|not found|unknown block|cannot be found")
"""Said near the head, when the nodes behind one address are not equally far."""
_TOO_WIDE = re.compile(
    r"block range|blocks? range|\brange\b.*(limit|exceed|large|high|wide|than)|(limit|exceed|large|wide).*\brange\b"
    r"|ranges over|too many (blocks|results|logs)|more than \d+ (results|logs)|max(imum)? (results|logs)"
    r"|response size|number of requested blocks"
)
_BUSY = re.compile(
    r"rate.?limit|request rate|too many requests|requests? (limit|count)|per second|compute units|capacity|throttl"
    r"|limit exceeded|internal error|server error|unavailable|overload|busy|tim(ed|e) ?out|try again|temporar"
)


class NodeBusyError(Unavailable):
    """The node cannot answer now; the connection stands."""


class NodeRefusedError(Rejected):
    """The node will not answer this."""


class RangeTooWideError(NodeRefusedError):
    """The node would answer for fewer blocks."""


def refusal(error: object) -> NodeBusyError | NodeRefusedError:
    """Return what a JSON-RPC error body means; providers agree on no code, so the words count before it."""
    code = error.get("code") if isinstance(error, Mapping) else None
    told = f"rpc: {str(error)[:300]}"
    words = str(error.get("message", "") if isinstance(error, Mapping) else error).lower()
    data = error.get("data") if isinstance(error, Mapping) else None
    if data:
        words += f" {str(data)[:300].lower()}"
    if _NOT_THERE_YET.search(words) and code != -32601:
        return NodeBusyError(told)
    if _TOO_WIDE.search(words):
        return RangeTooWideError(told)
    if code in _BUSY_CODES or _BUSY.search(words):
        return NodeBusyError(told)
    return NodeRefusedError(told)


class RpcConnection:
    """An open connection; use `open_rpc` to get one."""

    def __init__(self, socket: ClientConnection, metrics: UpstreamMetrics) -> None:
        self._socket = socket
        self._metrics = metrics
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
        """Return the result of one call; raises Unavailable when no answer came, else as the node's error means."""
        started, outcome = time.monotonic(), "cancelled"
        try:
            result = await self._ask(method, params, timeout_seconds)
            outcome = "ok"
        except NodeBusyError:
            outcome = "busy"
            raise
        except RangeTooWideError:
            outcome = "too_wide"
            raise
        except Rejected:
            outcome = "rejected"
            raise
        except Unavailable:
            outcome = "unreachable" if self._broken else "timeout"
            raise
        else:
            return result
        finally:
            self._metrics.count("requests", host_class="rpc", outcome=outcome)
            self._metrics.observe("request_duration", time.monotonic() - started, host_class="rpc")

    async def _ask(self, method: str, params: Sequence[Any], timeout_seconds: float) -> Any:
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
        """Yield (subscription id, result) as they come; ends by raising Unavailable when the connection does.

        All that came before the end is yielded first.
        """
        while not (self._broken and self._notifications.empty()):
            item = await self._notifications.get()
            if item is not _ENDED:
                yield item
        raise Unavailable(f"rpc notifications: {self._broken}")

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
        except orjson.JSONDecodeError as error:
            # What it should have said is lost; a new connection fetches it, this one cannot know what it was.
            reason = f"expected JSON frames: {error}"
        finally:
            self._broken = reason
            for answer in self._calls.values():
                if not answer.done():
                    answer.set_exception(Unavailable(f"rpc: {reason}"))
            if not self._notifications.full():
                self._notifications.put_nowait(_ENDED)

    async def _take(self, frame: str | bytes) -> None:
        try:
            document = orjson.loads(frame)
        except orjson.JSONDecodeError as error:
            note_ignored(self._metrics, "rpc_frame", error, frame[:SHOWN_MAX])
            raise
        for item in document if isinstance(document, list) else (document,):
            if not isinstance(item, Mapping):
                note_ignored(self._metrics, "rpc_frame", "expected an object", item)
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
        if item.get("error") is not None:
            answer.set_exception(refusal(item["error"]))
        else:
            answer.set_result(item.get("result"))


async def open_rpc(
    url: str, *, metrics: UpstreamMetrics | None = None, ping_seconds: float = PING_SECONDS
) -> RpcConnection:
    """Connect to the node at `url` (ws:// or wss://); raises Unavailable, without the URL: it may hold a key."""
    try:
        socket = await connect(
            url,
            open_timeout=OPEN_SECONDS,
            ping_interval=ping_seconds,
            ping_timeout=ping_seconds,
            close_timeout=CLOSE_SECONDS,
            max_size=FRAME_BYTES_MAX,
            max_queue=1024,
            compression=None,
            proxy=True if url.startswith("wss:") else None,
        )
    except InvalidStatus as error:
        raise Unavailable(f"rpc: cannot connect: status {error.response.status_code}") from error
    except (WebSocketException, OSError, TimeoutError, EOFError) as error:
        raise Unavailable(f"rpc: cannot connect: {type(error).__name__}") from error
    return RpcConnection(socket, metrics or NoMetrics())
