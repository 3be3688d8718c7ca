"""Deposits and withdrawals on real books: once a command, never below zero, after what was decided before."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.db.engine import IDLE_SECONDS, transaction
from libs.common.domain.errors import Rejected
from libs.common.domain.kinds import Scope
from services.ledger import commands
from tests.integration.test_ledger import BANKROLL, World
from tests.support.databases import Database

pytestmark = pytest.mark.integration

USDC = 1_000_000


@pytest.fixture
async def world(database: Database) -> World:
    world = World(database)
    await world.follow()
    await world.market()
    return world


async def flow(world: World, amount: int, *, withdraw: bool = False, user: str | None = "otter", **more: Any) -> Any:
    return await commands.flow(world.database.url(), amount, withdraw=withdraw, user=user, **more)


async def audit(world: World) -> Sequence[Any]:
    return await world.rows("SELECT action, detail FROM audit_log ORDER BY at")


async def test_a_deposit_is_an_entry_with_audit_and_no_profit(world: World) -> None:
    done = await flow(world, 250 * USDC)
    assert (done.cash_micros, done.is_new) == (BANKROLL + 250 * USDC, True)
    row = await world.portfolio(Scope.EXEC_USER)
    assert (row.cash_micros, row.deposits_micros) == (BANKROLL + 250 * USDC, BANKROLL + 250 * USDC)
    newest = (await world.snapshots(Scope.EXEC_USER))[-1]
    assert newest.equity_micros - newest.deposits_micros + newest.withdrawals_micros == 0
    (row,) = await audit(world)
    assert row.action == "deposit"
    assert row.detail["amount_micros"] == 250 * USDC
    assert await world.violations() == []


async def test_a_withdrawal_from_the_global_portfolio_takes_cash_and_nothing_else(world: World) -> None:
    done = await flow(world, 9_999_999_999, withdraw=True, user=None)
    assert done.cash_micros == 1
    row = await world.portfolio(Scope.EXEC_GLOBAL, None)
    assert (row.withdrawals_micros, row.deposits_micros) == (9_999_999_999, BANKROLL)
    with pytest.raises(Rejected, match=r"at most the 0\.000001 USDC"):
        await flow(world, 2, withdraw=True, user=None)
    assert (await world.portfolio(Scope.EXEC_GLOBAL, None)).cash_micros == 1
    assert len(await audit(world)) == 1
    assert await world.violations() == []


async def test_one_command_id_posts_once_however_often_and_at_once(world: World) -> None:
    command = uuid4()
    done = await asyncio.gather(*(flow(world, USDC, command_id=command) for _ in range(5)))
    assert sorted(each.is_new for each in done) == [False] * 4 + [True]
    assert (await world.portfolio(Scope.EXEC_USER)).cash_micros == BANKROLL + USDC
    assert len(await audit(world)) == 1


async def test_what_was_decided_before_is_posted_before_a_withdrawal(world: World) -> None:
    await world.attempt(Scope.EXEC_USER, 100 * USDC, 40 * USDC, 500_000)
    with pytest.raises(Rejected, match="at most"):
        await flow(world, BANKROLL, withdraw=True)
    assert len(await world.entries()) == 2  # the refusal took everything back: both bankrolls stand alone
    done = await flow(world, BANKROLL - 41 * USDC, withdraw=True)
    assert done.cash_micros == 500_000
    assert await world.violations() == []


async def test_what_is_decided_and_cannot_be_posted_yet_is_not_there_to_withdraw(world: World) -> None:
    unknown: dict[str, Any] = {"kind": "SPLIT", "side": None, "asset_id": None, "condition_id": "0xunknown"}
    await world.attempt(Scope.EXEC_USER, 4 * USDC, 4 * USDC, **unknown)
    with pytest.raises(Rejected, match=r"at most the 9,996\.00 USDC.*decided but not posted yet"):
        await flow(world, BANKROLL - 4 * USDC + 1, withdraw=True)
    command = uuid4()
    assert (await flow(world, BANKROLL - 4 * USDC, withdraw=True, command_id=command)).cash_micros == 4 * USDC
    assert not (await flow(world, BANKROLL - 4 * USDC, withdraw=True, command_id=command)).is_new
    assert (await flow(world, 1)).cash_micros == 4 * USDC + 1


async def test_a_flow_that_stands_still_is_cut_off_like_a_service(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look(engine: AsyncEngine, *_: object, **__: object) -> Any:
        async with transaction(engine) as connection:
            return await connection.scalar(text("SELECT current_setting('idle_in_transaction_session_timeout')"))

    monkeypatch.setattr(commands, "post_flow", look)
    assert await flow(world, 1) == f"{IDLE_SECONDS:.0f}s"


@pytest.mark.parametrize("amount", [0, -1, 10**15 + 1])
async def test_an_amount_that_makes_no_sense_is_refused(world: World, amount: int) -> None:
    with pytest.raises(Rejected, match="expected an amount"):
        await flow(world, amount)


async def test_an_unknown_user_and_a_portfolio_not_open_yet_are_refused(world: World, database: Database) -> None:
    with pytest.raises(Rejected, match="got 'nobody'"):
        await flow(world, USDC, user="nobody")
    await world.follow_only(UUID(int=2), 1)
    with pytest.raises(Rejected, match="not open yet"):
        await flow(world, USDC, user="heron")
