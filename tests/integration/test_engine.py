"""The pool on a real Postgres: connections that the server closed, and processes that stand still with its locks."""

import asyncio

import pytest
from sqlalchemy import text

from libs.common.db.engine import IDLE_SECONDS, make_engine, transaction
from libs.common.domain.errors import Unavailable
from libs.common.frame import opened_frame
from libs.common.settings import ServiceSettings
from services.cli.stack.ports import free_port
from tests.support.databases import Database

pytestmark = pytest.mark.integration


async def test_a_connection_the_server_closed_is_replaced_unnoticed(database: Database) -> None:
    engine = database.engine("ledger")
    async with transaction(engine) as connection:
        before = await connection.scalar(text("SELECT pg_backend_pid()"))
        pooled = await connection.get_raw_connection()
        driver = pooled.driver_connection
        assert driver is not None
        closed = asyncio.Event()
        driver.add_termination_listener(lambda _: closed.set())
    await database.cluster.execute(f"SELECT pg_terminate_backend({before})")
    async with asyncio.timeout(30):
        await closed.wait()
    async with transaction(engine) as connection:
        assert await connection.scalar(text("SELECT pg_backend_pid()")) != before


async def test_who_stands_still_in_a_transaction_is_cut_off_and_lets_go_of_its_locks(database: Database) -> None:
    strict = make_engine(database.url("grouper"), application="strict", pool_size=1, idle_seconds=0.1)
    lock = text("SELECT pg_advisory_xact_lock(7)")

    async def stand_still() -> None:
        async with transaction(strict) as connection:
            await connection.execute(lock)
            async with transaction(database.engine("grouper")) as another:
                await another.execute(lock)
            await connection.execute(lock)

    async with asyncio.timeout(30):
        with pytest.raises(Unavailable):
            await stand_still()
    await strict.dispose()


async def test_every_service_may_stand_still_for_seconds_only(database: Database, redis_url: str) -> None:
    settings = ServiceSettings(
        database_url=database.url("grouper"), redis_url=redis_url, instance="one", http_port=free_port()
    )
    async with opened_frame("grouper", settings) as frame, transaction(frame.engine) as connection:
        limit = await connection.scalar(text("SELECT current_setting('idle_in_transaction_session_timeout')"))
    assert limit == f"{IDLE_SECONDS:.0f}s"
