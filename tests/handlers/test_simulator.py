"""The simulator's handlers, desk, scheduler and announcer on fakes."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from unittest.mock import AsyncMock
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from libs.common.domain.book import Book
from libs.common.domain.config import CopyConfig
from libs.common.domain.errors import PartlyAnswered, Rejected, Unavailable
from libs.common.domain.kinds import Decision, Scope
from libs.common.messages import AttemptDecided, GroupClosed
from services.simulator.announcing import Announcer
from services.simulator.books import (
    BOOKS_PER_CALL,
    CALL_SECONDS,
    CALL_SECONDS_MIN,
    CALLS_SAVED_UP,
    LOOK_SECONDS,
    OUTAGE_SECONDS,
    BookDesk,
)
from services.simulator.core.facts import Group
from services.simulator.core.rules import compile_rules
from services.simulator.core.schedule import Waiting
from services.simulator.handlers import on_groups_closed
from services.simulator.scheduler import Scheduler, portfolio_id
from services.simulator.store.rows import Attempted, Candidate
from services.simulator.turns import Blocked, Chunk
from tests.support.decisions import BOOK, GROUP, NO, NOW, YES

RULES = compile_rules(CopyConfig(), 1)


def group(**changes: Any) -> Group:
    return replace(GROUP, id=uuid4(), **changes)


def candidate(each: Group, *, decided: bool = False) -> Candidate:
    attempted = Attempted(uuid4(), Decision.SKIP, NOW) if decided else None
    return Candidate(each, None, None, None, attempted)


def message(each: Group) -> GroupClosed:
    return GroupClosed(group_id=each.id, kind=each.kind, user_id=each.user_id, occurred_at=NOW, observed_at=NOW)


@dataclass
class FakeGroups:
    rows: list[Candidate]

    async def find(self, group_ids: Sequence[UUID]) -> list[Candidate]:
        return [each for each in self.rows if each.group.id in group_ids]


async def test_new_groups_wait_and_decided_ones_are_announced_again() -> None:
    new, old = candidate(group()), candidate(group(), decided=True)
    waiting: list[Group] = []
    announced: list[Candidate] = []

    async def announce(known: Sequence[Candidate]) -> None:
        announced.extend(known)

    handle = on_groups_closed(FakeGroups([new, old]), waiting.extend, announce)
    await handle([message(new.group), message(old.group), message(new.group)])
    assert (waiting, announced) == ([new.group], [old])


async def test_an_unknown_group_is_rejected() -> None:
    async def announce(known: Sequence[Candidate]) -> None:
        assert not known

    with pytest.raises(Rejected, match="unknown group_id"):
        await on_groups_closed(FakeGroups([]), lambda _: None, announce)([message(GROUP)])


@dataclass
class Time:
    """A clock that moves when told, or when somebody sleeps."""

    seconds: float = 0.0

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


@dataclass
class FakeBookRows:
    """Claims and books of all processes."""

    claims: dict[UUID, str] = field(default_factory=dict)
    saved: dict[UUID, tuple[str, datetime]] = field(default_factory=dict)
    errors: dict[UUID, str] = field(default_factory=dict)

    async def settled(self, group_ids: Sequence[UUID]) -> set[UUID]:
        return set(group_ids) & (self.saved.keys() | self.errors.keys())

    async def claim(self, groups: Sequence[Group]) -> set[UUID]:
        ours = {each.id for each in groups} - self.claims.keys()
        self.claims.update(dict.fromkeys(ours, "me"))
        return ours

    async def save(self, groups: Mapping[UUID, Book], fetched_at: datetime) -> None:
        self.saved.update({each: (book.hash, fetched_at) for each, book in groups.items()})

    async def give_up(self, group_ids: Sequence[UUID], error: str) -> set[UUID]:
        ours = {each for each in group_ids if self.claims[each] == "me"} - self.saved.keys()
        self.errors.update(dict.fromkeys(ours, error))
        return ours


@dataclass
class FakeExchange:
    answers: list[dict[str, Book] | Exception] = field(default_factory=list)
    calls: list[tuple[str, ...]] = field(default_factory=list)

    async def books(self, asset_ids: Sequence[str]) -> dict[str, Book]:
        self.calls.append(tuple(asset_ids))
        answer = self.answers.pop(0) if self.answers else {YES: BOOK, NO: replace(BOOK, asset_id=NO)}
        if isinstance(answer, Exception):
            raise answer
        return answer


class Desk:
    """A desk with its fakes."""

    def __init__(self, **options: Any) -> None:
        self.time, self.rows, self.exchange = Time(), FakeBookRows(), FakeExchange()
        self.settled: list[UUID] = []
        self.desk = BookDesk(
            self.exchange, self.rows, self.settled.extend, now=self.time.now, clock=self.time.monotonic, **options
        )

    def want(self, *groups: Group, due_in: float = 0.0) -> None:
        due = self.time.now() + timedelta(seconds=due_in)
        self.desk.want([Waiting(each, due) for each in groups])

    async def tick(self, after: float = 0.0) -> None:
        self.time.seconds += after
        await self.desk.tend()
        if asked := self.desk.next_call():
            await self.desk.call(asked)


async def test_groups_due_together_share_one_call_and_one_book_per_token() -> None:
    desk = Desk()
    groups = [group(), group(), group(asset_id=NO)]
    desk.want(*groups)
    await desk.tick()
    assert desk.exchange.calls == [(YES, NO)]
    assert {desk.rows.saved[each.id] for each in groups} == {("h1", NOW)}
    assert sorted(desk.settled) == sorted(each.id for each in groups)
    assert len(desk.desk) == 0


async def test_hundreds_of_groups_due_at_once_are_served_by_as_few_calls_as_may_be() -> None:
    desk = Desk()
    tokens = [str(number) for number in range(300)]
    desk.exchange.answers = [{token: replace(BOOK, asset_id=token) for token in tokens}] * 2
    groups = [group(asset_id=token) for token in tokens] * 2
    desk.want(*groups)
    await desk.tick()
    await desk.tick(after=CALL_SECONDS_MIN)
    assert [len(call) for call in desk.exchange.calls] == [BOOKS_PER_CALL, len(tokens) - BOOKS_PER_CALL]
    assert sorted(desk.settled) == sorted({each.id for each in groups})


async def test_a_missing_book_is_asked_for_again_until_patience_ends() -> None:
    desk = Desk()
    desk.exchange.answers = [{}] * 20
    desk.want(GROUP)
    await desk.tick()
    for _ in range(9):
        await desk.tick(after=0.21)
    assert (desk.settled, len(desk.exchange.calls)) == ([], 10)
    await desk.tick(after=0.21)
    assert desk.settled == [GROUP.id]
    assert "no book" in desk.rows.errors[GROUP.id]


async def test_a_book_that_appears_in_time_is_taken() -> None:
    desk = Desk()
    desk.exchange.answers = [{}, Unavailable("the host is down")]
    desk.want(GROUP)
    await desk.tick()
    await desk.tick(after=0.3)
    await desk.tick(after=0.3)
    assert desk.rows.saved[GROUP.id] == ("h1", desk.time.now())
    assert not desk.rows.errors


async def test_an_exchange_that_stays_away_leaves_its_reason() -> None:
    desk = Desk()
    desk.exchange.answers = [Unavailable("the host is down")] * 20
    desk.want(GROUP)
    for _ in range(12):
        await desk.tick(after=0.21)
    assert "the host is down" in desk.rows.errors[GROUP.id]


async def test_the_books_of_others_are_taken_when_the_exchange_stumbles_over_one() -> None:
    desk = Desk()
    stumbled = PartlyAnswered(Unavailable("status 500"), {YES: BOOK}, {NO})
    desk.exchange.answers = [stumbled] * 20
    odd = group(asset_id=NO)
    desk.want(GROUP, odd)
    await desk.tick()
    assert (desk.settled, desk.rows.errors) == ([GROUP.id], {})
    for _ in range(11):
        await desk.tick(after=0.21)
    assert "status 500" in desk.rows.errors[odd.id]


async def test_a_desk_that_stood_still_gives_up_nothing_that_another_took_over() -> None:
    desk = Desk()
    desk.exchange.answers = [{}] * 2
    desk.want(GROUP)
    await desk.tick()
    desk.rows.claims[GROUP.id] = "other"  # while this process did not run
    await desk.tick(after=10)
    assert (desk.settled, desk.rows.errors, len(desk.exchange.calls)) == ([], {}, 1)
    desk.rows.saved[GROUP.id] = ("h1", desk.time.now())
    await desk.tick(after=LOOK_SECONDS + 0.01)
    assert desk.settled == [GROUP.id]


async def test_what_another_process_fetches_is_only_looked_up() -> None:
    desk = Desk(stands_back_seconds=0.06)
    desk.want(GROUP)
    await desk.tick()
    assert desk.rows.claims == {}
    desk.rows.claims[GROUP.id] = "other"
    await desk.tick(after=0.1)
    assert desk.settled == []
    desk.rows.saved[GROUP.id] = ("h1", NOW)
    await desk.tick(after=0.15)
    assert (desk.settled, desk.exchange.calls) == ([GROUP.id], [])


async def test_the_second_scope_steps_in_when_the_first_does_not() -> None:
    desk = Desk(stands_back_seconds=0.06)
    desk.want(GROUP)
    await desk.tick(after=0.06)
    assert desk.settled == [GROUP.id]


async def test_calls_keep_their_distance_and_collect_what_falls_due_meanwhile() -> None:
    desk = Desk()
    desk.want(group())
    await desk.tick()
    desk.want(group())
    await desk.tick(after=0.01)
    desk.want(group(asset_id=NO))
    await desk.tick(after=0.01)
    assert len(desk.exchange.calls) == 1
    await desk.tick(after=0.01)
    assert desk.exchange.calls == [(YES,), (YES, NO)]


async def test_in_the_long_run_calls_keep_to_their_part_of_the_budget() -> None:
    desk = Desk()
    for _ in range(1_000):
        desk.want(group())
        await desk.tick(after=0.01)
    assert 10 / CALL_SECONDS <= len(desk.exchange.calls) <= 10 / CALL_SECONDS + CALLS_SAVED_UP + 1


async def test_at_fifty_groups_a_second_the_first_of_a_call_waits_no_longer_than_it_must() -> None:
    """Taking the next call at once would let one in a hundred wait 59 ms, and save no call."""
    desk, chance = Desk(), Random(4)  # noqa: S311  not a secret
    dues: dict[UUID, datetime] = {}
    for step in range(10_000):
        if step % 10 == 0:
            coming, due_in = group(), 0.15 + chance.random() / 4
            dues[coming.id] = desk.time.now() + timedelta(seconds=due_in)
            desk.want(coming, due_in=due_in)
        await desk.tick(after=0.002)
    waits = sorted(at - dues[each] for each, (_, at) in desk.rows.saved.items())
    assert waits[0] >= timedelta(0)
    assert waits[len(waits) * 99 // 100] < timedelta(milliseconds=50)
    assert len(desk.exchange.calls) <= 20 / CALL_SECONDS + CALLS_SAVED_UP + 1


async def test_books_are_claimed_ahead_together_and_each_fetched_when_its_group_is_due() -> None:
    desk = Desk()
    later = group()
    desk.want(GROUP, due_in=0.2)
    await desk.tick(after=0.05)
    desk.want(later, due_in=0.2)
    assert desk.rows.claims == {}
    await desk.tick(after=0.051)
    assert (desk.rows.claims, desk.exchange.calls) == (dict.fromkeys((GROUP.id, later.id), "me"), [])
    await desk.tick(after=0.09)
    assert desk.exchange.calls == []
    await desk.tick(after=0.01)
    assert desk.rows.saved == {GROUP.id: ("h1", desk.time.now())}


async def test_what_another_process_announces_need_not_be_looked_up() -> None:
    desk = Desk(stands_back_seconds=0.3)
    desk.want(GROUP)
    desk.desk.settled_elsewhere([uuid4(), GROUP.id])
    assert (desk.settled, len(desk.desk)) == ([GROUP.id], 0)


async def test_a_database_that_is_away_delays_books_and_loses_none() -> None:
    desk = Desk()
    save, desk.rows.save = desk.rows.save, AsyncMock(side_effect=Unavailable("away"))  # type: ignore[method-assign]
    desk.want(GROUP)
    await desk.tick()
    assert (desk.settled, len(desk.exchange.calls)) == ([], 1)
    desk.rows.save = save  # type: ignore[method-assign]
    await desk.tick(after=OUTAGE_SECONDS + 0.01)
    assert desk.settled == [GROUP.id]


async def test_the_desk_runs_until_it_is_cancelled() -> None:
    """On the real clock: a wish made while it sleeps wakes it, and one that is not due yet is served in time."""
    rows, settled = FakeBookRows(), asyncio.Queue[Sequence[UUID]]()
    desk = BookDesk(FakeExchange(), rows, settled.put_nowait, now=lambda: datetime.now(UTC))
    running = asyncio.create_task(desk.run())
    await asyncio.sleep(0)
    due = datetime.now(UTC) + timedelta(seconds=0.1)
    desk.want([Waiting(GROUP, due)])
    async with asyncio.timeout(30):
        assert await settled.get() == [GROUP.id]
    assert rows.saved[GROUP.id][1] >= due - timedelta(milliseconds=2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


class FakeDecider:
    """Does what it is told, and remembers what it was asked."""

    def __init__(self, *chunks: Chunk | Exception) -> None:
        self.chunks = list(chunks)
        self.asked: list[dict[UUID, list[Group]]] = []

    async def run(self, wanted: Mapping[UUID, Sequence[Group]], limit: int) -> Chunk:
        assert limit >= 1
        self.asked.append({each: list(groups) for each, groups in wanted.items()})
        chunk = self.chunks.pop(0) if self.chunks else Chunk()
        if isinstance(chunk, Exception):
            raise chunk
        return chunk


class Desktop:
    """A scheduler with its fakes."""

    def __init__(self, *chunks: Chunk | Exception) -> None:
        self.time, self.decider = Time(), FakeDecider(*chunks)
        self.wanted: list[Group] = []
        self.known: list[Candidate] = []
        self.given_up: list[tuple[UUID, str]] = []
        self.scheduler = Scheduler(
            self.decider, scope=Scope.EXEC_GLOBAL, seed=0, chunk_max=100, rules_for=lambda _: RULES,
            want_books=self._want, announce=self._announce, give_up=self._give_up, now=self.time.now,
            is_outage=lambda error: isinstance(error, ConnectionError),
        )  # fmt: skip

    def _want(self, coming: Sequence[Waiting]) -> None:
        self.wanted += [each.group for each in coming]

    async def _announce(self, decided: Sequence[Any], known: Sequence[Candidate]) -> None:
        assert not decided
        self.known.extend(known)

    async def _give_up(self, each: Group, error: Exception) -> None:
        self.given_up.append((each.id, str(error)))


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("services.simulator.scheduler.OUTAGE_SECONDS", 0)
    with capture_logs():  # nobody reads the tracebacks, and to paint them takes a second each
        yield


async def test_a_due_trade_asks_for_its_book_and_is_decided_once_it_is_there() -> None:
    there = Desktop()
    due = group(closed_at=NOW - timedelta(seconds=1))
    there.scheduler.wait_for([due, group(closed_at=NOW, first_detect_time=NOW)])
    assert not await there.scheduler.tick()
    assert there.wanted == [due]
    there.scheduler.books_settled([due.id])
    assert await there.scheduler.tick()
    assert there.decider.asked == [{portfolio_id(Scope.EXEC_GLOBAL, None): [due]}]


async def test_a_group_decided_elsewhere_is_announced_and_forgotten() -> None:
    done = candidate(group(closed_at=NOW - timedelta(seconds=1)), decided=True)
    there = Desktop(Chunk(known=[done]))
    there.scheduler.wait_for([done.group])
    await there.scheduler.tick()
    there.scheduler.books_settled([done.group.id])
    await there.scheduler.tick()
    assert (there.known, len(there.scheduler)) == ([done], 0)


async def test_an_older_group_found_in_the_database_is_waited_for() -> None:
    mine = group(closed_at=NOW - timedelta(seconds=1))
    older = group(closed_at=NOW, first_detect_time=mine.first_detect_time - timedelta(seconds=1))
    until = NOW + timedelta(seconds=0.9)
    portfolio = portfolio_id(Scope.EXEC_GLOBAL, None)
    there = Desktop(Chunk(blocked={portfolio: Blocked(older, until, until)}))
    there.scheduler.wait_for([mine])
    await there.scheduler.tick()
    there.scheduler.books_settled([mine.id])
    await there.scheduler.tick()
    assert not await there.scheduler.tick()
    there.time.seconds = 0.9
    assert not await there.scheduler.tick()
    assert there.wanted == [mine, older]
    there.scheduler.books_settled([older.id])
    await there.scheduler.tick()
    assert there.decider.asked[1] == {portfolio: [older, mine]}


@pytest.mark.parametrize("error", [Unavailable("away"), ConnectionError("away")])
async def test_an_outage_is_waited_out_and_never_counted(error: Exception) -> None:
    there = Desktop(*[error] * 10)
    there.scheduler.wait_for([group(closed_at=NOW - timedelta(seconds=1))])
    await there.scheduler.tick()
    there.scheduler.books_settled([each.id for each in there.wanted])
    for _ in range(11):
        assert await there.scheduler.tick()
    assert (len(there.decider.asked), there.given_up) == (11, [])


async def test_what_keeps_failing_is_tried_alone_three_times_more_and_given_up() -> None:
    there = Desktop(*[ValueError("a bug")] * 8)
    bad = group(closed_at=NOW - timedelta(seconds=1))
    there.scheduler.wait_for([bad])
    await there.scheduler.tick()
    there.scheduler.books_settled([bad.id])
    for attempt in range(4):
        assert there.given_up == []
        there.time.seconds += 10 * (attempt + 1)
        await there.scheduler.tick()
    assert there.given_up == [(bad.id, "a bug")]
    assert len(there.scheduler) == 0


async def test_the_loop_sleeps_until_something_happens_and_stops_when_told() -> None:
    there = Desktop()
    stop = asyncio.Event()
    marks: list[int] = []

    def progress() -> None:
        marks.append(1)
        stop.set() if len(marks) > 2 else there.scheduler.look()

    async with asyncio.timeout(30):
        await there.scheduler.run(stop, progress)
    assert len(marks) == 3


async def test_announcements_survive_an_outage_of_the_bus() -> None:
    sent: list[AttemptDecided] = []
    away = True

    async def publish(messages: Sequence[AttemptDecided]) -> None:
        if away:
            raise Unavailable("Redis is away")
        sent.extend(messages)

    announcer = Announcer(Scope.EXEC_USER, publish)
    first, second = candidate(group(), decided=True), candidate(group(), decided=True)
    await announcer.again([first])
    assert (sent, len(announcer)) == ([], 1)
    away = False
    await announcer.again([second])
    assert [each.group_id for each in sent] == [first.group.id, second.group.id]
    assert len(announcer) == 0


async def test_announcing_side_by_side_sends_each_attempt_once_and_loses_none() -> None:
    sent: list[AttemptDecided] = []

    async def publish(messages: Sequence[AttemptDecided]) -> None:
        await asyncio.sleep(0)
        sent.extend(messages)

    announcer = Announcer(Scope.EXEC_USER, publish)
    each = [candidate(group(), decided=True) for _ in range(3)]
    await asyncio.gather(announcer.again(each[:2]), announcer.flush(), announcer.again(each[2:]), announcer.flush())
    assert sorted(str(one.group_id) for one in sent) == sorted(str(one.group.id) for one in each)
    assert len(announcer) == 0


async def test_a_run_of_failures_stops_giving_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """When everything fails, the code is wrong: groups wait for a better one instead of filling the dead letters."""
    monkeypatch.setattr("services.simulator.scheduler.GIVEN_UP_IN_A_ROW_MAX", 2)
    there = Desktop(*[ValueError("a bug")] * 60)
    groups = [group(closed_at=NOW - timedelta(seconds=1)) for _ in range(4)]
    there.scheduler.wait_for(groups)
    await there.scheduler.tick()
    there.scheduler.books_settled([each.id for each in groups])
    for _ in range(20):
        there.time.seconds += 60
        await there.scheduler.tick()
    assert len(there.given_up) == 2
    assert len(there.scheduler) == 2
