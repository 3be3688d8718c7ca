"""What can never be told keeps nothing else waiting: an opening without a mark, a conversion of nobody knows what."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from libs.common.db.drain import backlog
from libs.common.domain.kinds import EventKind
from services.ingest.commands import compare_positions, follow, unfollow
from services.ingest.core.positions import READINGS_MAX, Held, Owner
from services.ingest.core.readings import Reading
from services.ingest.store import MarketStore
from services.ingest.store.comparison import ComparisonStore
from services.ingest.store.positions import HOPE
from tests.handlers.test_ingest_parts import facts_of
from tests.integration.test_ingest_late_events import SHARE, WALLET, Books
from tests.integration.test_ingest_opens_positions import MARKETS, OPENED, UNPOSTED, position, services, shadow, until
from tests.support.databases import Database
from tests.support.sandbox import OTTER, head, running_sandbox, write_tape

pytestmark = pytest.mark.integration

WITHOUT_OPENING = "wallets whose opening positions are not told yet"


@pytest.fixture
async def books(database: Database) -> Books:
    made = (await follow(database.url(), WALLET, "w")).follow
    return Books(database, Owner(made.user_id, WALLET, made.followed_at, first=True))


async def read(books: Books, number: int, rows: Sequence[Held]) -> list[str]:
    """Take a further reading of these rows and make openings of it; return what is not clear yet."""
    held, now = {row.asset_id: row for row in rows}, datetime.now(UTC)
    reading = Reading(books.owner.followed_at, now, number, 0, held, sorted(held))
    await books.positions.keep_reading(books.owner, reading)
    for complete in (False, True):
        _, unclear = await books.positions.record_openings(
            books.owner, held, reading, complete=complete, last=complete, now=now
        )
    return unclear


async def waiting(books: Books) -> dict[str, int]:
    return (await backlog(books.database.engine(), datetime.now(UTC))).waiting


async def prices(books: Books) -> dict[str, int]:
    async with books.database.engine().connect() as connection:
        found = await connection.execute(text("SELECT asset_id, price_micros FROM position_sync WHERE kind='OPENING'"))
        return {row.asset_id: row.price_micros for row in found}


async def execute(books: Books, statement: str, **values: object) -> None:
    async with books.database.engine().begin() as connection:
        await connection.execute(text(statement), values)


async def test_a_token_nobody_has_a_mark_of_is_left_out_at_the_third_reading_and_the_wallet_opened(
    books: Books,
) -> None:
    rows = [books.held("11", 5, -60), replace(books.held("12", 20, 4), price_micros=None)]
    for number in range(1, READINGS_MAX):
        assert await read(books, number, rows) == ["12"]
    assert WITHOUT_OPENING in await waiting(books)
    with capture_logs() as lines:
        assert await read(books, READINGS_MAX, rows) == []
    assert [(each["event"], each["tokens"]) for each in lines] == [("opening_left_out", ["12"])]
    assert WITHOUT_OPENING not in await waiting(books)
    assert [due for due in await books.positions.due(datetime.now(UTC)) if due.opening] == []
    # A conversion of its event brings what it made, and no shares that would have cost nothing.
    await books.fact(9, EventKind.CONVERSION, 8, 5, "12")
    await books.adjust(replace(books.held("12", 12, 5), price_micros=None), books.held("21", 8, 5))
    # Nor is a late event taken for a part of it.
    assert (await books.fill(1, "12", 2, 3)).corrected == []
    assert await books.shares() == {"11": 5, "opening 11": 5, "12": 2, "21": 8}


async def test_a_token_without_a_price_is_opened_at_a_mark_of_ours_from_soon_after_the_follow_or_at_its_payout(
    books: Books,
) -> None:
    rows = [replace(books.held(asset, 5, -60), price_micros=None) for asset in ("11", "12", "21")]
    await MarketStore(books.database.engine("ingest")).save([facts_of(1), facts_of(2)], datetime.now(UTC))
    mark = "INSERT INTO market_price_snapshot (asset_id, at, price_micros, source) VALUES (:asset, :at, :price, 'book')"
    for second, price in ((90, 310_000), (30, 300_000), (-3600, 900_000)):
        await execute(books, mark, asset="11", at=books.at(second), price=price)
    await execute(books, mark, asset="12", at=books.at(3600), price=900_000)
    await execute(
        books,
        "INSERT INTO market_resolution (condition_id, payouts_micros, source, observed_at) "
        "VALUES ('0xc2', ARRAY[1000000, 0], 'test', now())",
    )
    assert await read(books, 1, rows) == ["12"]
    assert await prices(books) == {"11": 300_000, "21": 1_000_000}


async def test_a_conversion_nobody_can_attach_is_given_up_and_taken_up_again_when_its_market_is_known(
    books: Books,
) -> None:
    await books.open()
    await books.fact(9, EventKind.CONVERSION, 8, 5, condition="0xc1")
    await books.fact(10, EventKind.CONVERSION, 8, 6, condition="")
    view = ComparisonStore(books.database.engine())
    before, recent = datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) + timedelta(hours=1)
    soon, late = books.at(60), datetime.now(UTC) + HOPE + timedelta(minutes=1)
    assert [due.converted_at for due in await books.positions.due(soon)] == [books.at(5)]
    await books.adjust()
    assert [due.converted_at for due in await books.positions.due(soon)] == [books.at(5)]
    assert await books.positions.due(late) == []
    assert (await view.view({}, before)).busy == {books.owner.user_id}  # seen lately: it may be under way
    assert (await view.view({}, recent)).busy == frozenset()
    await MarketStore(books.database.engine("ingest")).save([facts_of(1)], datetime.now(UTC))
    assert [due.converted_at for due in await books.positions.due(late)] == [books.at(5)]
    assert (await view.view({}, recent)).busy == {books.owner.user_id}
    await books.adjust()
    assert await books.positions.due(late) == []
    await books.fact(11, EventKind.CONVERSION, 8, 7, condition="0xc1")
    assert (await view.view({}, recent)).busy == {books.owner.user_id}
    await unfollow(books.database.url(), WALLET)
    assert (await view.view({}, recent)).busy == frozenset()


async def test_a_position_without_a_price_shows_as_a_difference_and_the_wallet_is_opened(
    database: Database, redis_url: str, tmp_path: Path
) -> None:
    held = [position(OTTER, "9001", 40.0), position(OTTER, "2001", 3.0, current_price=None)]
    tape = write_tape(tmp_path, head(7_500), markets=MARKETS, positions=held)
    async with (
        running_sandbox(tape=tape) as sandbox,
        services(database, redis_url, sandbox, settle_seconds=0.2),
    ):
        await follow(database.url(), OTTER, "otter")
        await until(database, OPENED, 1)
        await until(database, UNPOSTED, 0)
        assert await shadow(database) == {"9001": 40.0}
        found = (await compare_positions(database.url(), redis_url, sandbox.data_api_url)).positions
    assert {each.asset_id: (each.verdict, each.difference_micros) for each in found} == {
        "9001": ("equal", 0),
        "2001": ("different", -3 * SHARE),
    }
