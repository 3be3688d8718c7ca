"""Events that show up after positions were told that count them already: whatever the order, shares are right."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from libs.common.domain.kinds import EventKind, Role, Side
from services.ingest.commands import follow
from services.ingest.core.late import Told
from services.ingest.core.positions import Held, Owner
from services.ingest.core.readings import Reading
from services.ingest.core.sightings import FactKey, FactSighting, FillKey, LogSighting
from services.ingest.store import IngestStore, PositionStore, counted
from services.ingest.store.events import Recorded
from tests.support.databases import Database

pytestmark = pytest.mark.integration

WALLET = "0x" + "11" * 20
SHARE = 1_000_000


class Books:
    """One followed wallet, its events and its positions."""

    def __init__(self, database: Database, owner: Owner) -> None:
        self.database = database
        self.owner = owner
        self.events = IngestStore(database.engine("ingest"))
        self.positions = PositionStore(database.engine("ingest"))

    def at(self, second: int) -> datetime:
        return self.owner.followed_at + timedelta(seconds=second)

    def held(self, asset: str, shares: int, second: int) -> Held:
        return Held(asset, f"0xc{asset[0]}", "77", shares * SHARE, 400_000, self.at(second))

    async def fill(self, number: int, asset: str, shares: int, second: int, removed: bool = False) -> Recorded:
        side = Side.BUY if shares > 0 else Side.SELL
        return await self.events.record(
            [
                LogSighting(
                    key=FillKey(f"0x{number:064x}", WALLET, asset, side, abs(shares) * SHARE),
                    user_id=self.owner.user_id, booked=second >= 0, notional_micros=abs(shares) * 400_000, fee_micros=0,
                    price_micros=400_000, role=Role.MAKER, log_index=number, block_number=number,
                    block_hash=f"0x{number:064x}", event_time=self.at(second), seen_at=datetime.now(UTC),
                    removed=removed, wire={},
                )
            ]
        )  # fmt: skip

    async def fact(
        self, number: int, kind: EventKind, shares: int, second: int, asset: str = "", condition: str = "0xc1"
    ) -> Recorded:
        key = FactKey(f"0x{number:064x}", WALLET, kind.value, condition, asset, "", shares * SHARE, shares * SHARE)
        seen = datetime.now(UTC)
        sighting = FactSighting(key, self.owner.user_id, kind, second >= 0, self.at(second), seen, {})
        return await self.events.record((), (), [sighting])

    async def open(self, *rows: Held, last: bool = True) -> None:
        held = {row.asset_id: row for row in rows}
        now = datetime.now(UTC)
        first = Reading(self.owner.followed_at, now, 1, 0, held, sorted(held))
        reading = await self.positions.keep_reading(self.owner, first)
        await self.positions.record_openings(self.owner, reading.held, reading, complete=True, last=last, now=now)

    async def adjust(self, *rows: Held) -> None:
        held, now = {row.asset_id: row for row in rows}, datetime.now(UTC)
        await self.positions.record_adjustments(self.owner, held, until=self.at(3600), now=now)

    async def shares(self) -> dict[str, int]:
        """Return what is booked of each token, and of openings alone under `opening TOKEN`."""
        async with self.database.engine().connect() as connection:
            found = await connection.execute(
                text("""
                SELECT asset_id, sum(shares) AS n FROM (
                  SELECT asset_id, share_delta_micros AS shares FROM position_sync
                  UNION ALL SELECT 'opening ' || asset_id, share_delta_micros FROM position_sync WHERE kind = 'OPENING'
                  UNION ALL SELECT asset_id, CASE side WHEN 'BUY' THEN share_micros ELSE -share_micros END
                    FROM trade_event WHERE booked AND status = 'CANONICAL'
                  UNION ALL SELECT o.asset_id, CASE kind WHEN 'SPLIT' THEN share_micros ELSE -share_micros END
                    FROM activity_event e JOIN (VALUES ('0xc1', '11'), ('0xc1', '12')) o (condition_id, asset_id)
                      USING (condition_id) WHERE booked AND kind IN ('SPLIT', 'MERGE')
                ) e GROUP BY 1 HAVING sum(shares) <> 0""")
            )
            return {row.asset_id: int(row.n) // SHARE for row in found}


@pytest.fixture
async def books(database: Database) -> Books:
    made = (await follow(database.url(), WALLET, "w")).follow
    return Books(database, Owner(made.user_id, WALLET, made.followed_at, first=True))


@pytest.mark.parametrize("late", [(), (1,), (2,), (1, 2)])
async def test_a_fill_that_shows_up_after_the_opening_that_counts_it_is_not_booked_twice(
    books: Books, late: tuple[int, ...]
) -> None:
    fills = {1: ("11", 5, 3), 2: ("11", -2, 4), 3: ("12", -10, 4), 4: ("11", 7, 9)}
    # It held 20 and 10; after the fourth second it holds 23 and 0.
    for number, fill in fills.items():
        if number not in (*late, 4):
            await books.fill(number, *fill)
    await books.open(books.held("11", 23, 4), books.held("12", 0, 4))
    for number in (*late, 4, *late):
        await books.fill(number, *fills[number])
    assert await books.shares() == {"11": 30, "opening 11": 20, "opening 12": 10}


async def test_what_was_sold_out_unseen_is_opened_when_the_sale_shows_up(books: Books) -> None:
    await books.open(books.held("12", 0, 4))
    assert await books.shares() == {}
    recorded = await books.fill(1, "12", -10, 4)
    assert [sync.share_delta_micros for sync in recorded.corrected] == [10 * SHARE]
    assert await books.shares() == {"opening 12": 10}


async def test_splits_merges_and_redeems_that_show_up_late_are_counted_once(books: Books) -> None:
    await books.open(books.held("11", 14, 6), books.held("12", 24, 6), last=False)
    await books.fact(1, EventKind.SPLIT, 6, 5)
    await books.fact(2, EventKind.MERGE, 2, 6)
    assert await books.shares() == {"11": 14, "12": 24, "opening 11": 10, "opening 12": 20}
    await books.fact(3, EventKind.REDEEM, 4, 6, "11")
    assert (await books.shares())["opening 11"] == 14


async def test_what_comes_after_the_row_before_the_follow_or_of_another_token_corrects_nothing(books: Books) -> None:
    await books.open(books.held("11", 5, 4))
    for number, (asset, second) in enumerate((("11", 5), ("11", -3), ("12", 2))):
        assert (await books.fill(number, asset, 1, second)).corrected == []


async def test_a_correction_costs_what_the_opening_did_and_is_told_by_its_event_once(books: Books) -> None:
    await books.open(books.held("11", 5, 4))
    [sync] = (await books.fill(1, "11", 5, 3)).corrected
    assert (sync.price_micros, sync.event_time < books.owner.followed_at, sync.event_id) == (400_000, True, None)
    assert (await books.fill(1, "11", 5, 3)).corrected == []
    # Taken back and mined again it is the same fill still, and in the row still.
    await books.fill(1, "11", 5, 3, removed=True)
    again = await books.fill(1, "11", 5, 3)
    assert again.corrected == []


async def test_a_fill_that_shows_up_after_the_re_sync_that_counts_it_is_not_booked_twice(books: Books) -> None:
    await books.open(books.held("12", 20, -60), books.held("21", 3, 2))
    await books.fact(9, EventKind.CONVERSION, 8, 5, "12")
    # By the re-sync 2 more were bought of the one, 1 sold of the other; nobody showed us.
    await books.adjust(books.held("12", 14, 7), books.held("21", 10, 6), books.held("31", 8, 5))
    await books.fill(1, "12", 2, 7)
    await books.fill(2, "21", -1, 6)
    await books.fill(3, "31", 4, 8)
    assert await books.shares() == {
        "12": 14, "21": 10, "31": 12, "opening 12": 20, "opening 21": 3,
    }  # fmt: skip


async def test_of_a_row_before_and_a_row_after_only_the_first_is_corrected(books: Books) -> None:
    await books.open(books.held("12", 20, 2))
    await books.fact(9, EventKind.CONVERSION, 8, 5, "12")
    await books.adjust(books.held("12", 12, 5))
    await books.fill(1, "12", 4, 2)
    assert await books.shares() == {"12": 12, "opening 12": 16}


async def test_a_fill_recorded_while_the_opening_is_made_waits_for_it_and_is_taken_out(books: Books) -> None:
    row = books.held("11", 5, 4)
    async with books.database.engine("ingest").begin() as opening:
        await counted.take_turn(opening, WALLET)
        fill = asyncio.create_task(books.fill(1, "11", 5, 3))
        waits = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        while not await opening.scalar(waits):
            assert not fill.done()
        await counted.count(opening, books.owner, {"11": Told(row, 400_000)}, {})
    assert [sync.share_delta_micros for sync in (await fill).corrected] == [-5 * SHARE]


async def test_an_opening_made_while_replicas_record_counts_every_fill_once(books: Books) -> None:
    """The row counts twenty fills of one share; some are known to the opening, the others find its row."""
    row = books.held("11", 23, 20)

    async def record(numbers: Sequence[int]) -> None:
        for number in numbers:
            await books.fill(number, "11", 1, number)

    fills = [*range(1, 21)]
    await asyncio.gather(record(fills), record(fills[::-1]), record([*fills[10:], *fills[:10]]), books.open(row))
    assert await books.shares() == {"11": 23, "opening 11": 3}


async def test_one_reading_counts_whoever_else_has_read_and_none_once_the_opening_is_made(books: Books) -> None:
    now = datetime.now(UTC)
    before = Reading(books.owner.followed_at, now, 1, 0, {"12": books.held("12", 20, -60)}, ["12"])
    after = Reading(books.owner.followed_at, now, 1, 0, {"21": books.held("21", 8, 5)}, ["21"])
    assert await books.positions.keep_reading(books.owner, before) == before
    assert await books.positions.keep_reading(books.owner, after) == before
    assert await books.positions.reading(books.owner) == before
    await books.open()
    assert await books.positions.reading(books.owner) is None
    await books.positions.keep_reading(books.owner, after)
    assert await books.positions.reading(books.owner) is None
    made = await books.positions.record_openings(books.owner, after.held, after, complete=True, last=True, now=now)
    assert made == ([], [])
    assert await books.shares() == {"opening 12": 20, "12": 20}
