"""Books with a long past, as the benchmark preloads them: they add up, and what comes late is folded in exactly."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from libs.common.db.engine import transaction
from libs.common.domain.identity import user_id
from libs.common.domain.kinds import Scope, Side
from services.ledger.core import entries
from services.ledger.core.entries import Owner, Posting
from services.ledger.store import Books
from services.ledger.store.rebuilding import rebuild_books
from services.ledger.store.verification import verify_books
from services.simulator.store.driver import driver_connection
from services.simulator.store.rows import group_of
from services.simulator.store.session import DecisionSession
from tests.bench.preload import Past, preload
from tests.bench.tape import condition, token, wallets
from tests.support.databases import Database

pytestmark = pytest.mark.integration

LABEL = wallets(40)[0]["label"]
SHADOW = Owner(Scope.SHADOW_USER, user_id(LABEL))


async def preloaded(database: Database) -> None:
    past = Past(
        fills=2_000,
        wallets=[(each["label"], each["wallet"]) for each in wallets(40)],
        assets=[(token(n), condition(n // 2)) for n in range(100)],
        bankroll_micros=10**12,
        days=1,
    )
    await preload(database.url(), past)


async def bases(database: Database) -> dict[str, datetime | None]:
    async with transaction(database.engine()) as connection:
        rows = await connection.execute(
            text("SELECT asset_id, base_before FROM position WHERE portfolio_id = :id"), {"id": SHADOW.portfolio_id}
        )
        return {row.asset_id: row.base_before for row in rows}


async def test_a_preloaded_past_adds_up_and_late_fills_are_folded_in_from_the_base(database: Database) -> None:
    await preloaded(database)
    assert list(await verify_books(database.url())) == []
    rebuilt = await rebuild_books(database.url(), database.engine(), dry_run=True)
    assert (rebuilt.changes, rebuilt.positions > 500, rebuilt.snapshots > 1_000) == ([], True, True)

    before = await bases(database)
    asset = max(before, key=lambda each: before[each] or datetime.min.replace(tzinfo=UTC))
    base = before[asset]
    assert base is not None
    for number, (late, sells) in enumerate([(0, False), (-1, True), (-3_600, True), (300, False), (295, True)]):
        at = Posting(SHADOW, str(uuid4()), base + timedelta(seconds=late), None, tx_hash="0x1", log_index=number)
        side = Side.SELL if sells else Side.BUY
        fill = entries.trade(at, asset, side, share_micros=7_777_777, notional_micros=3_333_333, fee_micros=0)
        await Books(database.engine("ledger")).post_entries(fill)
    assert (await bases(database))[asset] != base
    folds = [check for check in (await verify_books(database.url())).checks if "fold" in check.name]
    assert [check.violated for check in folds] == [0]


async def test_what_they_held_before_a_group_is_the_sum_of_what_came_before_it(database: Database) -> None:
    await preloaded(database)
    query = text("""
        SELECT g.*, (
          SELECT coalesce(sum(e.share_delta_micros), 0) FROM ledger_entry e JOIN portfolio p ON p.id = e.portfolio_id
          WHERE p.scope = 'SHADOW_USER' AND p.user_id = g.user_id AND e.asset_id = g.asset_id
            AND e.event_time <= g.first_event_time AND NOT EXISTS (
              SELECT FROM event_group_member m WHERE m.group_id = g.id AND m.event_id::text = e.ref_id)) AS held
        FROM event_group g ORDER BY g.id LIMIT 200""")
    async with transaction(database.engine()) as connection:
        rows = (await connection.execute(query)).all()
    groups = [group_of(row._mapping) for row in rows]
    async with driver_connection(database.engine("simulator")) as connection:
        held = await DecisionSession(connection, Scope.EXEC_USER, "simulator-user").shadow_held(groups)
    assert held == {UUID(str(row.id)): row.held for row in rows}
    assert len(set(held.values())) > 3


async def test_a_wrong_base_is_found_and_put_right(database: Database) -> None:
    await preloaded(database)
    async with transaction(database.engine()) as connection:
        await connection.execute(
            text(
                "UPDATE position SET base_cost_micros = base_cost_micros + 1"
                " WHERE ctid = (SELECT ctid FROM position WHERE base_before IS NOT NULL LIMIT 1)"
            )
        )
    (told,) = list(await verify_books(database.url()))
    assert "fold" in told
    assert len((await rebuild_books(database.url(), database.engine())).changes) == 1
    assert list(await verify_books(database.url())) == []
