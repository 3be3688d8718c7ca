"""Composition root of the ledger: the only place that constructs."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final

import structlog

from libs.common.bus import Bus
from libs.common.bus.streams import ATTEMPTS_DECIDED, EVENTS_DETECTED, MARKETS_RESOLVED, MARKS_UPDATED
from libs.common.db.thinning import Thinning
from libs.common.domain.errors import Unavailable
from libs.common.domain.kinds import Scope
from libs.common.frame import opened_frame
from libs.common.messages import AttemptDecided, EventDetected, MarketResolved
from libs.common.observability import metrics
from services.ledger.handlers import (
    Posted,
    on_attempts_decided,
    on_events_detected,
    on_markets_resolved,
    on_marks_updated,
)
from services.ledger.settings import Settings
from services.ledger.store import SNAPSHOTS, Books, Sweeps

SERVICE: Final = "ledger"
LOOK_SECONDS: Final = 1.0
"""How soon a follow gets its portfolios, and a new minute its snapshots."""
SWEEP_SECONDS: Final = 30.0
THIN_SECONDS: Final = 600.0
BATCH_MAX: Final = 200
REST_SECONDS: Final = 0.25
"""Postings of this time share a transaction, for whose end decisions wait. None needs them sooner, as decisions count
what is not posted yet."""
POOL_SIZE: Final = 8
"""Four consumers, three looks and the heartbeat; each uses one connection at a time."""

_log = structlog.get_logger()


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run one ledger until `stop`; several share the work."""
    async with opened_frame(SERVICE, settings, pool_size=POOL_SIZE) as frame:
        books, sweeps = Books(frame.engine), Sweeps(frame.engine)
        _consume(frame.bus, books)

        async def open_portfolios() -> None:
            report_posted(await books.open_portfolios(), [])

        async def post_waiting() -> None:
            report_posted(await books.post_waiting(), [])
            metrics.EVENTS_WAITING.set(await books.waiting())

        async def value_minute() -> None:
            metrics.SNAPSHOTS_WRITTEN.inc(await books.revalue_minute())

        async def sweep() -> None:
            await _sweep(frame.bus, sweeps)

        thinning = Thinning(frame.engine, SERVICE, SNAPSHOTS, now=lambda: datetime.now(UTC))

        await frame.bus.start()
        async with asyncio.TaskGroup() as tasks:
            for name, look in {"portfolios": open_portfolios, "waiting": post_waiting, "minutes": value_minute}.items():
                frame.health.require(name, within_seconds=30)
                tasks.create_task(_every(LOOK_SECONDS, stop, look, partial(frame.health.progress, name)))
            tasks.create_task(_every(SWEEP_SECONDS, stop, sweep))
            tasks.create_task(_every(THIN_SECONDS, stop, thinning.look))


def _consume(bus: Bus, books: Books) -> None:
    events, attempts = on_events_detected(books, report_posted), on_attempts_decided(books, report_posted)
    bus.consume(EVENTS_DETECTED, SERVICE, events, batch_max=BATCH_MAX, rest_seconds=REST_SECONDS)
    bus.consume(ATTEMPTS_DECIDED, SERVICE, attempts, batch_max=BATCH_MAX, rest_seconds=REST_SECONDS)
    bus.consume(MARKETS_RESOLVED, SERVICE, on_markets_resolved(books, report_posted), batch_max=BATCH_MAX)
    bus.consume(MARKS_UPDATED, SERVICE, on_marks_updated(books, metrics.SNAPSHOTS_WRITTEN.inc), batch_max=BATCH_MAX)


async def _every(
    seconds: float, stop: asyncio.Event, work: Callable[[], Awaitable[None]], done: Callable[[], None] = lambda: None
) -> None:
    """Do `work` now and then every `seconds` until `stop`; a failure only delays it, and postings go on."""
    while not stop.is_set():
        try:
            await work()
            done()
        except Unavailable as error:
            _log.warning("look_delayed", error=str(error)[:200])
        except Exception as error:  # noqa: BLE001  of no use to end the process: the next one would meet the same rows
            _log.error("look_failed", exc_info=error)
        try:
            async with asyncio.timeout(seconds):
                await stop.wait()
        except TimeoutError:
            continue


async def _sweep(bus: Bus, sweeps: Sweeps) -> None:
    """Refill the streams with what never reached the books."""

    async def events(limit: int) -> list[EventDetected]:
        return await sweeps.events(datetime.now(UTC), limit)

    async def attempts(limit: int) -> list[AttemptDecided]:
        return await sweeps.attempts(datetime.now(UTC), limit)

    async def resolutions(limit: int) -> list[MarketResolved]:
        return await sweeps.resolutions(datetime.now(UTC), limit)

    await bus.sweep(EVENTS_DETECTED, SERVICE, events)
    await bus.sweep(ATTEMPTS_DECIDED, SERVICE, attempts)
    await bus.sweep(MARKETS_RESOLVED, SERVICE, resolutions)


def report_posted(outcome: Posted, facts: Sequence[tuple[Scope, datetime]]) -> None:
    """Count what was posted and how long its facts waited, and say it in the log."""
    for (scope, entry_type), count in outcome.posted.items():
        metrics.ENTRIES_POSTED.labels(scope, entry_type).inc(count)
    now = datetime.now(UTC)
    for scope, seen_at in facts:
        metrics.POSTING_LAG.labels(scope).observe(max(0.0, (now - seen_at).total_seconds()))
    if outcome.waiting:
        _log.info("events_put_aside", events=outcome.waiting)
    if outcome.posted:
        _log.info("entries_posted", entries=sum(outcome.posted.values()), facts=len(facts))
