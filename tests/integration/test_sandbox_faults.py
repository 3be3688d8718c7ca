"""Each scheduled fault strikes the face it names, while it lasts, and nothing else."""

import asyncio
import json
import time
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from tests.support.logged import with_raw_logs
from tests.support.sandbox import (
    HERON,
    OTTER,
    Fault,
    HandClock,
    RunningSandbox,
    ended,
    head,
    receive,
    row,
    running_sandbox,
    subscribed,
    until,
    write_tape,
)


def fault(name: str, target: str, *, at_s: float = 0, for_s: float = 60, **more: Any) -> Fault:
    return {"at_s": at_s, "for_s": for_s, "fault": name, "target": target, **more}


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    return write_tape(tmp_path, head(400, api_lag_ms=0), activity=[row(number, number * 10) for number in range(1, 31)])


async def played(sandbox: RunningSandbox) -> httpx.Response:
    await sandbox.play()
    return await sandbox.get("/data/v2/activity", user=OTTER)


@pytest.mark.parametrize("retry_after", [7, "date", None])
async def test_rate_limit_comes_with_and_without_retry_after(tape: Path, retry_after: object) -> None:
    async with running_sandbox(tape=tape, faults=[fault("rate_limit", "data", retry_after=retry_after)]) as sandbox:
        answer = await played(sandbox)
        assert answer.status_code == 429
        if retry_after is None:
            assert "retry-after" not in answer.headers
            assert answer.text == "error code: 1015"
        else:
            assert answer.json()["code"] == "rate_limited"
            given = answer.headers["retry-after"]
            assert given == "7" or parsedate_to_datetime(given).timestamp() > time.time() - 1
        assert (await sandbox.get("/gamma/markets")).status_code == 200


async def test_server_errors_are_errors(tape: Path) -> None:
    async with running_sandbox(tape=tape, faults=[fault("server_error", "all")]) as sandbox:
        assert (await played(sandbox)).status_code >= 500
        assert (await sandbox.get("/clob/book", token_id="1")).status_code >= 500
        assert (await sandbox.rpc("eth_blockNumber"))["error"]["code"] == -32000


async def test_html_is_no_json(tape: Path) -> None:
    async with running_sandbox(tape=tape, faults=[fault("html", "data")]) as sandbox:
        answer = await played(sandbox)
        assert answer.headers["content-type"].startswith("text/html")


async def test_malformed_bodies_do_not_parse(tape: Path) -> None:
    async with running_sandbox(tape=tape, faults=[fault("malformed", "data")]) as sandbox:
        answer = await played(sandbox)
        with pytest.raises(ValueError, match="Expecting"):
            answer.json()


@pytest.mark.parametrize("name", ["truncated", "down"])
async def test_cut_connections_are_transport_errors(tape: Path, name: str) -> None:
    async with running_sandbox(tape=tape, faults=[fault(name, "data")]) as sandbox:
        with pytest.raises(httpx.TransportError):
            await played(sandbox)
        assert (await sandbox.get("/gamma/markets")).status_code == 200


async def test_slow_answers_take_their_time(tape: Path) -> None:
    async with running_sandbox(tape=tape, faults=[fault("slow", "data", delay_ms=400)]) as sandbox:
        started = time.monotonic()
        assert (await played(sandbox)).status_code == 200
        assert time.monotonic() - started >= 0.4


async def test_a_fault_ends(tape: Path) -> None:
    faults, clock = [fault("server_error", "data", for_s=0.5)], HandClock()
    async with running_sandbox(tape=tape, faults=faults, clock=clock) as sandbox:
        assert (await played(sandbox)).status_code >= 500
        clock.reach(499)
        assert (await sandbox.get("/data/v2/activity", user=OTTER)).status_code >= 500
        clock.reach(500)
        assert (await sandbox.get("/data/v2/activity", user=OTTER)).status_code == 200


async def test_reordered_rows_are_the_same_rows(tape: Path) -> None:
    clock = HandClock()
    async with running_sandbox(tape=tape, faults=[fault("reorder_rows", "data", at_s=1)], clock=clock) as sandbox:
        await sandbox.play()
        clock.reach(400)
        await until(lambda: ended(sandbox))
        straight = (await sandbox.get("/data/v2/activity", user=OTTER)).json()["data"]
        clock.reach(1_000)

        async def shuffled() -> list[Any]:
            rows = (await sandbox.get("/data/v2/activity", user=OTTER)).json()["data"]
            return list(rows) if rows != straight else []

        mixed = await until(shuffled)
        assert sorted(map(json.dumps, mixed)) == sorted(map(json.dumps, straight))


async def test_a_node_that_is_down_refuses(tape: Path) -> None:
    async with running_sandbox(tape=tape, faults=[fault("down", "rpc", for_s=100_000)]) as sandbox:
        await sandbox.play()
        with pytest.raises(websockets.InvalidStatus):
            await sandbox.rpc("eth_blockNumber")
        assert (await sandbox.get("/data/v2/activity", user=OTTER)).status_code == 200


@pytest.mark.parametrize(("name", "for_s"), [("ws_drop", 0.6), ("ws_flap", 60)])
async def test_connections_are_dropped_and_the_missed_logs_can_be_fetched(
    tmp_path: Path, name: str, for_s: float
) -> None:
    activity = [row(1, 100), row(2, 4_200)]
    tape = write_tape(tmp_path, head(4_500, api_lag_ms=0), activity=activity)
    at_s, cut_ms = (0.4, 400) if name == "ws_drop" else (0, 3_001)
    faults, clock = [fault(name, "rpc", at_s=at_s, for_s=for_s)], HandClock()
    async with running_sandbox(tape=tape, faults=faults, clock=clock) as sandbox:
        async with subscribed(sandbox, OTTER) as socket:
            await sandbox.play()
            clock.reach(100)
            await receive(socket, 1)
            clock.reach(cut_ms)
            with pytest.raises(websockets.ConnectionClosed):
                await receive(socket, 1)
        clock.reach(4_500)
        await until(lambda: ended(sandbox))
        newest = int((await sandbox.rpc("eth_blockNumber"))["result"], 16)
        healed = await sandbox.rpc("eth_getLogs", {"fromBlock": hex(newest - 9), "toBlock": "latest"})
        assert [int(log["transactionHash"], 16) for log in healed["result"]] == [1, 2]


async def test_a_silent_socket_stays_open_and_answers(tape: Path) -> None:
    async with (
        running_sandbox(tape=tape, faults=[fault("ws_silent", "rpc")]) as sandbox,
        subscribed(sandbox, OTTER) as socket,
    ):
        await sandbox.play()
        await until(lambda: ended(sandbox))
        with pytest.raises(TimeoutError):
            await receive(socket, 1, within_seconds=0.3)
        await socket.send(json.dumps({"jsonrpc": "2.0", "id": 9, "method": "eth_blockNumber"}))
        assert json.loads(await asyncio.wait_for(socket.recv(), 5))["id"] == 9


async def test_logs_without_timestamp_leave_it_to_the_block(tape: Path) -> None:
    began = time.time()
    async with (
        running_sandbox(tape=tape, faults=[fault("no_block_timestamp", "rpc")]) as sandbox,
        subscribed(sandbox, OTTER) as socket,
    ):
        await sandbox.play()
        log = (await receive(socket, 1))[0]
        assert "blockTimestamp" not in log
        block = (await sandbox.rpc("eth_getBlockByNumber", log["blockNumber"], False))["result"]
        assert int(began) <= int(block["timestamp"], 16) <= time.time()
        assert block["hash"] == log["blockHash"]


async def test_duplicated_logs_are_the_same_log_twice(tape: Path) -> None:
    async with (
        running_sandbox(tape=tape, faults=[fault("duplicate_rows", "rpc")]) as sandbox,
        subscribed(sandbox, OTTER) as socket,
    ):
        await sandbox.play()
        logs = await receive(socket, 60)
        assert len({(log["transactionHash"], log["logIndex"]) for log in logs}) == 30


async def test_a_reorganisation_takes_logs_back_and_mines_them_again(tmp_path: Path) -> None:
    activity = [row(1, 100), row(2, 200, wallet=HERON), row(3, 3_000)]
    tape = write_tape(tmp_path, head(3_200, api_lag_ms=0), activity=activity)
    faults, clock = [fault("reorg", "rpc", at_s=1.2, depth=4)], HandClock()
    async with (
        running_sandbox(tape=tape, faults=faults, clock=clock) as sandbox,
        subscribed(sandbox, OTTER) as socket,
    ):
        await sandbox.play()
        clock.reach(200)
        (first,) = await receive(socket, 1)
        clock.reach(1_200)
        removed, again = await receive(socket, 2)
        clock.reach(3_200)
        (later,) = await receive(socket, 1)
        assert [log["removed"] for log in (first, removed, again, later)] == [False, True, False, False]
        assert {**removed, "removed": False} == first
        assert again["blockHash"] != first["blockHash"]
        assert {**again, "blockHash": ""} == {**first, "blockHash": ""}
        number = first["blockNumber"]
        stands = (await sandbox.rpc("eth_getLogs", {"fromBlock": number, "toBlock": number}))["result"]
        assert again in stands
        assert first not in stands
        block = (await sandbox.rpc("eth_getBlockByNumber", number, False))["result"]
        assert block["hash"] == again["blockHash"]


async def test_a_reorganisation_strikes_recorded_logs_too(tmp_path: Path) -> None:
    tape = write_tape(tmp_path / "derived", head(1_500, api_lag_ms=0), activity=[row(1, 100), row(2, 200)])
    recorded = with_raw_logs(tape, tmp_path / "recorded")
    faults, clock = [fault("reorg", "rpc", at_s=1, depth=3)], HandClock()
    async with (
        running_sandbox(tape=recorded, faults=faults, clock=clock) as sandbox,
        subscribed(sandbox, OTTER) as socket,
    ):
        await sandbox.play()
        clock.reach(200)
        first = await receive(socket, 2)
        clock.reach(1_000)
        gone, gone_too, again, again_too = await receive(socket, 4)
        assert [{**log, "removed": False} for log in (gone, gone_too)] == first
        assert [{**log, "blockHash": ""} for log in (again, again_too)] == [{**log, "blockHash": ""} for log in first]
        assert again["blockHash"] != first[0]["blockHash"]
        number = again["blockNumber"]
        stands = (await sandbox.rpc("eth_getLogs", {"fromBlock": number, "toBlock": number}))["result"]
        assert again in stands
        block = (await sandbox.rpc("eth_getBlockByNumber", number, False))["result"]
        assert block["hash"] == again["blockHash"]


async def test_a_play_ends_when_stale_listings_show_its_end(tmp_path: Path) -> None:
    tape = write_tape(tmp_path, head(500, api_lag_ms=0), activity=[row(1, 400)])
    async with running_sandbox(tape=tape, faults=[fault("duplicate_rows", "data", for_s=1_000)]) as sandbox:
        await sandbox.play()
        await until(lambda: ended(sandbox))
        assert len(await sandbox.rows(OTTER)) == 1
