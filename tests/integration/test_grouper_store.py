"""The grouper on a real Postgres: every event in exactly one group, whoever closes it."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import insert, text

from libs.common.db.engine import transaction
from libs.common.db.tables.events import ActivityEvent, PositionSync, TradeEvent
from libs.common.db.tables.users import FollowedUser
from libs.common.domain.kinds import GroupKind
from libs.common.messages import EventDetected
from services.grouper.closing import ClosingClock
from services.grouper.core import Key
from services.grouper.store import GroupStore
from tests.support.databases import Database

pytestmark = pytest.mark.integration

WINDOW = timedelta(milliseconds=2000)
START = datetime(2026, 9, 28, 9, 0, tzinfo=UTC)
USER = UUID(int=7)
KEY = Key(GroupKind.TRADE, USER, "123", "BUY")


def trade(ordinal: int, *, detect_ms: int = 0, **changes: object) -> dict[str, object]:
    row = {
        "id": uuid4(),
        "user_id": USER,
        "wallet": "0xw",
        "asset_id": "123",
        "side": "BUY",
        "share_micros": 2_000_000,
        "price_micros": 500_000,
        "usdc_notional_micros": 1_000_000,
        "fee_micros": 0,
        "tx_hash": "0xt",
        "ordinal": ordinal,
        "incarnation": 0,
        "event_time": START,
        "detect_time": START + timedelta(milliseconds=detect_ms),
        "first_source": "CHAIN",
        "status": "CANONICAL",
        "booked": True,
    }
    return row | changes


async def given_events(database: Database, *trades: dict[str, object]) -> None:
    async with transaction(database.engine("ingest")) as connection:
        user = {"id": USER, "label": "otter", "profile_wallet": "0xw", "enabled": True, "followed_at": START}
        await connection.execute(insert(FollowedUser).values(user))
        for row in trades:
            await connection.execute(insert(TradeEvent).values(row))


async def members(database: Database) -> list[UUID]:
    async with database.engine().connect() as connection:
        return list(await connection.scalars(text("SELECT event_id FROM event_group_member")))


async def test_twins_and_neighbours_become_one_group(database: Database) -> None:
    first, twin, late = trade(0), trade(1), trade(2, detect_ms=1500)
    await given_events(database, first, twin, late)
    store = GroupStore(database.engine("grouper"))
    assert await store.close({KEY: START}, START + timedelta(milliseconds=1999), WINDOW) == []
    (closed,) = await store.close({KEY: START}, START + WINDOW, WINDOW)
    assert set(await members(database)) == {first["id"], twin["id"], late["id"]}
    assert await store.close({KEY: START}, START + WINDOW, WINDOW) == []
    async with database.engine().connect() as connection:
        group = (await connection.execute(text("SELECT * FROM event_group"))).one()
    assert (group.id, group.share_micros, group.usdc_notional_micros) == (closed.group_id, 6_000_000, 3_000_000)
    assert group.reference_price_micros == 500_000
    assert group.closed_at == START + WINDOW


async def test_what_commits_after_the_closing_opens_a_new_group(database: Database) -> None:
    await given_events(database, trade(0))
    store = GroupStore(database.engine("grouper"))
    assert len(await store.close({KEY: START}, START + WINDOW, WINDOW)) == 1
    async with transaction(database.engine("ingest")) as connection:
        await connection.execute(insert(TradeEvent).values(trade(1, detect_ms=10)))
    later = START + WINDOW + timedelta(milliseconds=10)
    assert len(await store.close({KEY: START}, later, WINDOW)) == 1
    assert len(await members(database)) == 2


async def test_reversed_reborn_and_unbooked_fills_are_not_grouped(database: Database) -> None:
    await given_events(
        database, trade(0, status="REVERSED"), trade(0, incarnation=1), trade(1, booked=False), trade(2, side="SELL")
    )
    assert await GroupStore(database.engine("grouper")).close({KEY: START}, START + WINDOW, WINDOW) == []


async def test_groupers_that_race_put_every_event_in_one_group(database: Database) -> None:
    await given_events(database, *(trade(ordinal, detect_ms=100 * ordinal) for ordinal in range(60)))
    stores = [GroupStore(database.engine("grouper")) for _ in range(4)]
    now = START + timedelta(seconds=20)
    closed = await asyncio.gather(*(store.close({KEY: START}, now, WINDOW) for store in stores))
    found = await members(database)
    assert len(found) == len(set(found)) == 60
    ids = [group.group_id for groups in closed for group in groups]
    assert len(ids) == len(set(ids)) == 3


async def test_splits_are_grouped_by_condition(database: Database) -> None:
    await given_events(database)
    split = {
        "id": uuid4(), "user_id": USER, "wallet": "0xw", "type": "SPLIT", "kind": "SPLIT", "condition_id": "0xc",
        "share_micros": 5, "usdc_micros": 5, "tx_hash": "0xt", "ordinal": 0, "event_time": START, "detect_time": START,
        "status": "CANONICAL", "booked": True, "asset_id": "", "side": "",
    }  # fmt: skip
    async with transaction(database.engine("ingest")) as connection:
        await connection.execute(insert(ActivityEvent).values(split))
    store = GroupStore(database.engine("grouper"))
    (closed,) = await store.close({Key(GroupKind.SPLIT, USER, "0xc", ""): START}, START + WINDOW, WINDOW)
    assert closed.kind is GroupKind.SPLIT
    assert await members(database) == [split["id"]]


async def test_stragglers_are_found_until_they_are_given_up_on(database: Database) -> None:
    row = trade(0)
    await given_events(database, row)
    store = GroupStore(database.engine("grouper"))
    (event,) = await store.stragglers(START - WINDOW, START + WINDOW, 10)
    assert event.event_id == row["id"]
    assert await store.known([event.event_id, uuid4()]) == {event.event_id}
    async with transaction(database.engine("grouper")) as connection:
        await connection.execute(
            text(
                "INSERT INTO dead_letter (id, stream, group_name, message_id, subject, payload, error, attempts,"
                " first_at, last_at, status) VALUES (gen_random_uuid(), 'events.detected', 'grouper', '1-0', :subject,"
                " '{}', 'x', 4, now(), now(), 'OPEN')"
            ),
            {"subject": str(event.event_id)},
        )
    assert await store.stragglers(START - WINDOW, START + WINDOW, 10) == []


async def test_openings_and_adjustments_are_known_though_they_are_never_grouped(database: Database) -> None:
    await given_events(database)
    store, opened = GroupStore(database.engine("grouper")), uuid4()
    async with transaction(database.engine()) as connection:
        user = await connection.scalar(text("SELECT id FROM followed_user"))
        times = dict.fromkeys(("as_of", "event_time", "detect_time"), datetime(2026, 9, 28, tzinfo=UTC))
        amounts = {"share_delta_micros": 1, "cash_delta_micros": 0, "price_micros": 1}
        row = {"id": opened, "kind": "OPENING", "user_id": user, "wallet": "0x1", "asset_id": "1", "ref_id": "r"}
        await connection.execute(insert(PositionSync), [row | amounts | times])
    assert await store.known([opened, uuid4()]) == {opened}


async def test_a_grouper_that_heard_of_the_last_event_only_groups_all_as_one_that_heard_of_all(
    database: Database,
) -> None:
    """The others were heard of by a grouper that stands still, or died and is not back yet."""
    chain = [trade(place, detect_ms=1_500 * place, tx_hash=f"0x{place}") for place in range(8)]
    await given_events(database, *chain)
    now = START + timedelta(milliseconds=1_500 * 7) + WINDOW

    async def nothing(*_: object) -> None:
        return

    clock = ClosingClock(
        GroupStore(database.engine("grouper")), nothing, nothing, window=WINDOW, keys_max=10, now=lambda: now
    )
    last = chain[-1]
    clock.start(
        KEY,
        EventDetected(
            event_id=last["id"], kind="TRADE", booked=True, user_id=USER, condition_id=None, asset_id="123",
            side="BUY", occurred_at=START, observed_at=last["detect_time"],
        ),
    )  # fmt: skip
    await clock.tick()
    async with database.engine().connect() as connection:
        found = await connection.execute(
            text("SELECT array_agg(event_id ORDER BY position) FROM event_group_member GROUP BY group_id")
        )
        groups = {frozenset(row[0]) for row in found}
    assert groups == {frozenset(each["id"] for each in chain[place : place + 2]) for place in range(0, 8, 2)}
