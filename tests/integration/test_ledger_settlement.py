"""Settlement on a real Postgres: what comes late, is taken back, is told twice, or does not fit."""

import asyncio
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

import pytest
from sqlalchemy import text

from libs.common.db.checkpoints import save_checkpoint
from libs.common.db.engine import transaction
from libs.common.db.exports import EXPORTS
from libs.common.domain.errors import Rejected, Unavailable
from libs.common.domain.kinds import EventKind, Scope
from libs.common.domain.money import MICROS
from services.ledger.store import Books, Sweeps
from services.ledger.store.session import Session
from tests.integration.test_ledger import BANKROLL, CONDITION, HERON, LEGS, OTTER, START, World
from tests.support.databases import Database
from tests.support.toy_ledger import toy_payout

pytestmark = pytest.mark.integration

LATER = START + timedelta(minutes=10)
"""After the resolution."""


@pytest.fixture
async def world(database: Database) -> World:
    world = World(database)
    await world.follow()
    await world.market()
    return world


async def settle(world: World, *payouts: int) -> None:
    await world.resolve(*payouts)
    (await world.books.settle([CONDITION])).raise_for_left_out()


async def reverse(world: World, *events: UUID) -> int:
    async with world.database.engine().begin() as connection:
        query = text("UPDATE trade_event SET status = 'REVERSED' WHERE id = ANY(:ids)")
        await connection.execute(query, {"ids": list(events)})
    return await world.post(*events)


async def settled(world: World) -> list[tuple[str, int, int]]:
    rows = [entry for entry in await world.entries() if entry.entry_type == "SETTLEMENT"]
    return [(entry.asset_id, entry.share_delta_micros, entry.cash_delta_micros) for entry in rows]


@pytest.mark.parametrize(
    ("payouts", "long", "short"),
    [
        ((MICROS, 0), 7, 0),
        ((0, MICROS), 0, -5),
        ((500_000, 500_000), 3, -2),  # floor(3.5) and ceil(-2.5)
        ((333_333, 666_667), 2, -3),  # floor(2.333331) and ceil(-3.333335)
        ((142_857, 857_142), 0, -4),  # floor(0.999999) and ceil(-4.28571)
    ],
)
async def test_longs_are_paid_the_floor_and_shorts_owe_the_ceiling(
    world: World, payouts: tuple[int, int], long: int, short: int
) -> None:
    await world.post(await world.fill("BUY", 7, 3), await world.fill("SELL", 5, 2, asset_id=LEGS[1]))
    await settle(world, *payouts)
    assert await settled(world) == [(LEGS[0], -7, long), (LEGS[1], 5, short)]
    assert await world.position(Scope.SHADOW_USER) == (0, 0, long - 3)
    assert await world.position(Scope.SHADOW_USER, LEGS[1]) == (0, 0, short + 2)
    assert (await world.portfolio(Scope.SHADOW_USER)).cash_micros == -3 + 2 + long + short
    assert await world.violations() == []


async def test_verify_finds_a_settlement_at_other_payouts_than_those_kept(world: World) -> None:
    await world.post(await world.fill("BUY", 7, 3))
    await settle(world, 500_000, 500_000)
    async with world.database.engine().begin() as connection:
        await connection.execute(text("UPDATE market_resolution SET payouts_micros = '{1000000,0}'"))
    (line,) = await world.violations()
    assert line.startswith("settlements pay what was resolved: SHADOW_USER otter, settlement of ref 0xc1: 7 shares")
    assert line.endswith("for 3, its payouts are {1000000,0}")


@pytest.mark.parametrize("payouts", [(MICROS,), (0, 0, MICROS)])
async def test_nothing_of_a_condition_is_settled_at_payouts_that_do_not_fit_it(
    world: World, payouts: tuple[int, ...]
) -> None:
    await world.market("0xc2", ("2001", "2002"))
    await world.post(await world.fill("BUY", 7, 3), await world.fill("BUY", 9, 4, asset_id="2001"))
    await world.resolve(*payouts)
    await world.resolve(MICROS, 0, condition="0xc2")
    outcome = await world.books.settle([CONDITION, "0xc2"])
    with pytest.raises(Rejected, match=f"expected a payout for 2 outcomes, got {len(payouts)}"):
        outcome.raise_for_left_out()
    assert await settled(world) == [("2001", -9, 9)]


async def test_payouts_go_by_outcome_whatever_the_order_of_tokens(world: World) -> None:
    await world.market("0xc2", ("999", "3"))
    await world.post(await world.fill("BUY", 7, 3, asset_id="3"), await world.fill("BUY", 9, 4, asset_id="999"))
    await world.resolve(0, MICROS, condition="0xc2")
    await world.books.settle(["0xc2"])
    assert sorted(await settled(world)) == [("3", -7, 7), ("999", -9, 0)]


@pytest.mark.parametrize("payout", [MICROS, 333_333, 0])
async def test_a_fill_taken_back_after_its_settlement_leaves_nothing(world: World, payout: int) -> None:
    stays = await world.fill("BUY", 11, 5)
    gone = await world.fill("BUY", 10, 4, fee=3, event_time=START + timedelta(seconds=1))
    await world.post(stays, gone)
    await settle(world, payout, MICROS - payout)
    assert await reverse(world, gone) == 3  # fill, fee, and what was paid for it
    assert await reverse(world, gone) == 0
    paid, back = toy_payout(21, payout), toy_payout(10, payout)
    assert await settled(world) == [(LEGS[0], -21, paid), (LEGS[0], 10, -back)]
    assert await world.position(Scope.SHADOW_USER) == (0, 0, paid - back - 5)
    row = await world.portfolio(Scope.SHADOW_USER)
    assert (row.cash_micros, row.fees_micros, row.realized_pnl_micros) == (paid - back - 5, 0, paid - back - 5)
    assert await world.violations() == []


async def test_a_fill_taken_back_and_mined_again_after_the_settlement_counts_once(world: World) -> None:
    gone = await world.fill("BUY", 10, 4)
    await world.post(gone)
    await settle(world, MICROS, 0)
    await reverse(world, gone)
    await world.post(await world.fill("BUY", 10, 4, incarnation=1))
    assert [shares for _, shares, _ in await settled(world)] == [-10, 10, -10]
    assert await world.position(Scope.SHADOW_USER) == (0, 0, 6)
    assert await world.violations() == []


async def test_a_sale_shown_late_takes_back_what_was_paid_for_its_shares(world: World) -> None:
    await world.post(await world.fill("BUY", 10, 5))
    await settle(world, MICROS, 0)
    await world.post(await world.fill("SELL", 4, 2, event_time=START + timedelta(seconds=1)))
    assert [shares for _, shares, _ in await settled(world)] == [-10, 4]
    assert await world.position(Scope.SHADOW_USER) == (0, 0, -5 + 2 + 6)
    assert await world.violations() == []


async def test_splits_and_merges_after_the_end_settle_both_legs_and_cost_nothing(world: World) -> None:
    await settle(world, 333_333, 666_667)
    await world.post(await world.activity("SPLIT", 3 * MICROS, event_time=LATER), kind=EventKind.SPLIT)
    await world.post(await world.activity("MERGE", 3 * MICROS, event_time=LATER), kind=EventKind.MERGE)
    assert (await world.portfolio(Scope.SHADOW_USER)).cash_micros == 0
    assert len(await settled(world)) == 4
    assert await world.violations() == []


async def test_several_late_fills_in_one_batch_settle_together(world: World) -> None:
    await world.post(await world.fill("BUY", 10, 5))
    await settle(world, MICROS, 0)
    late = [await world.fill("BUY", shares, 1, event_time=LATER) for shares in (1, 2, 3)]
    assert await world.post(*late) == 4
    assert await settled(world) == [(LEGS[0], -10, 10), (LEGS[0], -6, 6)]
    assert await world.post(*late) == 0


async def test_the_same_resolution_told_to_two_replicas_over_and_over_settles_once(world: World) -> None:
    await world.post(await world.fill("BUY", 10, 5))
    await world.execute(Scope.EXEC_USER, await world.attempt(Scope.EXEC_USER, 7, 3))
    await world.execute(Scope.EXEC_GLOBAL, await world.attempt(Scope.EXEC_GLOBAL, 9, 4))
    await world.resolve(MICROS, 0)
    replicas = [world.books, *(Books(world.database.engine("ledger"), now=lambda: START) for _ in range(2))]
    await asyncio.gather(*(books.settle([CONDITION, CONDITION]) for books in replicas for _ in range(4)))
    assert sorted(await settled(world)) == [(LEGS[0], -10, 10), (LEGS[0], -9, 9), (LEGS[0], -7, 7)]
    assert await world.violations() == []


@pytest.mark.parametrize("step", ["lock_all", "_move", "_attribute", "apply", "snapshot"])
async def test_a_crash_anywhere_in_a_settlement_leaves_nothing_and_the_repeat_pays_once(
    world: World, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    await world.post(await world.fill("BUY", 10, 5))
    await world.execute(Scope.EXEC_GLOBAL, await world.attempt(Scope.EXEC_GLOBAL, 9, 4))
    await world.resolve(MICROS, 0)

    async def die(*_: object) -> None:
        raise ConnectionResetError("the process ended here")

    with monkeypatch.context() as patched:
        patched.setattr(Session, step, die)
        with pytest.raises(Unavailable):
            await world.books.settle([CONDITION])
    assert await settled(world) == []
    assert sum((await world.books.settle([CONDITION])).posted.values()) == 2
    assert sum((await world.books.settle([CONDITION])).posted.values()) == 0
    assert await world.violations() == []


async def test_a_crash_between_a_late_fill_and_its_settlement_is_swept_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await settle(world, MICROS, 0)
    late = await world.fill("BUY", 10, 5, event_time=LATER)

    async def die(*_: object) -> None:
        raise ConnectionResetError("the process ended here")

    with monkeypatch.context() as patched:
        patched.setattr(Books, "settle", die)
        with pytest.raises(ConnectionResetError):
            await world.post(late)
    assert (await world.position(Scope.SHADOW_USER))[0] == 10
    found = await Sweeps(world.database.engine("ledger")).resolutions(datetime.now(UTC), 100)
    assert [message.condition_id for message in found] == [CONDITION]
    await world.books.settle([message.condition_id for message in found])
    assert await world.position(Scope.SHADOW_USER) == (0, 0, 5)
    assert await world.violations() == []


async def test_an_attempt_in_flight_at_the_settlement_is_paid_once_in_both_scopes(world: World) -> None:
    await world.follow(HERON, minutes=1)
    waiting = {
        scope: [await world.attempt(scope, 9, 4, user_id=user) for user in (OTTER, HERON)]
        for scope in (Scope.EXEC_USER, Scope.EXEC_GLOBAL)
    }
    await settle(world, MICROS, 0)
    for scope, attempts in waiting.items():
        for attempt, user in zip(attempts, (OTTER, HERON), strict=True):
            assert await world.execute(scope, attempt, user=user) == 0
    assert [shares for _, shares, _ in await settled(world)].count(-18) == 1
    assert (await world.portfolio(Scope.EXEC_USER)).cash_micros == BANKROLL - 4 + 9
    assert (await world.portfolio(Scope.EXEC_GLOBAL, None)).cash_micros == BANKROLL - 8 + 18
    late = await world.attempt(Scope.EXEC_GLOBAL, 5, 3, user_id=HERON)
    assert await world.execute(Scope.EXEC_GLOBAL, late) == 2
    rows = await world.rows("SELECT share_micros FROM position_source")
    assert {row.share_micros for row in rows} == {0}
    assert await world.violations() == []


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_the_order_of_fills_reversals_and_the_end_the_cash_is_that_of_what_stands(
    world: World, seed: int
) -> None:
    """Each settlement rounds for itself, so an order may cost a micro for each time it reopened the position."""
    random = Random(seed)  # noqa: S311  an order of arrival, not a secret
    payout = random.choice([0, 333_333, 500_000, MICROS])
    stands: dict[UUID, tuple[int, int]] = {}
    for number in range(12):
        sign, shares, notional = random.choice([1, 1, -1]), random.randrange(1, 5 * MICROS), random.randrange(MICROS)
        at = START + timedelta(seconds=random.randrange(600))
        event = await world.fill("BUY" if sign > 0 else "SELL", shares, notional, event_time=at, tx_hash=f"0xr{number}")
        stands[event] = (sign * shares, -sign * notional)
    events = list(stands)
    ends = random.randrange(len(events))
    for place, event in enumerate(events):
        if place == ends:
            await settle(world, payout, MICROS - payout)
        await world.post(event)
        if random.random() < 0.4:
            gone = random.choice(events[: place + 1])
            stands.pop(gone, None)
            await reverse(world, gone)
    cash = sum(cash for _, cash in stands.values())
    paid = toy_payout(sum(shares for shares, _ in stands.values()), payout)
    found = (await world.portfolio(Scope.SHADOW_USER)).cash_micros
    assert abs(found - cash - paid) <= len(await settled(world))
    assert await world.position(Scope.SHADOW_USER) == (0, 0, found)
    assert await world.violations() == []


async def test_minutes_a_ledger_was_away_have_no_snapshots_and_the_next_one_is_right(world: World) -> None:
    await world.post(await world.fill("BUY", 3 * MICROS, MICROS))
    await world.mark(LEGS[0], 400_000)
    await world.books.revalue([LEGS[0]])
    await world.mark(LEGS[0], 700_000, second=200)  # nobody valued it then
    world.minute = START + timedelta(minutes=7, seconds=30)
    after = Books(world.database.engine("ledger"), now=lambda: world.minute)
    assert await after.revalue_minute() == 1
    rows = await world.snapshots(Scope.SHADOW_USER)
    assert [row.at for row in rows] == [START, START + timedelta(minutes=7)]
    assert [row.equity_micros for row in rows] == [-MICROS + 1_200_000, -MICROS + 2_100_000]
    assert await world.violations() == []


async def test_while_no_mark_comes_minutes_are_valued_at_the_last_one(world: World) -> None:
    await world.post(await world.fill("BUY", 3 * MICROS, MICROS))
    await world.mark(LEGS[0], 400_000)
    for minute in range(3):
        world.minute = START + timedelta(minutes=minute)
        await world.books.revalue_minute()
    rows = await world.snapshots(Scope.SHADOW_USER)
    assert [row.exposure_micros for row in rows] == [MICROS, 1_200_000, 1_200_000]  # at cost until the first mark


async def test_an_export_flags_what_is_held_and_has_no_price(world: World) -> None:
    held, given_up = await world.fill("BUY", 5, 2), await world.fill("BUY", 5, 2, asset_id=LEGS[1])
    await world.post(held, given_up, await world.fill("SELL", 5, 2, asset_id=LEGS[1]))
    async with transaction(world.database.engine("pricer")) as connection:
        await save_checkpoint(connection, "pricer", "marking", {"completed_at": "", "unmarked": [*LEGS]})
    rows = await world.rows(EXPORTS["positions"])
    assert [(row.asset_id, row.flags) for row in rows] == [(LEGS[0], ["stale_mark"]), (LEGS[1], [])]
