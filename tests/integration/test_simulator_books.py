"""Books as they are kept: packed by the database, for thirty days after they were last wanted."""

from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID, uuid4

import pytest

from libs.common.db.retention import BATCH_MAX, Retention
from libs.common.domain.book import Book, Level
from libs.common.domain.kinds import Scope
from services.simulator.commands import replay_attempts
from services.simulator.replay import replay
from services.simulator.store.books import KEPT, BookStore
from tests.support.decisions import BOOK, YES
from tests.support.simulator_world import World

pytestmark = pytest.mark.integration

LEVELS = 60
BOOK_BYTES_MAX = 2_000


def deep_book() -> Book:
    """A book of 120 levels with sizes as they come."""
    drawn = Random(1)  # noqa: S311  sizes of a test

    def side(first: int, step: int) -> tuple[Level, ...]:
        return tuple(Level(first + step * n, drawn.randrange(100, 3_000_000) * 10_000) for n in range(LEVELS))

    return Book(YES, "deep", 1, side(499_000, -1_000), side(501_000, 1_000))


def retention(books: BookStore, now: datetime) -> Retention:
    return Retention("books", KEPT, books.prune, lambda: now)


async def test_a_deep_book_is_stored_compressed_and_comes_back_as_it_was(world: World) -> None:
    replica = world.replica(Scope.EXEC_USER)
    deep = world.exchange.books_by_asset[YES] = deep_book()
    await replica.hear(await world.close_group())
    await replica.decide_all()
    (row,) = await world.execute(
        "SELECT pg_column_size(bids) + pg_column_size(asks) AS bytes, pg_column_compression(bids) AS how,"
        " pg_column_compression(asks) AS how_too FROM book_snapshot"
    )
    assert row.how is not None
    assert row.how_too is not None
    assert row.bytes < BOOK_BYTES_MAX
    fresh = world.replica(Scope.EXEC_GLOBAL)  # remembers nothing: reads the stored levels
    await fresh.hear((await world.attempts(Scope.EXEC_USER))[0].group_id)
    await fresh.decide_all()
    assert list(fresh.books.known([(YES, "deep")]).values()) == [deep]
    assert not await replay_attempts(world.database.url())


async def test_books_go_after_thirty_days_and_attempts_keep_what_they_were(world: World) -> None:
    replica = world.replica(Scope.EXEC_USER)
    await replica.hear(await world.close_group())
    await replica.decide_all()
    before = await world.attempts(Scope.EXEC_USER)
    now = datetime.now(UTC)
    assert await retention(replica.books, now + timedelta(days=30)).forget() is False
    assert len(await world.execute("SELECT 1 FROM book_snapshot")) == 1
    assert await retention(replica.books, now + KEPT + timedelta(seconds=5)).forget() is False
    assert not await world.execute("SELECT 1 FROM book_snapshot")
    assert not await world.execute("SELECT 1 FROM group_book")
    assert await world.attempts(Scope.EXEC_USER) == before
    assert (before[0].book_hash, before[0].filled_notional_micros > 0) == (BOOK.hash, True)
    async with world.database.engine().connect() as connection:
        (again,) = [each async for each in replay(connection, None, now - timedelta(hours=1))]
    assert again.book_is_gone
    assert not again.differences


async def test_a_version_that_is_fetched_again_is_kept_from_then_on(world: World) -> None:
    books = BookStore(world.database.engine("simulator"), "simulator-0")
    groups = [await world.close_group() for _ in range(2)]
    now = datetime.now(UTC)
    await books.save({groups[0]: BOOK}, now - timedelta(days=40))
    await books.save({groups[1]: BOOK}, now)
    await books.save({groups[1]: BOOK}, now + timedelta(hours=23))  # within the day it is not written again
    (row,) = await world.execute("SELECT fetched_at FROM book_snapshot")
    assert row.fetched_at == now
    assert await retention(books, now + timedelta(days=30)).forget() is False
    assert len(await world.execute("SELECT 1 FROM book_snapshot")) == 1


async def test_a_backlog_of_old_books_goes_in_batches(world: World) -> None:
    books = BookStore(world.database.engine("simulator"), "simulator-0")
    old = datetime.now(UTC) - KEPT - timedelta(days=1)
    count = BATCH_MAX + 1
    await books.save({UUID(int=n): Book(str(n), "h", 1, BOOK.bids, BOOK.asks) for n in range(count)}, old)
    old_ones = retention(books, datetime.now(UTC))
    assert [await old_ones.forget(), await old_ones.forget()] == [True, False]
    assert not await world.execute("SELECT 1 FROM book_snapshot")


async def test_a_database_that_is_away_is_asked_next_time(world: World) -> None:
    from libs.common.db.engine import make_engine

    cluster = world.database.cluster
    nowhere = make_engine(world.database.url("simulator").replace(f":{cluster.port}/", ":1/"), application="nowhere")
    assert await retention(BookStore(nowhere, "x"), datetime.now(UTC)).forget() is False
    await nowhere.dispose()


async def test_only_who_holds_the_claim_says_that_there_is_no_book(world: World) -> None:
    engine = world.database.engine("simulator")
    first, second = BookStore(engine, "first"), BookStore(engine, "second")
    group_id = await world.close_group()
    (group,) = [each.group for each in await world.replica(Scope.EXEC_USER).groups.find([group_id])]
    assert await first.claim([group]) == {group_id}
    await world.execute("UPDATE group_book SET claimed_at = claimed_at - interval '1 minute'")  # it stood still
    assert await second.claim([group]) == {group_id}
    assert await first.give_up([group_id], "late") == set()
    assert await second.settled([group_id]) == set()
    await second.save({group_id: BOOK}, datetime.now(UTC))
    assert await second.give_up([group_id, uuid4()], "none") == set()
    (row,) = await world.execute("SELECT book_hash, error FROM group_book")
    assert (row.book_hash, row.error) == (BOOK.hash, None)
