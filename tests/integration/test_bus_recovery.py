"""Nothing is lost: crashes, dead consumers, lost replies, a Redis that forgets or goes away."""

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import NoPermissionError

from libs.common.bus import Bus
from libs.common.bus.connection import connect
from libs.common.bus.status import stream_status
from libs.common.bus.streams import ATTEMPTS_DECIDED, CONTROL_CHANGED, EVENTS_DETECTED
from libs.common.domain.errors import Unavailable
from libs.common.messages import ControlChanged
from libs.common.observability import Health
from services.cli.stack import valkey
from services.cli.stack.ports import free_port
from tests.support.databases import fresh_passwords, open_folder
from tests.support.fakes_bus import (
    QUICK,
    InMemoryDeadLetters,
    Spy,
    control,
    is_drained,
    pending,
    raw_redis,
    running_bus,
    until,
)

pytestmark = pytest.mark.integration

STREAM, GROUP = CONTROL_CHANGED, "simulator-user"
GOOD = [control(f"good-{number}") for number in range(5)]
ROOT = Path(__file__).parents[2]


async def deliver_to(client: Any, consumer: str, count: int) -> list[str]:
    """Let a consumer read messages and never acknowledge them."""
    ((_, entries),) = await client.xreadgroup(GROUP, consumer, {STREAM.name: ">"}, count=count)
    return [entry_id for entry_id, _ in entries]


async def prepare(url: str, client: Any, count: int, consumer: str) -> list[str]:
    async with running_bus(url) as publisher:
        await publisher.publish(STREAM, GOOD)
    await client.xgroup_create(STREAM.name, GROUP, id="0", mkstream=True)
    return await deliver_to(client, consumer, count)


async def test_what_the_previous_life_left_is_delivered_at_start(redis_url: str) -> None:
    spy: Spy[ControlChanged] = Spy()
    async with raw_redis(redis_url) as client:
        await prepare(redis_url, client, 3, "test-0")
        async with running_bus(redis_url, (STREAM, GROUP, spy)):
            await until(lambda: is_drained(client, STREAM, GROUP))
    assert sorted(message.key for message in spy.done) == [message.key for message in GOOD]


async def test_messages_of_a_dead_consumer_are_claimed_by_the_living(redis_url: str) -> None:
    spy: Spy[ControlChanged] = Spy()
    impatient = replace(QUICK, claim_idle_seconds=0.3)
    async with raw_redis(redis_url) as client:
        await prepare(redis_url, client, 3, "dead-9")
        bus = Bus(redis_url, service="test", instance="test-0", dead_letters=InMemoryDeadLetters(), policy=impatient)
        bus.consume(STREAM, GROUP, spy, timeout_seconds=0.03)
        await bus.start()
        await until(lambda: is_drained(client, STREAM, GROUP))
        await bus.stop()
    assert sorted(message.key for message in spy.done) == [message.key for message in GOOD]


class Rounds:
    """Counts how often a consumer has looked after its stream, for the dead among others."""

    def __init__(self) -> None:
        self.count_of_lags = 0

    def count(self, name: str, amount: int = 1, **_labels: str) -> None:
        pass

    def observe(self, name: str, value: float, **_labels: str) -> None:
        self.count_of_lags += name == "lag"


async def test_messages_of_a_living_consumer_are_left_alone_however_long_they_wait(redis_url: str) -> None:
    def away(_message: ControlChanged) -> None:
        raise Unavailable("away")

    waiting, other, rounds = Spy(away), Spy[ControlChanged](), Rounds()
    impatient = replace(QUICK, claim_idle_seconds=60, outage_base_seconds=600, outage_cap_seconds=600)
    async with (
        raw_redis(redis_url) as client,
        running_bus(redis_url, (STREAM, GROUP, waiting), policy=impatient) as bus,
    ):
        await bus.publish(STREAM, GOOD[:1])
        await waiting.started.wait()
        (message,) = await client.xpending_range(STREAM.name, GROUP, "-", "+", 10)
        await client.xclaim(
            STREAM.name, GROUP, message["consumer"], 0, [message["message_id"]], idle=3_600_000, justid=True
        )
        consumer = (STREAM, GROUP, other)
        async with running_bus(redis_url, consumer, instance="test-1", policy=impatient, metrics=rounds):
            await until(lambda: rounds.count_of_lags > 3)
        (message,) = await client.xpending_range(STREAM.name, GROUP, "-", "+", 10)
        assert message["time_since_delivered"] >= 3_600_000
        assert message["consumer"] == "test-0"
    assert other.done == []


async def test_a_message_whose_reply_was_lost_is_found_again(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("libs.common.bus.consume.LOST_REPLY_SECONDS", 0.2)
    spy: Spy[ControlChanged] = Spy()
    async with running_bus(redis_url, (STREAM, GROUP, spy)) as bus, raw_redis(redis_url) as client:
        await bus.publish(STREAM, GOOD[:1])
        await until(lambda: spy.done)
        async with client.pipeline(transaction=True) as pipe:
            pipe.xadd(STREAM.name, {"__data__": GOOD[1].model_dump_json()})
            pipe.xreadgroup(GROUP, "test-0", {STREAM.name: ">"})
            await pipe.execute()
        await until(lambda: is_drained(client, STREAM, GROUP))
    assert spy.done == GOOD[:2]


async def test_a_message_that_kills_its_process_is_dead_lettered_as_crash_and_its_neighbours_pass(
    redis_url: str,
) -> None:
    deaths = 3
    async with raw_redis(redis_url) as client:
        async with running_bus(redis_url) as publisher:
            await publisher.publish(STREAM, [*GOOD[:2], control("killer"), *GOOD[2:]])
        codes: list[int] = []
        while not codes or codes[-1] != 0:
            assert len(codes) <= deaths + 1
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.support.suicidal_consumer", redis_url, str(deaths), cwd=ROOT
            )
            codes.append(await process.wait())
        handled = await client.smembers("test:handled")
        mirrored = [entry for _, entry in await client.xrange(STREAM.dead_letters)]
    assert codes == [-9] * deaths + [0]
    assert handled == {message.key for message in GOOD}
    assert [entry["error"] for entry in mirrored] == [
        "CRASH: Rejected: it was running at 3 process deaths, the limit is 3"
    ]


async def test_consuming_goes_on_after_redis_forgot_everything(redis_url: str) -> None:
    spy: Spy[ControlChanged] = Spy()
    async with running_bus(redis_url, (STREAM, GROUP, spy)) as bus, raw_redis(redis_url) as client:
        await bus.publish(STREAM, GOOD[:1])
        await until(lambda: spy.done == GOOD[:1])
        await client.flushall()
        await bus.publish(STREAM, GOOD[1:])
        await until(lambda: len(spy.done) == len(GOOD))
        assert {row["name"] for row in await client.xinfo_groups(STREAM.name)} == set(STREAM.groups)
    assert spy.done == GOOD


async def test_consuming_goes_on_after_its_stream_was_deleted(redis_url: str) -> None:
    spy: Spy[ControlChanged] = Spy()
    async with running_bus(redis_url, (STREAM, GROUP, spy)) as bus, raw_redis(redis_url) as client:
        await bus.publish(STREAM, GOOD[:1])
        await until(lambda: spy.done == GOOD[:1])
        await client.delete(STREAM.name)
        await bus.publish(STREAM, GOOD[1:])
        await until(lambda: len(spy.done) == len(GOOD))


async def test_work_done_while_redis_dies_is_finished_after_its_return(tmp_path: Path) -> None:
    passwords = fresh_passwords()
    gate = asyncio.Event()
    spy: Spy[ControlChanged] = Spy(gate=gate)
    with open_folder() as folder:
        place, port = valkey.ValkeyPlace(folder / "valkey"), free_port()
        valkey.configure(place, port, passwords, {"operator": "~* &* +@all"})
        url = f"redis://operator:{passwords['operator']}@127.0.0.1:{port}/0"
        health = Health("test", "test-0")
        with valkey.running(place, port, passwords["operator"], folder / "log") as first:
            bus_context = running_bus(url, (STREAM, GROUP, spy), health=health)
            bus = await bus_context.__aenter__()
            await bus.publish(STREAM, GOOD)
            await spy.started.wait()
            async with raw_redis(url) as client:
                await client.set("written", "after the messages")
                await client.execute_command("WAITAOF", 1, 0, 0)  # the append-only file is written once a second
            first.kill()
            first.wait()
            gate.set()
            await until(lambda: spy.done)
            with pytest.raises(Unavailable):
                await bus.publish(STREAM, GOOD)
        with valkey.running(place, port, passwords["operator"], folder / "log"):
            async with raw_redis(url) as client:
                await until(lambda: is_drained(client, STREAM, GROUP), seconds=60)
                await bus.publish(STREAM, [control("after")])
                await until(lambda: spy.done[-1].key == "after", seconds=60)
            await bus_context.__aexit__(None, None, None)
    assert health.snapshot()["status"] == "ok"
    assert spy.done == [*GOOD, control("after")]


async def test_a_bus_starts_without_redis_and_works_once_it_is_there(tmp_path: Path) -> None:
    passwords = fresh_passwords()
    spy: Spy[ControlChanged] = Spy()
    with open_folder() as folder:
        place, port = valkey.ValkeyPlace(folder / "valkey"), free_port()
        valkey.configure(place, port, passwords, {"operator": "~* &* +@all"})
        url = f"redis://operator:{passwords['operator']}@127.0.0.1:{port}/0"
        async with running_bus(url, (STREAM, GROUP, spy)) as bus:
            with pytest.raises(Unavailable):
                await bus.publish(STREAM, GOOD)
            with valkey.running(place, port, passwords["operator"], folder / "log"):
                await bus.publish(STREAM, GOOD)
                await until(lambda: spy.done == GOOD, seconds=60)
                await bus.stop()


async def test_a_full_redis_refuses_new_messages_and_still_lets_the_old_ones_drain(redis_url: str) -> None:
    gate = asyncio.Event()
    spy, letters = Spy[ControlChanged](gate=gate), InMemoryDeadLetters()
    async with running_bus(redis_url, (STREAM, GROUP, spy), letters=letters) as bus, raw_redis(redis_url) as client:
        await bus.publish(STREAM, GOOD[:1])
        await spy.started.wait()
        await bus.publish(STREAM, GOOD[1:])
        await client.xadd(STREAM.name, {"__data__": "poison"})
        try:
            await client.config_set("maxmemory", "1mb")
            with pytest.raises(Unavailable):
                await bus.publish(STREAM, GOOD)
            gate.set()
            await until(lambda: is_drained(client, STREAM, GROUP))
        finally:
            await client.config_set("maxmemory", "256mb")
    assert spy.done == GOOD
    assert len(letters.letters) == 1


async def test_a_stop_waits_for_the_running_handler_and_leaves_nothing_pending(redis_url: str) -> None:
    gate = asyncio.Event()
    spy: Spy[ControlChanged] = Spy(gate=gate)
    async with raw_redis(redis_url) as client:
        async with running_bus(redis_url, (STREAM, GROUP, spy)) as bus:
            await bus.publish(STREAM, GOOD)
            await spy.started.wait()
            stopping = asyncio.create_task(bus.stop())
            await asyncio.sleep(0)
            gate.set()
            await stopping
        assert await pending(client, STREAM, GROUP) == 0
        assert await client.hgetall(f"bus:running:{STREAM.name}:{GROUP}") == {}
    assert spy.done == GOOD


async def test_a_cancellation_is_never_lost_in_redis(redis_url: str) -> None:
    client = connect(redis_url)
    for lifetime_us in range(0, 3_000, 10):
        with suppress(TimeoutError):
            async with asyncio.timeout(lifetime_us / 1e6), asyncio.timeout(10) as much_later:
                while True:
                    await client.ping()
        assert not much_later.expired()
    await client.aclose()


async def test_each_service_can_do_its_part_with_its_own_user_and_no_more(
    redis_url: str, redis_url_for: Callable[[str], str]
) -> None:
    spy: Spy[ControlChanged] = Spy()
    consumer = (STREAM, GROUP, spy)
    async with (
        running_bus(redis_url_for("simulator"), consumer),
        running_bus(redis_url_for("ui")) as ui,
        raw_redis(redis_url) as client,
    ):
        await ui.publish(STREAM, GOOD)
        await client.xadd(STREAM.name, {"__data__": "poison"})
        await until(lambda: is_drained(client, STREAM, GROUP))
        await until(lambda: spy.done == GOOD)
        rows = await stream_status(redis_url_for("ui"))
        assert [row.dead for row in rows if (row.name, row.group) == (STREAM.name, GROUP)] == [1]
        for forbidden in (EVENTS_DETECTED, ATTEMPTS_DECIDED):
            with pytest.raises(NoPermissionError):
                await ui.redis.xadd(forbidden.name, {"__data__": "{}"})
        with pytest.raises(NoPermissionError):
            await ui.redis.xtrim(STREAM.name, maxlen=0)
        with pytest.raises(NoPermissionError):
            await ui.redis.flushall()
