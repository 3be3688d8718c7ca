"""The chain feed against the sandbox's node over a real websocket, the Data API away: nothing lost, nothing twice."""

import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from services.ingest.commands import follow, unfollow
from tests.integration.test_ingest_plays_a_tape import ingest, rows, subscribed, until
from tests.support.databases import Database
from tests.support.sandbox import head, row, running_sandbox, write_tape

pytestmark = pytest.mark.integration

SILENT_API = {"at_s": 0, "for_s": 10_000, "fault": "down", "target": "data"}
RPC_PER_SECOND, RPC_BURST = 5, 5


def address(number: int) -> str:
    return f"0x{number:040x}"


async def follow_many(database: Database, wallets: Sequence[str]) -> None:
    """Follow many wallets as one user, in one stroke."""
    await follow(database.url(), wallets[0], "many")
    async with database.engine().begin() as connection:
        await connection.execute(
            text(
                """INSERT INTO followed_user_proxy_wallet (wallet, user_id, followed_at)
                   SELECT unnest(CAST(:wallets AS text[])), id, :now FROM followed_user WHERE label = 'many'"""
            ),
            {"wallets": list(wallets[1:]), "now": datetime.now(UTC)},
        )


def tape_of(folder: Path, fills: Sequence[tuple[int, str]], length_ms: int) -> Path:
    """Write a tape of fills, given as (at_ms, wallet)."""
    activity = [row(number, at_ms, wallet=wallet) for number, (at_ms, wallet) in enumerate(fills, 1)]
    return write_tape(folder, head(length_ms, api_lag_ms=0), activity=activity)


async def recorded(database: Database) -> Counter[tuple[int, str]]:
    """Return the standing fills by (number, wallet), each of which must have its log."""
    found = await rows(database, "SELECT tx_hash, wallet, log_index FROM trade_event WHERE status = 'CANONICAL'")
    assert all(each.log_index is not None for each in found)
    return Counter((int(each.tx_hash, 16), each.wallet) for each in found)


@pytest.mark.timeout(120)
async def test_following_and_unfollowing_among_a_thousand_loses_and_doubles_nothing(
    database: Database, redis_url: str, tmp_path: Path
) -> None:
    everyone, newcomer, leaver = [address(each) for each in range(1, 1_001)], address(5_000), address(500)
    flow = [(20 * each, everyone[each * 37 % 1_000]) for each in range(450)]
    fills = sorted([*flow, *((100 * each, newcomer) for each in range(90))])
    tape = tape_of(tmp_path, fills, 9_000)
    async with running_sandbox(tape=tape, faults=[SILENT_API]) as sandbox:
        await follow_many(database, everyone)
        async with ingest(database, redis_url, sandbox, chain=True):
            began = time.monotonic()
            asked = await subscribed(sandbox, 5)
            assert asked["rpc.eth_subscribe"] == 5
            started = datetime.fromisoformat((await sandbox.play())["started_at"])
            followed_ms = time.time() * 1000
            await follow(database.url(), newcomer, "new")
            await subscribed(sandbox, 6)
            await unfollow(database.url(), leaver)
            numbered = list(enumerate(fills, 1))
            staying = {(number, wallet) for number, (_, wallet) in numbered if wallet not in {newcomer, leaver}}
            since_ms = followed_ms - started.timestamp() * 1000
            new = {(number, wallet) for number, (at, wallet) in numbered if wallet == newcomer and at >= since_ms}

            async def complete() -> bool:
                return staying | new <= (await recorded(database)).keys()

            await until(complete, 40)
            assert set((await recorded(database)).values()) == {1}
            requests = (await sandbox.status())["requests"]
            elapsed = time.monotonic() - began
            assert requests["rpc.eth_subscribe"] <= 7, "a follow and an unfollow change one subscription each"
            assert requests["rpc"] <= RPC_BURST + RPC_PER_SECOND * (elapsed + 1)


@pytest.mark.timeout(120)
async def test_a_dropped_socket_a_limited_node_and_narrow_ranges_only_delay(
    database: Database, redis_url: str, tmp_path: Path
) -> None:
    fills = [(50 * each, address(1 + each % 7)) for each in range(160)]
    faults: list[dict[str, Any]] = [
        SILENT_API,
        {"at_s": 1, "for_s": 2, "fault": "ws_drop", "target": "rpc"},
        {"at_s": 3, "for_s": 3, "fault": "rate_limit", "target": "rpc"},
        {"at_s": 6, "for_s": 0.3, "fault": "malformed", "target": "rpc"},
        {"at_s": 7, "fault": "reorg", "target": "rpc", "depth": 3},
    ]
    tape = tape_of(tmp_path, fills, 8_000)
    async with running_sandbox(tape=tape, faults=faults, log_range_blocks=3) as sandbox:
        await follow_many(database, [address(each) for each in range(1, 8)])
        async with ingest(database, redis_url, sandbox, chain=True):
            await subscribed(sandbox, 1)
            await sandbox.play()
            wanted = Counter((number, wallet) for number, (_, wallet) in enumerate(fills, 1))

            async def complete() -> bool:
                status = await sandbox.status()
                return bool(status["ended"]) and await recorded(database) == wanted

            await until(complete, 60)
            place = await rows(
                database, "SELECT value->>'block' FROM system_checkpoint WHERE service = 'ingest' AND key = 'chain'"
            )
            assert place, "the place is kept"
