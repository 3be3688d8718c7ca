"""The node at the other end of one connection: asked within the shared budget, with patience where it is busy."""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal, Protocol

from libs.common.domain.errors import Rejected, Unavailable
from libs.common.upstream.chain import quantity
from libs.common.upstream.json_rpc import CALL_SECONDS, NodeBusyError
from libs.common.upstream.limits import TokenBucket

ATTEMPTS: Final = 5
"""About six seconds of being told to come back later."""
ATTEMPTS_PATIENT: Final = 12
"""About three minutes of it, for what can wait."""
DELAY_SECONDS_FIRST: Final = 0.5
DELAY_SECONDS_MAX: Final = 30.0
BLOCKS_REMEMBERED_MAX: Final = 2_000

Budget = Literal["rpc", "rpc_heal"]


class Calls(Protocol):
    """The part of a connection that carries calls."""

    async def call(self, method: str, params: Sequence[Any] = (), timeout_seconds: float = CALL_SECONDS) -> Any:
        """Return the result of one call; raises Unavailable, NodeBusyError or NodeRefusedError."""


class Node:
    """Asks one node."""

    def __init__(
        self,
        connection: Calls,
        bucket: TokenBucket,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._connection = connection
        self._bucket = bucket
        self._sleep = sleep
        self._jitter = random.Random()  # noqa: S311  spreads retries, guards nothing
        self._block_times: OrderedDict[str, asyncio.Future[int]] = OrderedDict()

    async def ask(
        self, method: str, params: Sequence[Any] = (), *, budget: Budget = "rpc", attempts: int = ATTEMPTS
    ) -> Any:
        """Return the result of a call, asked `attempts` times while the node is busy.

        Raises NodeBusyError, NodeRefusedError, or Unavailable with the connection.
        """
        return await self._patiently(lambda: self._once(method, params, budget), attempts)

    async def head(self, *, attempts: int = ATTEMPTS) -> int:
        """Return the number of the latest block; raises like `ask`."""
        block = await self.ask("eth_getBlockByNumber", ["latest", False], attempts=attempts)
        return _number(block.get("number") if isinstance(block, Mapping) else None, "latest block")

    async def probe(self, timeout_seconds: float) -> int:
        """Return what `eth_blockNumber` answers, asked once: it serves to see whether anyone is there (SPEC section 3).

        Raises like `ask`.
        """
        await self._bucket.acquire("rpc")
        answer = await self._connection.call("eth_blockNumber", (), timeout_seconds)
        return _number(answer, "block number")

    async def block_time(self, number: int, block_hash: str) -> int:
        """Return a block's timestamp in epoch seconds, asked for once however many want it; raises like `ask`.

        Raises ValueError for a block whose time is none: asking again would not make it one.
        """
        known = self._block_times.get(block_hash)
        if known is None:
            known = self._block_times[block_hash] = asyncio.ensure_future(self._fetch_time(number, block_hash))
            known.add_done_callback(_retrieve)
            while len(self._block_times) > BLOCKS_REMEMBERED_MAX:
                self._block_times.popitem(last=False)
        try:
            return await asyncio.shield(known)
        except (Unavailable, Rejected):
            self._block_times.pop(block_hash, None)
            raise

    async def time_of(self, number: int) -> datetime | None:
        """Return the time of a block by its number alone, None where the node does not tell."""
        try:
            block = await self.ask("eth_getBlockByNumber", [hex(number), False], budget="rpc_heal")
            stamp = _number(block.get("timestamp") if isinstance(block, Mapping) else None, "block timestamp")
            return datetime.fromtimestamp(stamp, UTC)
        except (Unavailable, Rejected, ValueError, OverflowError, OSError):
            return None

    async def _fetch_time(self, number: int, block_hash: str) -> int:
        async def look() -> Mapping[str, Any]:
            block = await self._once("eth_getBlockByNumber", [hex(number), False], "rpc")
            if not isinstance(block, Mapping):
                raise NodeBusyError(f"rpc: expected block {number}, got {block!r:.60}")
            return block

        block = await self._patiently(look, ATTEMPTS)
        if str(block.get("hash", block_hash)).lower() != block_hash:
            # The log is of a block just replaced, or this node is behind: look once more, then take what there is.
            await self._sleep(DELAY_SECONDS_FIRST)
            block = await self._patiently(look, ATTEMPTS)
        return quantity(block.get("timestamp"), what="block timestamp")

    async def _once(self, method: str, params: Sequence[Any], budget: Budget) -> Any:
        await self._bucket.acquire(budget)
        return await self._connection.call(method, params)

    async def _patiently(self, ask: Callable[[], Awaitable[Any]], attempts: int) -> Any:
        for attempt in range(1, attempts + 1):
            try:
                return await ask()
            except NodeBusyError:
                if attempt == attempts:
                    raise
            ceiling = min(DELAY_SECONDS_MAX, DELAY_SECONDS_FIRST * 2.0 ** min(attempt - 1, 10))
            await self._sleep(self._jitter.uniform(ceiling / 2, ceiling))
        raise AssertionError("expected at least one attempt")


def _number(value: object, what: str) -> int:
    try:
        return quantity(value, what=what)
    except ValueError as error:
        raise Unavailable(f"rpc: {error}") from error


def _retrieve(done: "asyncio.Future[int]") -> None:
    """Take note of a failure that those who waited did not live to see."""
    if not done.cancelled():
        done.exception()
