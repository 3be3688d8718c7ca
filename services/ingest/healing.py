"""Close gaps in what one connection delivered: fetch the logs of the blocks between, in parallel, within the budget."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import structlog

from libs.common.domain.errors import Rejected
from libs.common.observability import metrics
from libs.common.upstream.chain import log_filter
from libs.common.upstream.json_rpc import NodeBusyError, NodeRefusedError, RangeTooWideError
from libs.common.upstream.parts import chunks
from services.ingest.core.gaps import Gap
from services.ingest.node import ATTEMPTS_PATIENT
from services.ingest.subscriptions import WALLETS_PER_SUBSCRIPTION

AT_ONCE: Final = 8
"""Calls under way at the same time: with answers of a second the budget is still used up."""
STRETCH_RANGES: Final = 10
"""Ranges fetched before the place moves on: a heal that is cut short goes on from there."""

_log = structlog.get_logger()


class Fetches(Protocol):
    """The part of the node that fetches logs."""

    async def ask(self, method: str, params: Sequence[Any], *, budget: Any, attempts: int) -> Any:
        """Return the result of a call; raises Unavailable, NodeBusyError or NodeRefusedError."""


class Takes(Protocol):
    """The part of the reader that takes logs."""

    async def take(self, log: Any, *, healing: bool = False) -> None:
        """Pass a log on."""


class Settles(Protocol):
    """The part of the intake that says when all is committed."""

    async def settle(self) -> None:
        """Wait until every queued log is committed."""


class Healer:
    """Closes gaps of one connection; learns how wide a range its node answers."""

    def __init__(self, node: Fetches, reader: Takes, intake: Settles, range_blocks: int) -> None:
        self._node = node
        self._reader = reader
        self._intake = intake
        self._width = range_blocks

    async def heal(self, wallets: Sequence[str], gap: Gap, healed: Callable[[int], None]) -> bool:
        """Fetch the gap's logs of `wallets` and return True once all are committed; False where the node refuses.

        `healed` is told, stretch by stretch, the first block that is not committed yet. Raises Unavailable with the
        connection.
        """
        found = 0
        parts = [tuple(part) for part in chunks(sorted(wallets), WALLETS_PER_SUBSCRIPTION)]
        start = gap.first
        while start <= gap.last:
            last = min(start + self._width * STRETCH_RANGES - 1, gap.last)
            logs, refused = await self._stretch(parts, start, last)
            found += logs
            await self._intake.settle()
            if refused is not None:
                metrics.LOG_HEALS.labels("refused").inc()
                _log.error("gap_left_to_polling", from_block=start, to_block=gap.last, error=str(refused)[:300])
                return False
            start = last + 1
            healed(start)
        metrics.LOG_HEALS.labels("complete").inc()
        _log.info("logs_healed", wallets=len(wallets), from_block=gap.first, to_block=gap.last, logs=found)
        return True

    async def _stretch(self, parts: Sequence[tuple[str, ...]], first: int, last: int) -> tuple[int, Exception | None]:
        """Fetch a stretch's ranges side by side; returns how many logs came and why it refuses one, if so."""
        found = 0
        jobs = deque((part, *blocks) for blocks in self._ranges(first, last) for part in parts)
        refusals: list[Exception] = []

        async def work() -> None:
            nonlocal found
            while jobs and not refusals:
                part, start, end = jobs.popleft()
                try:
                    found += await self._fetch(part, start, end)
                except RangeTooWideError as error:
                    if start == end:
                        refusals.append(error)
                        return
                    self._width = max(1, min(self._width, (end - start + 1) // 2))
                    metrics.LOG_HEALS.labels("halved").inc()
                    _log.warning("log_range_halved", blocks=end - start + 1, now=self._width, error=str(error)[:300])
                    jobs.extendleft((part, *blocks) for blocks in self._ranges(start, end))
                except (NodeBusyError, NodeRefusedError, Rejected) as error:
                    refusals.append(error)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(work())
        return found, refusals[0] if refusals else None

    def _ranges(self, first: int, last: int) -> list[tuple[int, int]]:
        return [(start, min(start + self._width - 1, last)) for start in range(first, last + 1, self._width)]

    async def _fetch(self, wallets: Sequence[str], first: int, last: int) -> int:
        query = {**log_filter(wallets), "fromBlock": hex(first), "toBlock": hex(last)}
        logs = await self._node.ask("eth_getLogs", [query], budget="rpc_heal", attempts=ATTEMPTS_PATIENT)
        if not isinstance(logs, list):
            raise Rejected(f"rpc: expected a list of logs, got {type(logs).__name__}")
        for log in logs:
            await self._reader.take(log, healing=True)
        return len(logs)
