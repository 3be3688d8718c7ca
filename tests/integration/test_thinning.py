"""Old minutes are thinned as SPEC 7 says: the last of each bucket stays, and so does the peak breakers look for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from libs.common.db.engine import transaction
from libs.common.db.tables.ledger import PortfolioSnapshot
from libs.common.db.tables.markets import MarketPriceSnapshot
from libs.common.db.thinning import TIERS, Thinning, boundary, last_night
from libs.common.domain.kinds import Scope
from services.ledger.core.entries import portfolio_id
from services.ledger.store import SNAPSHOTS
from services.pricer.store import MARKS
from tests.integration.test_ledger import CONDITION, LEGS, OTTER, START, World
from tests.support.databases import Database

pytestmark = pytest.mark.integration

NOW = datetime(2026, 11, 22, 3, 5, 40, tzinfo=UTC)
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)


class Rows:
    def __init__(self, database: Database) -> None:
        self.database = database

    async def mark(self, asset: str, *times: datetime) -> None:
        rows = [{"asset_id": asset, "at": at, "price_micros": 1, "source": "MIDPOINT"} for at in times]
        async with self.database.engine().begin() as connection:
            await connection.execute(insert(MarketPriceSnapshot), rows)

    async def marked(self, asset: str) -> list[datetime]:
        query = text("SELECT at FROM market_price_snapshot WHERE asset_id = :asset ORDER BY at")
        async with self.database.engine().connect() as connection:
            return list(await connection.scalars(query, {"asset": asset}))

    def thinning(self, now: datetime = NOW) -> Thinning:
        return Thinning(self.database.engine("pricer"), "pricer", MARKS, now=lambda: now)


def every(minutes: int, since: datetime, until: datetime) -> list[datetime]:
    count = (until - since) // timedelta(minutes=minutes)
    return [since + number * timedelta(minutes=minutes) for number in range(count)]


async def test_minutes_stay_seven_days_quarters_ninety_and_hours_for_ever(database: Database) -> None:
    rows = Rows(database)
    young, week, old = (
        NOW - 2 * DAY,
        (NOW - 20 * DAY).replace(minute=0, second=0),
        (NOW - 100 * DAY).replace(minute=0, second=0),
    )
    hour = timedelta(hours=1)
    for start in (young, week, old):
        await rows.mark("a", *every(1, start, start + hour))
    await rows.mark("b", old + 7 * MINUTE, week + 8 * MINUTE)  # alone in their buckets: nothing is invented or lost
    assert await rows.thinning().thin() == 56 + 59
    assert await rows.marked("a") == [
        old + 59 * MINUTE, *(week + minutes * MINUTE for minutes in (14, 29, 44, 59)), *every(1, young, young + hour),
    ]  # fmt: skip
    assert await rows.marked("b") == [old + 7 * MINUTE, week + 8 * MINUTE]
    assert await rows.thinning().thin() == 0


async def test_what_grows_old_later_is_thinned_the_next_night_and_buckets_are_never_cut(database: Database) -> None:
    rows = Rows(database)
    edge = boundary(NOW, TIERS[0])
    await rows.mark("a", *every(1, edge - 30 * MINUTE, edge + 30 * MINUTE))
    await rows.thinning().thin()
    assert await rows.marked("a") == [edge - 16 * MINUTE, edge - MINUTE, *every(1, edge, edge + 30 * MINUTE)]
    await rows.thinning(NOW + DAY).thin()
    assert await rows.marked("a") == [edge + minutes * MINUTE for minutes in (-16, -1, 14, 29)]
    await rows.thinning(NOW + 100 * DAY).thin()
    assert len(await rows.marked("a")) == 2  # half an hour on either side of a full hour, or one and a half


async def test_many_keys_and_rows_go_in_batches_and_two_at_once_do_no_harm(database: Database) -> None:
    rows = Rows(database)
    old = (NOW - 20 * DAY).replace(minute=0, second=0)
    for number in range(120):
        await rows.mark(f"asset-{number:03}", *every(1, old, old + timedelta(minutes=60)))
    gone = await asyncio.gather(rows.thinning().thin(), rows.thinning().thin())
    assert sum(gone) == 120 * 56
    assert len(await rows.marked("asset-077")) == 4


async def test_it_is_due_once_a_night(database: Database) -> None:
    rows = Rows(database)
    assert last_night(NOW) == NOW.replace(minute=0, second=0)
    assert last_night(NOW - timedelta(hours=1)) == NOW.replace(minute=0, second=0) - DAY
    assert await rows.thinning().is_due() is True
    await rows.thinning().look()
    assert await rows.thinning(NOW + timedelta(hours=23)).is_due() is False
    assert await rows.thinning(NOW + DAY).is_due() is True


async def test_the_peak_since_the_last_decision_survives(database: Database) -> None:
    world = World(database)
    await world.follow()
    portfolio = portfolio_id(Scope.EXEC_USER, OTTER)
    old = (NOW - 20 * DAY).replace(minute=0, second=0)
    async with database.engine().begin() as connection:
        await connection.execute(text("DELETE FROM portfolio_snapshot"))
        await connection.execute(text("UPDATE portfolio SET opened_at = :at"), {"at": old - DAY})
        rows = [
            _snapshot(portfolio, at, 1_000 + (500 if place == 17 else place))
            for place, at in enumerate(every(1, old, old + 60 * MINUTE))
        ]
        await connection.execute(insert(PortfolioSnapshot), rows)
    thinning = Thinning(database.engine("ledger"), "ledger", SNAPSHOTS, now=lambda: NOW)
    assert await thinning.thin() == 55
    kept = [(row.at - old) // MINUTE for row in await world.snapshots(Scope.EXEC_USER)]
    assert kept == [14, 17, 29, 44, 59]


async def test_nobody_who_posts_marks_or_settles_waits_for_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its transactions stay open here, with rows deleted, while everybody else writes to the same portfolio."""
    world = World(database)
    await world.follow()
    await world.market()
    await world.mark(LEGS[0], 500_000)
    old = (START - 20 * DAY).replace(minute=0, second=0)
    snapshots = [
        _snapshot(portfolio_id(scope, user), at, 0)
        for scope, user in ((Scope.SHADOW_USER, OTTER), (Scope.EXEC_USER, OTTER), (Scope.EXEC_GLOBAL, None))
        for at in every(1, old, old + 60 * MINUTE)
    ]
    await Rows(database).mark(LEGS[0], *every(1, old, old + 60 * MINUTE))
    async with database.engine().begin() as connection:
        await connection.execute(insert(PortfolioSnapshot), snapshots)
    held, let_go = asyncio.Semaphore(0), asyncio.Event()

    @asynccontextmanager
    async def left_open(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        async with transaction(engine) as connection:
            yield connection
            if await connection.scalar(text("SELECT pg_current_xact_id_if_assigned()")):
                held.release()
                await let_go.wait()

    monkeypatch.setattr("libs.common.db.thinning.transaction", left_open)
    jobs = [
        asyncio.create_task(Thinning(database.engine(service), service, series, now=lambda: START).thin())
        for service, series in (("ledger", SNAPSHOTS), ("pricer", MARKS))
    ]
    async with asyncio.timeout(20):
        await held.acquire()
        await held.acquire()
        world.minute = START + MINUTE
        await world.mark(LEGS[0], 600_000, second=60)
        await world.post(await world.fill("BUY", 3_000_000, 1_500_000))
        for scope in (Scope.EXEC_USER, Scope.EXEC_GLOBAL):
            await world.execute(scope, await world.attempt(scope, 1_000_000, 500_000))
        world.minute += MINUTE
        assert await world.books.revalue_minute() == 3
        await world.resolve(1_000_000, 0)
        assert sum((await world.books.settle([CONDITION])).posted.values()) == 3
        assert not any(job.done() for job in jobs)
        let_go.set()
        assert await asyncio.gather(*jobs) == [3 * 56, 56]
    assert await world.violations() == []


def _snapshot(portfolio: UUID, at: datetime, equity: int) -> dict[str, Any]:
    amounts = ("cash", "exposure", "unrealized_pnl", "realized_pnl", "deposits", "withdrawals", "fees")
    return {"portfolio_id": portfolio, "at": at, "equity_micros": equity} | {f"{name}_micros": 0 for name in amounts}
