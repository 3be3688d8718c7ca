"""The chain node of the sandbox answers, filters and takes back logs as a real one does."""

from pathlib import Path

from services.sandbox.order_filled import (
    EXCHANGE,
    ORDER_FILLED,
    address_topic,
    block_second,
)
from tests.support.sandbox import (
    HERON,
    OTTER,
    START_MS,
    HandClock,
    ended,
    head,
    receive,
    row,
    running_sandbox,
    subscribed,
    until,
    write_tape,
)


async def test_recorded_logs_replace_derived_ones(tmp_path: Path) -> None:
    log = {
        "address": EXCHANGE,
        "topics": [ORDER_FILLED, "0x" + "1" * 64, address_topic(OTTER), address_topic(EXCHANGE)],
        "data": "0x" + "0" * 448,
        "blockNumber": "0x10",
        "blockHash": "0x" + "b" * 64,
        "blockTimestamp": "0x20",
        "transactionHash": "0x" + "5" * 64,
        "transactionIndex": "0x0",
        "logIndex": "0x3",
        "removed": False,
        "_at_ms": START_MS + 200,
    }
    logs = [
        log,
        {**log, "removed": True, "_at_ms": START_MS + 400},
        {**log, "blockHash": "0x" + "c" * 64, "_at_ms": START_MS + 600},
    ]
    tape = write_tape(tmp_path, head(800, api_lag_ms=0), activity=[row(1, 100)], logs=logs)
    async with running_sandbox(tape=tape) as sandbox, subscribed(sandbox, OTTER) as socket:
        await sandbox.play()
        seen = await receive(socket, 3)
        assert [each["removed"] for each in seen] == [False, True, False]
        assert seen[0]["blockNumber"] == seen[1]["blockNumber"]
        assert [each["blockHash"][2] for each in seen] == ["b", "b", "c"]
        assert all("_at_ms" not in each for each in seen)
        assert block_second(int(seen[0]["blockNumber"], 16)) == int(seen[0]["blockTimestamp"], 16)
        first = int(seen[0]["blockNumber"], 16)
        answer = await sandbox.rpc("eth_getLogs", {"fromBlock": hex(first), "toBlock": hex(first + 3)})
        assert [each["blockHash"][2] for each in answer["result"]] == ["c"]


async def test_the_node_answers_like_one(tmp_path: Path) -> None:
    tape = write_tape(tmp_path, head(500, api_lag_ms=0), activity=[row(1, 10), row(2, 20, wallet=HERON)])
    clock = HandClock()
    async with running_sandbox(tape=tape, clock=clock) as sandbox:
        await sandbox.play()
        clock.reach(500)
        await until(lambda: ended(sandbox))
        assert (await sandbox.rpc("eth_chainId"))["result"] == "0x89"
        newest = int((await sandbox.rpc("eth_blockNumber"))["result"], 16)
        assert block_second(newest) == clock() // 1000
        asked = {"fromBlock": hex(newest - 9), "toBlock": hex(newest)}
        both = (await sandbox.rpc("eth_getLogs", asked))["result"]
        assert len(both) == 2
        mine = {**asked, "address": EXCHANGE, "topics": [[ORDER_FILLED], None, address_topic(HERON)]}
        found = (await sandbox.rpc("eth_getLogs", mine))["result"]
        assert [int(log["transactionHash"], 16) for log in found] == [2]
        block = (await sandbox.rpc("eth_getBlockByNumber", found[0]["blockNumber"], False))["result"]
        assert block["hash"] == found[0]["blockHash"]
        assert block["timestamp"] == found[0]["blockTimestamp"]
        assert found[0]["transactionHash"] in block["transactions"]
        assert (await sandbox.rpc("eth_getBlockByNumber", hex(newest + 1000), False))["result"] is None
        refused = await sandbox.rpc("eth_getLogs", {"fromBlock": hex(newest - 10), "toBlock": hex(newest)})
        assert "10 block range" in refused["error"]["message"]
        assert (await sandbox.rpc("eth_call"))["error"]["code"] == -32601
        assert (await sandbox.rpc("eth_unsubscribe", "0x1"))["result"] is False
