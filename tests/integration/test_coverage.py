"""The coverage report over real rows: what was looked at, by whom, and what that proves."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import pytest
from sqlalchemy import text

from libs.common.db.coverage import read_coverage
from libs.common.db.engine import make_engine, transaction
from libs.common.db.retention import BATCH_MAX, Retention
from libs.common.db.settings import UnknownUserError
from libs.common.domain.contact import GapStatus, LookBack, Span, Way
from libs.common.domain.coverage import Coverage
from libs.common.domain.coverage_document import document
from libs.common.domain.errors import Unavailable
from libs.common.domain.kinds import Role, Side, Source
from services.cli.__main__ import application
from services.cli.stack.visit import Session
from services.ingest.commands import follow, unfollow
from services.ingest.contact import CAME_LATE, WITHHOLDS, ChainContact, PollContact, take_leave
from services.ingest.core.contact import Poll
from services.ingest.core.sightings import FillKey, LogSighting, RowSighting
from services.ingest.store import ContactStore, IngestStore
from services.ingest.store.events import PAYLOADS_KEPT
from tests.support.databases import Database

pytestmark = pytest.mark.integration

WALLET, SECOND = "0x" + "11" * 20, "0x" + "22" * 20
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def at(second: float) -> datetime:
    return NOON + timedelta(seconds=second)


class World:
    """A database with one followed user, watched by any number of replicas under a clock that the test moves."""

    def __init__(self, database: Database, owner: UUID) -> None:
        self.database = database
        self.owner = owner
        self.second = 0.0
        self.events = IngestStore(database.engine("ingest"))

    @classmethod
    async def begin(cls, database: Database) -> "World":
        return cls(database, (await follow(database.url(), WALLET, "otter", NOON)).follow.user_id)

    def now(self) -> datetime:
        return at(self.second)

    def store(self, instance: str = "ingest-0") -> ContactStore:
        return ContactStore(self.database.engine("ingest"), instance)

    def chain(self, instance: str = "ingest-0") -> ChainContact:
        return ChainContact(self.store(instance), self.now)

    async def polled(self, start: float, began: float, *, wallet: str = WALLET) -> None:
        poll = Poll(at(start), at(began), at(began + 1), timedelta(seconds=30))
        await self.store().polled(wallet, poll)

    async def backfilled(self, start: float, end: float, known: float) -> None:
        await self.store().looked_back(WALLET, LookBack(Span(at(start), at(end)), at(known), Way.BACKFILL))

    async def report(self, until: float, **options: Any) -> Coverage:
        return await read_coverage(self.database.engine("ui"), at(until), 1, **options)

    def log(self, number: int, second: float, seen: float, **values: Any) -> LogSighting:
        given = {
            "key": FillKey(f"0x{number:064x}", WALLET, "7", Side.BUY, 1_000_000),
            "user_id": self.owner,
            "booked": True,
            "notional_micros": 500_000,
            "fee_micros": 0,
            "price_micros": 500_000,
            "role": Role.TAKER,
            "log_index": number,
            "block_number": 7,
            "block_hash": "0x" + "bb" * 32,
            "event_time": at(second),
            "seen_at": at(seen),
            "removed": False,
            "wire": {"n": number},
        }
        return LogSighting(**{**given, **values})

    def row(self, number: int, second: float, seen: float, **values: Any) -> RowSighting:
        log = self.log(number, second, seen)
        given = {
            name: getattr(log, name)
            for name in ("key", "user_id", "booked", "notional_micros", "fee_micros", "price_micros", "event_time")
        }
        return RowSighting(**{**given, "seen_at": at(seen), "wire": {"n": number}, **values})


def gaps(report: Coverage, source: Source) -> list[tuple[float, float, GapStatus, str | None]]:
    return [
        (
            (each.gap.span.start - NOON).total_seconds(),
            (each.gap.span.end - NOON).total_seconds(),
            each.gap.status,
            each.gap.ended_by,
        )
        for each in report.gaps
        if each.source is source
    ]


async def rows(database: Database, query: str) -> Sequence[Any]:
    async with database.engine().connect() as connection:
        return list(await connection.execute(text(query)))


async def test_fills_are_counted_by_who_showed_them_with_the_lag_of_each(database: Database) -> None:
    world = await World.begin(database)
    chain = world.chain()
    await chain.opened()
    for second in range(0, 301, 5):
        world.second = second
        await chain.stands()
    for began in range(0, 301, 30):
        await world.polled(began - 120, began)
    await world.events.record([world.log(number, 10 + number, 11 + number) for number in range(10)])
    await world.events.record((), [world.row(number, 10 + number, 30) for number in range(8)])  # 8, 9: not shown
    await world.events.record([world.log(20, 290, 289.5)])  # waits for the API
    await world.events.record((), [world.row(30, 100, 120)])  # the chain told nothing of it
    await world.events.record((), [world.row(31, 100, 120)])
    await world.events.record([world.log(31, 100, 130, notional_micros=400_000)])  # contradicts
    await world.events.record([world.log(40, 50, 51), world.log(40, 50, 52, removed=True)])
    await world.events.record([world.log(50, -100, 60, booked=False)])  # older than the follow
    report = await world.report(300)
    (day,) = report.days
    fills = day.fills
    assert (fills.fills, fills.both, fills.only_chain, fills.awaiting_api, fills.only_api) == (13, 9, 2, 1, 1)
    assert (fills.missed_by_chain, fills.mismatched, fills.reversed) == (1, 1, 1)
    assert fills.chain_lag
    assert (fills.chain_lag.median_ms, fills.chain_lag.p95_ms) == (1_000, 30_000)
    assert fills.api_lag
    assert (fills.api_lag.median_ms, fills.api_lag.p95_ms) == (17_000, 20_000)
    assert not report.is_complete
    assert {each.problem for each in report.suspects} == {"MISMATCHED", "NOT_SHOWN_BY_API"}
    assert len(report.suspects) == 3
    assert day.answer == "1 mismatched, 2 not shown by the API"
    assert report.verdict.startswith("NOT complete: 1 mismatched between the sources; 2 shown by the chain alone")
    assert json.loads(json.dumps(document(report)))["days"][0]["fills"] == 13


async def test_a_fill_seen_below_zero_lag_counts_as_zero(database: Database) -> None:
    world = await World.begin(database)
    await world.events.record([world.log(1, 10, 9.4)])
    (day,) = (await world.report(20)).days
    assert day.fills.chain_lag
    assert day.fills.chain_lag.median_ms == 0


async def test_no_trade_is_not_the_same_as_not_looking(database: Database) -> None:
    world = await World.begin(database)
    await world.polled(-900, 1)
    for began in (31, 61):
        await world.polled(began - 120, began)
    quiet = await world.report(90)
    assert quiet.is_complete
    assert [day.answer for day in quiet.days] == ["no trade"]
    assert quiet.verdict == "complete: no trade; 1 gap in contact, none unhealed"
    await follow(database.url(), SECOND, "heron", at(10))
    deaf = await world.report(90)
    assert {day.user: day.answer for day in deaf.days} == {"otter": "no trade", "heron": "not looking"}
    assert deaf.verdict == ("NOT complete: 1 min 20 s nobody has looked at (1 of 2 users, still going on); no trade")
    assert (await world.report(90, user="otter")).is_complete
    with pytest.raises(UnknownUserError, match="'nobody'"):
        await world.report(90, user="nobody")


async def test_an_api_outage_is_open_until_the_poll_that_reaches_back_is_done(database: Database) -> None:
    world = await World.begin(database)
    polls = PollContact(world.store(), world.now)
    await world.polled(-900, 0)
    await world.polled(-120, 30)
    await polls.failed(WALLET, "data: 503")
    for _ in range(3):
        await polls.failed(WALLET, "data: circuit breaker open")
    open_ = await world.report(120)
    assert gaps(open_, Source.DATA_API) == [(30, 120, GapStatus.UNHEALED, "data: 503")]
    assert open_.gaps[0].gap.open
    assert not open_.is_complete
    assert [state.failed_polls for state in open_.sources] == [0, 4]
    await world.polled(30 - 120, 210)
    healed = await world.report(230)
    (gap,) = [each.gap for each in healed.gaps]
    assert (gap.status, gap.healed_by, gap.healed_at) == (GapStatus.HEALED, Way.POLL, at(211))
    assert gap.late == timedelta(seconds=181)
    assert healed.is_complete
    (day,) = healed.days
    assert (day.api_gap, day.blind, day.unhealed) == (timedelta(seconds=180), timedelta(seconds=180), timedelta())


async def test_a_failed_poll_that_is_made_good_in_time_leaves_no_gap(database: Database) -> None:
    world = await World.begin(database)
    await world.polled(-900, 0)
    await PollContact(world.store(), world.now).failed(WALLET, "data: 429")
    await world.polled(-120, 45)
    report = await world.report(60)
    assert report.gaps == ()
    assert report.sources[1].failed_polls == 1


async def test_polls_that_fail_before_the_first_contact_are_counted_and_are_none(database: Database) -> None:
    world = await World.begin(database)
    polls = PollContact(world.store(), world.now)
    for _ in range(3):
        await polls.failed(WALLET, "data: 503")
    report = await world.report(60)
    state = report.sources[1]
    assert (state.failed_polls, state.in_contact, state.last_contact_at) == (3, False, None)
    assert gaps(report, Source.DATA_API) == [(0, 60, GapStatus.UNHEALED, None)]
    await world.polled(-900, 70)
    await polls.failed(WALLET, "data: 503")
    report = await world.report(80)
    assert report.sources[1].failed_polls == 4
    assert gaps(report, Source.DATA_API) == [(0, 70, GapStatus.HEALED, None)]


async def test_a_poll_that_does_not_reach_back_leaves_a_gap_that_a_backfill_heals(database: Database) -> None:
    world = await World.begin(database)
    await world.polled(-900, 0)
    await world.polled(500, 600)
    assert gaps(await world.report(610), Source.DATA_API) == [(0, 600, GapStatus.UNHEALED, "ended without a word")]
    await world.backfilled(-3600, 615, 616)
    report = await world.report(620)
    (gap,) = [each.gap for each in report.gaps]
    assert (gap.healed_by, gap.healed_at) == (Way.BACKFILL, at(616))
    assert report.is_complete


async def test_a_killed_process_leaves_the_truth_and_the_next_life_heals_it(database: Database) -> None:
    world = await World.begin(database)
    first = world.chain()
    await first.opened()
    for second in range(43):
        world.second = second
        await first.stands()
    for began in (0, 30):
        await world.polled(began - 900, began)
    # kill -9 at 42: the last word was at 40
    assert gaps(await world.report(50), Source.CHAIN) == []  # it may still say something
    assert gaps(await world.report(58), Source.CHAIN) == [(40, 58, GapStatus.BRIDGED, None)]
    world.second = 70
    second_life = world.chain()
    await second_life.opened()
    await world.polled(-90, 70)
    report = await world.report(72)
    assert gaps(report, Source.CHAIN) == [(40, 70, GapStatus.BRIDGED, "ended without a word")]
    world.second = 73
    await second_life.healed(at(35))
    report = await world.report(75)
    (gap,) = [each.gap for each in report.gaps]
    assert (gap.status, gap.healed_by, gap.late) == (GapStatus.HEALED, Way.GETLOGS, timedelta(seconds=33))


async def test_what_a_killed_process_claimed_ends_before_the_first_log_that_only_its_heirs_brought(
    database: Database,
) -> None:
    world = await World.begin(database)
    first, other = world.chain(), world.chain("ingest-1")
    for chain in (first, other):
        await chain.opened()
    for second in range(43):
        world.second = second
        await first.stands()
        if second < 21:
            await other.stands()
    # Pushed; pushed after the last word; seen by a replica; before the follow: all of them were seen in time.
    await world.events.record([world.log(1, 30, 32), world.log(2, 39, 42), world.log(3, 38, 42)])
    world.second = 60
    heir = world.chain()
    await heir.opened()
    # Under way at the kill, and fetched; of the other replica it proves nothing.
    await world.events.record([world.log(4, 37, 61), world.log(5, 35, 61, booked=False), world.log(6, 45, 61)])
    world.second = 65
    await heir.stands()
    # Killed while it fetched: what it brought counts for whoever goes on.
    world.second = 70
    last = world.chain()
    await last.opened()
    assert [each[:2] for each in gaps(await world.report(71), Source.CHAIN)] == [(40, 60), (65, 70)]
    await world.events.record([world.log(7, 38, 71), world.log(8, 63, 71), world.log(9, 66, 71)])
    await last.healed(at(41))
    assert [each[:2] for each in gaps(await world.report(72), Source.CHAIN)] == [(37, 60), (63, 70)]
    (there,) = await rows(database, "SELECT through FROM source_contact WHERE instance = 'ingest-1'")
    assert there.through == at(20)


async def test_logs_that_a_process_fetches_do_not_end_its_own_contact(database: Database) -> None:
    world = await World.begin(database)
    chain = world.chain()
    await chain.opened()
    world.second = 20
    await chain.stands()
    await chain.lost("rpc: closed by the node")
    world.second = 30
    await chain.opened()
    await world.events.record([world.log(1, 10, 31), world.log(2, 30, 32)])
    await chain.healed(at(0))
    assert [each[:2] for each in gaps(await world.report(33), Source.CHAIN)] == [(20, 30)]


async def test_contact_is_the_union_of_two_replicas(database: Database) -> None:
    world = await World.begin(database)
    one, two = world.chain("ingest-0"), world.chain("ingest-1")
    await one.opened()
    await two.opened()
    await world.polled(-900, 0)
    for second in range(60):
        world.second = second
        if second < 20:
            await one.stands()
        elif second == 20:
            await one.lost("rpc: closed by the node")
        elif second == 40:
            await one.opened()
        elif second > 40:
            await one.stands()
        await two.stands()
    assert gaps(await world.report(60), Source.CHAIN) == []
    await asyncio.gather(*(world.polled(-100, 31) for _ in range(4)))
    assert (await world.report(60)).is_complete
    await two.lost("rpc: closed by the node")
    one.withholds(at(45))
    await one.lost("doubted: the API shows a fill that was not delivered")  # since 40: believed up to there only
    world.second = 70
    await one.opened()
    assert gaps(await world.report(70), Source.CHAIN) == [(59, 70, GapStatus.BRIDGED, "rpc: closed by the node")]


async def test_a_socket_that_withheld_a_fill_was_no_contact(database: Database) -> None:
    world = await World.begin(database)
    chain = world.chain()
    await chain.opened()
    chain.saw(("0xb", 0), 7, at(7), fetched=False)
    chain.saw(("0xb", 4), 7, at(40), fetched=False)
    for second in range(60):
        world.second = second
        if second in {10, 40}:  # it tells again, but not what happened at 25
            chain.delivered()
        chain.withholds(at(25) if second > 45 else None)
        await chain.stands()
    report = await world.report(59)
    assert gaps(report, Source.CHAIN) == [(25, 59, GapStatus.UNHEALED, WITHHOLDS)]
    assert not report.sources[0].in_contact
    assert await chain.lost("doubted: the API shows a fill that was not delivered") == at(10)
    world.second = 61
    await chain.opened()
    report = await world.report(62)
    assert [each[:2] for each in gaps(report, Source.CHAIN)] == [(25, 61)]
    for number, fetched in enumerate((7, 18, 21, 30, 40)):  # the first and the last had been delivered
        chain.saw(("0xb", number), 7, at(fetched), fetched=True)
    await chain.healed(at(0))
    assert [each[:2] for each in gaps(await world.report(62), Source.CHAIN)] == [(18, 61)]


async def test_a_silent_socket_is_no_contact_for_a_block_that_was_mined_just_before_it_and_shown_after(
    database: Database,
) -> None:
    world = await World.begin(database)
    chain = world.chain()
    await chain.opened()
    chain.begins_behind(6)
    world.second = 30
    await chain.stands()
    await chain.lost("rpc: closed by the node")
    world.second = 40
    await chain.opened()
    chain.begins_behind(8)
    await chain.healed(at(20))
    world.second = 90
    await chain.stands()
    await chain.lost("rpc: closed by the node")
    world.second = 100
    await chain.opened()
    chain.begins_behind(12)
    chain.saw(("0xa", 1), 8, at(39), fetched=True)  # of the gap before: nobody was to push it
    await chain.healed(at(20))
    assert [each[:2] for each in gaps(await world.report(100), Source.CHAIN)] == [(30, 40), (90, 100)]
    chain.saw(("0xb", 1), 9, at(39), fetched=True)
    await chain.healed(at(20))
    world.second = 106
    await chain.stands()
    assert [each[:2] for each in gaps(await world.report(106), Source.CHAIN)] == [(30, 100)]


async def test_a_socket_is_cleared_when_there_is_no_log_of_what_it_seemed_to_withhold(database: Database) -> None:
    world = await World.begin(database)
    chain = world.chain()
    await chain.opened()
    for second in range(60):
        world.second = second
        chain.withholds(at(25) if second > 45 else None)
        await chain.stands()
    chain.answered()
    await chain.lost("doubted: the API shows a fill that was not delivered")
    world.second = 61
    await chain.opened()
    await chain.healed(at(10))  # not from where it last told something
    assert [each[:2] for each in gaps(await world.report(62), Source.CHAIN)] == [(25, 61)]
    await chain.healed(at(0))
    assert [each[:2] for each in gaps(await world.report(62), Source.CHAIN)] == [(59, 61)]


async def test_contact_ends_before_the_first_log_that_had_to_be_fetched(database: Database) -> None:
    world = await World.begin(database)
    chain = world.chain()
    await chain.opened()
    world.second = 50
    chain.saw(("0xb", 1), 7, at(48), fetched=False)
    await chain.stands()
    await chain.lost("rpc: closed by the node")
    world.second = 60
    await chain.opened()
    for number, second in ((1, 48), (2, 49), (3, 55)):
        chain.saw(("0xb", number), 7, at(second), fetched=True)
    await chain.healed(at(40))
    assert [each[:2] for each in gaps(await world.report(60), Source.CHAIN)] == [(49, 60)]


async def test_a_stack_that_stops_does_not_vouch_for_a_socket_that_withholds(database: Database) -> None:
    world = await World.begin(database)
    chain = world.chain()
    await chain.opened()
    world.second = 50
    chain.withholds(at(25))
    await chain.stands()
    await take_leave(chain, PollContact(world.store(), world.now), [])
    world.second = 60
    await chain.opened()
    (gap,) = gaps(await world.report(60), Source.CHAIN)
    assert gap[:2] == (25, 60)
    assert gap[3] == f"{WITHHOLDS}; stopped"


async def test_contact_begins_anew_when_what_was_withheld_has_come(database: Database) -> None:
    world = await World.begin(database)
    chain = world.chain()
    await chain.opened()
    for second in range(60):
        world.second = second
        chain.withholds(at(20) if 41 <= second < 45 else None)
        await chain.stands()
    assert gaps(await world.report(59), Source.CHAIN) == [(20, 45, GapStatus.UNHEALED, CAME_LATE)]


async def test_a_database_that_is_away_only_delays_the_record(database: Database) -> None:
    class Away:
        def __init__(self, store: ContactStore) -> None:
            self.store = store
            self.away = True

        async def keep_chain(self, *given: Any) -> None:
            if self.away:
                raise Unavailable("away")
            await self.store.keep_chain(*given)

        async def polled(self, *given: Any) -> None:
            raise Unavailable("away")

        looked_back = poll_failed = polls_stop = polled

    world = await World.begin(database)
    records = Away(world.store())
    chain = ChainContact(records, world.now)
    await chain.opened()
    await chain.healed(at(-60))
    world.second = 20
    await chain.stands()
    await chain.lost("rpc: closed by the node")
    world.second = 30
    await chain.opened()
    await PollContact(records, world.now).failed(WALLET, "data: 503")
    records.away = False
    world.second = 40
    await chain.stands()
    found = await rows(database, "SELECT way, since, through, ended_by FROM source_contact ORDER BY since")
    assert [tuple(row) for row in found] == [
        ("GETLOGS", at(-60), at(0), None),
        ("LIVE", at(0), at(20), "rpc: closed by the node"),
        ("LIVE", at(30), at(40), None),
    ]


async def test_a_stopped_stack_is_complete_up_to_its_last_contact(database: Database) -> None:
    world = await World.begin(database)
    chain, polls = world.chain(), PollContact(world.store(), world.now)
    await chain.opened()
    await world.polled(-900, 0)
    world.second = 50
    await chain.stands()
    await world.polled(-900, 50.5)
    world.second = 50.6
    chain.leaves()
    await take_leave(chain, polls, [WALLET])
    down = await world.report(5_000, watching=False)
    assert down.until == at(50.6)
    assert down.is_complete
    assert down.gaps == ()
    up = await world.report(1_000)
    assert gaps(up, Source.DATA_API) == [(50.5, 1_000, GapStatus.UNHEALED, "stopped")]
    assert gaps(up, Source.CHAIN) == [(50.6, 1_000, GapStatus.UNHEALED, "stopped")]


async def test_who_is_followed_no_more_is_not_missed(database: Database) -> None:
    world = await World.begin(database)
    await world.polled(-900, 0)
    await unfollow(database.url(), WALLET)
    async with transaction(database.engine()) as connection:
        await connection.execute(text("UPDATE followed_user_proxy_wallet SET unfollowed_at = :at"), {"at": at(30)})
    report = await world.report(1_000)
    assert (report.gaps, report.is_complete) == ((), True)


async def test_nobody_followed_and_an_empty_window_are_said(database: Database) -> None:
    report = await read_coverage(database.engine("ui"), NOON, 24)
    assert report.verdict == "nothing to prove: nobody was followed in this time"
    assert (await read_coverage(database.engine("ui"), NOON, 24, watching=False)).days == ()


async def test_days_are_cut_at_midnight_utc(database: Database) -> None:
    world = await World.begin(database)
    await world.polled(-900, 0)
    await world.store().polled(WALLET, Poll(at(-120), at(13 * 3600), at(13 * 3600 + 1), timedelta(seconds=30)))
    report = await read_coverage(database.engine("ui"), at(13 * 3600 + 1), 24)
    assert [(day.day.isoformat(), day.api_gap) for day in report.days] == [
        ("2026-11-02", timedelta(hours=1)),
        ("2026-11-01", timedelta(hours=12)),
    ]


async def test_payloads_are_forgotten_after_thirty_days_and_sightings_stay(database: Database) -> None:
    world = await World.begin(database)
    await world.events.record([world.log(number, number, number) for number in range(BATCH_MAX + 3)])
    young = timedelta(days=30, seconds=BATCH_MAX + 1)
    retention = Retention("payloads", PAYLOADS_KEPT, world.events.drop_payloads, lambda: NOON + young)
    assert await retention.forget() is True
    assert await retention.forget() is False
    (found,) = await rows(database, "SELECT count(*), count(payload) FROM event_sighting")
    assert tuple(found) == (BATCH_MAX + 3, 2)
    away = make_engine("postgresql://x:x@127.0.0.1:1/none", application="away")
    assert await Retention("payloads", PAYLOADS_KEPT, IngestStore(away).drop_payloads, lambda: NOON).forget() is False
    await away.dispose()


async def test_every_read_is_served_by_an_index(database: Database) -> None:
    await World.begin(database)
    await seed_volume(database, users=5, days=10, fills_a_day=40)
    from libs.common.db import coverage as module

    given = {"wallets": [WALLET], "since": at(-3600), "until": NOON, "shown_after": timedelta(seconds=20)}
    given |= {"throughs": [NOON], "watched": "{}", "limit": 50}
    for name in ("_FILLS", "_SUSPECTS", "_OTHERS", "_POLLS", "_LOGS", "_LAST"):
        statement = getattr(module, name)
        own = {key: value for key, value in given.items() if key in statement._bindparams}
        async with database.engine("ui").connect() as connection:
            await connection.execute(text("SET LOCAL enable_seqscan = off"))
            explained = text(f"EXPLAIN {statement.text}").bindparams(*statement._bindparams.values())
            plan = "\n".join(await connection.scalars(explained, own))
        for table in ("trade_event", "activity_event", "event_sighting", "source_contact"):
            assert f"Seq Scan on {table}" not in plan, (name, plan)


async def seed_volume(database: Database, *, users: int, days: int, fills_a_day: int) -> None:
    """Fill tables as so many users and days leave them, ending at NOON."""
    wallets = [f"0x{number:040x}" for number in range(1, users + 1)]
    for number, wallet in enumerate(wallets):
        await follow(database.url(), wallet, f"user-{number}", NOON - timedelta(days=days))
    async with transaction(database.engine()) as connection:
        await connection.execute(
            text("""
            INSERT INTO trade_event (id, user_id, wallet, asset_id, side, share_micros, price_micros,
              usdc_notional_micros, fee_micros, tx_hash, ordinal, incarnation, role, log_index, block_number,
              block_hash, event_time, detect_time, first_source, status, booked)
            SELECT gen_random_uuid(), w.user_id, w.wallet, '7', 'BUY', 1000000, 500000, 500000, 0,
              '0x' || md5(w.wallet || n) || md5(n || w.wallet), 0, 0, 'TAKER', 1, 7, '0xbb',
              date_trunc('second', t.at), t.at + interval '1 s', 'CHAIN', 'CANONICAL', true
            FROM followed_user_proxy_wallet w CROSS JOIN generate_series(0, :fills) n
            CROSS JOIN LATERAL (SELECT CAST(:end AS timestamptz) - n * CAST(:every AS interval) AS at) t
            WHERE w.wallet <> :own"""),
            {
                "fills": days * fills_a_day,
                "end": NOON - timedelta(minutes=1),
                "every": timedelta(days=1) / fills_a_day,
                "own": WALLET,
            },
        )
        for source, late in (("CHAIN", 1), ("DATA_API", 15)):
            await connection.execute(
                text("""
                INSERT INTO event_sighting (event_id, source, seen_at, share_micros, usdc_micros, payload)
                SELECT id, :source, event_time + :late * interval '1 s' + random() * interval '2 s', 1, 1,
                  CASE WHEN event_time > CAST(:end AS timestamptz) - interval '30 days'
                    THEN decode(repeat(md5(id::text), 12), 'hex') END
                FROM trade_event"""),
                {"source": source, "late": late, "end": NOON},
            )
        await connection.execute(
            text("""
            INSERT INTO source_contact (source, wallet, way, instance, since, through, known_at, patience_seconds,
              failed)
            SELECT 'DATA_API', w.wallet, way, 'ingest-0', t.at, t.at + interval '7 h 55 min', t.at, 60, 1
            FROM followed_user_proxy_wallet w CROSS JOIN generate_series(0, :days * 3) n
            CROSS JOIN (VALUES ('LIVE'), ('POLL')) AS ways(way)
            CROSS JOIN LATERAL (SELECT CAST(:end AS timestamptz) - n * interval '8 h' AS at) t"""),
            {"days": days, "end": NOON - timedelta(hours=7, minutes=55)},
        )
        await connection.execute(
            text("""
            INSERT INTO source_contact (source, wallet, way, instance, since, through, known_at, patience_seconds,
              failed, ended_by)
            SELECT 'CHAIN', NULL, way, 'ingest-0', t.at, t.at + interval '19 min 50 s', t.at, 0, 0, 'broken'
            FROM generate_series(0, :days * 72) n CROSS JOIN (VALUES ('LIVE'), ('GETLOGS')) AS ways(way)
            CROSS JOIN LATERAL (SELECT CAST(:end AS timestamptz) - n * interval '20 min' AS at) t"""),
            {"days": days, "end": NOON - timedelta(minutes=20)},
        )
    async with database.engine().connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("VACUUM ANALYZE"))


async def test_the_command_prints_the_report_and_exits_by_it(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def visit(*_: object, **__: object) -> Iterator[Session]:
        yield Session(cast("Any", None), database.url(), None)

    def run(*arguments: str) -> tuple[int, str]:
        code = application(["coverage"])(["coverage", *arguments], standalone_mode=False)
        return int(code or 0), capsys.readouterr().out

    monkeypatch.setattr("services.cli.stack.session", visit)
    world = await World.begin(database)
    await world.polled(-900, 0)
    await world.polled(-120, 30)
    code, out = await asyncio.to_thread(run)
    assert (code, out.splitlines()[0]) == (0, "complete: no trade; no gap in contact")
    await world.polled(500, 600)
    code, out = await asyncio.to_thread(run, "--json", "--hours", "2")
    answer = json.loads(out)
    assert (code, answer["complete"], answer["watching"]) == (1, False, False)
    assert [(gap["status"], gap["seconds"]) for gap in answer["gaps"]] == [("UNHEALED", 570.0)]
    with pytest.raises(UnknownUserError, match="expected the name or id of a followed user"):
        await asyncio.to_thread(run, "--user", "nobody")
