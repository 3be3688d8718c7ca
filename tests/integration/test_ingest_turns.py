"""Turns and backfills in Postgres, and two whole ingests beside each other: the work is shared, the budget held."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from libs.common.domain.errors import Unavailable
from libs.common.observability.metrics import REGISTRY
from services.cli.stack.ports import free_port
from services.ingest.backfill import backfill_key, backfill_wish
from services.ingest.commands import Backfill, backfill, follow
from services.ingest.store import TurnStore
from tests.integration.test_ingest_plays_a_tape import ingest, rows, until
from tests.support.databases import Database
from tests.support.sandbox import RunningSandbox, running_sandbox

pytestmark = pytest.mark.integration

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
WALLET = "0x" + "11" * 20
ROUND_SECONDS = 14
"""A little less than what passes between two polls of one wallet: a machine too slow for one round sees another."""
POLLED = "SELECT count(*) FROM system_checkpoint WHERE key LIKE 'poll:%' AND value ? 'completed_at'"


async def test_a_turn_is_one_replica_s_until_it_ends_or_its_time_is_over(database: Database) -> None:
    one, two = (TurnStore(database.engine("ingest"), f"ingest-{number}") for number in range(2))
    assert await one.take_turn("poll:0x1", 60) == {}
    assert await two.take_turn("poll:0x1", 60) is None
    assert await one.take_turn("poll:0x1", 60) == {}  # its own, after a restart say
    await two.end_turn("poll:0x1")
    assert await two.take_turn("poll:0x1", 60) is None
    await one.end_turn("poll:0x1", {"through": 7})
    assert await two.take_turn("poll:0x1", -1) == {"through": 7}
    assert await one.take_turn("poll:0x1", 60) == {"through": 7}


async def test_of_many_replicas_one_gets_the_turn(database: Database) -> None:
    stores = [TurnStore(database.engine("ingest"), f"ingest-{number}") for number in range(4)]
    for number in range(10):
        taken = await asyncio.gather(*(store.take_turn(f"poll:{number}", 60) for store in stores))
        assert sum(value is not None for value in taken) == 1


async def test_a_wish_for_more_replaces_a_backfill_and_one_for_less_joins_it(database: Database) -> None:
    operator, worker = TurnStore(database.engine(), "operator"), TurnStore(database.engine("ingest"), "ingest-0")
    first = await operator.ask_backfill(WALLET, backfill_wish(NOON, 24, "t"))
    assert await worker.advance_backfill(WALLET, first["asked_at"], {"at": first["from"] + 10, "rows": 3})
    joined = await operator.ask_backfill(WALLET, backfill_wish(NOON.replace(hour=13), 24, "t"))
    assert joined == {**first, "at": first["from"] + 10, "rows": 3, "to": first["to"] + 3600}
    more = await operator.ask_backfill(WALLET, backfill_wish(NOON.replace(minute=1), 48, "t"))
    assert more["at"] == more["from"] < first["from"]
    assert not await worker.advance_backfill(WALLET, first["asked_at"], {"finished_at": "x"})
    assert await worker.open_backfills() == [WALLET]
    assert await worker.advance_backfill(WALLET, more["asked_at"], {"finished_at": NOON.isoformat()})
    assert await worker.open_backfills() == []
    again = await operator.ask_backfill(WALLET, backfill_wish(NOON.replace(minute=2), 1, "t"))
    assert again["finished_at"] is None
    assert (await operator.backfills())[WALLET] == again
    assert backfill_key(WALLET) == f"backfill:{WALLET}"


async def follow_many(database: Database, many: int) -> None:
    for number in range(1, many + 1):
        await follow(database.url(), f"0x{number:040x}", f"user-{number}")


def polls_done() -> float:
    return REGISTRY.get_sample_value("shadowbook_polls_total", {"outcome": "complete"}) or 0.0


async def requests(sandbox: RunningSandbox) -> int:
    return int((await sandbox.status())["requests"].get("data", 0))


@pytest.mark.timeout(120)
async def test_two_ingests_poll_each_wallet_once_and_answer_a_wish_once(database: Database, redis_url: str) -> None:
    many, polled_before = 24, polls_done()
    await follow_many(database, many)
    async with (
        running_sandbox() as sandbox,
        ingest(database, redis_url, sandbox, chain=False),
        ingest(database, redis_url, sandbox, chain=False, instance="ingest-1"),
    ):

        async def all_polled() -> bool:
            found: list[Any] = await rows(database, POLLED)
            return bool(found[0][0] == many)

        async def all_counted() -> bool:
            return polls_done() - polled_before >= many

        def rounds() -> float:
            return 1 + (time.monotonic() - began) // ROUND_SECONDS

        began = time.monotonic()
        await until(all_polled)
        await until(all_counted)
        assert polls_done() - polled_before <= many * rounds() + 2
        states: list[Backfill] = []
        async for states in backfill(database.url(), None, 48):  # noqa: B007  the last one counts
            pass
        assert len(states) == many
        assert all(state.finished_at and not state.error and state.done_permille == 1000 for state in states)
        # Three pages of positions and the backfill each, and the polls; others may have been due meanwhile.
        assert await requests(sandbox) <= (5 + rounds()) * many + 12


@pytest.mark.timeout(120)
async def test_with_redis_gone_two_ingests_stay_far_below_the_budget(database: Database) -> None:
    await follow_many(database, 60)
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    async with running_sandbox() as sandbox:
        async with (
            ingest(database, nowhere, sandbox, chain=False),
            ingest(database, nowhere, sandbox, chain=False, instance="ingest-1"),
        ):

            async def some_polled() -> bool:
                return bool(await requests(sandbox) >= 4)

            await until(some_polled)
            began, before = asyncio.get_running_loop().time(), await requests(sandbox)
            await until(lambda: _more(sandbox, before + 8))
            after = await requests(sandbox)
            took = asyncio.get_running_loop().time() - began
        # An eighth of ten a second in each process; the bucket holds one.
        assert (after - before) <= 2 * (10 / 8 * took + 2)


async def _more(sandbox: RunningSandbox, than: int) -> bool:
    return await requests(sandbox) >= than


async def test_a_backfill_of_nobody_is_refused(database: Database) -> None:
    for who, hours, complaint in (
        ("mo", 1, "expected a followed wallet"),
        (WALLET, 1, "not followed"),
        (None, 0, "hours"),
    ):
        with pytest.raises(ValueError, match=complaint):
            async for _ in backfill(database.url(), who, hours):
                pass
    with pytest.raises(Unavailable):
        async for _ in backfill(f"postgresql://x@127.0.0.1:{free_port()}/x", None, 1):
            pass
