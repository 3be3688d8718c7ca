"""When a stack counts as drained: each kind of unfinished work holds it open, and only while it is unfinished."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import insert
from sqlmodel import SQLModel

from libs.common.db.checkpoints import save_checkpoint
from libs.common.db.drain import backlog
from libs.common.db.tables.system import DeadLetter
from libs.common.db.tables.users import FollowedUser, FollowedUserProxyWallet
from tests.support.databases import Database

pytestmark = pytest.mark.integration
END = datetime(2026, 1, 1, tzinfo=UTC)
BEFORE, AFTER = END - timedelta(seconds=1), END + timedelta(seconds=1)
WALLET = "0x" + "a" * 40


async def add(database: Database, table: type[SQLModel], **values: Any) -> None:
    async with database.engine().begin() as connection:
        await connection.execute(insert(table).values(**values))


async def checkpoint(database: Database, service: str, key: str, **value: Any) -> None:
    async with database.engine(service).begin() as connection:
        await save_checkpoint(connection, service, key, value)


def epoch(at: datetime) -> int:
    return int(at.timestamp())


async def follow(database: Database) -> UUID:
    user_id = uuid4()
    await add(database, FollowedUser, id=user_id, label="w", profile_wallet=WALLET, enabled=True, followed_at=BEFORE)
    await add(database, FollowedUserProxyWallet, wallet=WALLET, user_id=user_id, followed_at=BEFORE)
    return user_id


async def waiting(database: Database) -> dict[str, int]:
    return (await backlog(database.engine(), END)).waiting


async def test_nothing_followed_is_nothing_to_wait_for(database: Database) -> None:
    left = await backlog(database.engine(), END)
    assert left.is_empty
    assert left.dead_letters_open == 0


async def test_a_wallet_waits_for_a_poll_that_began_after_the_end(database: Database) -> None:
    await follow(database)
    assert await waiting(database) == {"wallets without a complete poll": 1}
    await checkpoint(database, "ingest", f"poll:{WALLET}", completed_at=AFTER.isoformat(), through=epoch(BEFORE))
    assert await waiting(database) == {"wallets without a complete poll": 1}
    await checkpoint(database, "ingest", f"poll:{WALLET}", completed_at=AFTER.isoformat(), through=epoch(AFTER))
    assert await waiting(database) == {}


async def test_open_dead_letters_are_counted(database: Database) -> None:
    for status in ("OPEN", "OPEN", "REPLAYED"):
        await add(
            database, DeadLetter, id=uuid4(), stream="events.detected", group_name="ledger", message_id="1-0",
            payload="{}", error="x", attempts=4, first_at=BEFORE, last_at=BEFORE, status=status,
        )  # fmt: skip
    assert (await backlog(database.engine(), END)).dead_letters_open == 2
