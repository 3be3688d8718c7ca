"""Testing a configuration on what was recorded, on a real Postgres, under the roles that ask and answer."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from libs.common.db.config_tests import cancel_run
from libs.common.db.engine import transaction
from libs.common.domain.config_test import WAITING_MAX, Compared, Figures
from libs.common.domain.errors import Rejected
from libs.common.domain.kinds import Scope
from services.cli.trying import lines
from services.simulator.commands import apply_config_file
from services.simulator.config_test import work
from services.simulator.store.config_tests import TRIES_MAX, RunStore
from services.simulator.trying import Wish, try_config
from tests.support import databases
from tests.support.databases import Cluster, Database
from tests.support.decisions import usdc
from tests.support.recorded_world import OTHER, SCOPES, UP, RecordedWorld, buy, live
from tests.support.simulator_world import HERON

pytestmark = pytest.mark.integration

NewWorld = Callable[[], Coroutine[Any, Any, RecordedWorld]]
DRAFTS: tuple[dict[str, Any], ...] = (
    {"copy_pct": 3, "depth_multiple": 0, "max_trade_equity_pct": "2", "daily_loss_limit_pct": "0.1"},
    {"sell_sizing": "PROPORTIONAL", "below_min": "SKIP", "min_trade_notional_micros": 6_000_000},
    {"cap_policy": "SHRINK", "max_exposure_per_market_pct": "0.2", "max_drawdown_limit_pct": 99, "spread": 20_000},
    {"max_drawdown_limit_pct": "0.01", "market_blacklist": ["0x" + "d" * 64]},
)


@pytest.fixture
async def world(database: Database) -> RecordedWorld:
    return RecordedWorld(database)


@pytest.fixture
async def new_world(postgres_cluster: Cluster) -> AsyncIterator[NewWorld]:
    made: list[Database] = []

    async def make() -> RecordedWorld:
        own = Database(postgres_cluster, f"test_{secrets.token_hex(6)}")
        await postgres_cluster.execute(f"CREATE DATABASE {own.name} TEMPLATE {databases.TEMPLATE}")
        made.append(own)
        return RecordedWorld(own)

    yield make
    for each in made:
        await each.dispose()
        await postgres_cluster.execute(f"DROP DATABASE {each.name} WITH (FORCE)")


def by_owner(compared: list[Compared]) -> dict[tuple[Scope, str | None], Compared]:
    return {(each.scope, each.user_label): each for each in compared}


async def test_a_draft_that_is_what_ran_changes_nothing(world: RecordedWorld) -> None:
    since = await live(world)
    result = await world.tested({}, since)
    assert result.changed == []
    assert result.reconstruction_gaps == 0
    for compared in (*result.scopes, *result.portfolios):
        assert compared.ran == compared.draft
        assert (compared.changed, compared.difference) == (0, Figures())
    by_scope = {each.scope: each for each in result.scopes}
    equities = await world.equities()
    for scope in SCOPES:
        rows = [each for each in await world.attempts(scope) if each.decided_at >= since]
        ran = by_scope[scope].ran
        assert ran.attempts == len(rows)
        assert ran.executed == sum(each.decision == "EXECUTE" for each in rows)
        assert ran.traded_notional_micros == sum(each.filled_notional_micros for each in rows)
        assert ran.fee_micros == sum(each.fee_micros for each in rows)
        assert ran.end_equity_micros == equities[scope]
        assert ran.net_flows_micros == (250_000_000 * (2 if scope is Scope.EXEC_USER else 1))
    reasons = set(by_scope[Scope.EXEC_GLOBAL].ran.skipped_by_reason)
    assert reasons >= {"BREAKER_DRAWDOWN", "MARKET_CLOSED", "NO_POSITION"}


async def test_a_draft_does_what_a_life_under_it_would_have_done(world: RecordedWorld, new_world: NewWorld) -> None:
    """The oracle is another database, in which the same things happened and the draft was in force."""
    others = [await new_world() for _ in DRAFTS]
    since, *starts = await asyncio.gather(live(world), *map(live, others, DRAFTS))
    for draft, other, start in zip(DRAFTS, others, starts, strict=True):
        lived = by_owner((await other.tested({}, start)).portfolios)
        result = await world.tested(draft, since)
        assert result.reconstruction_gaps == 0
        assert result.changed_total > 0
        for owner, found in by_owner(result.portfolios).items():
            assert found.draft == lived[owner].ran, (draft, owner)
        for scope in SCOPES:
            verdicts = {each.attempt_id: each.draft for each in result.changed if each.scope is scope}
            ours, theirs = await world.attempts(scope), await other.attempts(scope)
            for our, their in zip(ours, theirs, strict=True):
                expected = verdicts.get(our.id)
                decision = expected.decision if expected else our.decision
                reasons = expected.reason_codes if expected else our.reason_codes
                filled = expected.filled_notional_micros if expected else our.filled_notional_micros
                assert (decision, reasons, filled) == (
                    their.decision, their.reason_codes, their.filled_notional_micros
                ), (draft, our.seq)  # fmt: skip


async def test_a_users_draft_concerns_that_user_and_the_global_portfolio(world: RecordedWorld) -> None:
    since = await live(world)
    result = await world.tested({"copy_pct": "0.00001", "below_min": "SKIP"}, since, user="heron")
    assert [(each.scope, each.user_label) for each in result.portfolios] == [
        (Scope.EXEC_USER, "heron"), (Scope.EXEC_GLOBAL, None)
    ]  # fmt: skip
    assert {each.user_label for each in result.changed} <= {"heron", "otter"}
    own = by_owner(result.portfolios)[Scope.EXEC_USER, "heron"]
    assert own.ran.executed > 0
    assert own.draft.executed == 0
    assert own.draft.skipped_by_reason["BELOW_MIN_NOTIONAL"] > 0
    as_file = await world.tested({"users": {"heron": {"copy_pct": "0.00001", "below_min": "SKIP"}}}, since)
    assert as_file.portfolios == result.portfolios
    # what only another book could show is said, not guessed
    latency = await world.tested({"decision_latency_ms": 0, "jitter_ms": 250}, since)
    assert (latency.not_tested, latency.changed_total) == (["decision_latency_ms"], 0)
    bankroll = await world.tested({"bankroll_micros": 5_000_000_000}, since)
    assert (bankroll.not_tested, bankroll.changed_total) == (["bankroll_micros"], 0)
    assert "The bankroll of the draft is not tested: portfolios keep what was deposited." in list(lines(bankroll))


async def test_a_position_that_only_the_draft_holds_is_settled_when_it_would_have_been(world: RecordedWorld) -> None:
    await world.open()
    await world.open_second_market()
    await apply_config_file(world.database.url(), None, {"market_blacklist": [OTHER]})
    await world.mark(UP, "0.50")
    await world.new_books()
    since = datetime.now(UTC)
    await world.decide(buy(asset=UP))
    await world.mark(UP, "0.70")
    draft: dict[str, Any] = {"market_blacklist": []}
    marked = (await world.tested(draft, since)).scopes
    assert [(each.ran.pnl_micros, each.draft.pnl_micros) for each in marked] == [(0, usdc(4)), (0, usdc(4))]
    await world.resolve((1_000_000, 0))
    settled = (await world.tested(draft, since)).scopes
    assert [(each.ran.pnl_micros, each.draft.pnl_micros) for each in settled] == [(0, usdc(10)), (0, usdc(10))]
    assert [each.draft.skipped_by_reason for each in settled] == [{}, {}]
    assert [each.difference.executed for each in settled] == [1, 1]


async def test_a_range_whose_books_are_gone_is_refused_in_words(world: RecordedWorld) -> None:
    await world.open()
    since = datetime.now(UTC)
    await world.decide(buy())
    await world.execute("DELETE FROM book_snapshot")
    run_id = await world.ask({}, since)
    assert await work(world.database.engine("simulator"), "worker") == 1
    run = await world.run(run_id)
    assert run.state == "FAILED"
    assert run.error is not None
    assert run.error.startswith("expected a range whose books are kept")


async def test_runs_are_done_one_at_a_time_and_a_former_owner_writes_nothing(world: RecordedWorld) -> None:
    await world.open()
    since = datetime.now(UTC)
    await world.decide(buy())
    engine = world.database.engine("simulator")
    first, second = await world.ask({}, since), await world.ask({}, since)
    slow, other = RunStore(engine, "slow"), RunStore(engine, "other")
    soon = datetime.now(UTC) + timedelta(seconds=1)
    assert [run for run, _ in await other.unheard(soon, 10)] == [first, second]
    assert await other.unheard(since, 10) == []  # the young ones' messages are still on their way
    claimed = await slow.claim()
    assert claimed is not None
    assert claimed.id == first
    assert await other.claim() is None
    assert not await other.waits()
    assert [run for run, _ in await other.unheard(soon, 10)] == [second]
    await world.execute("UPDATE config_test_run SET heartbeat_at = heartbeat_at - interval '1 minute'")
    taken = await other.claim()
    assert taken is not None
    assert taken.id == first  # the dead worker's run comes before the one that waits
    assert await slow.report(first, 1, 2) is None
    assert not await slow.end(first, "DONE", result="{}")
    assert await other.end(first, "DONE", result=None)
    third = await other.claim()
    assert third is not None
    assert third.id == second


async def test_a_run_whose_worker_died_three_times_is_given_up(world: RecordedWorld) -> None:
    await world.open()
    run_id = await world.ask({}, datetime.now(UTC) - timedelta(hours=1))
    runs = RunStore(world.database.engine("simulator"), "dying")
    for _ in range(TRIES_MAX):
        assert await runs.claim() is not None
        await runs.release()
    assert await runs.claim() is None
    run = await world.run(run_id)
    assert (run.state, run.error) == (
        "FAILED", "the worker ended 3 times in the middle of it, the last time after 0 decisions"
    )  # fmt: skip


async def test_a_run_that_waits_and_one_that_runs_can_be_called_off(world: RecordedWorld) -> None:
    await world.open()
    since = datetime.now(UTC)
    await world.decide(buy())
    first, second = await world.ask({}, since), await world.ask({}, since)
    engine = world.database.engine("simulator")
    runs = RunStore(engine, "worker")
    assert await runs.claim() is not None
    for run_id in (first, second):
        async with transaction(world.database.engine("ui")) as connection:
            assert await cancel_run(connection, run_id, "test")
            assert not await cancel_run(connection, run_id, "test")
    assert await runs.report(first, 0, 2) is True
    assert (await world.run(second)).state == "CANCELLED"
    await runs.release()
    assert await work(engine, "next") == 0
    assert (await world.run(first)).state == "CANCELLED"


async def test_the_one_who_asks_cannot_write_answers_and_old_answers_go(world: RecordedWorld) -> None:
    await world.open()
    run_id = await world.ask({}, datetime.now(UTC) - timedelta(hours=1))
    for change in ("state = 'DONE'", "result = '{}'", "done = 1", "draft = '{}'"):
        with pytest.raises(DBAPIError, match="permission denied"):
            async with transaction(world.database.engine("ui")) as connection:
                await connection.execute(text(f"UPDATE config_test_run SET {change}"))  # noqa: S608
    with pytest.raises(DBAPIError, match="permission denied"):
        async with transaction(world.database.engine("simulator")) as connection:
            await connection.execute(text("UPDATE config_test_run SET cancel_requested_at = now()"))
    await world.execute(
        "INSERT INTO config_test_run (id, requested_at, requested_by, draft, since, until, state)"
        " SELECT gen_random_uuid(), now() - interval '1 day', 'x', '{}', now(), now(), 'DONE'"
        " FROM generate_series(1, 120)"
    )
    await work(world.database.engine("simulator"), "worker")
    assert (await world.run(run_id)).state == "DONE"
    assert (await world.execute("SELECT count(*) FROM config_test_run"))[0][0] == 100


async def test_too_many_waiting_and_unknown_users_are_refused(world: RecordedWorld) -> None:
    await world.open()
    since = datetime.now(UTC) - timedelta(hours=1)
    with pytest.raises(Rejected, match="nobody is followed as crane"):
        await world.ask({"users": {"crane": {"copy_pct": 2}}}, since)
    for _ in range(WAITING_MAX):
        await world.ask({}, since)
    with pytest.raises(Rejected, match="10 tests wait already"):
        await world.ask({}, since)


async def test_an_operator_tries_a_file_without_a_stack_and_calls_it_off(world: RecordedWorld, tmp_path: Path) -> None:
    await world.open()
    since = datetime.now(UTC)
    await world.decide(buy(), buy(HERON))
    file = tmp_path / "draft.json"
    file.write_text('{"copy_pct": 2.5, "max_trade_equity_pct": 5}')
    never = asyncio.Event()
    seen = [run async for run in try_config(world.database.url(), None, Wish(file, since=since), never)]
    assert seen[-1].state == "DONE"
    assert seen[-1].result is not None
    assert seen[-1].result.changed_total == 4
    said = "\n".join(lines(seen[-1].result))
    assert "2 groups from" in said
    assert "executed                                 2               2              +0" in said
    assert re.search(r"EXEC_GLOBAL otter: EXECUTE 10\.00 -> EXECUTE 24\.99", said)
    called_off = asyncio.Event()
    called_off.set()
    await world.execute("UPDATE config_test_run SET state = 'RUNNING', heartbeat_at = now()")  # another one runs
    seen = [run async for run in try_config(world.database.url(), None, Wish({}, user="otter"), called_off)]
    assert (seen[-1].state, seen[-1].user_label) == ("QUEUED", "otter")
    assert seen[-1].cancel_requested_at is not None
    file.write_text('{"copy_pct": "many"}')
    with pytest.raises(Rejected, match=r"draft.json: global: copy_pct: expected a number, got 'many'"):
        [run async for run in try_config(world.database.url(), None, Wish(file), never)]
