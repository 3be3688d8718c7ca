"""Who waits for whom at a portfolio: decisions for the end of a posting alone, valuations for all of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.common.db.engine import make_engine, transaction
from libs.common.domain.errors import Unavailable
from libs.common.domain.kinds import EventKind, Scope
from services.ledger.core.entries import portfolio_id
from services.ledger.store.books import Books
from services.ledger.store.session import Session
from services.simulator.store.driver import driver_transaction
from services.simulator.store.rows import Market
from services.simulator.store.session import DecisionSession
from tests.integration.test_ledger import BANKROLL, HERON, LEGS, OTTER, World
from tests.support.databases import Database

pytestmark = pytest.mark.integration

GLOBAL = portfolio_id(Scope.EXEC_GLOBAL, None)
WAITS = """
SELECT l.pid FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE NOT l.granted AND a.datname = current_database()
"""


@pytest.fixture
async def world(database: Database) -> World:
    """A world in which EXEC_GLOBAL holds something."""
    world = World(database)
    await world.follow()
    await world.market()
    await world.execute(Scope.EXEC_GLOBAL, await world.attempt(Scope.EXEC_GLOBAL, 2_000_000, 1_000_000))
    return world


@asynccontextmanager
async def ledger(world: World) -> AsyncIterator[AsyncConnection]:
    async with transaction(world.database.engine("ledger")) as connection:
        yield connection


async def wait_for_a_lock(world: World) -> None:
    """Return once some session waits for a lock."""
    async with asyncio.timeout(20):
        while not await world.rows(WAITS):  # noqa: ASYNC110  what is awaited is the server's
            await asyncio.sleep(0.01)


async def equity(world: World) -> int:
    found: int = (await world.snapshots(Scope.EXEC_GLOBAL, None))[-1].equity_micros
    return found


async def test_a_decision_and_a_valuation_of_one_portfolio_do_not_wait_for_each_other(world: World) -> None:
    await world.mark(LEGS[0], 700_000, second=1)
    simulator = world.database.engine("simulator")
    async with asyncio.timeout(20):
        async with driver_transaction(simulator) as connection:
            assert GLOBAL in await DecisionSession(connection, Scope.EXEC_GLOBAL, "simulator-global").lock([GLOBAL])
            assert await world.books.revalue([LEGS[0]]) == 1
            assert await equity(world) == BANKROLL - 1_000_000 + 1_400_000
        async with ledger(world) as valuing:
            await Session(valuing).keep([GLOBAL])
            async with driver_transaction(simulator) as connection:
                assert GLOBAL in await DecisionSession(connection, Scope.EXEC_GLOBAL, "simulator-global").lock([GLOBAL])
                await connection.execute("UPDATE portfolio SET peak_equity_micros = 5 WHERE id = $1", GLOBAL)
            await Session(valuing).snapshot([GLOBAL], world.minute)
    assert (await world.portfolio(Scope.EXEC_GLOBAL, None)).peak_equity_micros == 5


async def test_a_valuation_waits_for_a_posting_and_counts_it(world: World) -> None:
    attempt = await world.attempt(Scope.EXEC_GLOBAL, 2_000_000, 1_200_000)
    await world.mark(LEGS[0], 700_000, second=1)
    async with ledger(world) as posting:
        assert await Session(posting).keep([GLOBAL]) == {GLOBAL}
        valuation = asyncio.create_task(world.books.revalue([LEGS[0]]))
        await wait_for_a_lock(world)
        assert not valuation.done()
    await valuation
    assert await equity(world) == BANKROLL - 1_000_000 + 1_400_000
    assert await world.execute(Scope.EXEC_GLOBAL, attempt) > 0
    assert await equity(world) == BANKROLL - 2_200_000 + 2_800_000
    assert await world.violations() == []


async def test_a_decision_goes_on_while_a_posting_is_made_and_sees_nothing_or_all_of_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator, attempt = (
        world.database.engine("simulator"),
        await world.attempt(Scope.EXEC_GLOBAL, 3_000_000, 1_500_000),
    )
    before, apply = await world.portfolio(Scope.EXEC_GLOBAL, None), Session.apply

    async def decided_meanwhile(session: Session) -> None:
        """Decide when all but the sums is written, and let the posting wait for the end of that."""
        decided = asyncio.Event()

        async def decision() -> None:
            async with driver_transaction(simulator) as connection:
                deciding = DecisionSession(connection, Scope.EXEC_GLOBAL, "simulator-global")
                locked = list((await deciding.lock([GLOBAL])).values())
                decided.set()
                await wait_for_a_lock(world)
                switches = await deciding.switches()
                states, _ = await deciding.states(locked, Market(), switches, {OTTER}, datetime.now(UTC))
                assert states[GLOBAL].cash_micros == before.cash_micros - 1_500_000  # in flight, counted once
                await connection.execute("UPDATE portfolio SET peak_equity_micros = 5 WHERE id = $1", GLOBAL)

        decision_made = asyncio.create_task(decision())
        await decided.wait()
        await apply(session)
        await decision_made

    with monkeypatch.context() as patch:
        patch.setattr(Session, "apply", decided_meanwhile)
        async with asyncio.timeout(20):
            await world.execute(Scope.EXEC_GLOBAL, attempt)
    after = await world.portfolio(Scope.EXEC_GLOBAL, None)
    assert (after.cash_micros, after.peak_equity_micros) == (before.cash_micros - 1_500_000, 5)
    assert await world.violations() == []


async def test_a_posting_waits_for_a_valuation_so_that_none_is_written_over_by_what_was_read_before(
    world: World,
) -> None:
    attempt = await world.attempt(Scope.EXEC_GLOBAL, 2_000_000, 1_200_000)
    async with ledger(world) as valuing:
        await Session(valuing).keep([GLOBAL])
        posting = asyncio.create_task(world.execute(Scope.EXEC_GLOBAL, attempt))
        await wait_for_a_lock(world)
        assert not posting.done()
        await Session(valuing).snapshot([GLOBAL], world.minute)
    await posting
    assert (await world.snapshots(Scope.EXEC_GLOBAL, None))[-1].cash_micros == BANKROLL - 2_200_000


async def test_of_two_valuations_the_later_one_reads_after_the_earlier_one_wrote(world: World) -> None:
    async with ledger(world) as valuing:
        await Session(valuing).keep([GLOBAL])
        other = asyncio.create_task(world.books.revalue([LEGS[0]]))
        await wait_for_a_lock(world)
        assert not other.done()
        await world.mark(LEGS[0], 700_000, second=1)
        await Session(valuing).snapshot([GLOBAL], world.minute)
    await other
    assert await equity(world) == BANKROLL - 1_000_000 + 1_400_000


@pytest.mark.parametrize("step", ["_move", "snapshot"])
async def test_a_ledger_that_stands_still_is_cut_off_and_lets_go(
    world: World, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    strict = make_engine(world.database.url("ledger"), application="strict", pool_size=1, idle_seconds=0.1)
    books, simulator = Books(strict), world.database.engine("simulator")
    attempt = await world.attempt(Scope.EXEC_GLOBAL, 1_000_000, 500_000)
    before, go_on = await world.portfolio(Scope.EXEC_GLOBAL, None), getattr(Session, step)

    async def stopped(session: Session, *arguments: object) -> None:
        """Stand still until a decision and another posting have had the portfolio, then go on as if nothing was."""
        async with asyncio.timeout(20):
            async with driver_transaction(simulator) as connection:
                await DecisionSession(connection, Scope.EXEC_GLOBAL, "simulator-global").lock([GLOBAL])
            async with ledger(world) as another:
                await Session(another).keep([GLOBAL])
        await go_on(session, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Session, step, stopped)
        with pytest.raises(Unavailable):
            await books.post_attempts({attempt: GLOBAL})
    await strict.dispose()
    assert await world.portfolio(Scope.EXEC_GLOBAL, None) == before
    await world.execute(Scope.EXEC_GLOBAL, attempt)
    assert (await world.portfolio(Scope.EXEC_GLOBAL, None)).cash_micros == before.cash_micros - 500_000


async def test_what_is_bought_for_one_user_rewrites_the_shares_of_no_other(world: World) -> None:
    async def versions() -> dict[UUID, str]:
        rows = await world.rows("SELECT source_user_id, CAST(xmin AS text) AS written_by FROM position_source")
        return {row.source_user_id: row.written_by for row in rows}

    await world.follow(HERON, minutes=1)
    await world.execute(Scope.EXEC_GLOBAL, await world.attempt(Scope.EXEC_GLOBAL, 3, 2, user_id=HERON))
    before = await versions()
    await world.execute(Scope.EXEC_GLOBAL, await world.attempt(Scope.EXEC_GLOBAL, 5, 2, user_id=HERON))
    after = await versions()
    assert (after[OTTER] == before[OTTER], after[HERON] == before[HERON]) == (True, False)
    assert await world.violations() == []


HUGE = 9 * 10**18
"""Of which a column holds one and not two."""


async def test_a_portfolio_worth_more_than_a_column_holds_keeps_no_other_from_being_valued(world: World) -> None:
    await world.follow(HERON)
    await world.post(await world.fill("BUY", HUGE, 1), await world.fill("BUY", HUGE, 1, asset_id=LEGS[1]))
    await world.post(await world.fill("BUY", 3_000_000, 1, user_id=HERON), user=HERON)
    for leg in LEGS:
        await world.mark(leg, 1_000_000, second=1)
    with pytest.raises(DBAPIError, match="out of"):
        await world.books.revalue(LEGS)
    assert (await world.snapshots(Scope.SHADOW_USER, HERON))[-1].exposure_micros == 3_000_000
    assert await equity(world) == BANKROLL - 1_000_000 + 2_000_000


async def test_a_split_that_no_column_holds_keeps_no_other_waiting(world: World) -> None:
    splits = [await world.activity("SPLIT", shares, condition_id="0xlate") for shares in (HUGE, HUGE, 7)]
    await world.post(*splits, kind=EventKind.SPLIT)
    await world.market("0xlate", ("9001", "9002"))
    with pytest.raises(DBAPIError, match="out of"):
        await world.books.post_waiting()
    assert await world.books.waiting() == 1
    held = await world.rows("SELECT share_micros FROM position WHERE asset_id = '9001'")
    assert [row.share_micros for row in held] == [HUGE + 7]
