"""Rebuilding from entries: an honest database stays as it is, every damaged row comes back to the micro."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from libs.common.domain.kinds import EventKind, Scope
from services.ledger import commands
from services.ledger.commands import Rebuilt
from services.ledger.store import Books
from tests.integration.test_ledger import HERON, LEGS, OTTER, World
from tests.support.databases import Database

pytestmark = pytest.mark.integration

USDC = 1_000_000
PROJECTION = (
    "SELECT portfolio_id, asset_id, condition_id, share_micros, cost_micros, realized_pnl_micros, flags, "
    "folded_event_time, folded_tx_hash FROM position ORDER BY 1, 2",
    "SELECT * FROM portfolio ORDER BY id",
    "SELECT * FROM position_source WHERE share_micros <> 0 ORDER BY 1, 2",
    "SELECT * FROM portfolio_snapshot ORDER BY 1, 2",
)
"""The last one is cut off at the minute of the damage: a rebuild writes the minute it runs in, too."""


AN_HOUR_AGO = (
    "UPDATE ledger_entry SET created_at = created_at - interval '1 hour'",
    "UPDATE entry_place SET placed_at = placed_at - interval '1 hour'",
    "UPDATE portfolio_snapshot SET at = at - interval '1 hour'",
)


class Damaged(World):
    """Books with something of everything in them, that can be damaged."""

    async def fill_in(self) -> None:
        self.books = Books(self.database.engine("ledger"))  # by the database's clock, as it runs
        await self.follow()
        await self.follow(HERON, 1)
        await self.market()
        await self.mark(LEGS[0], 600_000)
        first = await self.fill("BUY", 5 * USDC, 2 * USDC, fee=12_340)
        late = await self.fill("SELL", 7 * USDC, 4 * USDC, log_index=3)
        gone = await self.fill("BUY", 3 * USDC, USDC)
        await self.post(first, late, gone)
        await self.change("UPDATE trade_event SET status = 'REVERSED' WHERE id = :id", id=gone)
        await self.post(gone)
        await self.post(await self.activity("SPLIT", 3), kind=EventKind.SPLIT)
        for user in (OTTER, HERON):
            attempt = await self.attempt(Scope.EXEC_GLOBAL, 7 * USDC + 1, 3 * USDC, 50, user_id=user)
            await self.execute(Scope.EXEC_GLOBAL, attempt, user=user)
        sold = await self.attempt(Scope.EXEC_GLOBAL, 3 * USDC, 2 * USDC, side="SELL")
        await self.execute(Scope.EXEC_GLOBAL, sold)
        await self.execute(Scope.EXEC_USER, await self.attempt(Scope.EXEC_USER, 9 * USDC, 4 * USDC))
        (self.filled_in,) = await self.rows("SELECT max(at) AS at FROM portfolio_snapshot")

    async def change(self, statement: str, **parameters: Any) -> None:
        async with self.database.engine().begin() as connection:
            await connection.execute(text(statement), parameters)

    async def projection(self) -> list[list[tuple[Any, ...]]]:
        *others, snapshots = [[tuple(row) for row in await self.rows(query)] for query in PROJECTION]
        return [*others, [row for row in snapshots if row[1] <= self.filled_in.at]]

    async def rebuild(self, scope: Scope | None = None, *, dry_run: bool = False) -> Rebuilt:
        return await commands.rebuild(self.database.url(), scope, dry_run=dry_run)


@pytest.fixture
async def world(database: Database) -> Damaged:
    world = Damaged(database)
    await world.fill_in()
    return world


async def test_rebuilding_honest_books_changes_nothing(world: Damaged) -> None:
    before = await world.projection()
    found = await world.rebuild()
    assert (found.changes, found.applied) == ([], False)
    assert found.positions >= 4
    assert found.portfolios == 5
    assert found.snapshots >= 5
    assert await world.projection() == before
    assert await world.violations() == []


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        ("UPDATE position SET cost_micros = cost_micros + 1", "position"),
        ("UPDATE position SET share_micros = 0", "position"),
        ("UPDATE position SET realized_pnl_micros = -5 WHERE share_micros > 0", "position"),
        ("UPDATE position SET folded_event_time = folded_event_time + interval '1 day'", "position"),
        ("DELETE FROM position", "position"),
        ("UPDATE portfolio SET cash_micros = cash_micros - 1", "cash"),
        ("UPDATE portfolio SET deposits_micros = 7, withdrawals_micros = 9, fees_micros = 3", "fees"),
        ("UPDATE portfolio SET realized_pnl_micros = 123", "realized"),
        ("UPDATE position_source SET share_micros = share_micros + 1", "sources"),
        ("DELETE FROM position_source", "sources"),
        ("UPDATE portfolio_snapshot SET cash_micros = cash_micros + 1", "snapshot"),
        ("UPDATE portfolio_snapshot SET equity_micros = equity_micros * 2 + 1", "snapshot"),
        ("UPDATE portfolio_snapshot SET realized_pnl_micros = realized_pnl_micros + 1", "snapshot"),
        ("UPDATE portfolio_snapshot SET unrealized_pnl_micros = 0, realized_pnl_micros = 7", "snapshot"),
        ("UPDATE position SET condition_id = '0xc9'", "position"),
        ("UPDATE position SET condition_id = NULL", "position"),
    ],
)
async def test_every_damaged_row_comes_back_to_the_micro(world: Damaged, damage: str, what: str) -> None:
    before = await world.projection()
    await world.change(damage)
    assert await world.projection() != before
    told = await world.rebuild(dry_run=True)
    assert any(change.what.startswith(what) for change in told.changes)
    assert told.applied is False
    assert (await world.rebuild()).applied is True
    assert await world.projection() == before
    assert (await world.rebuild()).changes == []
    assert await world.violations() == []


async def test_shares_put_down_to_the_wrong_user_are_told_and_put_right(world: Damaged) -> None:
    other = "CASE source_user_id WHEN :otter THEN 1 ELSE -1 END"
    await world.change(f"UPDATE position_source SET share_micros = share_micros + {other}", otter=OTTER)  # noqa: S608
    (told,) = await world.violations()
    assert told.startswith("global shares belong to whom entries name: asset 1001: ")
    assert (await world.rebuild()).applied is True
    assert await world.violations() == []


async def test_a_position_nobody_posted_is_emptied(world: Damaged) -> None:
    await world.change(
        "INSERT INTO position (portfolio_id, asset_id, condition_id, share_micros, cost_micros, realized_pnl_micros, "
        "flags, folded_event_time, folded_tx_hash, updated_at) "
        "SELECT id, 'ghost', '0xc9', 5, 5, 5, '{}', now(), '0xt', now() FROM portfolio WHERE scope = 'EXEC_GLOBAL'"
    )
    assert (await world.rebuild()).applied is True
    assert (await world.rebuild()).changes == []
    assert await world.position(Scope.EXEC_GLOBAL, "ghost", None) == (0, 0, 0)
    assert await world.violations() == []


async def test_a_snapshot_is_written_again_by_the_places_its_fills_were_known_to_have(world: Damaged) -> None:
    """2 at 0.50 are held. SELL 2 at 0.75, then BUY 2 at 0.25 realises 0.50; BUY first, as logs say: 1.50 less 0.75."""
    told: dict[str, Any] = {"user_id": HERON, "asset_id": LEGS[1], "first_source": "DATA_API", "tx_hash": "0xb"}
    held = await world.fill("BUY", 2 * USDC, USDC, **told | {"tx_hash": "0xa"})
    sell = await world.fill("SELL", 2 * USDC, 1_500_000, ordinal=0, **told)
    buy = await world.fill("BUY", 2 * USDC, 500_000, ordinal=1, **told)
    await world.post(held, sell, buy, user=HERON)
    for event, index in ((sell, 9), (buy, 4)):
        await world.change("UPDATE trade_event SET log_index = :index WHERE id = :id", id=event, index=index)
    await world.post(sell, buy, user=HERON)
    for change in AN_HOUR_AGO:
        await world.change(change)
    (world.filled_in,) = await world.rows("SELECT max(at) AS at FROM portfolio_snapshot")
    before = await world.projection()
    assert (await world.snapshots(Scope.SHADOW_USER, HERON))[-1].realized_pnl_micros == 750_000
    await world.change("UPDATE portfolio_snapshot SET cash_micros = cash_micros + 1")
    assert (await world.rebuild()).applied is True
    assert await world.projection() == before
    assert (await world.rebuild()).changes == []


async def test_one_scope_can_be_rebuilt_alone(world: Damaged) -> None:
    await world.change("UPDATE portfolio SET cash_micros = cash_micros + 1")
    found = await world.rebuild(Scope.EXEC_GLOBAL)
    assert [change.what for change in found.changes] == ["cash"]
    assert len((await world.rebuild(dry_run=True)).changes) == 4


async def test_rebuilding_beside_the_running_books_finds_nothing_and_loses_nothing(world: Damaged) -> None:
    stop = asyncio.Event()

    async def post() -> int:
        count = 0
        while not stop.is_set():
            await world.post(await world.fill("BUY", USDC, 400_000))
            count += 1
        return count

    posting = asyncio.create_task(post())
    for _ in range(5):
        assert (await world.rebuild()).changes == []
    stop.set()
    assert await posting
    assert await world.violations() == []
