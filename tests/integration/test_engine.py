"""The pool on a real Postgres: what becomes of connections the server closed."""

import asyncio

import pytest
from sqlalchemy import text

from libs.common.db.engine import transaction
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
