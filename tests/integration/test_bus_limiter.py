"""The shared request budget, on a real Redis and without one."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from libs.common.bus import limiter
from libs.common.bus.limiter import DATA, HEAL_RESERVE, POLL_RESERVE, RPC, TOTAL, RedisTokenBucket
from tests.support.fakes_bus import raw_redis

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take no slow machine for an outage."""
    monkeypatch.setattr(limiter, "ANSWER_SECONDS", 30.0)


async def granted(bucket: RedisTokenBucket, host_class: str, seconds: float, least: int = 0) -> tuple[int, float]:
    """Return how many requests may go out in a time, asking all the while, and how long that really took.

    It goes on until there were `least`, however much of the time the machine took for itself.
    """
    loop = asyncio.get_running_loop()
    grants, started = 0, loop.time()
    async with asyncio.timeout(30):
        for _ in range(least):
            await bucket.acquire(host_class)
            grants += 1
    with suppress(TimeoutError):
        async with asyncio.timeout_at(started + seconds):
            while True:
                await bucket.acquire(host_class)
                grants += 1
    return grants, loop.time() - started


async def waits(bucket: RedisTokenBucket, host_class: str, tokens: int) -> list[float]:
    """Return the waits, in seconds, that asking for so many tokens one by one meets; time passing only adds tokens."""
    return [wait for _ in range(tokens) if (wait := await bucket._ask(limiter.NEEDS[host_class], 1))]


async def test_all_processes_share_one_budget(redis_url: str) -> None:
    began = asyncio.get_running_loop().time()
    buckets = [RedisTokenBucket(redis_url) for _ in range(3)]
    for number in range(int(TOTAL.burst)):
        assert await waits(buckets[number % 3], "clob", 1) == []
    grants = sum([grants for grants, _ in await asyncio.gather(*(granted(each, "clob", 0.5) for each in buckets))])
    elapsed = asyncio.get_running_loop().time() - began
    assert grants <= elapsed * TOTAL.rate + 1
    for bucket in buckets:
        assert not bucket.fallback
        await bucket.close()


async def test_polls_keep_to_their_own_rate_and_leave_the_rest_to_books(redis_url: str) -> None:
    bucket, began = RedisTokenBucket(redis_url), asyncio.get_running_loop().time()
    assert await waits(bucket, "data", int(DATA.burst)) == []
    assert await waits(bucket, "clob", int(TOTAL.burst - DATA.burst)) == []
    (polls, _), _ = await asyncio.gather(granted(bucket, "data", 0.6), granted(bucket, "clob", 0.6))
    assert polls <= (asyncio.get_running_loop().time() - began) * DATA.rate + 1
    await bucket.close()


async def test_polls_never_take_the_last_tokens(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(limiter.NEEDS, "data", (replace(limiter.NEEDS["data"][0], bucket=TOTAL),))
    bucket = RedisTokenBucket(redis_url)
    polls, elapsed = await granted(bucket, "data", 0.3)
    assert polls <= TOTAL.burst - POLL_RESERVE + elapsed * TOTAL.rate + 1
    assert await waits(bucket, "clob", POLL_RESERVE) == []
    await bucket.close()


async def test_the_node_has_a_budget_of_its_own(redis_url: str) -> None:
    bucket = RedisTokenBucket(redis_url)
    await granted(bucket, "clob", 0.1)
    began = asyncio.get_running_loop().time()
    assert await waits(bucket, "rpc", int(RPC.burst)) == []
    grants, _ = await granted(bucket, "rpc", 0.3)
    assert grants <= (asyncio.get_running_loop().time() - began) * RPC.rate + 1
    await bucket.close()


async def test_closing_gaps_leaves_the_last_tokens_to_what_is_live(redis_url: str) -> None:
    bucket = RedisTokenBucket(redis_url)
    heals, elapsed = await granted(bucket, "rpc_heal", 0.3)
    assert heals <= RPC.burst - HEAL_RESERVE + elapsed * RPC.rate + 1
    assert await waits(bucket, "rpc", HEAL_RESERVE) == []
    await bucket.close()


async def test_tokens_come_back_at_the_rate(redis_url: str) -> None:
    bucket = RedisTokenBucket(redis_url)
    async with raw_redis(redis_url) as client:
        seconds, micros = await client.time()
        a_second_ago = (seconds - 1) * 1_000_000 + micros
        await client.hset("bus:limiter", mapping={"total": 0, "total:at": a_second_ago})
    began = asyncio.get_running_loop().time()
    assert await waits(bucket, "gamma", 15) == [], "20 a second, of which 5 stay behind"
    grants, _ = await granted(bucket, "gamma", 0.5, least=5)
    assert grants <= (asyncio.get_running_loop().time() - began) * TOTAL.rate + 1
    await bucket.close()


async def test_without_redis_each_process_takes_an_eighth(unused_tcp_port_factory: Callable[[], int]) -> None:
    told: list[bool] = []
    bucket = RedisTokenBucket(f"redis://127.0.0.1:{unused_tcp_port_factory()}/0", told.append)
    await bucket.acquire("data")
    assert bucket.fallback
    assert told == [True]
    grants, elapsed = await granted(bucket, "clob", 0.5, least=3)
    assert 4 <= 1 + grants <= (TOTAL.burst + elapsed * TOTAL.rate) / 8 + 1
    await bucket.close()


async def test_the_nodes_eighth_is_kept_without_redis_too(unused_tcp_port_factory: Callable[[], int]) -> None:
    bucket = RedisTokenBucket(f"redis://127.0.0.1:{unused_tcp_port_factory()}/0")
    both = await asyncio.gather(granted(bucket, "rpc", 1.0, least=1), granted(bucket, "rpc_heal", 1.0))
    (live, heals), elapsed = (grants for grants, _ in both), max(elapsed for _, elapsed in both)
    assert 1 <= live + heals <= 1 + elapsed * RPC.rate / 8 + 1
    await bucket.close()


async def test_redis_coming_back_ends_the_fallback_and_is_told(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiter, "FALLBACK_SECONDS", 0.05)
    told: list[bool] = []
    bucket = RedisTokenBucket(redis_url, told.append)
    script = bucket._script

    async def away(**given: object) -> str:
        raise OSError("away")

    monkeypatch.setattr(bucket, "_script", away)
    await bucket.acquire("clob")
    monkeypatch.setattr(bucket, "_script", script)
    async with asyncio.timeout(30):
        while told[-1]:
            await bucket.acquire("clob")
    assert not bucket.fallback
    await bucket.close()


async def test_impossible_requests_are_refused_at_once(redis_url: str) -> None:
    bucket = RedisTokenBucket(redis_url)
    with pytest.raises(ValueError, match="expected one of clob, gamma, data, rpc, rpc_heal, got 'ftp'"):
        await bucket.acquire("ftp")
    with pytest.raises(ValueError, match="can never be had"):
        await bucket.acquire("data", 11)
    await bucket.close()


async def test_services_that_call_the_exchange_may_use_the_limiter_and_others_not(
    redis_url_for: Callable[[str], str],
) -> None:
    for service, allowed in (("ingest", True), ("simulator", True), ("pricer", True), ("ledger", False)):
        bucket = RedisTokenBucket(redis_url_for(service))
        await bucket.acquire("data")
        assert bucket.fallback is not allowed
        await bucket.close()
