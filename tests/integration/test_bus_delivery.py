"""What becomes of messages, on a real Redis."""

import asyncio

import pytest
from structlog.testing import capture_logs

from libs.common.bus import Bus, RetryPolicy
from libs.common.bus.consume import Consumer
from libs.common.bus.streams import CONTROL_CHANGED
from libs.common.domain.errors import Rejected, Unavailable
from libs.common.messages import ControlChanged
from tests.support.fakes_bus import (
    QUICK,
    InMemoryDeadLetters,
    Spy,
    control,
    fails_for,
    is_drained,
    pending,
    raw_redis,
    running_bus,
    until,
)

pytestmark = pytest.mark.integration

STREAM, GROUP = CONTROL_CHANGED, "simulator-user"
GOOD = [control(f"good-{number}") for number in range(5)]
REST_SECONDS = 77.0


async def test_messages_published_before_the_first_start_are_delivered_as_one_batch_in_order(redis_url: str) -> None:
    spy: Spy[ControlChanged] = Spy()
    async with running_bus(redis_url) as publisher:
        await publisher.publish(STREAM, GOOD)
    async with running_bus(redis_url, (STREAM, GROUP, spy)), raw_redis(redis_url) as client:
        await until(lambda: is_drained(client, STREAM, GROUP))
    assert spy.batches == [GOOD]


async def test_each_group_gets_every_message(redis_url: str) -> None:
    user, world = Spy[ControlChanged](), Spy[ControlChanged]()
    async with running_bus(redis_url, (STREAM, GROUP, user), (STREAM, "simulator-global", world)) as bus:
        await bus.publish(STREAM, GOOD)
        await until(lambda: len(user.done) == len(world.done) == len(GOOD))
    assert user.done == world.done == GOOD


async def test_what_comes_while_a_consumer_rests_shares_a_batch_and_a_stop_is_not_held_up(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest, resting, rested = Consumer._rest, asyncio.Event(), asyncio.Event()

    async def rest_as_told(event: asyncio.Event, seconds: float | None) -> None:
        if seconds == REST_SECONDS:
            resting.set()
            await rested.wait()
        else:
            await rest(event, seconds)

    monkeypatch.setattr(Consumer, "_rest", staticmethod(rest_as_told))
    spy: Spy[ControlChanged] = Spy()
    async with asyncio.timeout(60), running_bus(redis_url, (STREAM, GROUP, spy), rest_seconds=REST_SECONDS) as bus:
        await bus.publish(STREAM, GOOD[:1])
        await resting.wait()
        for message in GOOD[1:]:
            await bus.publish(STREAM, [message])
        assert spy.done == GOOD[:1]
        rested.set()
        await until(lambda: spy.done == GOOD)
    assert spy.batches == [GOOD[:1], GOOD[1:]]
    async with asyncio.timeout(60), running_bus(redis_url, (STREAM, GROUP, spy), rest_seconds=600) as bus:
        await bus.publish(STREAM, GOOD[:1])
        await until(lambda: len(spy.batches) == 3)


async def test_a_message_put_on_the_stream_by_hand_is_read(redis_url: str) -> None:
    spy: Spy[ControlChanged] = Spy()
    async with running_bus(redis_url, (STREAM, GROUP, spy)), raw_redis(redis_url) as client:
        await client.xadd(STREAM.name, {"__data__": GOOD[0].model_dump_json()})
        await until(lambda: spy.done == GOOD[:1])


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"__data__": '{"key": 1}'}, "expected a ControlChanged, got: occurred_at: Field required"),
        ({"__data__": "not json"}, "Invalid JSON"),
        ({"__data__": b"\xff\x00\xfe"}, "Invalid JSON"),
        ({"colour": "blue"}, "expected the field __data__, found colour"),
    ],
)
async def test_a_poisoned_message_is_dead_lettered_at_once_and_its_neighbours_pass(
    redis_url: str, fields: dict[str, str | bytes], reason: str
) -> None:
    spy, letters = Spy[ControlChanged](), InMemoryDeadLetters()
    async with raw_redis(redis_url) as client:
        async with running_bus(redis_url) as publisher:
            await publisher.publish(STREAM, GOOD[:2])
            await client.xadd(STREAM.name, fields)
            await publisher.publish(STREAM, GOOD[2:])
        async with running_bus(redis_url, (STREAM, GROUP, spy), letters=letters):
            await until(lambda: is_drained(client, STREAM, GROUP))
        (letter,) = letters.letters.values()
        mirrored = [entry for _, entry in await client.xrange(STREAM.dead_letters)]
    assert spy.batches == [GOOD]
    assert letter.error.startswith("POISON: ")
    assert reason in letter.error
    assert letter.attempts == 1
    assert [(entry["dead_letter_id"], entry["error"], entry["group"]) for entry in mirrored] == [
        (str(letter.id), letter.error, GROUP)
    ]


async def test_a_rejected_message_is_dead_lettered_after_one_own_try_with_its_reason(redis_url: str) -> None:
    spy = Spy(fails_for("good-2", Rejected("expected a known key, got good-2")))
    letters = InMemoryDeadLetters()
    async with running_bus(redis_url, (STREAM, GROUP, spy), letters=letters) as bus:
        await bus.publish(STREAM, GOOD)
        await until(lambda: letters.letters)
        await until(lambda: len(spy.done) == 4)
    (letter,) = letters.letters.values()
    assert letter.error == "REJECTED: Rejected: expected a known key, got good-2"
    assert letter.subject == "good-2"
    assert letter.payload == GOOD[2].model_dump_json()
    assert set(spy.done) == set(GOOD) - {GOOD[2]}
    assert spy.tries(GOOD[2]) <= 2  # once in the batch, once alone


async def test_an_unexpected_error_is_retried_three_times_then_dead_lettered_with_traceback(redis_url: str) -> None:
    spy = Spy(fails_for("good-0", KeyError("no such thing")))
    letters = InMemoryDeadLetters()
    async with running_bus(redis_url, (STREAM, GROUP, spy), letters=letters) as bus, raw_redis(redis_url) as client:
        await bus.publish(STREAM, GOOD[:1])
        await until(lambda: letters.letters)
        await until(lambda: is_drained(client, STREAM, GROUP))
        remembered = await client.keys("bus:failures:*")
    (letter,) = letters.letters.values()
    assert spy.tries(GOOD[0]) == 4
    assert letter.attempts == 4
    assert letter.error == "FAILED: KeyError: 'no such thing'"
    assert letter.traceback is not None
    assert "fails_for" not in letter.error
    assert "in fate" in letter.traceback
    assert letter.first_at < letter.last_at
    assert remembered == []


async def test_failures_are_counted_across_lives(redis_url: str) -> None:
    letters = InMemoryDeadLetters()
    slow = RetryPolicy(retry_base_seconds=60, tick_seconds=0.05, upkeep_seconds=60)
    tries = 0
    async with running_bus(redis_url) as publisher:
        await publisher.publish(STREAM, GOOD[:1])
    for life in range(4):
        spy = Spy(fails_for("good-0", RuntimeError("always")))
        async with running_bus(redis_url, (STREAM, GROUP, spy), letters=letters, policy=slow):
            await spy.started.wait()
            if life == 3:
                await until(lambda: letters.letters)
        tries += spy.tries(GOOD[0])
    assert tries == 4
    assert next(iter(letters.letters.values())).attempts == 4


async def test_a_message_that_waits_for_its_retry_is_not_blamed_for_the_death_of_its_process(redis_url: str) -> None:
    spy = Spy(fails_for("good-0", KeyError("x")))
    slow = RetryPolicy(retry_base_seconds=60)
    async with running_bus(redis_url, (STREAM, GROUP, spy), policy=slow) as bus, raw_redis(redis_url) as client:
        await bus.publish(STREAM, GOOD[:1])
        await until(lambda: client.hgetall(f"bus:failures:{STREAM.name}:{GROUP}"))
        assert await client.hgetall(f"bus:running:{STREAM.name}:{GROUP}") == {}


async def test_an_outage_is_waited_out_and_never_counted(redis_url: str) -> None:
    down = True

    def fate(_message: ControlChanged) -> None:
        if down:
            raise Unavailable("the database is away")

    spy, letters = Spy(fate), InMemoryDeadLetters()
    async with running_bus(redis_url, (STREAM, GROUP, spy), letters=letters) as bus, raw_redis(redis_url) as client:
        await bus.publish(STREAM, GOOD)
        await until(lambda: len(spy.batches) > 30)
        assert await pending(client, STREAM, GROUP) == len(GOOD)
        assert await client.keys("bus:failures:*") == []
        down = False
        await until(lambda: is_drained(client, STREAM, GROUP))
    assert letters.letters == {}
    assert set(spy.done) == set(GOOD)


async def test_an_error_the_process_calls_an_outage_is_waited_out(redis_url: str) -> None:
    class GoneError(Exception):
        pass

    spy, letters = Spy(fails_for("good-0", GoneError())), InMemoryDeadLetters()
    consumer = (STREAM, GROUP, spy)
    async with running_bus(
        redis_url, consumer, letters=letters, is_outage=lambda error: isinstance(error, GoneError)
    ) as bus:
        await bus.publish(STREAM, GOOD[:1])
        await until(lambda: spy.tries(GOOD[0]) > 8)
    assert letters.letters == {}


async def test_a_message_stays_pending_while_the_dead_letter_store_is_away(redis_url: str) -> None:
    spy, letters = Spy(fails_for("good-0", Rejected("no"))), InMemoryDeadLetters(away=True)
    async with running_bus(redis_url, (STREAM, GROUP, spy), letters=letters) as bus, raw_redis(redis_url) as client:
        await bus.publish(STREAM, GOOD[:1])
        await client.xadd(STREAM.name, {"__data__": "poison"})
        await until(lambda: spy.batches)
        assert await pending(client, STREAM, GROUP) >= 1
        assert await client.xlen(STREAM.dead_letters) == 0
        letters.away = False
        await until(lambda: is_drained(client, STREAM, GROUP))
    assert sorted(letter.error[:4] for letter in letters.letters.values()) == ["POIS", "REJE"]
    assert spy.tries(GOOD[0]) == 1


async def test_a_handler_that_hangs_is_ended_and_counted(redis_url: str) -> None:
    letters = InMemoryDeadLetters()
    calls = 0

    async def hang(_messages: object) -> None:
        nonlocal calls
        calls += 1
        await asyncio.Event().wait()

    async with running_bus(redis_url, letters=letters) as publisher:
        await publisher.publish(STREAM, GOOD[:1])
    bus = Bus(redis_url, service="test", instance="test-0", dead_letters=letters, policy=QUICK)
    bus.consume(STREAM, GROUP, hang, timeout_seconds=0.05)
    await bus.start()
    await until(lambda: letters.letters)
    await bus.stop()
    assert calls == 4
    assert "HandlerTimeout" in next(iter(letters.letters.values())).error


async def test_a_run_of_unexpected_errors_stops_the_consumer_instead_of_draining_the_stream(redis_url: str) -> None:
    many = [control(f"many-{number}") for number in range(200)]
    broken = True

    def fate(_message: ControlChanged) -> None:
        if broken:
            raise ZeroDivisionError

    spy, letters = Spy(fate), InMemoryDeadLetters()
    with capture_logs() as logs:
        async with running_bus(redis_url, (STREAM, GROUP, spy), letters=letters) as bus, raw_redis(redis_url) as client:
            await bus.publish(STREAM, many)
            await until(lambda: len(spy.batches) > 60)
            assert letters.letters == {}
            assert await pending(client, STREAM, GROUP) == len(many)
            broken = False
            await until(lambda: is_drained(client, STREAM, GROUP))
    assert letters.letters == {}
    assert set(spy.done) == set(many)
    assert [entry["event"] for entry in logs if entry["event"].startswith("consumer_")] == [
        "consumer_started",
        "consumer_stopped",
        "consumer_resumed",
    ]


async def test_a_message_for_another_group_is_acknowledged_unseen(redis_url: str) -> None:
    user, world = Spy[ControlChanged](), Spy[ControlChanged]()
    async with (
        running_bus(redis_url, (STREAM, GROUP, user), (STREAM, "simulator-global", world)),
        raw_redis(redis_url) as client,
    ):
        await client.xadd(STREAM.name, {"__data__": GOOD[0].model_dump_json(), "group": GROUP})
        await until(lambda: is_drained(client, STREAM, "simulator-global"))
        await until(lambda: user.done == GOOD[:1])
    assert world.batches == []
