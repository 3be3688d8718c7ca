"""Replay over real rows: what Postgres gives back leads to the same decision, and what was changed is reported."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import pytest

from libs.common.domain.errors import Rejected
from libs.common.domain.kinds import Scope
from services.simulator import replay as replaying
from services.simulator.commands import Replayed, apply_config_file, replay_attempts, watch_replay
from tests.support.databases import Database
from tests.support.decisions import NO, YES, book, levels, usdc
from tests.support.simulator_world import HERON, World

pytestmark = pytest.mark.integration

USER, GLOBAL = Scope.EXEC_USER, Scope.EXEC_GLOBAL


async def decided(database: Database, **market: Any) -> World:
    """Return a world in which groups of every kind were decided in both scopes, some copied and some skipped."""
    world = World(database)
    await world.open(market=False)
    await world.open_market(**market)
    await world.mark(YES, "0.51")
    await apply_config_file(
        database.url(),
        None,
        {
            "global": {"depth_multiple": "0.333333333", "copy_pct": "1.000000001", "market_blacklist": ["0xbad"]},
            "users": {"heron": {"sell_sizing": "PROPORTIONAL", "max_trade_equity_pct": "0.3"}},
        },
    )
    await world.replica(USER).configs.merge()
    world.exchange.books_by_asset[YES] = book(levels(("0.49", "100")), levels(("0.50", "12.345"), ("0.51", "100")))
    both: dict[str, Any] = {"asset_id": None, "side": None, "reference_price_micros": None, "share_micros": usdc(1000)}
    groups = [
        await world.close_group(age_s=9),
        await world.close_group(age_s=8, user=HERON),
        await world.close_group(age_s=7, side="SELL"),
        await world.close_group(age_s=6, side="SELL", user=HERON),
        await world.close_group(age_s=5, kind="SPLIT", **both),
        await world.close_group(age_s=4.5, kind="MERGE", **both),
        await world.close_group(age_s=4, asset_id=NO),
        await world.close_group(age_s=500),
    ]
    for scope in (USER, GLOBAL):
        replica = world.replica(scope)
        await replica.hear(*groups)
        await replica.decide_all()
    return world


async def watched(world: World, user: str | None = None, since: datetime | None = None) -> tuple[int, list[Replayed]]:
    """Return how many attempts were announced, and all that were decided again."""
    totals, found = set(), []

    def see(total: int, each: Replayed | None) -> None:
        totals.add(total)
        if each is not None:
            found.append(each)

    await watch_replay(world.database.url(), user, since, see)
    (total,) = totals
    return total, found


@pytest.mark.parametrize(("rate", "exponent"), [("0.0700", "1"), ("0.0625", "2.0"), ("1E-7", "0.5"), ("0", "1.00")])
async def test_what_postgres_gives_back_is_decided_the_same(
    database: Database, monkeypatch: pytest.MonkeyPatch, rate: str, exponent: str
) -> None:
    monkeypatch.setattr(replaying, "PAGE", 3)
    world = await decided(database, fee_rate=Decimal(rate), fee_exponent=Decimal(exponent))
    total, found = await watched(world)
    assert (total, len({each.attempt_id for each in found})) == (16, 16)
    assert [each for each in found if each != Replayed(each.attempt_id, (), book_is_gone=False)] == []
    decisions = await world.execute("SELECT DISTINCT kind, side, decision FROM copy_attempt")
    assert {tuple(row) for row in decisions} >= {
        ("TRADE", "BUY", "EXECUTE"), ("TRADE", "SELL", "EXECUTE"), ("TRADE", "BUY", "SKIP"), ("MERGE", None, "EXECUTE"),
    }  # fmt: skip


async def test_since_and_user_choose(database: Database) -> None:
    world = await decided(database)
    assert (await watched(world, "heron"))[0] == len((await watched(world, "heron"))[1]) == 4
    assert await watched(world, since=datetime.now(UTC) + timedelta(hours=1)) == (0, [])
    with pytest.raises(Rejected, match="expected the name or id of a followed user, got 'nobody'"):
        await watched(world, "nobody")


async def test_replay_reports_exactly_what_was_changed(database: Database) -> None:
    world = await decided(database)
    executed = [each for each in await world.attempts(USER) if each.decision == "EXECUTE" and each.side == "BUY"]
    skipped = [each for each in await world.attempts(GLOBAL) if each.decision == "SKIP"]
    input_of, check_of, fill_of, group_of = executed[0].id, skipped[0].id, executed[1].id, skipped[1]
    checks = [*skipped[0].checks[:-1], skipped[0].checks[-1] | {"verdict": "pass"}]
    await world.execute(
        "UPDATE copy_attempt SET inputs = jsonb_set(inputs, '{portfolio,cash_micros}', '9999999998') WHERE id = :id",
        id=input_of,
    )
    await world.execute(
        "UPDATE copy_attempt SET checks = CAST(:checks AS jsonb) WHERE id = :id",
        checks=orjson.dumps(checks).decode(),
        id=check_of,
    )
    await world.execute("UPDATE executable_fill SET share_micros = share_micros + 1 WHERE attempt_id = :id", id=fill_of)
    await world.execute("UPDATE copy_attempt SET vwap_price_micros = 1 WHERE id = :id", id=group_of.id)
    found: dict[UUID, set[str]] = {
        each.attempt_id: {difference.name for difference in each.differences}
        for each in await replay_attempts(database.url())
    }
    assert found == {
        input_of: {"cash_micros", "checks"},
        check_of: {"checks"},
        fill_of: {"fills"},
        group_of.id: {"vwap_price_micros"},
    }


async def test_a_book_that_is_gone_is_said(database: Database) -> None:
    world = await decided(database)
    on_it = {each.id for scope in (USER, GLOBAL) for each in await world.attempts(scope) if each.book_hash}
    await world.execute("DELETE FROM book_snapshot")
    found = await replay_attempts(database.url())
    assert {each.attempt_id for each in found} == on_it
    assert all(each.book_is_gone and not each.differences for each in found)


async def test_other_levels_under_a_known_hash_change_no_decision(database: Database) -> None:
    """A hash names one version; if the exchange says otherwise, every process decides on the levels kept first."""
    world = World(database)
    await world.open()
    one, other = world.replica(USER, "one"), world.replica(USER, "other")
    world.exchange.books_by_asset[YES] = book(levels(("0.49", "100")), levels(("0.50", "100")))
    await one.hear(await world.close_group(age_s=5))
    await one.decide_all()
    world.exchange.books_by_asset[YES] = book(levels(("0.30", "100")), levels(("0.31", "100")))
    for replica in (other, one):
        await replica.hear(await world.close_group(age_s=4))
        await replica.decide_all()
    assert [each.best_ask_micros for each in await world.attempts(USER)] == [usdc("0.50")] * 3
    assert await replay_attempts(database.url()) == []
