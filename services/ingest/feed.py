"""The chain, pushed: one websocket to a node, subscribed to the fills of every followed wallet.

A connection is a life; this keeps one going after the other, with a pause that grows while they fail. Nothing is lost
between lives: logs are fetched again from the block up to which all was committed, and the poller reaches further back.
"""

import asyncio
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from libs.common.domain.errors import Rejected, Unavailable
from libs.common.observability import metrics
from libs.common.observability.health import Health
from libs.common.observability.metrics import UpstreamMetrics
from libs.common.upstream.json_rpc import open_rpc
from libs.common.upstream.limits import TokenBucket
from services.ingest.contact import ChainContact
from services.ingest.core.silence import Silence
from services.ingest.life import DoubtedError, Life, Memory, Ties
from services.ingest.logs import Logs
from services.ingest.roster import Roster
from services.ingest.settings import Settings
from services.ingest.store import Recorded

RECONNECT_SECONDS_FIRST: Final = 0.5
RECONNECT_SECONDS_MAX: Final = 30.0
STABLE_SECONDS: Final = 30.0

_log = structlog.get_logger()


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
        contact: ChainContact,
    ) -> None:
        self._url = settings.rpc_ws_url
        self._health = health
        self._reconnected = reconnected
        self._silence = Silence()
        self._contact = contact
        self._ties = Ties(
            settings,
            roster,
            roster.watch(),
            intake,
            memory,
            bucket,
            self._silence,
            contact,
            self._subscribed,
            self._report,
        )
        self._jitter = random.Random()  # noqa: S311  spreads reconnects, guards nothing
        self._lives = 0

    def notice(self, recorded: Recorded) -> None:
        """Compare what was committed with what this socket delivered."""
        for fill in recorded.unlogged:
            self._silence.miss(fill.id, fill.event_time.timestamp())
        for fill in (*recorded.confirmed, *recorded.created, *recorded.reversed):
            if fill.log_index is not None:
                self._silence.deliver(fill.id)

    async def run(self) -> None:
        """Connect, listen, and connect again, for ever; without a node's URL there is nothing to do."""
        if self._url is None:
            self._report("off", "no RPC_WS_URL: fills are found by polling")
            return
        failures = 0
        while True:
            began = time.monotonic()
            cause: BaseException | None = None
            try:
                await self._live(self._url.get_secret_value())
            except* (Unavailable, Rejected) as group:
                cause = _first(group)
            metrics.WEBSOCKET_UP.set(0)
            if isinstance(cause, DoubtedError):
                # It was good enough to be asked: replaced at once, which the silence allows once a minute.
                failures, why = 0, str(cause.doubt)
            else:
                failures, why = 1 if time.monotonic() - began > STABLE_SECONDS else failures + 1, "broken"
                self._report("down", str(cause))
            if not (isinstance(cause, DoubtedError) and cause.was_only_quiet):
                told = await self._contact.lost(str(cause))
                if told is not None:
                    self._silence.reach_back(told.timestamp(), datetime.now(UTC).timestamp())
            wait = reconnect_seconds(failures) * self._jitter.uniform(0.5, 1.0)
            metrics.WEBSOCKET_RECONNECTS.labels(why).inc()
            _log.warning("websocket_lost", reason=str(cause)[:200], retry_in_seconds=round(wait, 2))
            await asyncio.sleep(wait)

    async def _live(self, url: str) -> None:
        connection = await open_rpc(url, metrics=UpstreamMetrics())
        try:
            await Life(connection, self._ties).run()
        finally:
            await connection.close()

    def _subscribed(self, detail: str, block: int) -> None:
        self._silence.renew(datetime.now(UTC).timestamp())
        metrics.WEBSOCKET_UP.set(1)
        self._report("up", detail)
        _log.info("websocket_subscribed", detail=detail, block=block)
        if self._lives:
            self._reconnected()
        self._lives += 1

    def _report(self, state: str, detail: str) -> None:
        self._health.set_detail("websocket", {"state": state, "detail": detail[:200]})


def reconnect_seconds(failures: int) -> float:
    """Return the longest pause after so many connections in a row that failed: doubled each time, up to a limit."""
    return min(RECONNECT_SECONDS_MAX, RECONNECT_SECONDS_FIRST * 2.0 ** min(failures - 1, 8)) if failures else 0.0


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    """Return why a life ended: a doubt if there was one, for all else follows from it."""
    found: list[BaseException] = [group]
    for error in found:
        if isinstance(error, BaseExceptionGroup):
            found.extend(error.exceptions)
    leaves = [error for error in found if not isinstance(error, BaseExceptionGroup)]
    return next((error for error in leaves if isinstance(error, DoubtedError)), leaves[0])
