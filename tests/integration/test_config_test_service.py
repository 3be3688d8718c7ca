"""Tests of a configuration as processes do them: a message wakes, a worker of its own does it, another takes over."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from uuid import UUID

import psutil
import pytest

from libs.common.bus import Bus
from libs.common.bus.streams import CONFIG_TEST_REQUESTED
from libs.common.db.config_tests import cancel_run
from libs.common.db.dead_letters import PostgresDeadLetters
from libs.common.db.engine import transaction
from libs.common.domain.kinds import Scope
from libs.common.messages import ConfigTestRequested
from services.simulator.testing import Workers
from tests.integration.test_simulator_service import eventually, simulators
from tests.support.databases import Database
from tests.support.recorded_world import RecordedWorld, buy

pytestmark = pytest.mark.integration

NOBODY = "http://127.0.0.1:9"


def workers() -> list[psutil.Process]:
    """Return this process's running workers."""
    found = []
    for child in psutil.Process().children():
        try:
            if "services.simulator.config_test" in child.cmdline():
                found.append(child)
        except psutil.Error:
            continue
    return found


@asynccontextmanager
async def looking_after(database: Database) -> AsyncIterator[None]:
    """Start workers for whoever asks during a block; wait until the last of them is gone."""
    running = asyncio.create_task(Workers(database.engine("simulator"), database.url("simulator")).run())
    try:
        yield
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def lock_books(world: RecordedWorld) -> Callable[[], Awaitable[None]]:
    """Hold a lock that a worker runs into in the middle of its work; return what lets go of it."""
    connection = await world.database.engine().connect()
    await connection.begin()
    await connection.exec_driver_sql("LOCK TABLE book_snapshot IN ACCESS EXCLUSIVE MODE")

    async def release() -> None:
        await connection.rollback()
        await connection.close()

    return release


async def state_of(world: RecordedWorld, run_id: UUID) -> str:
    return (await world.run(run_id)).state


async def test_a_message_wakes_a_worker_and_nothing_stays(
    database: Database, redis_url: str, redis_url_for: Callable[[str], str]
) -> None:
    world = RecordedWorld(database)
    await world.open()
    since = datetime.now(UTC)
    await world.decide(buy())
    async with simulators(database, redis_url_for("simulator"), NOBODY, Scope.EXEC_USER, Scope.EXEC_GLOBAL):
        bus = Bus(
            redis_url_for("ui"),
            service="ui",
            instance="ui-0",
            dead_letters=PostgresDeadLetters(world.database.engine()),
        )
        run_id, now = await world.ask({"copy_pct": 2}, since), datetime.now(UTC)
        message = ConfigTestRequested(run_id=run_id, occurred_at=now, observed_at=now)
        await bus.publish(CONFIG_TEST_REQUESTED, [message])
        await bus.redis.aclose()

        async def done() -> bool:
            return await state_of(world, run_id) == "DONE" and not workers()

        await eventually(done)
    result = (await world.run(run_id)).result
    assert result is not None
    assert result.changed_total == 2


async def test_a_worker_killed_in_the_middle_is_followed_by_another(database: Database) -> None:
    world = RecordedWorld(database)
    await world.open()
    since = datetime.now(UTC)
    await world.decide(buy())
    run_id = await world.ask({}, since)
    release = await lock_books(world)

    async def one_runs() -> bool:
        return bool(workers()) and await state_of(world, run_id) == "RUNNING"

    async with looking_after(database):
        await eventually(one_runs)
        (first,) = workers()
        assert first.nice() == 19
        first.send_signal(signal.SIGKILL)

        async def another_runs() -> bool:
            return [each.pid for each in workers()] not in ([], [first.pid]) and await one_runs()

        await eventually(another_runs)
        await release()

        async def done() -> bool:
            return await state_of(world, run_id) == "DONE" and not workers()

        await eventually(done)
    (row,) = await world.execute("SELECT tries FROM config_test_run")
    assert row.tries == 2


async def test_a_worker_stops_in_the_middle_when_called_off_and_dies_with_its_parent(database: Database) -> None:
    world = RecordedWorld(database)
    await world.open()
    await world.decide(buy())
    run_id = await world.ask({}, datetime(2026, 1, 1, tzinfo=UTC))
    await world.execute(  # as long a range as none would ask for: many slices of marks to read
        "UPDATE config_test_run SET since = '1990-01-01', until = now()"
    )

    async def under_way() -> bool:
        return (await world.run(run_id)).total is not None

    async def ended() -> bool:
        return await state_of(world, run_id) == "CANCELLED"

    async with looking_after(database):
        await eventually(under_way)
        async with transaction(database.engine("ui")) as connection:
            assert await cancel_run(connection, run_id, "test")
        await eventually(ended)
    await world.execute("UPDATE config_test_run SET state = 'QUEUED', cancel_requested_at = NULL, total = NULL")
    async with looking_after(database):
        await eventually(under_way)
    assert workers() == []
