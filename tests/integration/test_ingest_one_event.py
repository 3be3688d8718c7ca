"""One fill, one event, in the real Postgres: the same tellings, also through two stores at once."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from libs.common.domain.identity import user_id
from services.ingest.commands import follow
from services.ingest.store import IngestStore
from tests.core.test_ingest_one_event import Shelf, cash_of
from tests.support.databases import Database
from tests.support.fill_worlds import (
    KEYS,
    NOON,
    TX,
    WALLET,
    Mined,
    Step,
    TrueFill,
    World,
    owned,
    told_once_mined,
    told_with_contradictions,
    told_with_reorgs,
)

pytestmark = pytest.mark.integration

OWNER = user_id("w")


async def fills_of(database: Database, tx_hash: str) -> list[Any]:
    async with database.engine().connect() as connection:
        query = text("SELECT * FROM trade_event WHERE tx_hash = :tx ORDER BY ordinal, incarnation")
        return list(await connection.execute(query, {"tx": tx_hash}))


def elsewhere(step: Step, tx_hash: str) -> Step:
    """Return the step as one of another transaction, so that every example has its own."""
    mine = owned(step, OWNER)
    return Step(
        tuple(replace(log, key=log.key._replace(tx_hash=tx_hash)) for log in mine.logs),
        tuple(replace(row, key=row.key._replace(tx_hash=tx_hash)) for row in mine.rows),
    )


def cash_in(rows: Sequence[Any]) -> Counter[tuple[str, str, int, int]]:
    sign = {"BUY": 1, "SELL": -1}
    return Counter(
        (row.asset_id, row.side, row.share_micros, row.usdc_notional_micros + sign[row.side] * row.fee_micros)
        for row in rows
        if row.status == "CANONICAL"
    )


def cash_expected(standing: Counter[Any]) -> Counter[tuple[str, str, int, int]]:
    return Counter(
        {(key.asset_id, key.side.value, key.share_micros, cash): count for (key, cash), count in standing.items()}
    )


def drawn(strategy: st.SearchStrategy[Any], count: int) -> list[Any]:
    """Draw examples, the same ones in every run."""
    found: list[Any] = []

    @settings(
        max_examples=count, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(strategy)
    def collect(example: Any) -> None:
        found.append(example)

    collect()
    return found


async def test_the_store_keeps_what_the_core_says(database: Database) -> None:
    await follow(database.url(), WALLET, "w")
    tellings = [(world, steps) for world, steps, _ in drawn(told_once_mined(), 60)] + drawn(told_with_reorgs(), 60)
    tellings += drawn(told_with_contradictions(), 40)
    for number, (_, steps) in enumerate(tellings):
        tx_hash, shelf = f"0x{number:064x}", Shelf()
        for step in steps:
            shelf.record(step)
            mine = elsewhere(step, tx_hash)
            await IngestStore(database.engine("ingest")).record(mine.logs, mine.rows)
        kept = await fills_of(database, tx_hash)
        names = ("ordinal", "incarnation", "asset_id", "side", "share_micros", "status", "log_index", "block_hash")
        assert Counter(tuple(getattr(row, name) for name in names) for row in kept) == Counter(
            (
                fill.ordinal,
                fill.incarnation,
                fill.key.asset_id,
                fill.key.side.value,
                fill.key.share_micros,
                fill.status.value,
                fill.log_index,
                fill.block_hash,
            )
            for fill in shelf.fills.values()
        )
        assert cash_in(kept) == cash_expected(cash_of(shelf.standing()))
        assert Counter(bool(row.mismatch) for row in kept) == Counter(bool(f.mismatch) for f in shelf.fills.values())
        assert await sights_of(database, tx_hash) == Counter(
            (source.value, sight.cash_micros) for (_, source), sight in shelf.sights.items()
        )


async def sights_of(database: Database, tx_hash: str) -> Counter[tuple[str, int]]:
    query = text(
        "SELECT s.source, s.usdc_micros FROM event_sighting s JOIN trade_event e ON e.id = s.event_id "
        "WHERE e.tx_hash = :tx AND s.payload IS NOT NULL"
    )
    async with database.engine().connect() as connection:
        return Counter((row.source, row.usdc_micros) for row in await connection.execute(query, {"tx": tx_hash}))


async def test_replicas_that_record_at_once_end_with_the_same_fills(database: Database) -> None:
    await follow(database.url(), WALLET, "w")
    engines = [database.engine("ingest"), database.engine()]
    tellings = drawn(told_with_reorgs(), 50)
    replicas: list[list[list[Step]]] = [[], []]
    for number, (_, steps) in enumerate(tellings):
        mine = [elsewhere(step, f"0x{number:064x}") for step in steps]
        for place in range(2):  # each replica hears everything, in the world's order
            replicas[place].append(mine)

    async def play(place: int) -> None:
        store = IngestStore(engines[place])
        # Two transactions side by side in one batch, in opposite orders in the two replicas: locks must not cross.
        order = replicas[place] if place else replicas[place][::-1]
        for one, other in zip(order[::2], order[1::2], strict=True):
            for number in range(max(len(one), len(other))):
                both = [steps[number] for steps in (one, other) if number < len(steps)]
                await store.record(
                    [log for step in both for log in step.logs], [row for step in both for row in step.rows]
                )

    await asyncio.gather(play(0), play(1))
    for number, (world, _) in enumerate(tellings):
        assert cash_in(await fills_of(database, f"0x{number:064x}")) == cash_expected(world.standing())


async def test_a_row_of_a_fill_that_was_shown_before_leaves_the_fill_it_was_flagged_on(database: Database) -> None:
    await follow(database.url(), WALLET, "w")
    amounts = ((5_000_000, 0, 10), (5_000_000, 0, -10), (7_000_000, 0, 0))
    world = World(tuple(TrueFill(KEYS[0], *amount) for amount in amounts), (Mined("0x" + "01" * 32, 100, NOON, 3),))
    up, down, dear = (world.row(place, 0, NOON + timedelta(seconds=5)) for place in range(3))
    store = IngestStore(database.engine("ingest"))
    # One of the two is shown; then both, and as one fill is known one is flagged on the dear one; then all.
    for step in (Step((world.log(0, 0), world.log(2, 0))), Step(rows=(up,)), Step(rows=(up, down))):
        mine = owned(step, OWNER)
        await store.record(mine.logs, mine.rows)
    assert [bool(fill.mismatch) for fill in await fills_of(database, TX)] == [False, True]
    assert await sights_of(database, TX) == Counter(
        {("CHAIN", 5_000_000): 1, ("CHAIN", 7_000_000): 1, ("DATA_API", 5_000_010): 1, ("DATA_API", 4_999_990): 1}
    )
    await store.record([], owned(Step(rows=(down, up, dear)), OWNER).rows)
    assert [bool(fill.mismatch) for fill in await fills_of(database, TX)] == [False, False, False]
    assert await sights_of(database, TX) == Counter(
        {("CHAIN", 5_000_000): 1, ("CHAIN", 7_000_000): 1, ("DATA_API", 5_000_010): 2, ("DATA_API", 7_000_000): 1}
    )
