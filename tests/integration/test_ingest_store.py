"""Ingest's Postgres: concurrent writers, follows and their audit trail, markets."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, insert, text

from libs.common.db.tables.ledger import WaitingEvent
from libs.common.domain.identity import user_id
from libs.common.domain.kinds import EventKind, EventStatus, Role, Side
from libs.common.domain.market import MarketFacts, Outcome
from services.ingest.commands import follow, unfollow
from services.ingest.core.sightings import FactKey, FactSighting, FillKey, LogSighting, RowSighting
from services.ingest.markets import Markets
from services.ingest.store import IngestStore, MarketStore, TurnStore
from tests.support.databases import Database

pytestmark = pytest.mark.integration

WALLET, SECOND = "0x" + "11" * 20, "0x" + "22" * 20
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def log(number: int, owner: UUID, **values: Any) -> LogSighting:
    given = {
        "key": FillKey(f"0x{number // 3:064x}", WALLET, str(number % 2), Side.BUY, 1_000_000),
        "user_id": owner,
        "booked": True,
        "notional_micros": 500_000 + number,
        "fee_micros": 10,
        "price_micros": 500_000,
        "role": Role.TAKER,
        "log_index": number,
        "block_number": 7,
        "block_hash": "0x" + "bb" * 32,
        "event_time": NOON,
        "seen_at": NOON,
        "removed": False,
        "wire": {"logIndex": hex(number)},
    }
    return LogSighting(**{**given, **values})


def row_of(sighting: LogSighting) -> RowSighting:
    return RowSighting(
        key=sighting.key,
        user_id=sighting.user_id,
        booked=True,
        notional_micros=sighting.notional_micros,
        fee_micros=sighting.fee_micros,
        price_micros=sighting.price_micros,
        event_time=sighting.event_time,
        seen_at=NOON + timedelta(seconds=3),
        wire={"size": Decimal("1.5")},
    )


async def test_new_fills_are_written_by_three_statements_however_many_they_are(database: Database) -> None:
    """Each one more is waited for by every log: locks, what is known, and all that is new."""
    owner = (await follow(database.url(), WALLET, "otter", NOON)).follow.user_id
    engine, said = database.engine("ingest"), []
    event.listen(engine.sync_engine, "before_cursor_execute", lambda *given: said.append(given[2]))
    recorded = await IngestStore(engine).record([log(number, owner) for number in range(5)])
    assert len(recorded.created) == 5
    assert len(said) == 3, said


async def rows(database: Database, query: str) -> Sequence[Any]:
    async with database.engine().connect() as connection:
        return list(await connection.execute(text(query)))


async def test_many_writers_that_see_the_same_logs_and_rows_write_each_fill_once(database: Database) -> None:
    owner = (await follow(database.url(), WALLET, "w")).follow.user_id
    store = IngestStore(database.engine("ingest"))
    logs = [log(number, owner) for number in range(60)]
    orders = (logs, logs[::-1], logs[::2], logs[30:])
    await asyncio.gather(
        *(store.record(order) for order in orders),
        *(store.record((), [row_of(each) for each in logs]) for _ in range(2)),
    )
    found = await rows(database, "SELECT usdc_notional_micros, log_index, mismatch FROM trade_event")
    assert Counter(row.usdc_notional_micros for row in found) == Counter(each.notional_micros for each in logs)
    assert {row.log_index for row in found} == set(range(60))
    assert not any(row.mismatch for row in found)
    sights = await rows(database, "SELECT source, count(*) AS n FROM event_sighting GROUP BY 1")
    assert {row.source: row.n for row in sights} == {"CHAIN": 60, "DATA_API": 60}


async def test_what_changes_of_a_fill_is_written_with_its_reason(database: Database) -> None:
    owner = (await follow(database.url(), WALLET, "w")).follow.user_id
    store = IngestStore(database.engine("ingest"))
    first, other = log(1, owner), log(5, owner)
    await store.record((), [row_of(first)])
    recorded = await store.record([log(1, owner, notional_micros=400_000), other, log(5, owner, removed=True)])
    assert [fill.status for fill in recorded.reversed] == [EventStatus.REVERSED]
    (contradicted,) = await rows(database, "SELECT * FROM trade_event WHERE log_index = 1")
    assert contradicted.usdc_notional_micros == 500_001
    assert contradicted.mismatch["reported_cash_micros"] == 400_010
    (gone,) = await rows(database, "SELECT * FROM trade_event WHERE log_index = 5")
    assert gone.status == "REVERSED"
    again = await store.record([log(6, owner, key=other.key, block_hash="0x" + "cc" * 32)])
    assert [fill.incarnation for fill in again.created] == [1]


async def test_other_rows_are_a_multiset_too(database: Database) -> None:
    owner = (await follow(database.url(), WALLET, "w")).follow.user_id
    store = IngestStore(database.engine("ingest"))
    key = FactKey("0x" + "aa" * 32, WALLET, "SPLIT", "0xc", "", "", 5_000_000, 5_000_000)
    split = FactSighting(key, owner, EventKind.SPLIT, True, NOON, NOON, {})
    assert len((await store.record((), (), [split])).facts) == 1
    recorded = await store.record((), (), [split, split])
    assert [fact.ordinal for fact in recorded.facts] == [1]
    assert [fact.ordinal for fact in recorded.known_facts] == [0]
    assert len(await rows(database, "SELECT 1 FROM activity_event")) == 2
    assert len(await rows(database, "SELECT 1 FROM event_sighting")) == 2


async def test_following_is_idempotent_audited_and_starts_at_a_whole_second(database: Database) -> None:
    at = NOON.replace(microsecond=987_654)
    done = await follow(database.url(), WALLET.upper().replace("0X", "0x"), "whale", at)
    assert (done.label, done.new, done.follow.followed_at) == ("whale", True, NOON)
    assert done.follow.user_id == user_id("whale")
    again = await follow(database.url(), WALLET)
    assert (again.label, again.new, again.follow.followed_at) == ("whale", False, NOON)
    with pytest.raises(ValueError, match="already known as 'whale'"):
        await follow(database.url(), WALLET, "minnow")
    further = await follow(database.url(), SECOND, "whale")
    assert further.follow.user_id == done.follow.user_id
    found = await IngestStore(database.engine("ingest")).follows()
    assert set(found) == {WALLET, SECOND}
    audited = await rows(database, "SELECT actor, action, subject, detail FROM audit_log ORDER BY at")
    assert [(row.actor, row.action, row.subject) for row in audited] == [
        ("operator", "wallet_followed", WALLET),
        ("operator", "wallet_followed", SECOND),
    ]


async def test_unfollowing_keeps_history_and_following_again_starts_anew(database: Database) -> None:
    store = IngestStore(database.engine("ingest"))
    await follow(database.url(), WALLET, "whale", NOON)
    await follow(database.url(), SECOND, "whale", NOON)
    await unfollow(database.url(), WALLET)
    assert set(await store.follows()) == {SECOND}
    with pytest.raises(ValueError, match="not followed"):
        await unfollow(database.url(), WALLET)
    assert await unfollow(database.url(), "whale") == [SECOND]
    (user,) = await rows(database, "SELECT unfollowed_at FROM followed_user")
    assert user.unfollowed_at is not None
    later = NOON + timedelta(days=1)
    back = await follow(database.url(), WALLET, None, later)
    assert (back.label, back.new, back.follow.followed_at) == ("whale", True, later)
    (user,) = await rows(database, "SELECT unfollowed_at FROM followed_user")
    assert user.unfollowed_at is None


async def test_a_wallet_without_a_label_gets_one(database: Database) -> None:
    first = await follow(database.url(), WALLET)
    assert first.label == "0x1111-1111"
    assert str(first) == f"0x1111-1111 ({WALLET})"
    alike = WALLET[:8] + "33" * 15 + WALLET[-4:]
    assert (await follow(database.url(), alike)).label == alike


async def test_two_people_who_follow_at_once_take_turns(database: Database) -> None:
    done = await asyncio.gather(*(follow(database.url(), WALLET, "w") for _ in range(4)))
    assert sorted(each.new for each in done) == [False, False, False, True]


def market(**values: Any) -> MarketFacts:
    given = {
        "id": "1",
        "condition_id": "0xc1",
        "question": "?",
        "slug": "s",
        "outcomes": (Outcome("11", 0, "Yes"), Outcome("12", 1, "No")),
        "close_time": NOON,
        "active": True,
        "closed": False,
        "accepting_orders": True,
        "neg_risk": False,
        "fee_rate": Decimal("0.05"),
        "fee_exponent": Decimal(1),
        "tick_micros": 10_000,
        "version": "v1",
        "resolved": False,
    }
    return MarketFacts(**{**given, **values})


async def test_a_market_is_kept_refreshed_and_found_by_its_tokens(database: Database) -> None:
    owner = (await follow(database.url(), WALLET, "w")).follow.user_id
    shelf = MarketStore(database.engine("ingest"))
    await IngestStore(database.engine("ingest")).record(
        [log(1, owner, key=FillKey("0x" + "aa" * 32, WALLET, "11", Side.BUY, 1_000_000))]
    )
    earlier, nothing = NOON - timedelta(hours=1), ((), ())
    assert await shelf.nameless(earlier, 10, nothing) == (["11"], [])
    assert await shelf.nameless(earlier, 10, (["11"], [])) == ([], [])
    async with database.engine().begin() as connection:
        waiting = {"event_id": UUID(int=1), "kind": "SPLIT", "user_id": owner, "condition_id": "0xc1"}
        await connection.execute(insert(WaitingEvent).values(**waiting, waits_since=NOON - timedelta(days=99)))
    assert await shelf.nameless(earlier, 10, nothing) == (["11"], ["0xc1"])
    assert await shelf.nameless(earlier, 10, ((), ["0xc1"])) == (["11"], [])
    await shelf.save([market()], NOON)
    assert await shelf.nameless(earlier, 10, nothing) == ([], [])
    assert await shelf.conditions_of(["11", "99"]) == {"11": "0xc1"}
    assert await shelf.known_conditions(["0xc1", "0xc9"]) == {"0xc1"}
    later, recent = NOON + timedelta(minutes=1), NOON - timedelta(hours=1)
    assert await shelf.stale(later, recent, 10) == ["0xc1"]
    await shelf.save([market(closed=True, resolved=True)], later)
    (kept,) = await rows(database, "SELECT closed, resolved, fee_rate FROM market")
    assert (kept.closed, kept.resolved, kept.fee_rate) == (True, True, Decimal("0.05"))
    assert await shelf.stale(later + timedelta(hours=1), recent, 10) == []


async def test_markets_that_gamma_lists_no_longer_keep_none_from_being_refreshed(database: Database) -> None:
    owner = (await follow(database.url(), WALLET, "w")).follow.user_id
    shelf, began = MarketStore(database.engine("ingest")), datetime.now(UTC)
    for number in range(1, 6):
        outcomes = (Outcome(f"{number}1", 0, "Yes"), Outcome(f"{number}2", 1, "No"))
        await shelf.save(
            [market(id=str(number), condition_id=f"0xc{number}", outcomes=outcomes)],
            began - timedelta(hours=9 - number),
        )
        key = FillKey(f"0x{number:064x}", WALLET, f"{number}1", Side.BUY, 1_000_000)
        await IngestStore(database.engine("ingest")).record([log(number, owner, key=key)])
    asked = [sorted(await shelf.stale(began, NOON - timedelta(hours=1), 2)) for _ in range(4)]
    assert asked == [["0xc1", "0xc2"], ["0xc3", "0xc4"], ["0xc5"], []]
    after = datetime.now(UTC)
    assert sorted(await shelf.stale(after, NOON - timedelta(hours=1), 2)) == ["0xc1", "0xc2"]


class SlowGamma:
    """Knows one market, and takes its time."""

    def __init__(self) -> None:
        self.calls: list[Sequence[str]] = []

    async def markets_by_token(self, asset_ids: Sequence[str]) -> list[MarketFacts]:
        self.calls.append(asset_ids)
        await asyncio.sleep(0.2)
        return [market()]

    async def markets_by_condition(self, condition_ids: Sequence[str]) -> list[MarketFacts]:
        raise AssertionError(condition_ids)


async def test_the_first_sight_of_a_token_by_two_replicas_at_once_makes_one_call(database: Database) -> None:
    gamma, engine = SlowGamma(), database.engine("ingest")
    replicas = [
        Markets(
            MarketStore(engine),
            gamma,
            TurnStore(engine, f"ingest-{number}"),
            now=lambda: NOON,
            clock=time.monotonic,
            refresh_seconds=60,
        )
        for number in range(2)
    ]
    for each in replicas:
        each.want(["11"])

    async def learned(replica: Markets) -> None:
        while replica.condition_of("11") is None:
            await replica.look_up()

    async with asyncio.timeout(20):
        await asyncio.gather(*(learned(each) for each in replicas))
    assert gamma.calls == [["11"]]
