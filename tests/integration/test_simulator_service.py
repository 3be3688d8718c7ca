"""The simulator as processes would run it: own database role, own Redis user, messages in, attempts out."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from libs.common.bus import Bus
from libs.common.bus.streams import ATTEMPTS_DECIDED, GROUPS_CLOSED
from libs.common.db.dead_letters import PostgresDeadLetters
from libs.common.domain.kinds import GroupKind, Scope
from libs.common.messages import GroupClosed
from services.cli.stack.ports import free_port
from services.simulator.app import serve
from services.simulator.commands import replay_attempts
from services.simulator.settings import Settings
from tests.support.book_host import BookHost, serving_books
from tests.support.databases import Database
from tests.support.simulator_world import CONSUMERS, HERON, OTTER, World

pytestmark = pytest.mark.integration


@pytest.fixture
def book_host() -> Iterator[str]:
    with serving_books() as url:
        yield url


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110  what is awaited is a row that another task commits
            await asyncio.sleep(0.02)


@asynccontextmanager
async def simulators(database: Database, redis_url: str, host: str, *scopes: Scope) -> AsyncIterator[list[int]]:
    """Run simulators for a block, given the ports of their health."""
    stop = asyncio.Event()
    ports = [free_port() for _ in scopes]
    async with asyncio.TaskGroup() as tasks:
        for number, scope in enumerate(scopes):
            settings = Settings(
                database_url=SecretStr(database.url("simulator")),
                redis_url=SecretStr(redis_url),
                instance=f"simulator-{number}",
                http_port=ports[number],
                scope=scope,
                clob_url=host,
            )
            tasks.create_task(serve(settings, stop))
        try:
            yield ports
        finally:
            stop.set()


@pytest.fixture
async def bus(database: Database, redis_url: str) -> AsyncIterator[Bus]:
    found = Bus(redis_url, service="test", instance="test", dead_letters=PostgresDeadLetters(database.engine()))
    yield found
    await found.redis.aclose()


def closed(group: UUID, user: UUID = OTTER) -> GroupClosed:
    now = datetime.now(UTC)
    return GroupClosed(group_id=group, kind=GroupKind.TRADE, user_id=user, occurred_at=now, observed_at=now)


async def test_groups_become_attempts_on_time_and_are_announced(
    database: Database, redis_url_for: Callable[[str], str], bus: Bus, book_host: str
) -> None:
    world = World(database)
    await world.open()
    before = await world.close_group(age_s=3)  # closed before anyone listened: found in Postgres
    async with simulators(database, redis_url_for("simulator"), book_host, Scope.EXEC_USER, Scope.EXEC_GLOBAL):
        groups = [await world.close_group(age_s=2, user=(OTTER, HERON)[n % 2]) for n in range(10)]
        await bus.publish(GROUPS_CLOSED, [closed(each) for each in groups])

        async def all_decided() -> bool:
            return all([len(await world.attempts(scope)) == 11 for scope in CONSUMERS])

        await eventually(all_decided)
    for scope in CONSUMERS:
        attempts = await world.attempts(scope)
        assert {each.group_id for each in attempts} == {before, *groups}
        assert all(each.decision == "EXECUTE" for each in attempts)
        assert all(each.decided_at >= each.book_fetched_at >= each.due_at for each in attempts)
    assert [each.group_id for each in await world.attempts(Scope.EXEC_GLOBAL)] == [before, *groups]
    assert await bus.redis.xlen(ATTEMPTS_DECIDED.name) >= 22
    fetched = sum(len(assets) for assets in BookHost.calls)
    assert fetched <= 11
    assert not await replay_attempts(database.url())


async def test_an_unknown_group_is_a_dead_letter_and_its_neighbours_pass(
    database: Database, redis_url_for: Callable[[str], str], bus: Bus, book_host: str
) -> None:
    world = World(database)
    await world.open()
    async with simulators(database, redis_url_for("simulator"), book_host, Scope.EXEC_USER):
        good, poison = await world.close_group(), uuid4()
        await bus.publish(GROUPS_CLOSED, [closed(poison), closed(good)])

        async def settled() -> bool:
            letters = await world.execute("SELECT subject FROM dead_letter WHERE group_name = 'simulator-user'")
            return bool(letters) and len(await world.attempts(Scope.EXEC_USER)) == 1

        await eventually(settled)
    letters = await world.execute("SELECT subject, error FROM dead_letter WHERE group_name = 'simulator-user'")
    assert [letter.subject for letter in letters] == [str(poison)]
