"""A sandbox killed in the middle goes on where it was, and the synthetic market is lively from the first second."""

import json
from pathlib import Path
from typing import Any

import pytest

from services.sandbox.order_filled import (
    block_second,
)
from tests.support.sandbox import (
    HandClock,
    RunningSandbox,
    SandboxProcess,
    receive,
    running_sandbox,
    subscribed,
    until,
)

TAPES = Path(__file__).parents[3] / "shared" / "tapes"
needs_tapes = pytest.mark.skipif(not TAPES.is_dir(), reason=f"recorded tapes are not at {TAPES}")


async def snapshot(sandbox: RunningSandbox, wallets: list[str], newest: int) -> dict[str, Any]:
    """Return what a sandbox says of everything up to a block."""
    second = block_second(newest)
    rows = {wallet: await sandbox.rows(wallet, end=second, limit=1000) for wallet in wallets}
    logs = await sandbox.rpc("eth_getLogs", {"fromBlock": hex(newest - 9), "toBlock": hex(newest)})
    block = await sandbox.rpc("eth_getBlockByNumber", hex(newest), False)
    return {"rows": rows, "logs": logs["result"], "block": block["result"]["hash"]}


@pytest.mark.parametrize("tape", [None, pytest.param("wallets-a", marks=needs_tapes)])
async def test_a_killed_sandbox_goes_on_where_it_was(tmp_path: Path, tape: str | None) -> None:
    process = SandboxProcess(state_dir=tmp_path / "state", tape=TAPES / tape if tape else None, speed=8, seed=5)
    try:
        sandbox = await process.start()
        status = await sandbox.play()
        wallets = [each["wallet"] for each in status["wallets"]]
        await until(lambda: some_rows(sandbox, wallets), within_seconds=60)
        newest = int((await sandbox.rpc("eth_blockNumber"))["result"], 16) - 2
        before = await snapshot(sandbox, wallets, newest)
        process.kill()
        await process.start()
        after = await snapshot(sandbox, wallets, newest)
        assert after["logs"] == before["logs"]
        assert after["block"] == before["block"]
        for wallet in wallets:
            known = {json.dumps(each) for each in before["rows"][wallet]}
            assert known <= {json.dumps(each) for each in after["rows"][wallet]}
        assert (await sandbox.status())["started_at"] == status["started_at"]
    finally:
        process.kill()


async def some_rows(sandbox: RunningSandbox, wallets: list[str]) -> bool:
    return sum([len(await sandbox.rows(wallet)) for wallet in wallets]) > 15


async def test_the_synthetic_market_is_lively_at_once() -> None:
    clock = HandClock()
    async with running_sandbox(seed=4, clock=clock) as sandbox:
        wallets = [each["wallet"] for each in (await sandbox.status())["wallets"]]
        assert len(wallets) >= 6
        async with subscribed(sandbox, *wallets) as socket:
            await sandbox.play()
            clock.reach(2_500)
            logs = await receive(socket, 5)
        assert len({log["topics"][2] for log in logs}) >= 3
        assert len((await sandbox.get("/gamma/markets", limit=100)).json()) >= 12
