"""Decisions on a real Postgres, under the simulator's own role: order, locks, in-flight fills, books, configuration."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import pytest

from libs.common.db.tables.ledger import PositionSource
from libs.common.domain.identity import attempt_id
from libs.common.domain.kinds import Scope
from services.simulator.commands import apply_config_file, replay_attempts
from services.simulator.core.decide import decide
from services.simulator.records import attempt_row
from services.simulator.scheduler import UNHEARD_OF, portfolio_id
from tests.support.databases import Database
from tests.support.decisions import BOOK, CONDITION, NO, YES, book, levels, usdc
from tests.support.simulator_world import HERON, OTTER, World

pytestmark = pytest.mark.integration

USER, GLOBAL = Scope.EXEC_USER, Scope.EXEC_GLOBAL


async def test_a_group_becomes_one_attempt_with_its_fills_in_each_scope(world: World) -> None:
    group = await world.close_group()
    for scope in (USER, GLOBAL):
        replica = world.replica(scope)
        await replica.hear(group)
        await replica.decide_all()
        (attempt,) = await world.attempts(scope)
        assert (attempt.id, attempt.seq, attempt.decision) == (attempt_id(scope, group), 1, "EXECUTE")
        assert (attempt.target_notional_micros, attempt.filled_notional_micros) == (usdc(10), usdc(10))
        assert (attempt.cash_micros, attempt.equity_micros) == (usdc(10_000), usdc(10_000))
        assert (attempt.day_start_equity_micros, attempt.peak_equity_micros) == (usdc(10_000), usdc(10_000))
        assert attempt.fee_micros == usdc("0.35")
        assert replica.announced == [attempt.id]
    fills = await world.execute("SELECT level, share_micros, fee_micros FROM executable_fill")
    assert [tuple(fill) for fill in fills] == [(0, usdc(20), usdc("0.35"))] * 2
    assert world.exchange.calls == [(YES,)]  # one book for both scopes


async def test_fills_decided_but_not_posted_count(world: World) -> None:
    replica = world.replica(USER)
    first, second = await world.close_group(age_s=5), await world.close_group(age_s=4)
    await replica.hear(second, first)
    await replica.decide_all()
    one, two = await world.attempts(USER)
    assert (one.group_id, two.group_id) == (first, second)
    assert two.cash_micros == usdc(10_000) - usdc(10) - usdc("0.35")
    assert (two.held_share_micros, two.exposure_market_micros) == (usdc(20), usdc(10))  # at cost: never marked
    # the same again from what Postgres holds, not from memory
    other = world.replica(USER, "simulator-1")
    await world.mark(YES, "0.6")
    third = await world.close_group(age_s=3)
    await other.hear(third)
    await other.decide_all()
    three = (await world.attempts(USER))[2]
    assert (three.seq, three.held_share_micros, three.exposure_total_micros) == (3, usdc(40), usdc(24))
    assert three.equity_micros == usdc(10_000) - 2 * usdc("10.35") + usdc(24)


async def test_what_was_taken_of_a_book_version_is_gone_for_the_next_attempt(world: World) -> None:
    world.exchange.books_by_asset[YES] = book(levels(("0.49", "100")), levels(("0.50", "25"), ("0.51", "100")))
    await apply_config_file(world.database.url(), None, {"global": {"depth_multiple": 0}})
    replica = world.replica(USER)
    await replica.configs.merge()
    await replica.hear(await world.close_group(age_s=5))
    await replica.decide_all()
    other = world.replica(USER, "simulator-1")
    await other.hear(await world.close_group(age_s=4))
    await other.decide_all()
    fills = await world.execute(
        "SELECT a.seq, f.level, f.share_micros FROM executable_fill f"
        " JOIN copy_attempt a ON a.id = f.attempt_id ORDER BY 1, 2"
    )
    assert [tuple(fill) for fill in fills] == [(1, 0, usdc(20)), (2, 0, usdc(5)), (2, 1, usdc("14.70"))]


async def test_an_older_undecided_group_nobody_told_of_goes_first(world: World) -> None:
    older, younger = await world.close_group(age_s=5), await world.close_group(age_s=4)
    replica = world.replica(GLOBAL)
    await replica.hear(younger)
    await replica.decide_all()
    assert [each.group_id for each in await world.attempts(GLOBAL)] == [older, younger]
    assert not any(each.out_of_order for each in await world.attempts(GLOBAL))


async def test_many_older_groups_nobody_told_of_go_first_however_few_are_read_at_a_time(world: World) -> None:
    older = [await world.close_group(age_s=9 - n / 10) for n in range(3 * UNHEARD_OF)]
    replica = world.replica(GLOBAL)
    await replica.start()
    heard = await world.close_group()
    await replica.hear(heard)
    await replica.decide_all()
    attempts = await world.attempts(GLOBAL)
    assert [each.group_id for each in attempts] == [*older, heard]
    assert not any(each.out_of_order for each in attempts)


async def test_the_global_portfolio_waits_for_an_older_group_that_is_due_later(world: World) -> None:
    younger = await world.close_group(age_s=5, user=HERON)
    detected = datetime.now(UTC) - timedelta(seconds=6)
    older = await world.close_group(first_detect_time=detected, closed_at=datetime.now(UTC) - timedelta(seconds=0.3))
    replica = world.replica(GLOBAL)
    await replica.hear(younger)
    await replica.decide_all()
    attempts = await world.attempts(GLOBAL)
    assert [each.group_id for each in attempts] == [older, younger]
    assert attempts[1].decided_at >= attempts[0].due_at > attempts[1].due_at
    assert attempts[1].inputs["clock"]["effective_due_at"] == attempts[0].inputs["clock"]["effective_due_at"]


async def test_a_group_committed_after_a_younger_one_was_decided_is_flagged(world: World) -> None:
    replica = world.replica(GLOBAL)
    younger = await world.close_group(age_s=4)
    await replica.hear(younger)
    await replica.decide_all()
    late = await world.close_group(age_s=10)
    await replica.hear(late)
    await replica.decide_all()
    youngest = await world.close_group(age_s=3.5)
    await replica.hear(youngest)
    await replica.decide_all()
    found = [(each.group_id, each.out_of_order) for each in await world.attempts(GLOBAL)]
    assert found == [(younger, False), (late, True), (youngest, False)]


async def test_replicas_that_race_decide_each_group_once_and_in_order(world: World) -> None:
    groups = [await world.close_group(age_s=9 - n / 10, user=(OTTER, HERON)[n % 2]) for n in range(40)]
    replicas = [world.replica(GLOBAL, f"simulator-{n}") for n in range(3)]
    for number, replica in enumerate(replicas):
        await replica.hear(*groups[number::2])
    await asyncio.gather(*(replica.decide_all() for replica in replicas))
    attempts = await world.attempts(GLOBAL)
    assert [each.group_id for each in attempts] == groups
    assert [each.seq for each in attempts] == list(range(1, 41))
    assert not any(each.out_of_order for each in attempts)
    # cash as one decider after the other would have left it
    for before, after in pairwise(attempts):
        assert after.cash_micros == before.cash_micros - before.filled_notional_micros - before.fee_micros
    books = await world.execute("SELECT count(*) FROM group_book WHERE fetched_at IS NOT NULL")
    assert books[0][0] == 40
    assert not await replay_attempts(world.database.url())


async def test_a_decided_group_is_announced_again(world: World) -> None:
    group = await world.close_group()
    first, second = world.replica(USER, "a"), world.replica(USER, "b")
    await first.hear(group)
    await second.hear(group)
    await first.decide_all()
    await second.decide_all()
    assert first.announced == second.announced
    assert len(await world.attempts(USER)) == 1


async def test_a_group_waits_for_its_portfolio(database: Database) -> None:
    world = World(database)
    await world.open(portfolios=False)
    replica = world.replica(USER)
    await replica.hear(await world.close_group())
    for _ in range(3):
        await replica.scheduler.tick()
        await replica.get_books()
    assert await world.attempts(USER) == []
    await world.open_portfolios()
    await replica.decide_all()
    assert len(await world.attempts(USER)) == 1


async def test_an_unknown_market_is_waited_for_and_then_skipped(database: Database) -> None:
    world = World(database)
    await world.open(market=False)
    soon, never = await world.close_group(age_s=3), await world.close_group(age_s=6, asset_id=NO)
    world.exchange.books_by_asset[NO] = BOOK
    replica = world.replica(USER)
    await replica.hear(soon, never)

    async def become_known() -> None:
        while not await world.attempts(USER):  # noqa: ASYNC110  what is awaited is a row
            await asyncio.sleep(0.01)
        await world.open_market()

    await asyncio.gather(replica.decide_all(), become_known())
    first, second = await world.attempts(USER)
    assert (first.group_id, first.reason_codes) == (never, ["MARKET_UNKNOWN"])
    assert (second.group_id, second.decision) == (soon, "EXECUTE")


async def test_a_missing_book_is_given_up_and_shared_as_missing(world: World) -> None:
    world.exchange.books_by_asset.clear()
    group = await world.close_group()
    for scope in (USER, GLOBAL):
        replica = world.replica(scope)
        await replica.hear(group)
        await replica.decide_all()
        (attempt,) = await world.attempts(scope)
        assert attempt.reason_codes == ["BOOK_UNAVAILABLE"]
        assert attempt.inputs["book_error"]
    assert len(world.exchange.calls) == 1


async def test_settled_books_are_heard_of_also_after_the_connection_was_cut(world: World) -> None:
    teller, listener = world.replica(USER), world.replica(GLOBAL)
    heard: asyncio.Queue[list[UUID]] = asyncio.Queue()
    listening = asyncio.create_task(listener.books.listen(heard.put_nowait))

    async def tell() -> None:
        group = await world.close_group()
        (found,) = await teller.groups.find([group])
        await teller.books.claim([found.group])
        await teller.books.give_up([group], "no book")
        assert group in await heard.get()

    async def listening_pid(other_than: int = 0) -> int:
        while True:
            found = await world.execute("SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN %books_settled%'")
            if found and found[0].pid != other_than:
                return int(found[0].pid)
            await asyncio.sleep(0.02)

    async with asyncio.timeout(20):
        first = await listening_pid()
        await tell()
        await world.execute("SELECT pg_terminate_backend(:pid)", pid=first)
        await listening_pid(other_than=first)
        await tell()
    listening.cancel()


async def test_a_dead_claim_is_taken_over(world: World) -> None:
    group = await world.close_group()
    await world.execute(
        "INSERT INTO group_book (group_id, asset_id, claimed_by, claimed_at)"
        " VALUES (:g, :a, 'dead', now() - interval '4 s')",
        g=group,
        a=YES,
    )
    replica = world.replica(USER)
    await replica.hear(group)
    await replica.decide_all()
    assert (await world.attempts(USER))[0].book_hash == "h1"


async def test_a_stale_group_gets_no_book(world: World) -> None:
    replica = world.replica(USER)
    await replica.hear(await world.close_group(age_s=500))
    await replica.decide_all()
    (attempt,) = await world.attempts(USER)
    assert attempt.reason_codes == ["STALE_EVENT"]
    assert (attempt.book_hash, attempt.counterfactual_share_micros, world.exchange.calls) == (None, None, [])


async def test_a_live_group_gets_its_book_however_low_the_age_limit_is(world: World) -> None:
    await apply_config_file(world.database.url(), None, {"global": {"max_event_age_seconds": 2}})
    await world.replica(USER).configs.merge()
    replica = world.replica(USER)
    await replica.hear(await world.close_group(age_s=30))
    await replica.decide_all()
    (attempt,) = await world.attempts(USER)
    assert attempt.reason_codes == ["STALE_EVENT"]
    assert attempt.book_hash is not None
    assert attempt.counterfactual_share_micros


async def test_a_group_that_a_higher_age_limit_made_young_while_it_waited_gets_its_book(world: World) -> None:
    replica = world.replica(USER)
    await replica.hear(await world.close_group(age_s=500))
    await apply_config_file(world.database.url(), None, {"global": {"max_event_age_seconds": 1_000}})
    await world.replica(USER).configs.merge()
    await replica.decide_all()
    (attempt,) = await world.attempts(USER)
    assert attempt.decision == "EXECUTE"


async def test_flags_and_disabled_users_are_read_with_the_decision(world: World) -> None:
    await world.flag("engine_paused", {"paused": True})
    await world.execute("UPDATE followed_user SET enabled = false WHERE id = :id", id=OTTER)
    replica = world.replica(USER)
    await replica.hear(await world.close_group(), await world.close_group(user=HERON))
    await replica.decide_all()
    found = {each.user_id: each.reason_codes for each in await world.attempts(USER)}
    assert found == {OTTER: ["ENGINE_PAUSED", "USER_DISABLED"], HERON: ["ENGINE_PAUSED"]}
    assert all(each.counterfactual_share_micros == usdc(20) for each in await world.attempts(USER))


async def test_a_decision_that_keeps_raising_is_given_up_and_passed_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = await world.close_group(age_s=5), await world.close_group(age_s=4)

    def raising(group: Any, *rest: Any) -> Any:
        if group.id == bad:
            raise ZeroDivisionError("a bug")
        return decide(group, *rest)

    monkeypatch.setattr("services.simulator.turns.decide", raising)
    monkeypatch.setattr("services.simulator.scheduler.BACKOFF", timedelta(milliseconds=1))
    replica = world.replica(USER)
    await replica.hear(bad, good)
    await replica.decide_all()
    assert [each.group_id for each in await world.attempts(USER)] == [good]
    ((group, error),) = world.given_up
    assert (group.id, str(error)) == (bad, "a bug")
    # replayed: the letter is settled, the message comes again, and the group is decided late
    monkeypatch.setattr("services.simulator.turns.decide", decide)
    await world.execute("UPDATE dead_letter SET status = 'REPLAYED'")
    await replica.hear(bad)
    await replica.decide_all()
    assert [(each.group_id, each.out_of_order) for each in await world.attempts(USER)] == [(good, False), (bad, True)]


@pytest.mark.parametrize("place", ["turns.decide", "deciding.attempt_row"])
async def test_what_fails_is_given_up_and_not_the_next_though_another_replica_heard_of_it(
    world: World, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Of two replicas each hears of some groups; an older one it did not hear of fails in its hands, too."""
    bad, good = await world.close_group(age_s=5), await world.close_group(age_s=4)
    sound: Any = {"turns.decide": decide, "deciding.attempt_row": attempt_row}[place]

    def raising(what: Any, *rest: Any) -> Any:
        if getattr(what, "group", what).id == bad:
            raise ZeroDivisionError("a bug")
        return sound(what, *rest)

    monkeypatch.setattr(f"services.simulator.{place}", raising)
    monkeypatch.setattr("services.simulator.scheduler.BACKOFF", timedelta(milliseconds=1))
    await world.execute(
        "INSERT INTO group_book (group_id, asset_id, claimed_by, claimed_at, error) "
        "VALUES (:bad, :asset, 'the other', now(), 'none')",
        bad=bad, asset=YES,
    )  # fmt: skip
    replica = world.replica(USER)
    await replica.hear(good)
    await replica.decide_all()
    assert [(group.id, str(error)) for group, error in world.given_up] == [(bad, "a bug")]
    assert [each.group_id for each in await world.attempts(USER)] == [good]


async def test_the_global_portfolio_knows_a_users_exposure_in_every_market(world: World) -> None:
    for asset, shares in (("2001", "30"), ("2002", "50"), (YES, "20")):
        await world.hold(GLOBAL, None, asset, shares, shares)
    for asset, user, shares in (
        ("2001", OTTER, "30"),
        ("2002", HERON, "40"),
        ("2002", OTTER, "10"),
        (YES, HERON, "20"),
    ):
        await world.insert(PositionSource, {"asset_id": asset, "source_user_id": user, "share_micros": usdc(shares)})
    replica = world.replica(GLOBAL)
    await replica.hear(
        await world.close_group(age_s=5, side="SELL"), await world.close_group(age_s=4, user=HERON, side="SELL")
    )
    await replica.decide_all()
    first, second = await world.attempts(GLOBAL)
    assert (first.user_id, first.exposure_user_micros, first.filled_share_micros > 0) == (OTTER, usdc(40), True)
    assert second.user_id == HERON
    assert usdc(40) <= second.exposure_user_micros < usdc(60)  # the first sold shares that were theirs


async def test_splits_and_merges_move_both_legs(world: World) -> None:
    await world.mark(YES, "0.6")
    await world.mark(NO, "0.4")
    both: dict[str, Any] = {"asset_id": None, "side": None, "reference_price_micros": None, "share_micros": usdc(1000)}
    replica = world.replica(GLOBAL)
    await replica.hear(
        await world.close_group(age_s=5, kind="SPLIT", **both), await world.close_group(age_s=4, kind="MERGE", **both)
    )
    await replica.decide_all()
    split, merge = await world.attempts(GLOBAL)
    assert (split.decision, split.filled_share_micros, split.target_notional_micros) == ("EXECUTE", usdc(10), usdc(10))
    assert (merge.held_share_micros, merge.exposure_user_micros, merge.cash_micros) == (usdc(10), usdc(10), usdc(9_990))
    assert merge.filled_share_micros == usdc(10)
    assert world.exchange.calls == []


async def test_starts_come_from_the_last_snapshot_before_midnight_and_monday(world: World) -> None:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    monday = midnight - timedelta(days=midnight.weekday())
    await world.snapshot(USER, OTTER, monday - timedelta(days=1), "10900")
    await world.snapshot(USER, OTTER, monday + timedelta(minutes=1), "12000")
    if monday < midnight:
        await world.snapshot(USER, OTTER, midnight, "10300")
    replica = world.replica(USER)
    await replica.hear(await world.close_group())
    await replica.decide_all()
    (attempt,) = await world.attempts(USER)
    day = usdc(10_300) if monday < midnight else usdc(10_900)
    assert (attempt.day_start_equity_micros, attempt.week_start_equity_micros) == (day, usdc(10_900))
    assert "BREAKER_WEEKLY_LOSS" in attempt.reason_codes


async def test_a_tripped_drawdown_stays_until_it_is_reset(world: World) -> None:
    await world.hold(USER, OTTER, YES, "10000", "5000")
    await world.mark(YES, "0.5")
    replica = world.replica(USER)
    generous = {"daily_loss_limit_pct": 100, "weekly_loss_limit_pct": 100, "max_exposure_per_market_pct": 100}
    await apply_config_file(world.database.url(), None, {"global": generous})
    await replica.configs.merge()

    async def decide_next() -> Any:
        await replica.hear(await world.close_group(age_s=4))
        await replica.decide_all()
        return (await world.attempts(USER))[-1]

    assert (await decide_next()).peak_equity_micros == usdc(15_000)
    await world.mark(YES, "0.2")
    assert (await decide_next()).reason_codes == ["BREAKER_DRAWDOWN"]
    await world.mark(YES, "0.49")
    assert (await decide_next()).reason_codes == ["BREAKER_DRAWDOWN"]
    await world.flag(f"breaker_reset:{portfolio_id(USER, OTTER)}", {"by": "admin"})
    after = await decide_next()
    assert (after.decision, after.peak_equity_micros) == ("EXECUTE", after.equity_micros)


async def test_deposits_move_the_peak(world: World) -> None:
    replica = world.replica(USER)
    await replica.hear(await world.close_group(age_s=5))
    await replica.decide_all()
    await world.execute(
        "UPDATE portfolio SET cash_micros = cash_micros + :n, deposits_micros = deposits_micros + :n"
        " WHERE user_id = :u",
        n=usdc(500),
        u=OTTER,
    )
    await replica.hear(await world.close_group(age_s=4))
    await replica.decide_all()
    attempt = (await world.attempts(USER))[-1]
    assert attempt.peak_equity_micros == usdc(10_500)
    assert attempt.inputs["portfolio"]["day_flows_micros"] == usdc(500)


async def test_a_resolved_position_is_worth_its_payout_and_its_market_is_closed(world: World) -> None:
    await world.hold(USER, OTTER, YES, "100", "50")
    await world.execute(
        "INSERT INTO market_resolution VALUES (:c, '{1000000,0}', now(), 'reported', now())", c=CONDITION
    )
    replica = world.replica(USER)
    await replica.hear(await world.close_group())
    await replica.decide_all()
    (attempt,) = await world.attempts(USER)
    assert (attempt.equity_micros, attempt.reason_codes) == (usdc(10_100), ["MARKET_CLOSED"])


async def test_configuration_is_merged_into_versions_only_when_it_changes(world: World) -> None:
    configs = world.replica(USER).configs
    assert await configs.merge() == 0
    await apply_config_file(
        world.database.url(), None, {"global": {"COPY_PCT": 2}, "users": {"otter": {"copy_pct": 3}}}
    )
    assert await configs.merge() == 2
    await apply_config_file(world.database.url(), None, {"global": {"jitter_ms": 100}})
    assert await world.replica(GLOBAL).configs.merge() == 2
    assert await configs.merge() == 0
    rules = await configs.current()
    assert (rules.of(OTTER).copy.floor_of(100), rules.of(HERON).copy.floor_of(100)) == (3, 2)
    assert rules.of(OTTER).jitter_ms == 100
    audit = await world.execute("SELECT action FROM audit_log")
    assert [row.action for row in audit] == ["config.apply"] * 2


async def test_a_users_own_configuration_sizes_their_groups_in_both_scopes(world: World) -> None:
    await apply_config_file(world.database.url(), None, {"users": {"otter": {"copy_pct": 2}}})
    await world.replica(USER).configs.merge()
    groups = [await world.close_group(age_s=5), await world.close_group(age_s=4, user=HERON)]
    for scope in (USER, GLOBAL):
        replica = world.replica(scope)
        await replica.hear(*groups)
        await replica.decide_all()
        found = {each.user_id: each.target_notional_micros for each in await world.attempts(scope)}
        assert found == {OTTER: usdc(20), HERON: usdc(10)}


async def test_proportional_sells_look_at_their_position_before_the_group(world: World) -> None:
    await apply_config_file(world.database.url(), None, {"global": {"sell_sizing": "PROPORTIONAL"}})
    await world.replica(USER).configs.merge()
    await world.hold(USER, OTTER, YES, "100", "50")
    shadow, before = uuid4(), datetime.now(UTC) - timedelta(hours=1)
    await world.execute(
        "INSERT INTO portfolio (id, scope, user_id, opened_at, cash_micros, deposits_micros, withdrawals_micros,"
        " fees_micros, realized_pnl_micros, decision_seq, drawdown_tripped)"
        " VALUES (:p, 'SHADOW_USER', :u, :t, 0, 0, 0, 0, 0, 0, false)",
        p=shadow, u=OTTER, t=before,
    )  # fmt: skip
    member = uuid4()
    group = await world.close_group(side="SELL")
    await world.execute("INSERT INTO event_group_member VALUES (:e, :g, 0)", e=member, g=group)
    (began,) = await world.execute("SELECT first_event_time AS at, first_ordinal FROM event_group")
    place = began.first_ordinal
    entries = (
        ("bought", 7500, before, 7), ("block before", 500, began.at, place - 1), (str(member), -2000, began.at, place),
        ("block behind", -700, began.at, place + 1), ("later", 200, datetime.now(UTC), 0),
    )  # fmt: skip
    for ref, shares, when, index in entries:
        await world.execute(
            "INSERT INTO ledger_entry (id, portfolio_id, scope, user_id, asset_id, entry_type, share_delta_micros,"
            " cash_delta_micros, ref_id, event_time, log_index, created_at)"
            " VALUES (:i, :p, 'SHADOW_USER', :u, :a, 'TRADE_FILL', :s, 0, :r, :t, :l, :t)",
            i=uuid4(), p=shadow, u=OTTER, a=YES, s=usdc(shares), r=ref, t=when, l=index,
        )  # fmt: skip
    await world.execute(
        "INSERT INTO position (portfolio_id, asset_id, share_micros, cost_micros, realized_pnl_micros, flags,"
        " updated_at) VALUES (:p, :a, :s, 0, 0, '{}', :t)",
        p=shadow, a=YES, s=usdc(5500), t=before,
    )  # fmt: skip
    replica = world.replica(USER)
    await replica.hear(group)
    await replica.decide_all()
    (attempt,) = await world.attempts(USER)
    assert (attempt.filled_share_micros, attempt.inputs["portfolio"]["shadow_held_micros"]) == (usdc(25), usdc(8000))


async def test_undecided_groups_are_found_for_sweeps(world: World) -> None:
    first, second = await world.close_group(age_s=50), await world.close_group(age_s=40)
    young = await world.close_group(age_s=2)
    replica = world.replica(USER)
    since, before = datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) - timedelta(seconds=30)
    assert [each.id for each in await replica.groups.missing(since, before, 10)] == [first, second]
    await replica.hear(young)
    await replica.decide_all()
    assert [each.id for each in await replica.groups.missing(since, before, 10)] == []
    assert [each.group_id for each in await world.attempts(USER)] == [first, second, young]
