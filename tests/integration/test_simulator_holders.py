"""Who holds a portfolio's lock and dies, sleeps or is cut off is replaced within five seconds and does no harm."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from libs.common.db.engine import make_engine
from libs.common.domain.kinds import Scope
from services.simulator.store.holders import end_stuck_holders
from services.simulator.store.session import DecisionSession
from tests.support.book_host import serving_books
from tests.support.databases import Database
from tests.support.halting_simulator import FETCHING, LOCKED, READING, WRITTEN
from tests.support.silent_proxy import silent_proxy
from tests.support.simulator_world import HERON, OTTER, Replica, World

pytestmark = pytest.mark.integration

REPLACED_SECONDS = 5.0
WOKEN_SECONDS = 20


@pytest.fixture
def host() -> Iterator[str]:
    with serving_books() as url:
        yield url


@asynccontextmanager
async def halting(database: Database, place: str, name: str, scope: Scope, host: str) -> AsyncIterator[Any]:
    """Run a simulator process until it halts in the middle of a transaction."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.halting_simulator", place, name, scope.value, database.url("simulator"),
        host, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(WOKEN_SECONDS):
            assert await process.stdout.readline() == b"halting\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def replace_it(replica: Replica, groups: list[UUID]) -> float:
    """Decide `groups` by another replica as its process would; return how many seconds it took."""
    began = time.monotonic()
    stop = asyncio.Event()
    await replica.start()
    await replica.hear(*groups)
    tasks = [
        asyncio.create_task(replica.desk.run()),
        asyncio.create_task(replica.scheduler.run(stop, lambda: None)),
    ]
    async with asyncio.timeout(4 * REPLACED_SECONDS):
        while len(await replica.world.attempts(replica.scope)) < len(groups):  # noqa: ASYNC110  what is awaited is a row
            await asyncio.sleep(0.02)
    took = time.monotonic() - began
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return took


async def assert_decided_once_in_order(world: World, scope: Scope, groups: list[UUID]) -> list[Any]:
    attempts = await world.attempts(scope)
    assert sorted(each.group_id for each in attempts) == sorted(groups)
    assert not any(each.out_of_order for each in attempts)
    by_portfolio: dict[UUID, list[int]] = {}
    for each in attempts:
        by_portfolio.setdefault(each.portfolio_id, []).append(each.seq)
    assert all(seqs == list(range(1, len(seqs) + 1)) for seqs in by_portfolio.values())
    place = {group: number for number, group in enumerate(groups)}
    if scope is Scope.EXEC_GLOBAL:
        assert [place[each.group_id] for each in attempts] == list(range(len(groups)))
    orphans = await world.execute(
        "SELECT 1 FROM executable_fill f LEFT JOIN copy_attempt a ON a.id = f.attempt_id WHERE a.id IS NULL"
    )
    assert not orphans
    return attempts


async def five_groups(world: World) -> list[UUID]:
    return [await world.close_group(age_s=5 - n / 10, user=(OTTER, HERON)[n % 2]) for n in range(5)]


@pytest.mark.parametrize("place", [LOCKED, WRITTEN])
async def test_a_killed_holder_is_replaced_at_once(world: World, host: str, place: str) -> None:
    groups = await five_groups(world)
    scope = Scope.EXEC_GLOBAL
    async with halting(world.database, place, "SIGKILL", scope, host) as process:
        await process.wait()
        assert await replace_it(world.replica(scope, "second"), groups) < REPLACED_SECONDS
    await assert_decided_once_in_order(world, scope, groups)


@pytest.mark.parametrize(
    ("place", "scope"),
    [
        (WRITTEN, Scope.EXEC_USER),
        (WRITTEN, Scope.EXEC_GLOBAL),
        (READING, Scope.EXEC_GLOBAL),
        (FETCHING, Scope.EXEC_GLOBAL),
    ],
)
async def test_a_stopped_holder_is_replaced_and_does_no_harm_when_it_wakes(
    world: World, host: str, place: str, scope: Scope
) -> None:
    groups = await five_groups(world)
    async with halting(world.database, place, "SIGSTOP", scope, host) as process:
        assert await replace_it(world.replica(scope, "second"), groups) < REPLACED_SECONDS
        before = await assert_decided_once_in_order(world, scope, groups)
        books = await world.execute("SELECT * FROM group_book ORDER BY group_id")
        process.send_signal(signal.SIGCONT)
        async with asyncio.timeout(WOKEN_SECONDS):
            assert (await process.stdout.read()).endswith(b"done\n")  # it went on, and found everything decided
        assert await process.wait() == 0
    assert await world.attempts(scope) == before
    assert await world.execute("SELECT * FROM group_book ORDER BY group_id") == books
    assert all(each.decision == "EXECUTE" for each in before)


async def test_a_holder_that_is_cut_off_is_replaced_and_does_no_harm_when_its_network_returns(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = await five_groups(world)
    scope, cluster = Scope.EXEC_GLOBAL, world.database.cluster
    async with silent_proxy(cluster.host, cluster.port) as proxy:
        url = world.database.url("simulator").replace(f":{cluster.port}/", f":{proxy.port}/")
        far = make_engine(url, application="far", pool_size=4)
        holder = world.replica(scope, "first", far)
        await holder.hear(*groups)
        holder.scheduler._prepare(holder.scheduler._now())
        await holder.get_books()
        write, silenced = DecisionSession.write, asyncio.Event()

        async def cut_off(self: Any, *rows: Any) -> None:
            if not silenced.is_set():
                await write(self, *rows)
                proxy.silence()
                silenced.set()
                return
            await write(self, *rows)

        monkeypatch.setattr(DecisionSession, "write", cut_off)
        hangs = asyncio.create_task(holder.scheduler.tick())
        await silenced.wait()
        assert await replace_it(world.replica(scope, "second"), groups) < REPLACED_SECONDS
        before = await assert_decided_once_in_order(world, scope, groups)
        proxy.resume()
        await hangs
        async with asyncio.timeout(WOKEN_SECONDS):
            while len(holder.scheduler):
                await holder.scheduler.tick()
        await far.dispose()
    assert await world.attempts(scope) == before


async def test_a_holder_whose_connection_is_ended_decides_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = await five_groups(world)
    replica = world.replica(Scope.EXEC_GLOBAL)
    write, ended = DecisionSession.write, [False]

    async def end_ours(self: Any, *rows: Any) -> None:
        await write(self, *rows)
        if not ended[0]:
            ended[0] = True
            await world.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE usename = 'shadowbook_simulator' AND state = 'idle in transaction'"
            )

    monkeypatch.setattr(DecisionSession, "write", end_ours)
    await replica.hear(*groups)
    await replica.decide_all()
    await assert_decided_once_in_order(world, Scope.EXEC_GLOBAL, groups)


async def test_nobody_is_ended_who_works_or_waits(world: World) -> None:
    engine = world.database.engine("simulator")
    async with engine.begin() as connection:
        await connection.exec_driver_sql("SELECT 1 FROM portfolio FOR NO KEY UPDATE")
        assert await end_stuck_holders(engine) == 0
        await connection.exec_driver_sql("SELECT 1")
