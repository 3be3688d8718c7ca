"""Putting things right again: replay, discard, sweep, trim, giving up outside of a handler."""

from collections.abc import Sequence

import pytest

from libs.common.bus import LetterStatus
from libs.common.bus.groups import group_states, trim
from libs.common.bus.replay import discard, replay
from libs.common.bus.status import stream_status
from libs.common.bus.streams import ALL, CONTROL_CHANGED
from libs.common.bus.sweep import Rows
from libs.common.domain.errors import Rejected
from libs.common.messages import ControlChanged
from tests.support.fakes_bus import (
    InMemoryDeadLetters,
    Spy,
    control,
    fails_for,
    is_drained,
    raw_redis,
    running_bus,
    until,
)

pytestmark = pytest.mark.integration

STREAM, GROUP, OTHER = CONTROL_CHANGED, "simulator-user", "simulator-global"
GOOD = [control(f"good-{number}") for number in range(5)]


async def test_a_replay_reaches_only_the_group_that_failed(redis_url: str) -> None:
    failing = Spy(fails_for("good-0", Rejected("not yet")))
    other: Spy[ControlChanged] = Spy()
    letters = InMemoryDeadLetters()
    consumers = ((STREAM, GROUP, failing), (STREAM, OTHER, other))
    async with running_bus(redis_url, *consumers, letters=letters) as bus, raw_redis(redis_url) as client:
        await bus.publish(STREAM, GOOD[:1])
        await until(lambda: letters.letters)
        (letter,) = letters.letters.values()
        failing.fate = lambda _message: None
        settled = await replay(bus.redis, letters, letter.id, actor="someone")
        await until(lambda: failing.done == GOOD[:1])
        await until(lambda: is_drained(client, STREAM, OTHER))
        assert await client.xlen(STREAM.dead_letters) == 0
    assert settled.status is LetterStatus.REPLAYED
    assert letters.audit == [("someone", "REPLAYED", letter.id)]
    assert other.done == GOOD[:1]


async def test_a_repaired_payload_takes_the_place_of_a_poisoned_one(redis_url: str) -> None:
    spy, letters = Spy[ControlChanged](), InMemoryDeadLetters()
    async with running_bus(redis_url, (STREAM, GROUP, spy), letters=letters) as bus, raw_redis(redis_url) as client:
        await client.xadd(STREAM.name, {"__data__": '{"key": "good-0"}'})
        await until(lambda: letters.letters)
        (letter,) = letters.letters.values()
        assert letter.subject == "good-0"
        with pytest.raises(Rejected, match="give a repaired one"):
            await replay(bus.redis, letters, letter.id, actor="someone")
        with pytest.raises(Rejected, match="the repaired payload would fail again"):
            await replay(bus.redis, letters, letter.id, actor="someone", payload="{}")
        await replay(bus.redis, letters, letter.id, actor="someone", payload=GOOD[0].model_dump_json())
        await until(lambda: spy.done == GOOD[:1])
        with pytest.raises(Rejected, match="expected it open, it is REPLAYED"):
            await replay(bus.redis, letters, letter.id, actor="someone")


async def test_a_replay_that_fails_again_is_a_new_letter(redis_url: str) -> None:
    spy = Spy(fails_for("good-0", Rejected("never")))
    letters = InMemoryDeadLetters()
    async with running_bus(redis_url, (STREAM, GROUP, spy), letters=letters) as bus:
        await bus.publish(STREAM, GOOD[:1])
        await until(lambda: letters.letters)
        await replay(bus.redis, letters, next(iter(letters.letters)), actor="someone")
        await until(lambda: len(letters.letters) == 2)
    assert sorted(letter.status for letter in letters.letters.values()) == ["OPEN", "REPLAYED"]


async def test_a_discard_needs_a_reason_and_ends_a_letter(redis_url: str) -> None:
    spy = Spy(fails_for("good-0", Rejected("never")))
    letters = InMemoryDeadLetters()
    async with running_bus(redis_url, (STREAM, GROUP, spy), letters=letters) as bus, raw_redis(redis_url) as client:
        await bus.publish(STREAM, GOOD[:1])
        await until(lambda: letters.letters)
        (letter_id,) = letters.letters
        with pytest.raises(Rejected, match="needs a reason"):
            await discard(bus.redis, letters, letter_id, actor="someone", reason=" ")
        settled = await discard(bus.redis, letters, letter_id, actor="someone", reason="a test")
        assert await client.xlen(STREAM.dead_letters) == 0
    assert (settled.status, settled.status_reason) == (LetterStatus.DISCARDED, "a test")


async def test_work_given_up_outside_of_a_handler_leaves_one_letter(redis_url: str) -> None:
    letters = InMemoryDeadLetters()
    async with running_bus(redis_url, letters=letters) as bus, raw_redis(redis_url) as client:
        for _ in range(2):
            await bus.give_up(STREAM, GROUP, GOOD[0], KeyError("gone"), attempts=4)
        mirrored = [entry["error"] for _, entry in await client.xrange(STREAM.dead_letters)]
    (letter,) = letters.letters.values()
    assert (letter.subject, letter.attempts) == ("good-0", 4)
    assert mirrored[0] == letter.error == "FAILED: KeyError: 'gone'"


async def test_work_given_up_again_after_its_replay_is_a_new_letter(redis_url: str) -> None:
    letters = InMemoryDeadLetters()
    async with running_bus(redis_url, letters=letters) as bus:
        for _ in range(3):
            await bus.give_up(STREAM, GROUP, GOOD[0], KeyError("gone"), attempts=4)
            await bus.give_up(STREAM, GROUP, GOOD[0], KeyError("gone"), attempts=4)
            (open_,) = await letters.find(status=LetterStatus.OPEN)
            await letters.settle(open_.id, LetterStatus.REPLAYED, actor="someone", reason="mended")
    assert len(letters.letters) == 3


def rows_of(messages: Sequence[ControlChanged], asked: list[int]) -> Rows[ControlChanged]:
    async def rows(limit: int) -> Sequence[ControlChanged]:
        asked.append(limit)
        return messages

    return rows


async def test_a_sweep_refills_a_drained_group_and_only_that_one(redis_url: str) -> None:
    user, world = Spy[ControlChanged](), Spy[ControlChanged]()
    asked: list[int] = []
    async with (
        running_bus(redis_url, (STREAM, GROUP, user), (STREAM, OTHER, world)) as bus,
        raw_redis(redis_url) as client,
    ):
        await bus.sweep(STREAM, GROUP, rows_of([], asked))
        assert await bus.sweep(STREAM, GROUP, rows_of(GOOD, asked)) == len(GOOD)
        await until(lambda: user.done == GOOD)
        await until(lambda: is_drained(client, STREAM, OTHER))
    assert world.batches == []
    assert asked == [1_000, 1_000]


async def test_a_sweep_waits_while_anything_of_its_group_is_on_its_way(redis_url: str) -> None:
    asked: list[int] = []
    async with running_bus(redis_url) as bus, raw_redis(redis_url) as client:
        await bus.sweep(STREAM, GROUP, rows_of([], asked))  # the first after creation
        await bus.publish(STREAM, GOOD[:1])
        assert await bus.sweep(STREAM, GROUP, rows_of(GOOD, asked)) == 0
        ((_, ((entry_id, _),)),) = await client.xreadgroup(GROUP, "someone", {STREAM.name: ">"})
        assert await bus.sweep(STREAM, GROUP, rows_of(GOOD, asked)) == 0
        assert asked == [1_000]
        await client.xack(STREAM.name, GROUP, entry_id)
        assert await bus.sweep(STREAM, GROUP, rows_of(GOOD, asked)) == len(GOOD)


async def test_a_sweep_goes_once_at_once_after_the_stream_was_made_anew(redis_url: str) -> None:
    async with running_bus(redis_url) as bus, raw_redis(redis_url) as client:
        await bus.sweep(STREAM, GROUP, rows_of([], []))
        await client.flushall()
        await bus.publish(STREAM, GOOD[:1])
        assert await bus.sweep(STREAM, GROUP, rows_of(GOOD, [])) == len(GOOD)
        assert await bus.sweep(STREAM, GROUP, rows_of(GOOD, [])) == 0


async def test_a_sweep_never_revives_what_has_an_open_or_discarded_letter(redis_url: str) -> None:
    letters = InMemoryDeadLetters()
    async with running_bus(redis_url, letters=letters) as bus:
        for message in GOOD[:3]:
            await bus.give_up(STREAM, GROUP, message, KeyError("gone"), attempts=4)
        by_subject = {letter.subject: letter.id for letter in letters.letters.values()}
        await letters.settle(by_subject["good-1"], LetterStatus.DISCARDED, actor="someone", reason="a test")
        await letters.settle(by_subject["good-2"], LetterStatus.REPLAYED, actor="someone", reason="a test")
        assert await bus.sweep(STREAM, GROUP, rows_of(GOOD, [])) == 3


async def test_a_stream_is_trimmed_only_behind_what_every_group_acknowledged(redis_url: str) -> None:
    many = [control(f"many-{number}") for number in range(1_000)]
    async with running_bus(redis_url) as bus, raw_redis(redis_url) as client:
        await bus.publish(STREAM, many)
        await client.xgroup_create(STREAM.name, GROUP, id="0")
        assert await trim(bus.redis, STREAM, await group_states(bus.redis, STREAM.name)) == 0, "a group is missing"
        await client.xgroup_create(STREAM.name, OTHER, id="0")
        ((_, mine),) = await client.xreadgroup(GROUP, "someone", {STREAM.name: ">"}, count=1_000)
        assert await trim(bus.redis, STREAM, await group_states(bus.redis, STREAM.name)) == 0, "the other read nothing"
        ((_, theirs),) = await client.xreadgroup(OTHER, "someone", {STREAM.name: ">"}, count=800)
        await client.xack(STREAM.name, OTHER, *(entry_id for entry_id, _ in theirs))
        await client.xack(STREAM.name, GROUP, *(entry_id for entry_id, _ in mine[:250]), mine[900][0])
        trimmed = await trim(bus.redis, STREAM, await group_states(bus.redis, STREAM.name))
        oldest = (await client.xrange(STREAM.name, count=1))[0][0]
        assert 100 <= trimmed <= 250
        assert oldest <= mine[250][0]
        await client.xack(STREAM.name, GROUP, *(entry_id for entry_id, _ in mine))
        trimmed += await trim(bus.redis, STREAM, await group_states(bus.redis, STREAM.name))
        assert 700 <= trimmed <= 800
        states = await group_states(bus.redis, STREAM.name)
        assert (states[OTHER].lag, states[GROUP].lag) == (200, 0)


async def test_upkeep_trims_and_tells_of_groups_the_map_does_not_know(redis_url: str) -> None:
    class Meter:
        def __init__(self) -> None:
            self.seen: dict[str, float] = {}

        def count(self, name: str, amount: int = 1, **_labels: str) -> None:
            self.seen[name] = self.seen.get(name, 0) + amount

        def observe(self, name: str, value: float, **_labels: str) -> None:
            self.seen[name] = value

    many = [control(f"many-{number}") for number in range(1_000)]
    meter, user, world = Meter(), Spy[ControlChanged](), Spy[ControlChanged]()
    consumers = ((STREAM, GROUP, user), (STREAM, OTHER, world))
    async with running_bus(redis_url, *consumers, metrics=meter) as bus, raw_redis(redis_url) as client:
        await client.xgroup_create(STREAM.name, "stranger", id="0")
        await bus.publish(STREAM, many)
        await until(lambda: meter.seen.get("trimmed", 0) >= 900)
        await until(lambda: meter.seen.get("unknown_groups") == 1)
        await until(lambda: meter.seen.get("handled") == 2 * len(many))
        await until(lambda: (meter.seen.get("lag"), meter.seen.get("pending")) == (0, 0))
    assert meter.seen["handled"] == 2 * len(many)
    assert meter.seen["published"] == len(many)


async def test_status_tells_every_group_of_the_map_in_flow_order(redis_url: str) -> None:
    letters = InMemoryDeadLetters()
    spy: Spy[ControlChanged] = Spy()
    async with running_bus(redis_url, (STREAM, GROUP, spy), letters=letters) as bus, raw_redis(redis_url) as client:
        await bus.publish(STREAM, GOOD)
        await client.xadd(STREAM.name, {"__data__": "poison"})
        await until(lambda: is_drained(client, STREAM, GROUP))
        rows = await stream_status(redis_url)
    assert [(row.name, row.group) for row in rows] == [
        (stream.name, group) for stream in ALL for group in stream.groups
    ]
    by_group = {(row.name, row.group): (row.length, row.lag, row.pending, row.dead) for row in rows}
    assert by_group[(STREAM.name, GROUP)] == (6, 0, 0, 1)
    assert by_group[(STREAM.name, OTHER)] == (6, 6, 0, 0)
    assert by_group[("events.detected", "ledger")] == (0, 0, 0, 0)
