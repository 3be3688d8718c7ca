"""What comes late: decisions in a settled market, a fill's exact fee, its market, and that it never happened."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from libs.common.db.drain import backlog
from libs.common.db.exports import open_rows
from libs.common.domain.kinds import EntryType, Scope
from libs.common.domain.money import MICROS
from services.ledger.store.flows import post_flow
from services.ledger.store.sweeps import Sweeps
from tests.integration.test_ledger import BANKROLL, CONDITION, LEGS, START, World
from tests.support.databases import Database

pytestmark = pytest.mark.integration

OTHER, OTHER_LEGS = "0xc2", ("2001", "2002")


@pytest.fixture
async def world(database: Database) -> World:
    world = World(database)
    await world.follow()
    await world.market()
    await world.market(OTHER, OTHER_LEGS)
    return world


async def test_a_settlement_that_posts_an_older_decision_in_another_settled_market_settles_it_too(world: World) -> None:
    await world.resolve(MICROS, 0, condition=OTHER)
    await world.books.settle([OTHER])
    await world.attempt(Scope.EXEC_USER, 9, 4, asset_id=OTHER_LEGS[0], condition_id=OTHER)
    await world.attempt(Scope.EXEC_USER, 7, 3)
    await world.resolve(MICROS, 0)
    await world.books.settle([CONDITION])
    assert await world.position(Scope.EXEC_USER) == (0, 0, 4)
    assert await world.position(Scope.EXEC_USER, OTHER_LEGS[0]) == (0, 0, 5)
    assert await world.violations() == []


async def test_a_flow_that_posts_a_decision_in_a_settled_market_settles_it_too(world: World) -> None:
    await world.resolve(0, MICROS)
    await world.books.settle([CONDITION])
    await world.attempt(Scope.EXEC_USER, 7, 3)
    engine = world.database.engine("ledger")
    await post_flow(engine, EntryType.DEPOSIT, 5, user="otter", command_id=uuid4(), actor="test")
    assert await world.position(Scope.EXEC_USER) == (0, 0, -3)
    assert (await world.portfolio(Scope.EXEC_USER)).cash_micros == BANKROLL - 3 + 5
    assert await world.violations() == []


async def test_fills_that_no_log_tells_stand_as_the_listing_showed_them(world: World) -> None:
    """A sale before or after a second purchase realises another profit; which it was only the listing says."""
    steps = [("BUY", 10, 4), ("SELL", 3, 2), ("BUY", 7, 6)]
    seen = [START + timedelta(microseconds=place) for place in range(3)]
    events = [
        await world.fill(side, shares, notional, tx_hash="0xone", first_source="DATA_API", detect_time=at)
        for (side, shares, notional), at in reversed(list(zip(steps, seen, strict=True)))
    ]
    await world.post(*events)
    assert await world.position(Scope.SHADOW_USER) == (14, 4 - 1 + 6, 2 - 1)  # 3 of the 10 that cost 4: 1
    assert await world.violations() == []


async def test_a_fee_that_the_log_tells_after_the_posting_is_not_paid_beside_what_held_it(world: World) -> None:
    event = await world.fill("BUY", 1_000_000, 500_010, first_source="DATA_API")
    assert await world.post(event) == 1
    exact = "UPDATE trade_event SET usdc_notional_micros = 500_000, fee_micros = 10, log_index = 5 WHERE id = :id"
    async with world.database.engine().begin() as connection:
        await connection.execute(text(exact), {"id": event})
    assert await world.post(event) == 0
    assert (await world.portfolio(Scope.SHADOW_USER)).cash_micros == -500_010
    assert await world.position(Scope.SHADOW_USER, LEGS[0]) == (1_000_000, 500_010, 0)
    async with world.database.engine().begin() as connection:
        await connection.execute(text("UPDATE trade_event SET status = 'REVERSED'"))
    assert await world.post(event) == 1
    assert (await world.portfolio(Scope.SHADOW_USER)).cash_micros == 0
    assert await world.violations() == []


async def test_a_fee_that_the_log_tells_before_the_posting_is_posted(world: World) -> None:
    told = {"first_source": "DATA_API", "log_index": 5}
    assert await world.post(await world.fill("BUY", 1_000_000, 500_000, fee=10, **told)) == 2
    assert (await world.portfolio(Scope.SHADOW_USER)).fees_micros == 10


async def test_fills_of_one_transaction_fold_in_the_order_of_their_logs_whenever_told(world: World) -> None:
    """2 at 0.50 are held. SELL 2 at 0.75, then BUY 2 at 0.25 realises 0.50; BUY first: 1.50 less half of 1.50."""
    await world.post(await world.fill("BUY", 2_000_000, 1_000_000, tx_hash="0xa", event_time=START))
    told: dict[str, Any] = {"tx_hash": "0xb", "event_time": START + timedelta(seconds=1), "first_source": "DATA_API"}
    sell = await world.fill("SELL", 2_000_000, 1_500_000, ordinal=0, **told)
    buy = await world.fill("BUY", 2_000_000, 500_000, ordinal=1, **told)
    await world.post(sell, buy)
    assert await world.position(Scope.SHADOW_USER) == (2_000_000, 500_000, 500_000)
    later = await world.fill("BUY", 1_000_000, 900_000, tx_hash="0xc", event_time=START + timedelta(seconds=2))
    await world.post(later)
    async with world.database.engine().begin() as connection:
        for event, index in ((sell, 9), (buy, 4)):
            query = text("UPDATE trade_event SET log_index = :index WHERE id = :id")
            await connection.execute(query, {"id": event, "index": index})
    (told_by_verify,) = {line.split(":")[0] for line in await world.violations()}
    assert told_by_verify == "every fill is posted where its log stands"
    missed = await Sweeps(world.database.engine()).events(datetime.now(UTC), 10)
    assert {each.event_id for each in missed} == {sell, buy}
    assert await world.post(sell, buy) == 0
    assert await world.position(Scope.SHADOW_USER) == (3_000_000, 1_650_000, 750_000)
    assert (await world.portfolio(Scope.SHADOW_USER)).realized_pnl_micros == 750_000
    assert await world.violations() == []
    assert await Sweeps(world.database.engine()).events(datetime.now(UTC), 10) == []
    places = {row["ref_id"]: row["log_index"] for row in await exported(world, "ledger")}
    assert (places[str(sell)], places[str(buy)], places[str(later)]) == (9, 4, 0)


async def waits(world: World, what: str) -> int:
    """Return how much of a kind of work is not done yet."""
    return (await backlog(world.database.engine(), START)).waiting.get(what, 0)


async def exported(world: World, kind: str) -> list[dict[str, Any]]:
    async with open_rows(world.database.engine(), kind) as (columns, chunks):
        return [dict(zip(columns, row, strict=True)) async for rows in chunks for row in rows]


async def test_a_tape_is_not_over_while_a_reversed_fill_stands(world: World) -> None:
    event = await world.fill("BUY", 10, 5, fee=1)
    await world.post(event)
    async with world.database.engine().begin() as connection:
        await connection.execute(text("UPDATE trade_event SET status = 'REVERSED'"))
    assert await waits(world, "reversed fills whose shadow entries stand") == 2
    await world.post(event)
    assert await waits(world, "reversed fills whose shadow entries stand") == 0


async def test_a_fill_posted_before_its_market_was_known_belongs_to_it_all_the_same(world: World) -> None:
    await world.post(await world.fill("BUY", 10, 5, asset_id="3001"))
    await world.market("0xc3", ("3001", "3002"))
    for kind in ("positions", "ledger"):
        assert [row["condition_id"] for row in await exported(world, kind) if row["asset_id"] == "3001"] == ["0xc3"]
    await world.resolve(MICROS, 0, condition="0xc3")
    assert await waits(world, "resolved positions without a settlement") == 1
    await world.books.settle(["0xc3"])
    assert await waits(world, "resolved positions without a settlement") == 0
    assert await world.position(Scope.SHADOW_USER, "3001") == (0, 0, 5)
