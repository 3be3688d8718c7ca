"""The chain, pushed: one websocket to a node, subscribed to the fills of every followed wallet.

A connection is a life: subscribe, heal the gap since the last one, then listen until it breaks or is doubted. Nothing
is lost between lives: logs are fetched again from the block last committed, and the poller reaches further back.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import structlog

from libs.common.domain.errors import Rejected, Unavailable
from libs.common.observability import metrics
from libs.common.observability.health import Health
from libs.common.upstream.json_rpc import RpcConnection, open_rpc
from libs.common.upstream.limits import TokenBucket
from services.ingest.core.silence import Silence
from services.ingest.logs import LogReader, Logs, block_number
from services.ingest.roster import Roster
from services.ingest.settings import Settings
from services.ingest.store import Recorded
from services.ingest.subscriptions import Subscriptions

WATCH_SECONDS: Final = 1.0
SAVE_SECONDS: Final = 5.0
PROBE_TIMEOUT_SECONDS: Final = 5.0
OVERLAP_BLOCKS: Final = 5
START_BLOCKS: Final = 60
"""How far back logs are fetched for wallets that were not subscribed to before."""
RECONNECT_SECONDS_FIRST: Final = 0.5
RECONNECT_SECONDS_MAX: Final = 30.0
STABLE_SECONDS: Final = 30.0
CHECKPOINT: Final = "chain"

_log = structlog.get_logger()


class Memory(Protocol):
    """The part of the store that keeps checkpoints."""

    async def checkpoint(self, key: str) -> dict[str, Any] | None:
        """Return what is kept under a key."""

    async def remember(self, key: str, value: Mapping[str, Any]) -> None:
        """Keep a value under a key."""


class Feed:
    """Keeps one life after the other going."""

    def __init__(
        self,
        settings: Settings,
        roster: Roster,
        intake: Logs,
        memory: Memory,
        health: Health,
        bucket: TokenBucket,
        reconnected: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._roster = roster
        self._intake = intake
        self._memory = memory
        self._health = health
        self._reconnected = reconnected
        self._bucket = bucket
        self._changed = roster.watch()
        self._silence: Silence | None = None
        self._jitter = random.Random()  # noqa: S311  spreads reconnects, guards nothing
        self._lives = 0
        self._quiet_head = 0
        self._quiet_through = 0

    def notice(self, recorded: Recorded) -> None:
        """Compare what was committed with what this socket delivered."""
        if self._silence is None:
            return
        for fill in recorded.unlogged:
            self._silence.miss(fill.id, fill.event_time.timestamp())
        for fill in (*recorded.confirmed, *recorded.created, *recorded.reversed):
            if fill.log_index is not None:
                self._silence.deliver(fill.id)

    async def run(self) -> None:
        """Connect, listen, and connect again, for ever; without a node's URL there is nothing to do."""
        if self._settings.rpc_ws_url is None:
            self._report("off", "no RPC_WS_URL: fills are found by polling")
            return
        url = self._settings.rpc_ws_url.get_secret_value()
        failures = 0
        while True:
            began = time.monotonic()
            reason = "broken"
            try:
                await self._live(url)
            except* (Unavailable, Rejected) as group:
                reason = _first_words(group)
            if time.monotonic() - began > STABLE_SECONDS:
                failures = 0
            failures += 1
            wait = min(RECONNECT_SECONDS_MAX, RECONNECT_SECONDS_FIRST * 2 ** min(failures - 1, 8))
            wait *= self._jitter.uniform(0.5, 1.0)
            metrics.WEBSOCKET_UP.set(0)
            metrics.WEBSOCKET_RECONNECTS.labels("doubted" if reason.startswith("doubted") else "broken").inc()
            self._report("down", reason)
            _log.warning("websocket_lost", reason=reason, retry_in_seconds=round(wait, 2))
            await asyncio.sleep(wait)

    async def _live(self, url: str) -> None:
        connection = await open_rpc(url)
        try:
            async with asyncio.TaskGroup() as tasks:
                reader = LogReader(
                    connection, self._roster, self._intake, self._bucket, self._settings.log_range_blocks
                )
                tasks.create_task(self._listen(connection, reader))
                life = Subscriptions(connection, self._roster, self._bucket)
                await life.subscribe()
                head = await block_number(connection)
                now = datetime.now(UTC).timestamp()
                self._silence = Silence(since=now, heard_at=now)
                metrics.WEBSOCKET_UP.set(1)
                self._report("up", f"{life.wallets} wallets in {life.subscriptions} subscriptions")
                _log.info("websocket_subscribed", wallets=life.wallets, subscriptions=life.subscriptions, block=head)
                if self._lives:
                    self._reconnected()
                self._lives += 1
                tasks.create_task(self._heal_and_keep_place(reader, head))
                await self._watch(connection, life, reader)
        finally:
            self._silence = None
            await connection.close()

    async def _listen(self, connection: RpcConnection, reader: LogReader) -> None:
        async for _, log in connection.notifications():
            if self._silence:
                self._silence.hear(datetime.now(UTC).timestamp())
            await reader.take(log)

    async def _heal_and_keep_place(self, reader: LogReader, head: int) -> None:
        """Fetch what was logged since the block last committed; further back than the limit is the poller's."""
        place = (await self._memory.checkpoint(CHECKPOINT) or {}).get("block")
        first = head - START_BLOCKS
        if isinstance(place, int) and place <= head + OVERLAP_BLOCKS:
            first = place - OVERLAP_BLOCKS
        await reader.heal(sorted(self._roster.follows), max(first, head - self._settings.heal_blocks_max, 0), head)
        await self._keep_place(head)

    async def _keep_place(self, head: int) -> None:
        """Remember up to which block everything is committed."""
        place = saved = 0
        while True:
            place = max(place, head, self._quiet_through, self._intake.block_committed)
            if place != saved:
                try:
                    await self._memory.remember(CHECKPOINT, {"block": place, "at": datetime.now(UTC).isoformat()})
                    saved = place
                except Unavailable as error:
                    _log.warning("place_not_kept", block=place, error=str(error)[:200])
            await asyncio.sleep(SAVE_SECONDS)

    async def _watch(self, connection: RpcConnection, life: Subscriptions, reader: LogReader) -> None:
        """Follow the roster, and doubt a socket that should have spoken; ends by raising Unavailable."""
        while True:
            try:
                async with asyncio.timeout(WATCH_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                pass
            else:
                self._changed.clear()
                new = await life.subscribe()
                self._report("up", f"{life.wallets} wallets in {life.subscriptions} subscriptions")
                if new:
                    head = await block_number(connection)
                    await reader.heal(new, max(head - START_BLOCKS, 0), head)
            await self._doubt(connection)

    async def _doubt(self, connection: RpcConnection) -> None:
        now = datetime.now(UTC).timestamp()
        silence = self._silence
        doubt = silence.doubt(now) if silence else None
        if silence is None or doubt is None:
            return
        silence.probe(now)
        try:
            head = await block_number(connection, PROBE_TIMEOUT_SECONDS)
        except Unavailable as error:
            raise Unavailable(f"doubted: {doubt}, and no answer") from error
        if doubt == "undelivered":
            raise Unavailable("doubted: the API shows a fill that was not delivered")
        # A quiet minute is believed only once the next one was quiet, too.
        self._quiet_through, self._quiet_head = self._quiet_head, head

    def _report(self, state: str, detail: str) -> None:
        self._health.set_detail("websocket", {"state": state, "detail": detail[:200]})


def _first_words(group: BaseExceptionGroup[Any]) -> str:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)[:200]
