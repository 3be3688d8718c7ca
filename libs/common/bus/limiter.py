"""The request budget all processes share: token buckets in Redis, and a local eighth of them while Redis is away.

The exchange's hosts together get 20 requests a second with bursts of 40, the Data API at most 10 of them; the node gets
5 of its own. Requests for books and marks may empty the shared bucket; polls leave the last tokens to them, as the
closing of gaps in the chain leaves them to what is live.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
from aiolimiter import AsyncLimiter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from libs.common.bus import keys
from libs.common.bus.connection import connect

FALLBACK_SHARE: Final = 8
"""With Redis away every process takes this part of the budget."""
FALLBACK_SECONDS: Final = 2.0
"""How long the fallback lasts before Redis is tried again."""
ANSWER_SECONDS: Final = 1.0
WAIT_MAX_SECONDS: Final = 5.0
IDLE_MS: Final = 60_000
"""Buckets nobody used for this long are full and forgotten."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A budget: tokens a second, and how many may be saved up."""

    name: str
    rate: float
    burst: float


@dataclass(frozen=True, slots=True)
class Need:
    """One bucket a request draws from, and how many of its tokens the request must leave to others."""

    bucket: Bucket
    reserve: int = 0


TOTAL: Final = Bucket("total", 20, 40)
DATA: Final = Bucket("data", 10, 10)
RPC: Final = Bucket("rpc", 5, 5)
POLL_RESERVE: Final = 10
"""Tokens of the shared bucket that polls leave to books and marks."""
HEAL_RESERVE: Final = 2
"""Tokens of the node's bucket that closing gaps leaves to subscriptions, block times and probes."""

NEEDS: Final = {
    "clob": (Need(TOTAL),),
    "gamma": (Need(TOTAL, POLL_RESERVE // 2),),
    "data": (Need(TOTAL, POLL_RESERVE), Need(DATA)),
    "rpc": (Need(RPC),),
    "rpc_heal": (Need(RPC, HEAL_RESERVE),),
}

SCRIPT: Final = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local tokens = tonumber(ARGV[1])
local wait, left = 0, {}
for i = 3, #ARGV, 4 do
  local name, rate, burst, reserve = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
  local saved = redis.call('HMGET', KEYS[1], name, name .. ':at')
  local have = tonumber(saved[1]) or burst
  local at = tonumber(saved[2]) or now
  have = math.min(burst, have + math.max(0, now - at) * rate / 1000000)
  local missing = tokens + reserve - have
  if missing > 0 then wait = math.max(wait, missing / rate) end
  left[#left + 1] = {name, have - tokens}
end
if wait > 0 then return tostring(wait) end
for _, bucket in ipairs(left) do
  redis.call('HSET', KEYS[1], bucket[1], tostring(bucket[2]), bucket[1] .. ':at', string.format('%.0f', now))
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return '0'
"""

_log = structlog.get_logger()


class RedisTokenBucket:
    """Waits until a request may go out; fair within a process and class, by priority between classes."""

    def __init__(self, redis_url: str, told: Callable[[bool], object] = lambda fallback: None) -> None:
        """Connect lazily; `told` hears whether the local eighth applies, whenever that changes."""
        self._told = told
        self._redis: Redis = connect(redis_url)
        self._script = self._redis.register_script(SCRIPT)
        self._turns = {host_class: asyncio.Lock() for host_class in NEEDS}
        self._local = {need.bucket.name: _local(need.bucket) for needs in NEEDS.values() for need in needs}
        self._away_until = 0.0

    @property
    def fallback(self) -> bool:
        """Tell whether the local eighth applies because Redis is away."""
        return asyncio.get_running_loop().time() < self._away_until

    async def acquire(self, host_class: str, tokens: int = 1) -> None:
        """Return when `tokens` requests to `host_class` (a key of NEEDS) may go out; never raises for Redis.

        Raises ValueError for an unknown class or for more tokens than its buckets can ever hold.
        """
        needs = NEEDS.get(host_class)
        if needs is None:
            raise ValueError(f"host class: expected one of {', '.join(NEEDS)}, got {host_class!r}")
        if any(tokens + need.reserve > need.bucket.burst for need in needs):
            raise ValueError(f"{host_class}: {tokens} tokens at once can never be had")
        async with self._turns[host_class]:
            while True:
                wait = await self._ask(needs, tokens)
                if wait <= 0:
                    return
                await asyncio.sleep(min(wait, WAIT_MAX_SECONDS))

    async def close(self) -> None:
        """Close the connection."""
        await self._redis.aclose()

    async def _ask(self, needs: tuple[Need, ...], tokens: int) -> float:
        """Take the tokens and return 0, or return the seconds until they may be there."""
        if self.fallback:
            return await self._take_locally(needs, tokens)
        arguments: list[str | int | float] = [tokens, IDLE_MS]
        for need in needs:
            arguments += [need.bucket.name, need.bucket.rate, need.bucket.burst, need.reserve]
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                wait = float(await self._script(keys=[keys.LIMITER], args=arguments))
        except (RedisError, OSError, TimeoutError) as error:
            self._away_until = asyncio.get_running_loop().time() + FALLBACK_SECONDS
            self._told(True)
            _log.warning("limiter_fallback", share=f"1/{FALLBACK_SHARE}", error=f"{type(error).__name__}: {error}")
            return await self._take_locally(needs, tokens)
        if self._away_until and not self.fallback:
            self._away_until = 0.0
            self._told(False)
        return wait

    async def _take_locally(self, needs: tuple[Need, ...], tokens: int) -> float:
        for need in needs:
            for _ in range(tokens):
                await self._local[need.bucket.name].acquire()
        return 0.0


def _local(bucket: Bucket) -> AsyncLimiter:
    """Return an eighth of a bucket; it holds at least one token, or nothing would ever pass."""
    capacity = max(1.0, bucket.burst / FALLBACK_SHARE)
    return AsyncLimiter(capacity, capacity * FALLBACK_SHARE / bucket.rate)
