"""The JSON-RPC connection against a small node of our own."""

import asyncio
import base64
import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from libs.common.domain.errors import Rejected, Unavailable
from libs.common.upstream.json_rpc import (
    NodeBusyError,
    NodeRefusedError,
    RangeTooWideError,
    RpcConnection,
    open_rpc,
)
from libs.common.upstream.metrics import NoMetrics

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
Node = Callable[[ServerConnection, dict[str, Any]], Awaitable[None]]


@asynccontextmanager
async def connected(node: Node, metrics: NoMetrics | None = None) -> AsyncIterator[RpcConnection]:
    async def handle(socket: ServerConnection) -> None:
        async for frame in socket:
            await node(socket, json.loads(frame))

    async with serve(handle, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        connection = await open_rpc(f"ws://127.0.0.1:{port}", metrics=metrics)
        try:
            yield connection
        finally:
            await connection.close()


def told(subscription: str, result: Any) -> str:
    return json.dumps({"method": "eth_subscription", "params": {"subscription": subscription, "result": result}})


async def friendly(socket: ServerConnection, call: dict[str, Any]) -> None:
    match call["method"]:
        case "echo":
            await socket.send(json.dumps({"id": call["id"], "result": call["params"]}))
        case "refuse":
            await socket.send(json.dumps({"id": call["id"], "error": {"code": -32602, "message": "too wide"}}))
        case "hang_up":
            await socket.close()
        case "tell":
            await socket.send(json.dumps([{"id": 999, "result": 1}, "odd"]))
            await socket.send(told("0x1", {"n": 1}))
            await socket.send(json.dumps({"id": call["id"], "result": "0x1"}))


async def test_calls_are_answered_in_any_order_and_refusals_are_typed() -> None:
    async with connected(friendly) as connection:
        assert await asyncio.gather(*(connection.call("echo", [n]) for n in range(5))) == [[n] for n in range(5)]
        with pytest.raises(Rejected, match="too wide"):
            await connection.call("refuse")


async def test_notifications_come_through_frames_of_odd_shape_and_unknown_answers() -> None:
    async with connected(friendly) as connection:
        assert await connection.call("tell") == "0x1"
        assert await anext(connection.notifications()) == ("0x1", {"n": 1})


async def test_a_frame_that_is_no_json_ends_the_connection_after_what_came_before_it() -> None:
    async def garbling(socket: ServerConnection, call: dict[str, Any]) -> None:
        for number in range(3):
            await socket.send(told("0x1", number))
        await socket.send('{"jsonrpc": "2.0", "method": "eth_subscr')

    async with connected(garbling) as connection:
        with pytest.raises(Unavailable, match="expected JSON"):
            await connection.call("anything")
        stream = connection.notifications()
        assert [(await anext(stream))[1] for _ in range(3)] == [0, 1, 2]
        with pytest.raises(Unavailable, match="expected JSON"):
            await anext(stream)


async def test_a_line_that_died_without_a_word_is_noticed_by_its_pings() -> None:
    held: list[asyncio.StreamWriter] = []

    async def shake_hands_and_die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        key = next(line for line in request.decode().split("\r\n") if line.lower().startswith("sec-websocket-key"))
        accept = base64.b64encode(hashlib.sha1((key.split(": ")[1] + GUID).encode()).digest())  # noqa: S324  RFC 6455
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
        writer.write(b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        held.append(writer)

    server = await asyncio.start_server(shake_hands_and_die, "127.0.0.1", 0)
    connection = await open_rpc(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", ping_seconds=0.1)
    async with asyncio.timeout(30):
        with pytest.raises(Unavailable, match="ping timeout"):
            await anext(connection.notifications())
    for writer in held:
        writer.transport.abort()
    await connection.close()
    server.close()


async def test_every_outcome_of_a_call_is_counted() -> None:
    counted: Counter[str] = Counter()

    class Counts(NoMetrics):
        def count(self, name: str, amount: int = 1, **labels: str) -> None:
            counted[labels.get("outcome") or labels["reason"]] += amount

    errors = {"busy": {"code": 429, "message": ""}, "wide": {"code": -32600, "message": "block range"}, "no": {}}

    async def node(socket: ServerConnection, call: dict[str, Any]) -> None:
        if call["method"] in errors:
            await socket.send(json.dumps({"id": call["id"], "error": errors[call["method"]]}))
        else:
            await friendly(socket, call)

    async with connected(node, Counts()) as connection:
        await connection.call("echo")
        await connection.call("tell")
        for method, kind in (("busy", NodeBusyError), ("wide", RangeTooWideError), ("no", NodeRefusedError)):
            with pytest.raises(kind):
                await connection.call(method)
        with pytest.raises(Unavailable):
            await connection.call("ponder", timeout_seconds=0.01)
        with pytest.raises(Unavailable):
            await connection.call("hang_up")
    assert counted == {
        "ok": 2, "busy": 1, "too_wide": 1, "rejected": 1, "timeout": 1, "unreachable": 1, "rpc_frame": 1
    }  # fmt: skip


async def test_a_node_that_turns_us_away_at_the_door_says_with_which_status() -> None:
    def refuse(socket: ServerConnection, request: Request) -> Response:
        return socket.respond(429, "slow down")

    async with serve(lambda socket: asyncio.sleep(0), "127.0.0.1", 0, process_request=refuse) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        with pytest.raises(Unavailable, match="status 429"):
            await open_rpc(f"ws://127.0.0.1:{port}/v2/secret-key")


async def test_a_node_that_hangs_up_ends_calls_and_notifications() -> None:
    async with connected(friendly) as connection:
        with pytest.raises(Unavailable):
            await connection.call("hang_up")
        with pytest.raises(Unavailable):
            await anext(connection.notifications())
        with pytest.raises(Unavailable):
            await connection.call("echo")
        assert connection.broken


async def test_a_call_without_an_answer_ends_in_time() -> None:
    async with connected(friendly) as connection:
        with pytest.raises(Unavailable, match="no answer"):
            await connection.call("ponder", timeout_seconds=0.05)


async def test_nobody_there_is_unavailable_and_the_url_stays_secret() -> None:
    with pytest.raises(Unavailable) as caught:
        await open_rpc("ws://127.0.0.1:1/v2/secret-key")
    assert "secret-key" not in str(caught.value)
