"""Ingest against a real sandbox, Postgres and Redis: every fill once, whichever source tells it."""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis
from pydantic import SecretStr
from sqlalchemy import text

from services.cli.stack.ports import free_port
from services.ingest.app import serve
from services.ingest.commands import follow, request_reconcile
from services.ingest.settings import Settings
from tests.oracle.events import HIDDEN_BY_DEFAULT
from tests.oracle.tape import FillKey, Tape, TapeFill, exact_micros, read_tape
from tests.support.databases import Database
from tests.support.sandbox import RunningSandbox, running_sandbox
from tests.support.tapes import write_tape

pytestmark = pytest.mark.integration

SPEED = 40
SHARED_TAPES = Path(__file__).parents[3] / "shared" / "tapes"
Faults = Sequence[dict[str, Any]]


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    return write_tape(tmp_path / "tape")


@asynccontextmanager
async def ingest(
    database: Database, redis_url: str, sandbox: RunningSandbox, *, chain: bool, instance: str = "ingest-0"
) -> AsyncIterator[None]:
    """Run one ingest in this loop."""
    stop = asyncio.Event()
    settings = Settings(
        database_url=SecretStr(database.url("ingest")),
        redis_url=SecretStr(redis_url),
        instance=instance,
        http_port=free_port(),
        data_api_url=sandbox.data_api_url,
        clob_url=sandbox.clob_url,
        gamma_url=sandbox.gamma_url,
        rpc_ws_url=SecretStr(sandbox.rpc_ws_url) if chain else None,
    )
    work = asyncio.create_task(serve(settings, stop))
    try:
        yield
    finally:
        stop.set()
        async with asyncio.timeout(30):
            await work


async def follow_all(database: Database, tape: Tape) -> None:
    for wallet, label in tape.labels.items():
        await follow(database.url(), wallet, label)


async def rows(database: Database, query: str) -> list[Any]:
    async with database.engine().connect() as connection:
        return list(await connection.execute(text(query)))


async def fills(database: Database) -> Counter[tuple[Any, ...]]:
    """Return the standing fills, each with its cash."""
    found = await rows(
        database,
        """SELECT tx_hash, wallet, asset_id, side, share_micros, fee_micros,
             usdc_notional_micros + CASE side WHEN 'BUY' THEN fee_micros ELSE -fee_micros END AS cash
           FROM trade_event WHERE status = 'CANONICAL' AND mismatch IS NULL""",
    )
    return Counter((row[:5], row.cash, row.fee_micros) for row in found)


def expected(fills_of_tape: Sequence[TapeFill]) -> Counter[tuple[Any, ...]]:
    return Counter((fill.key, fill.cash_micros, fill.fee_micros) for fill in fills_of_tape)


async def until(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Wait until `await condition()` holds."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110  the condition is in Postgres
            await asyncio.sleep(0.1)


async def subscribed(sandbox: RunningSandbox, count: int = 1) -> dict[str, int]:
    """Wait until so many subscriptions were made and return what the sandbox was asked."""

    async def enough() -> bool:
        return int((await sandbox.status())["requests"].get("rpc.eth_subscribe", 0)) >= count

    await until(enough)
    return dict((await sandbox.status())["requests"])


async def play_to_the_end(sandbox: RunningSandbox, database: Database, redis_url: str, wallets: int) -> None:
    """Play, and poll every wallet once more after the end: by a poll that began in a later second than that."""
    await sandbox.play()

    async def ended() -> bool:
        return bool((await sandbox.status())["ended"])

    await until(ended)
    ended_at = int(time.time())
    await asyncio.sleep(ended_at + 1 - time.time())
    await request_reconcile(database.url(), redis_url, hours=1)

    async def polled() -> bool:
        done = await rows(database, "SELECT (value->>'through')::bigint FROM system_checkpoint WHERE key LIKE 'poll:%'")
        return sum(1 for (through,) in done if through is not None and through > ended_at) >= wallets

    await until(polled)


async def other_rows(database: Database) -> Counter[tuple[str, str]]:
    """Return what is no fill, by wire type and by kind."""
    found = await rows(database, "SELECT type, kind, count(*) AS n FROM activity_event GROUP BY 1, 2")
    return Counter({(row.type, row.kind): row.n for row in found})


@pytest.mark.timeout(150)
@pytest.mark.parametrize("chain", [True, False], ids=["chain and api", "api only"])
async def test_every_fill_of_a_tape_is_recorded_once(
    database: Database, redis_url: str, tape: Path, *, chain: bool
) -> None:
    told = read_tape(tape)
    async with running_sandbox(tape=tape, speed=SPEED) as sandbox:
        await follow_all(database, told)
        async with ingest(database, redis_url, sandbox, chain=chain):
            if chain:
                await subscribed(sandbox)
            await play_to_the_end(sandbox, database, redis_url, len(told.labels))
            assert await fills(database) == expected(told.fills)
            found = await other_rows(database)
            wanted = Counter(row.type for row in (*told.rows, *told.combos) if row.type not in HIDDEN_BY_DEFAULT)
            assert Counter({type_: found[type_, kind] for type_, kind in found}) == wanted
            assert found["TRADE", "COMBO"] == len(told.combos)
            logged = await rows(database, "SELECT count(*) FROM trade_event WHERE log_index IS NOT NULL")
            assert bool(logged[0][0]) == chain

            async def every_token_known() -> bool:
                unknown = await rows(
                    database,
                    """SELECT count(*) FROM trade_event e
                       WHERE NOT EXISTS (SELECT FROM outcome_asset o WHERE o.asset_id = e.asset_id)""",
                )
                return bool(unknown[0][0] == 0)

            await until(every_token_known)
    async with redis.from_url(redis_url) as client:
        events = await rows(database, "SELECT count(*) FROM trade_event")
        assert await client.xlen("events.detected") >= events[0][0]


@pytest.mark.timeout(150)
async def test_the_chain_alone_is_enough_for_fills(database: Database, redis_url: str, tape: Path) -> None:
    told = read_tape(tape)
    silent = [{"at_s": 0, "for_s": 10_000, "fault": "down", "target": "data"}]
    async with running_sandbox(tape=tape, speed=SPEED, faults=silent) as sandbox:
        await follow_all(database, told)
        async with ingest(database, redis_url, sandbox, chain=True):
            await sandbox.play()
            hidden = unlogged(tape)
            logged = expected([fill for fill in told.fills if fill.key not in hidden])

            async def complete() -> bool:
                return (await fills(database)).total() >= logged.total()

            await until(complete)
            assert await fills(database) == logged


@pytest.mark.timeout(150)
async def test_two_ingests_a_flapping_websocket_and_doubled_rows_change_nothing(
    database: Database, redis_url: str, tape: Path
) -> None:
    told = read_tape(tape)
    faults = [
        {"at_s": 1, "for_s": 1, "fault": "ws_drop", "target": "rpc"},
        {"at_s": 0, "for_s": 60, "fault": "duplicate_rows", "target": "rpc"},
        {"at_s": 0, "for_s": 60, "fault": "reorder_rows", "target": "data"},
        {"at_s": 0, "for_s": 60, "fault": "no_block_timestamp", "target": "rpc"},
        {"at_s": 2, "for_s": 1, "fault": "malformed", "target": "data"},
    ]
    async with running_sandbox(tape=tape, speed=SPEED, faults=faults) as sandbox:
        await follow_all(database, told)
        async with (
            ingest(database, redis_url, sandbox, chain=True),
            ingest(database, redis_url, sandbox, chain=True, instance="ingest-1"),
        ):
            await play_to_the_end(sandbox, database, redis_url, len(told.labels))
            assert await fills(database) == expected(told.fills)


@pytest.mark.timeout(150)
async def test_a_reorganised_fill_is_reversed_and_comes_back_as_a_further_incarnation(
    database: Database, redis_url: str, tape: Path
) -> None:
    told = read_tape(tape)
    faults = [{"at_s": 2, "fault": "reorg", "target": "rpc", "depth": 60}]
    async with running_sandbox(tape=tape, speed=SPEED, faults=faults) as sandbox:
        await follow_all(database, told)
        async with ingest(database, redis_url, sandbox, chain=True):
            await subscribed(sandbox)
            await play_to_the_end(sandbox, database, redis_url, len(told.labels))
            assert await fills(database) == expected(told.fills)
            again = await rows(
                database,
                """SELECT count(*) FILTER (WHERE status = 'REVERSED') AS gone,
                     count(*) FILTER (WHERE incarnation > 0 AND status = 'CANONICAL') AS back FROM trade_event""",
            )
            assert again[0].gone == again[0].back > 0


@pytest.mark.timeout(150)
async def test_a_new_follow_is_picked_up_without_a_restart(database: Database, redis_url: str, tape: Path) -> None:
    told = read_tape(tape)
    wallet = next(iter(told.labels))
    async with running_sandbox(tape=tape, speed=1) as sandbox, ingest(database, redis_url, sandbox, chain=True):
        await follow(database.url(), wallet, "late")
        await sandbox.play()

        async def seen_on_chain() -> bool:
            found = await rows(database, "SELECT count(*) FROM trade_event WHERE first_source = 'CHAIN'")
            return bool(found[0][0])

        await until(seen_on_chain)


def unlogged(tape: Path) -> set[FillKey]:
    """Return the keys of fills that no log shows."""
    lines = (json.loads(line, parse_float=Decimal) for line in (tape / "activity.jsonl").read_text().splitlines())
    return {
        (
            line["transaction_hash"].lower(),
            line["proxy_wallet"].lower(),
            line["token_id"],
            line["side"],
            exact_micros(line["size"]),
        )
        for line in lines
        if line.get("_no_log")
    }


@pytest.mark.timeout(150)
@pytest.mark.parametrize("name", ["btc-15m-a", "wallets-a"])
async def test_a_shared_tape_is_recorded_once(database: Database, redis_url: str, name: str) -> None:
    folder = SHARED_TAPES / name
    if not folder.exists():
        pytest.skip("the shared tapes are not beside the project")
    told = read_tape(folder)
    async with running_sandbox(tape=folder, speed=120) as sandbox:
        await follow_all(database, told)
        async with ingest(database, redis_url, sandbox, chain=True):
            await play_to_the_end(sandbox, database, redis_url, len(told.labels))
            assert {key[:2] for key in await fills(database)} == {key[:2] for key in expected(told.fills)}
            assert (await fills(database)).total() == len(told.fills)
            found = await other_rows(database)
            wanted = Counter(row.type for row in (*told.rows, *told.combos) if row.type not in HIDDEN_BY_DEFAULT)
            assert Counter({type_: found[type_, kind] for type_, kind in found}) == wanted


@pytest.mark.timeout(150)
async def test_a_killed_ingest_goes_on_where_it_was(database: Database, redis_url: str, tape: Path) -> None:
    lives = 3
    told = read_tape(tape)
    async with running_sandbox(tape=tape, speed=10) as sandbox:
        await follow_all(database, told)
        await sandbox.play()
        for life in range(lives):
            before = (await fills(database)).total()
            process = await start_process(database, redis_url, sandbox)

            async def moved(before: int = before) -> bool:
                found = (await fills(database)).total()
                return found > before or found == len(told.fills)  # a slow machine's first life may have seen it all

            try:
                if life < lives - 1:
                    await until(moved)
                else:
                    await play_to_the_end(sandbox, database, redis_url, len(told.labels))
            finally:
                process.kill()
                await process.wait()
    assert await fills(database) == expected(told.fills)


async def start_process(database: Database, redis_url: str, sandbox: RunningSandbox) -> asyncio.subprocess.Process:
    """Start `python -m services.ingest` as the supervisor does."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SHADOWBOOK_")}
    own = {
        "DATABASE_URL": database.url("ingest"),
        "REDIS_URL": redis_url,
        "SHADOWBOOK_INSTANCE": "ingest-0",
        "SHADOWBOOK_HTTP_PORT": str(free_port()),
        "SHADOWBOOK_DATA_API_URL": sandbox.data_api_url,
        "SHADOWBOOK_GAMMA_URL": sandbox.gamma_url,
        "SHADOWBOOK_RPC_WS_URL": sandbox.rpc_ws_url,
        "SHADOWBOOK_LOG_LEVEL": "WARNING",
    }
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.ingest", env=kept | own, stdout=asyncio.subprocess.DEVNULL
    )
