"""The JSON-RPC connection against a small node of our own."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from libs.common.domain.errors import Rejected, Unavailable
from libs.common.upstream.json_rpc import RpcConnection, open_rpc

Node = Callable[[ServerConnection, dict[str, Any]], Awaitable[None]]


@asynccontextmanager
async def connected(node: Node) -> AsyncIterator[RpcConnection]:
    async def handle(socket: ServerConnection) -> None:
        async for frame in socket:
            await node(socket, json.loads(frame))

    async with serve(handle, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        connection = await open_rpc(f"ws://127.0.0.1:{port}")
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
            await socket.send("garbage {")
            await socket.send(json.dumps([{"id": 999, "result": 1}, "odd"]))
            await socket.send(told("0x1", {"n": 1}))
            await socket.send(json.dumps({"id": call["id"], "result": "0x1"}))


async def test_calls_are_answered_in_any_order_and_refusals_are_typed() -> None:
    async with connected(friendly) as connection:
        assert await asyncio.gather(*(connection.call("echo", [n]) for n in range(5))) == [[n] for n in range(5)]
        with pytest.raises(Rejected, match="too wide"):
            await connection.call("refuse")


async def test_notifications_come_through_garbage() -> None:
    async with connected(friendly) as connection:
        assert await connection.call("tell") == "0x1"
        assert await anext(connection.notifications()) == ("0x1", {"n": 1})


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
