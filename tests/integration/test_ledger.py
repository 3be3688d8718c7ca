"""The books on a real Postgres: every entry type, duplicates, reversals, settlement, snapshots, two replicas."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import insert, text

from libs.common.db.tables.attempts import CopyAttempt
from libs.common.db.tables.events import ActivityEvent, TradeEvent
from libs.common.db.tables.groups import EventGroup
from libs.common.db.tables.markets import Market, MarketPriceSnapshot, MarketResolution, OutcomeAsset
from libs.common.db.tables.users import FollowedUser
from libs.common.domain.errors import Rejected, Unavailable
from libs.common.domain.kinds import EntryType, EventKind, GroupKind, Scope, Side
from libs.common.domain.money import MICROS
from services.ledger.commands import verify
from services.ledger.core import entries
from services.ledger.core.entries import Owner, Posting, portfolio_id
from services.ledger.core.snapshot import Valued, value
from services.ledger.store import Books, Sweeps
from tests.support.databases import Database
from tests.support.toy_ledger import ToyLedger, ToyPosition, toy_payout

pytestmark = pytest.mark.integration

START = datetime(2026, 9, 28, 9, 0, tzinfo=UTC)
BEFORE = START - timedelta(hours=1)
OTTER, HERON = UUID(int=1), UUID(int=2)
LABELS = {OTTER: "otter", HERON: "heron"}
BANKROLL = 10_000 * MICROS
LEGS = ("1001", "1002")
CONDITION = "0xc1"


class World:
    """What the other services would have written, and books to post it in."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.minute = START
        self.books = Books(database.engine("ledger"), now=lambda: self.minute)
        self.sequence = count(1)

    async def write(self, table: Any, **row: Any) -> None:
        async with self.database.engine().begin() as connection:
            await connection.execute(insert(table).values(row))

    async def rows(self, query: str, **parameters: Any) -> Sequence[Any]:
        async with self.database.engine().connect() as connection:
            return (await connection.execute(text(query), parameters)).all()

    async def follow(self, user: UUID = OTTER, minutes: int = 0) -> None:
        await self.follow_only(user, minutes)
        await self.books.open_portfolios()

    async def follow_only(self, user: UUID = OTTER, minutes: int = 0) -> None:
        await self.write(
            FollowedUser,
            id=user,
            label=LABELS[user],
            profile_wallet=f"0x{user.int}",
            enabled=True,
            followed_at=BEFORE + timedelta(minutes=minutes),
        )

    async def market(self, condition: str = CONDITION, legs: tuple[str, ...] = LEGS) -> None:
        await self.write(
            Market,
            condition_id=condition,
            id=condition,
            question="?",
            slug="s",
            active=True,
            closed=False,
            accepting_orders=True,
            neg_risk=False,
            fee_rate=0,
            fee_exponent=1,
            tick_micros=10_000,
            version="v1",
            resolved=False,
            refreshed_at=START,
        )
        for index, asset in enumerate(legs):
            await self.write(OutcomeAsset, asset_id=asset, condition_id=condition, outcome_index=index, name=str(index))

    async def fill(self, side: str, shares: int, notional: int, fee: int = 0, **changes: Any) -> UUID:
        number = next(self.sequence)
        row: dict[str, Any] = {
            "id": uuid4(),
            "user_id": OTTER,
            "wallet": "0x1",
            "asset_id": LEGS[0],
            "side": side,
            "share_micros": shares,
            "price_micros": 500_000,
            "usdc_notional_micros": notional,
            "fee_micros": fee,
            "tx_hash": f"0x{number:04}",
            "ordinal": 0,
            "incarnation": 0,
            "event_time": START,
            "detect_time": START,
            "first_source": "CHAIN",
            "status": "CANONICAL",
            "booked": True,
        } | changes
        await self.write(TradeEvent, **row)
        event: UUID = row["id"]
        return event

    async def activity(self, kind: str, shares: int, **changes: Any) -> UUID:
        row: dict[str, Any] = {
            "id": uuid4(),
            "user_id": OTTER,
            "wallet": "0x1",
            "type": kind,
            "kind": kind,
            "condition_id": CONDITION,
            "asset_id": "",
            "side": "",
            "share_micros": shares,
            "usdc_micros": shares,
            "tx_hash": f"0x{next(self.sequence):04}",
            "ordinal": 0,
            "event_time": START,
            "detect_time": START,
            "status": "CANONICAL",
            "booked": True,
        } | changes
        await self.write(ActivityEvent, **row)
        event: UUID = row["id"]
        return event

    async def attempt(self, scope: Scope, shares: int, notional: int, fee: int = 0, **changes: Any) -> UUID:
        number, user = next(self.sequence), changes.get("user_id", OTTER)
        group = uuid4()
        await self.write(
            EventGroup,
            id=group,
            kind="TRADE",
            user_id=user,
            share_micros=1,
            usdc_notional_micros=1,
            first_event_time=START,
            first_detect_time=START,
            first_ordinal=0,
            closed_at=START,
        )
        row: dict[str, Any] = {
            "id": uuid4(),
            "portfolio_id": portfolio_id(scope, None if scope is Scope.EXEC_GLOBAL else user),
            "seq": number,
            "scope": scope,
            "user_id": user,
            "group_id": group,
            "kind": "TRADE",
            "condition_id": CONDITION,
            "asset_id": LEGS[0],
            "side": "BUY",
            "decision": "EXECUTE",
            "reason_codes": [],
            "out_of_order": False,
            "due_at": START,
            "decided_at": START + timedelta(seconds=number),
            "filled_share_micros": shares,
            "filled_notional_micros": notional,
            "fee_micros": fee,
            "inputs": {},
            "checks": [],
        } | changes
        await self.write(CopyAttempt, **row)
        attempt: UUID = row["id"]
        return attempt

    async def resolve(self, *payouts: int, condition: str = CONDITION) -> None:
        await self.write(
            MarketResolution,
            condition_id=condition,
            payouts_micros=list(payouts),
            resolved_at=START + timedelta(minutes=5),
            source="DATA_API",
            observed_at=START + timedelta(minutes=6),
        )

    async def mark(self, asset: str, price: int, second: int = 0) -> None:
        at = START + timedelta(seconds=second)
        await self.write(MarketPriceSnapshot, asset_id=asset, at=at, price_micros=price, source="MIDPOINT")

    async def post(self, *events: UUID, kind: EventKind = EventKind.TRADE, user: UUID = OTTER) -> int:
        outcome = await self.books.post_events(dict.fromkeys(events, (kind, user)))
        outcome.raise_for_left_out()
        return sum(outcome.posted.values())

    async def execute(self, scope: Scope, *attempts: UUID, user: UUID = OTTER) -> int:
        portfolio = portfolio_id(scope, None if scope is Scope.EXEC_GLOBAL else user)
        outcome = await self.books.post_attempts(dict.fromkeys(attempts, portfolio))
        outcome.raise_for_left_out()
        return sum(outcome.posted.values())

    async def position(self, scope: Scope, asset: str = LEGS[0], user: UUID | None = OTTER) -> tuple[int, int, int]:
        rows = await self.rows(
            "SELECT share_micros, cost_micros, realized_pnl_micros FROM position "
            "WHERE portfolio_id = :portfolio AND asset_id = :asset",
            portfolio=portfolio_id(scope, user),
            asset=asset,
        )
        return tuple(rows[0]) if rows else (0, 0, 0)

    async def portfolio(self, scope: Scope, user: UUID | None = OTTER) -> Any:
        (row,) = await self.rows("SELECT * FROM portfolio WHERE id = :id", id=portfolio_id(scope, user))
        return row

    async def snapshots(self, scope: Scope, user: UUID | None = OTTER) -> Sequence[Any]:
        query = "SELECT * FROM portfolio_snapshot WHERE portfolio_id = :id ORDER BY at"
        return await self.rows(query, id=portfolio_id(scope, user))

    async def entries(self) -> Sequence[Any]:
        return await self.rows("SELECT * FROM ledger_entry ORDER BY seq")

    async def violations(self) -> list[str]:
        absent = {"every booked event is in one group", "one attempt per group and scope"}  # no grouper, no simulator
        checks = (await verify(self.database.url())).checks
        return [f"{check.name}: {line}" for check in checks if check.name not in absent for line in check.violations]


@pytest.fixture
async def world(database: Database) -> World:
    return World(database)


async def test_a_follow_opens_three_portfolios_with_bankrolls_of_the_configured_size(world: World) -> None:
    async with world.database.engine().begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO copy_sizing_config (id, scope, values, updated_at, updated_by) "
                "VALUES (:id, 'GLOBAL', '{\"bankroll_micros\": 5000000}', now(), 'test')"
            ),
            {"id": uuid4()},
        )
    await world.follow()
    await world.follow(HERON, minutes=1)
    found = await world.rows("SELECT scope, user_id, cash_micros, opened_at FROM portfolio ORDER BY scope, user_id")
    assert [tuple(row) for row in found] == [
        ("EXEC_GLOBAL", None, 5_000_000, BEFORE),
        ("EXEC_USER", OTTER, 5_000_000, BEFORE),
        ("EXEC_USER", HERON, 5_000_000, BEFORE + timedelta(minutes=1)),
        ("SHADOW_USER", OTTER, 0, BEFORE),
        ("SHADOW_USER", HERON, 0, BEFORE + timedelta(minutes=1)),
    ]
    assert {(row.entry_type, row.ref_id) for row in await world.entries()} == {("DEPOSIT", "bankroll")}
    assert (await world.snapshots(Scope.EXEC_GLOBAL, None))[0].equity_micros == 5_000_000


async def test_opening_portfolios_again_or_at_once_deposits_once(world: World) -> None:
    await world.follow()
    second = Books(world.database.engine("ledger"))
    await world.write(FollowedUser, id=HERON, label="heron", profile_wallet="0x2", enabled=True, followed_at=BEFORE)
    await asyncio.gather(world.books.open_portfolios(), second.open_portfolios(), world.books.open_portfolios())
    assert len(await world.entries()) == 3
    assert await world.violations() == []


def one_of_each(owner: Owner, source: UUID | None) -> list[entries.Entry]:
    def at(ref: str) -> Posting:
        return Posting(owner, ref, START, condition_id=CONDITION, source_user_id=source)

    fill, fee = entries.trade(
        at("fill"), LEGS[0], Side.BUY, share_micros=4_000_000, notional_micros=1_999_999, fee_micros=50
    )
    other, other_fee = entries.trade(
        at("other"), LEGS[0], Side.BUY, share_micros=1_000_000, notional_micros=7, fee_micros=3
    )
    return [
        entries.deposit(at("in"), 20 * MICROS),
        entries.withdrawal(at("out"), 3 * MICROS),
        entries.opening(at(f"{owner.user_id}:{LEGS[1]}"), LEGS[1], share_micros=2_000_000, mark_micros=250_000),
        fill,
        fee,
        other,
        other_fee,
        entries.reversal(other, 0),
        entries.reversal(other_fee, 0),
        *entries.pair(at("split"), GroupKind.SPLIT, LEGS, share_micros=3),
        *entries.pair(at("merge"), GroupKind.MERGE, LEGS, share_micros=2),
        entries.adjustment(at("conversion"), LEGS[1], share_delta_micros=-1_000_000, cash_delta_micros=900_000),
        entries.settlement(at(CONDITION), LEGS[0], share_micros=4_000_001, payout_micros=MICROS),
    ]


@pytest.mark.parametrize("scope", list(Scope))
async def test_each_entry_type_inserted_twice_in_each_scope_posts_once(world: World, scope: Scope) -> None:
    await world.follow()
    await world.market()
    owner = Owner(scope, None if scope is Scope.EXEC_GLOBAL else OTTER)
    made = one_of_each(owner, OTTER if scope is Scope.EXEC_GLOBAL else None)
    assert {entry.entry_type for entry in made} == set(EntryType)
    first = await world.books.post_entries(made)
    assert sum(first.posted.values()) == len(made)
    row = await world.portfolio(scope, owner.user_id)
    position = await world.position(scope, user=owner.user_id)
    again = await world.books.post_entries(made)
    assert sum(again.posted.values()) == 0
    assert await world.portfolio(scope, owner.user_id) == row
    assert await world.position(scope, user=owner.user_id) == position == (0, 0, 2_000_001)
    bankroll = 0 if scope is Scope.SHADOW_USER else BANKROLL
    # 20 in, 3 out, 1.999999 + 0.00005 for the fill, 0.000003 - 0.000002 for the pairs, 0.9 and 4.000001 back
    assert row.cash_micros == bankroll + 20_000_000 - 3_000_000 - 1_999_999 - 50 - 3 + 2 + 900_000 + 4_000_001
    assert (row.deposits_micros, row.withdrawals_micros) == (bankroll + 20_000_000 + 500_000, 3_000_000)
    assert row.fees_micros == 50
    # These refs stand for no event and no attempt; everything else holds.
    assert [line for line in await world.violations() if " ref " not in line and ": attempt " not in line] == []


async def test_a_fill_posts_to_the_micro_and_the_snapshot_moves_at_once(world: World) -> None:
    await world.follow()
    await world.market()
    await world.mark(LEGS[0], 600_000)
    event = await world.fill("BUY", 3_000_001, 1_500_000, fee=12_340)
    assert await world.post(event) == 2
    assert await world.post(event) == 0
    assert await world.position(Scope.SHADOW_USER) == (3_000_001, 1_500_000, 0)
    row = await world.portfolio(Scope.SHADOW_USER)
    assert (row.cash_micros, row.fees_micros, row.realized_pnl_micros) == (-1_512_340, 12_340, -12_340)
    snapshot = (await world.snapshots(Scope.SHADOW_USER))[-1]
    worth = value(row.cash_micros, [Valued(3_000_001, 1_500_000, 600_000)])
    assert snapshot.at == START
    assert (snapshot.equity_micros, snapshot.exposure_micros, snapshot.unrealized_pnl_micros) == (
        worth.equity_micros,
        worth.exposure_micros,
        worth.unrealized_pnl_micros,
    )
    fill, fee = (entry for entry in await world.entries() if entry.ref_id == str(event))
    assert (fill.condition_id, fill.price_micros, fill.log_index) == (CONDITION, 500_000, 0)
    assert (fee.entry_type, fee.asset_id, fee.cash_delta_micros) == ("FEE", LEGS[0], -12_340)


async def test_an_event_that_arrives_before_its_users_portfolios_opens_them(world: World) -> None:
    await world.write(FollowedUser, id=OTTER, label="otter", profile_wallet="0x1", enabled=True, followed_at=BEFORE)
    event = await world.fill("BUY", 10, 5)
    assert await world.post(event) == 1
    assert (await world.portfolio(Scope.EXEC_USER)).cash_micros == BANKROLL


async def test_events_that_are_not_booked_or_post_nothing_post_nothing(world: World) -> None:
    await world.follow()
    await world.market()
    assert await world.post(await world.fill("BUY", 10, 5, booked=False)) == 0
    assert await world.post(await world.activity("REDEEM", 10), kind=EventKind.REDEEM) == 0


async def test_unknown_events_and_wrong_users_are_rejected_and_their_neighbours_pass(world: World) -> None:
    await world.follow()
    good, foreign = await world.fill("BUY", 10, 5), await world.fill("BUY", 11, 6)
    messages = {
        uuid4(): (EventKind.TRADE, OTTER),
        good: (EventKind.TRADE, OTTER),
        foreign: (EventKind.TRADE, HERON),
    }
    outcome = await world.books.post_events(messages)
    assert sum(outcome.posted.values()) == 1
    with pytest.raises(Rejected, match="no such row"):
        outcome.raise_for_left_out()
    assert len(outcome.rejected) == 2


async def test_a_split_of_an_unknown_market_waits_alone(world: World) -> None:
    await world.follow()
    fill, split = await world.fill("BUY", 10, 5), await world.activity("SPLIT", 7)
    outcome = await world.books.post_events({fill: (EventKind.TRADE, OTTER), split: (EventKind.SPLIT, OTTER)})
    outcome.raise_for_left_out()
    assert (sum(outcome.posted.values()), outcome.waiting, await world.books.waiting()) == (1, 1, 1)
    sweeps = Sweeps(world.database.engine("ledger"))
    assert await sweeps.events(START + timedelta(days=1), 100) == []
    assert sum((await world.books.post_waiting()).posted.values()) == 0
    assert await world.violations() == []
    told = list((await verify(world.database.url())).lines())
    assert told[-1] == "not in the books yet: 1 splits and merges that wait for their market"
    await world.market()
    assert any("booked and not posted in shadow" in line for line in await world.violations())
    assert sum((await world.books.post_waiting()).posted.values()) == 2
    assert (await world.books.waiting(), sum((await world.books.post_waiting()).posted.values())) == (0, 0)
    assert await world.post(split, kind=EventKind.SPLIT) == 0
    assert await world.position(Scope.SHADOW_USER) == (17, 9, 0)
    assert await world.position(Scope.SHADOW_USER, LEGS[1]) == (7, 3, 0)
    assert (await world.portfolio(Scope.SHADOW_USER)).cash_micros == -12
    assert await world.violations() == []


async def test_a_split_of_a_market_of_one_outcome_waits_for_the_second(world: World) -> None:
    await world.follow()
    await world.market(legs=LEGS[:1])
    split = await world.activity("SPLIT", 7)
    assert await world.post(split, kind=EventKind.SPLIT) == 0
    assert (await world.books.waiting(), sum((await world.books.post_waiting()).posted.values())) == (1, 0)


async def test_what_waited_is_settled_at_once_where_its_market_is_over(world: World) -> None:
    await world.follow()
    split = await world.activity("SPLIT", 7)
    assert await world.post(split, kind=EventKind.SPLIT) == 0
    await world.resolve(MICROS, 0)
    (await world.books.settle([CONDITION])).raise_for_left_out()
    await world.market()
    assert sum((await world.books.post_waiting()).posted.values()) == 4
    assert (await world.portfolio(Scope.SHADOW_USER)).cash_micros == 0
    assert await world.violations() == []


async def test_a_late_fill_refolds_its_position_in_chain_order(world: World) -> None:
    await world.follow()
    await world.market()
    first = await world.fill("BUY", 2_000_000, 1_000_000, event_time=START)
    sold = await world.fill("SELL", 1_000_000, 800_000, event_time=START + timedelta(seconds=2))
    late = await world.fill("BUY", 2_000_000, 200_000, event_time=START + timedelta(seconds=1))
    for event in (first, sold):
        await world.post(event)
    assert await world.position(Scope.SHADOW_USER) == (1_000_000, 500_000, 300_000)
    await world.post(late)
    # 4 shares for 1.2 USDC, one sold for 0.8: 0.3 removed
    assert await world.position(Scope.SHADOW_USER) == (3_000_000, 900_000, 500_000)
    assert (await world.portfolio(Scope.SHADOW_USER)).realized_pnl_micros == 500_000
    assert await world.violations() == []


async def test_a_reversal_restores_the_exact_prior_state_and_a_remined_fill_counts_again(world: World) -> None:
    await world.follow()
    await world.market()
    await world.post(await world.fill("BUY", 3_000_000, 1_000_000))
    before = await world.position(Scope.SHADOW_USER), await world.portfolio(Scope.SHADOW_USER)
    gone = await world.fill("SELL", 1_000_000, 500_000, fee=30, event_time=START + timedelta(seconds=1))
    await world.post(gone)
    async with world.database.engine().begin() as connection:
        await connection.execute(text("UPDATE trade_event SET status = 'REVERSED' WHERE id = :id"), {"id": gone})
    assert await world.post(gone) == 2
    assert await world.post(gone) == 0
    assert (await world.position(Scope.SHADOW_USER), await world.portfolio(Scope.SHADOW_USER)) == before
    await world.post(await world.fill("SELL", 1_000_000, 500_000, fee=30, incarnation=1))
    assert (await world.position(Scope.SHADOW_USER))[0] == 2_000_000
    assert await world.violations() == []


async def test_a_fill_reversed_before_it_was_posted_leaves_nothing_behind(world: World) -> None:
    await world.follow()
    gone = await world.fill("BUY", 10, 5, fee=1, status="REVERSED")
    await world.post(gone)
    assert await world.position(Scope.SHADOW_USER) == (0, 0, 0)
    assert (await world.portfolio(Scope.SHADOW_USER)).cash_micros == 0
    assert await world.violations() == []


async def test_an_attempt_posts_in_its_portfolio_alone_and_is_marked_posted(world: World) -> None:
    await world.follow()
    await world.market()
    own = await world.attempt(Scope.EXEC_USER, 1_000_000, 480_000, fee=9_980)
    both = await world.attempt(Scope.EXEC_GLOBAL, 2_000_000, 960_001)
    assert await world.execute(Scope.EXEC_USER, own) == 2
    assert await world.execute(Scope.EXEC_GLOBAL, both) == 1
    assert await world.execute(Scope.EXEC_GLOBAL, both) == 0
    assert (await world.portfolio(Scope.EXEC_USER)).cash_micros == BANKROLL - 480_000 - 9_980
    assert (await world.portfolio(Scope.EXEC_GLOBAL, None)).cash_micros == BANKROLL - 960_001
    assert await world.position(Scope.EXEC_GLOBAL, user=None) == (2_000_000, 960_001, 0)
    assert len(await world.rows("SELECT id FROM copy_attempt WHERE posted_at IS NOT NULL")) == 2
    (entry,) = [entry for entry in await world.entries() if entry.ref_id == str(both)]
    assert (entry.user_id, entry.source_user_id, entry.price_micros) == (None, OTTER, 480_001)
    assert await world.violations() == []


async def test_older_decisions_are_posted_before_younger_ones_whatever_arrives_first(world: World) -> None:
    await world.follow()
    await world.market()
    bought = await world.attempt(Scope.EXEC_USER, 1_000_000, 500_000)
    sold = await world.attempt(Scope.EXEC_USER, 1_000_000, 600_000, side="SELL")
    assert await world.execute(Scope.EXEC_USER, sold) == 2
    assert await world.execute(Scope.EXEC_USER, bought) == 0
    assert [entry.ref_id for entry in await world.entries()][-2:] == [str(bought), str(sold)]
    assert await world.position(Scope.EXEC_USER) == (0, 0, 100_000)
    assert await world.violations() == []


async def test_attempts_that_contradict_the_facts_are_rejected(world: World) -> None:
    await world.follow()
    await world.market()
    with pytest.raises(Rejected, match="no such row"):
        await world.execute(Scope.EXEC_USER, uuid4())
    skipped = await world.attempt(Scope.EXEC_USER, 0, 0, decision="SKIP")
    with pytest.raises(Rejected, match="found SKIP"):
        await world.execute(Scope.EXEC_USER, skipped)
    empty = await world.attempt(Scope.EXEC_USER, 0, 0)
    with pytest.raises(Rejected, match="expected filled shares"):
        await world.execute(Scope.EXEC_USER, empty)


async def test_executed_splits_and_merges_move_both_legs(world: World) -> None:
    await world.follow()
    await world.market()
    split = await world.attempt(Scope.EXEC_USER, 5, 0, kind="SPLIT", asset_id=None, side=None)
    merge = await world.attempt(Scope.EXEC_USER, 3, 0, kind="MERGE", asset_id=None, side=None)
    assert await world.execute(Scope.EXEC_USER, split, merge) == 4
    assert await world.position(Scope.EXEC_USER) == (2, 2, 1)  # 3 removes floor(3 * 3 / 5) = 1 of its cost, brings 2
    assert await world.position(Scope.EXEC_USER, LEGS[1]) == (2, 1, 0)
    assert (await world.portfolio(Scope.EXEC_USER)).cash_micros == BANKROLL - 2
    assert await world.violations() == []


async def test_global_shares_are_attributed_to_whom_they_were_copied_from(world: World) -> None:
    await world.follow(HERON)
    await world.follow(OTTER, minutes=1)
    await world.market()
    bought = [
        await world.attempt(Scope.EXEC_GLOBAL, 10, 5, user_id=OTTER),
        await world.attempt(Scope.EXEC_GLOBAL, 10, 5, user_id=HERON),
    ]
    await world.execute(Scope.EXEC_GLOBAL, *bought)
    sold = await world.attempt(Scope.EXEC_GLOBAL, 5, 4, side="SELL", user_id=OTTER)
    await world.execute(Scope.EXEC_GLOBAL, sold)
    found = await world.rows("SELECT source_user_id, share_micros FROM position_source")
    assert {row.source_user_id: row.share_micros for row in found} == {HERON: 7, OTTER: 8}
    await world.resolve(MICROS, 0)
    await world.books.settle([CONDITION])
    found = await world.rows("SELECT share_micros FROM position_source")
    assert [row.share_micros for row in found] == [0, 0]
    assert await world.violations() == []


async def test_a_resolution_settles_every_portfolio_once_and_late_fills_settle_too(world: World) -> None:
    await world.follow()
    await world.market()
    await world.post(await world.fill("BUY", 3, 2), await world.fill("SELL", 5, 1, asset_id=LEGS[1]))
    await world.execute(Scope.EXEC_USER, await world.attempt(Scope.EXEC_USER, 7, 3))
    decided = await world.attempt(Scope.EXEC_GLOBAL, 9, 4)  # not yet posted when the payouts become final
    await world.resolve(500_000, 500_000)
    outcome = await world.books.settle([CONDITION])
    assert outcome.posted["EXEC_GLOBAL", "TRADE_FILL"] == 1
    assert sum(n for (_, kind), n in outcome.posted.items() if kind == "SETTLEMENT") == 4
    assert sum((await world.books.settle([CONDITION])).posted.values()) == 0
    assert await world.execute(Scope.EXEC_GLOBAL, decided) == 0
    assert await world.position(Scope.SHADOW_USER) == (0, 0, 1 - 2)
    assert await world.position(Scope.SHADOW_USER, LEGS[1]) == (0, 0, 1 - 2)  # a short of 5 owes ceil(-2.5) = -2
    late = await world.fill("BUY", 9, 1)
    assert await world.post(late) == 2
    assert await world.post(late) == 0
    assert await world.position(Scope.SHADOW_USER) == (0, 0, -1 + 4 - 1)
    refs = [entry.ref_id for entry in await world.entries() if entry.entry_type == "SETTLEMENT"]
    (fill,) = [entry for entry in await world.entries() if entry.ref_id == str(late)]
    assert refs[-1] == f"{CONDITION}:{fill.id}"
    assert await world.violations() == []


async def test_resolutions_nobody_committed_are_rejected_and_unknown_outcomes_are_swept_once_known(
    world: World,
) -> None:
    await world.follow()
    with pytest.raises(Rejected, match="expected a resolution"):
        (await world.books.settle(["0xunknown"])).raise_for_left_out()
    await world.post(await world.fill("BUY", 10, 5))
    await world.resolve(MICROS, 0)
    (await world.books.settle([CONDITION])).raise_for_left_out()
    sweeps, later = Sweeps(world.database.engine("ledger")), START + timedelta(minutes=10)
    assert await sweeps.resolutions(later, 100) == []
    await world.market()
    assert [message.condition_id for message in await sweeps.resolutions(later, 100)] == [CONDITION]
    assert sum((await world.books.settle([CONDITION])).posted.values()) == 1
    assert await world.position(Scope.SHADOW_USER) == (0, 0, 5)


async def test_marks_and_minutes_write_snapshots_of_holders(world: World) -> None:
    await world.follow()
    await world.market()
    await world.post(await world.fill("BUY", 3_000_000, 1_000_000))
    await world.mark(LEGS[0], 400_001, second=1)
    assert await world.books.revalue([LEGS[0], "nobody holds"]) == 1
    assert (await world.snapshots(Scope.SHADOW_USER))[-1].exposure_micros == 1_200_003
    assert await world.books.revalue_minute() == 0
    world.minute = START + timedelta(minutes=3, seconds=59)
    assert await world.books.revalue_minute() == 1  # only the shadow holds something
    assert [row.at for row in await world.snapshots(Scope.SHADOW_USER)][-1] == START + timedelta(minutes=3)
    assert await world.violations() == []


async def test_a_shadow_still_short_after_two_polls_is_flagged_oversold_until_it_is_not(world: World) -> None:
    await world.follow()
    await world.market()
    await world.post(await world.fill("SELL", 5, 2))
    world.minute = datetime.now(UTC) + timedelta(minutes=2)
    await world.books.revalue_minute()
    assert [row.flags for row in await world.rows("SELECT flags FROM position")] == [["oversold"]]
    await world.post(await world.fill("BUY", 5, 1, event_time=START + timedelta(seconds=1)))
    assert [row.flags for row in await world.rows("SELECT flags FROM position")] == [[]]


async def test_a_shadow_that_trades_on_while_it_is_short_is_flagged_oversold_too(world: World) -> None:
    await world.follow()
    await world.market()
    await world.post(await world.fill("SELL", 5, 2))
    query = text("UPDATE ledger_entry SET created_at = created_at - interval '2 minutes'")
    async with world.database.engine().begin() as connection:
        await connection.execute(query)
    await world.post(await world.fill("BUY", 4, 1, event_time=START + timedelta(seconds=1)))
    world.minute = datetime.now(UTC)
    await world.mark(LEGS[0], 400_000, second=2)
    await world.books.revalue([LEGS[0]])
    assert [row.flags for row in await world.rows("SELECT flags FROM position")] == [["oversold"]]


async def test_sweeps_find_what_never_reached_the_books_and_leave_dead_letters_alone(world: World) -> None:
    await world.follow()
    await world.market()
    lost, posted = await world.fill("BUY", 10, 5), await world.fill("BUY", 11, 6)
    split, buried = await world.activity("SPLIT", 3), await world.fill("BUY", 12, 7)
    await world.post(posted)
    attempt = await world.attempt(Scope.EXEC_USER, 7, 3)
    async with world.database.engine("ledger").begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO dead_letter (id, stream, group_name, message_id, subject, payload, error, attempts, "
                "first_at, last_at, status) VALUES (:id, 'events.detected', 'ledger', '1-1', :subject, '{}', 'x', 1, "
                "now(), now(), 'OPEN')"
            ),
            {"id": uuid4(), "subject": str(buried)},
        )
    sweeps, now = Sweeps(world.database.engine("ledger")), START + timedelta(minutes=10)
    assert {message.event_id for message in await sweeps.events(now, 100)} == {lost, split}
    assert await sweeps.events(START + timedelta(seconds=29), 100) == []
    assert [message.attempt_id for message in await sweeps.attempts(now, 100)] == [attempt]
    assert await sweeps.resolutions(now, 100) == []
    await world.resolve(MICROS, 0)
    assert [message.condition_id for message in await sweeps.resolutions(now, 100)] == [CONDITION]
    await world.post(lost)
    await world.post(split, kind=EventKind.SPLIT)
    await world.books.settle([CONDITION])
    assert (await sweeps.events(now, 100), await sweeps.attempts(now, 100)) == ([], [])
    assert await sweeps.resolutions(now, 100) == []


async def test_verify_says_what_it_compared(world: World) -> None:
    await world.follow()
    report = await verify(world.database.url())
    assert report.ok
    assert list(report) == []
    assert next(report.lines()) == "cash and flows are the sums of entries: 2 entries: ok"


AN_HOUR_AGO = """
INSERT INTO portfolio_snapshot (portfolio_id, at, equity_micros, cash_micros, exposure_micros, deposits_micros,
  withdrawals_micros, fees_micros, realized_pnl_micros, unrealized_pnl_micros)
SELECT portfolio_id, at - interval '1 hour', equity_micros, cash_micros, exposure_micros, deposits_micros,
  withdrawals_micros, fees_micros,"""
OF_SNAPSHOT = "FROM portfolio_snapshot"
REVERSING = """
INSERT INTO ledger_entry (id, portfolio_id, scope, user_id, condition_id, asset_id, entry_type, share_delta_micros,
  cash_delta_micros, ref_id, event_time, tx_hash, log_index, created_at, reverses)
SELECT gen_random_uuid(), portfolio_id, scope, user_id, condition_id, asset_id, 'REVERSAL', -share_delta_micros,
  -cash_delta_micros, 'again ' || id, event_time, tx_hash, log_index, created_at, id FROM ledger_entry"""


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        ("UPDATE portfolio SET cash_micros = cash_micros + 1 WHERE scope = 'SHADOW_USER'", "cash is -5, entries"),
        ("UPDATE portfolio SET realized_pnl_micros = 3", "do not agree with positions"),
        ("UPDATE position SET cost_micros = cost_micros + 1", "entries fold to"),
        ("UPDATE position SET share_micros = share_micros + 1", "entries sum to 10"),
        ("UPDATE position_source SET share_micros = share_micros + 1", "its sources sum to 8"),
        ("UPDATE copy_attempt SET filled_share_micros = filled_share_micros + 1", "expected TRADE_FILL of 8 shares"),
        ("UPDATE copy_attempt SET posted_at = NULL, decided_at = decided_at - interval '9 d'", "and not posted"),
        ("UPDATE trade_event SET share_micros = share_micros + 1", "posted 10 for -6"),
        ("UPDATE trade_event SET status = 'REVERSED'", "10 shares and -6 cash of it stand"),
        (
            "UPDATE ledger_entry SET cash_delta_micros = -10000000001 WHERE scope = 'EXEC_GLOBAL' "
            "AND entry_type = 'TRADE_FILL'",
            "leaves -1 in cash",
        ),
        ("UPDATE portfolio_snapshot SET equity_micros = equity_micros + 1", "is not cash"),
        ("UPDATE portfolio_snapshot SET exposure_micros = 1, equity_micros = cash_micros + 1", "at its marks"),
        ("DELETE FROM ledger_entry WHERE scope = 'SHADOW_USER'", "booked and not posted"),
        (
            "INSERT INTO market_resolution VALUES ('0xc1', '{1000000,0}', NULL, 'x', now() - interval '1 d')",
            "are not settled",
        ),
        ("UPDATE copy_attempt SET scope = 'EXEC_USER'", "0 attempts in EXEC_GLOBAL"),
        ("UPDATE position SET condition_id = '0xc9'", "is kept in condition 0xc9, its token belongs to 0xc1"),
        (f"{AN_HOUR_AGO} realized_pnl_micros + 1, unrealized_pnl_micros {OF_SNAPSHOT}", "is not equity less flows"),
        (f"{AN_HOUR_AGO} realized_pnl_micros, unrealized_pnl_micros + 1 {OF_SNAPSHOT}", "is not equity less flows"),
        (f"{REVERSING} WHERE scope = 'SHADOW_USER'", "posted 10 for -6, of which 0 shares and 0 cash stand"),
        (f"{REVERSING} WHERE entry_type = 'TRADE_FILL' AND scope = 'EXEC_GLOBAL'", "expected REVERSAL of no shares"),
    ],
)
async def test_verify_finds_a_planted_error(world: World, plant: str, words: str) -> None:
    await world.follow()
    await world.market()
    await world.post(await world.fill("BUY", 10, 5, fee=1))
    await world.execute(Scope.EXEC_GLOBAL, await world.attempt(Scope.EXEC_GLOBAL, 7, 3))
    assert await world.violations() == []
    async with world.database.engine().begin() as connection:
        await connection.execute(text(plant))
    found = list(await verify(world.database.url()))
    assert any(words in line for line in found), found


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_two_replicas_agree_with_the_toy_whatever_the_order(world: World, seed: int) -> None:
    random = Random(seed)  # noqa: S311  an order of arrival, not a secret
    await world.follow()
    await world.market()
    toy = ToyLedger()
    deliveries: list[tuple[UUID, EventKind]] = []
    reversed_events = []
    for number in range(60):
        at = START + timedelta(seconds=random.randrange(20))
        shares, notional = random.randrange(1, 5_000_000), random.randrange(3_000_000)
        kind = random.choice(["BUY", "SELL", "BUY", "SPLIT", "MERGE"])
        tx = f"0xt{number:03}"
        if kind in {"BUY", "SELL"}:
            fee, asset = random.choice([0, 70]), random.choice(LEGS)
            event = await world.fill(kind, shares, notional, fee=fee, asset_id=asset, event_time=at, tx_hash=tx)
            sign = 1 if kind == "BUY" else -1
            toy.trade(str(event), (at, tx), asset, sign * shares, sign * notional, fee)
            deliveries += [(event, EventKind.TRADE)] * random.choice([1, 1, 2])
            if random.random() < 0.15:
                reversed_events.append(event)
        else:
            event = await world.activity(kind, shares, event_time=at, tx_hash=tx)
            toy.pair(str(event), (at, tx), LEGS, shares if kind == "SPLIT" else -shares)
            deliveries += [(event, EventKind(kind))] * random.choice([1, 1, 2])
    random.shuffle(deliveries)
    replicas = [world.books, Books(world.database.engine("ledger"), now=lambda: START)]

    async def consume(books: Books, share: list[tuple[UUID, EventKind]]) -> None:
        while share:
            batch, share = share[:5], share[5:]
            outcome = await books.post_events({event: (kind, OTTER) for event, kind in batch})
            outcome.raise_for_left_out()

    await asyncio.gather(*(consume(books, deliveries[index::2]) for index, books in enumerate(replicas)))
    for event in reversed_events:
        toy.reverse(str(event))
    async with world.database.engine().begin() as connection:
        query = text("UPDATE trade_event SET status = 'REVERSED' WHERE id = ANY(:ids)")
        await connection.execute(query, {"ids": reversed_events})
    announced = [(event, EventKind.TRADE) for event in reversed_events]
    await asyncio.gather(*(consume(books, list(announced)) for books in replicas))
    expected = toy.positions()
    for asset in LEGS:
        want = expected.get(asset, ToyPosition())
        assert await world.position(Scope.SHADOW_USER, asset) == (want.shares, want.cost, want.realized)
    assert (await world.portfolio(Scope.SHADOW_USER)).cash_micros == toy.cash()
    assert (await world.portfolio(Scope.SHADOW_USER)).fees_micros == toy.fees_paid()
    await world.resolve(333_333, 666_667)
    await asyncio.gather(*(books.settle([CONDITION]) for books in replicas))
    paid = sum(
        toy_payout(expected.get(asset, ToyPosition()).shares, payout)
        for asset, payout in zip(LEGS, (333_333, 666_667), strict=True)
    )
    assert (await world.portfolio(Scope.SHADOW_USER)).cash_micros == toy.cash() + paid
    assert await world.violations() == []


async def test_a_crash_before_the_commit_leaves_nothing_and_the_repeat_posts_all(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.ledger.store.session import Session

    await world.follow()
    await world.market()
    event = await world.fill("BUY", 10, 5)

    async def die(*_: object) -> None:
        raise ConnectionResetError("the process ended here")

    with monkeypatch.context() as patched:
        patched.setattr(Session, "snapshot", die)
        with pytest.raises(Unavailable):
            await world.post(event)
    assert [entry for entry in await world.entries() if entry.ref_id == str(event)] == []
    assert await world.post(event) == 1
    assert await world.violations() == []


async def test_two_replicas_that_get_the_same_attempts_post_each_once_and_in_order(world: World) -> None:
    await world.follow()
    await world.follow(HERON, minutes=1)
    await world.market()
    attempts = {}
    for number in range(40):
        scope, user = (Scope.EXEC_USER, Scope.EXEC_GLOBAL)[number % 2], (OTTER, HERON)[number % 3 % 2]
        side = "SELL" if number % 8 > 5 else "BUY"
        attempt = await world.attempt(scope, 1_000_000, 400_000, fee=10, side=side, user_id=user)
        attempts[attempt] = portfolio_id(scope, None if scope is Scope.EXEC_GLOBAL else user)
    other = Books(world.database.engine("ledger"), now=lambda: START)
    backwards = dict(reversed(attempts.items()))
    halves = [dict(list(backwards.items())[:20]), dict(list(backwards.items())[20:])]
    outcomes = await asyncio.gather(
        *(books.post_attempts(part) for part in (attempts, *halves) for books in (world.books, other))
    )
    assert sum(sum(outcome.posted.values()) for outcome in outcomes) == 2 * len(attempts)
    order = {str(attempt): place for place, attempt in enumerate(attempts)}
    for portfolio in set(attempts.values()):
        refs = [row.ref_id for row in await world.entries() if row.portfolio_id == portfolio and row.ref_id in order]
        assert refs == sorted(refs, key=order.__getitem__)
    assert await world.violations() == []
