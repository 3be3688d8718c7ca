"""Composition root of a simulator: the only place that constructs."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from libs.common.bus.limiter import RedisTokenBucket
from libs.common.bus.streams import (
    ATTEMPTS_DECIDED,
    CONFIG_CHANGED,
    CONFIG_TEST_REQUESTED,
    CONTROL_CHANGED,
    GROUPS_CLOSED,
)
from libs.common.db.engine import is_outage
from libs.common.db.retention import Retention
from libs.common.domain.errors import Rejected, Unavailable
from libs.common.domain.kinds import Scope
from libs.common.frame import Frame, opened_frame
from libs.common.messages import AttemptDecided, ConfigTestRequested, GroupClosed
from libs.common.observability.metrics import LIMITER_FALLBACK, UpstreamMetrics
from libs.common.upstream.clob import ClobClient
from libs.common.upstream.gateway import Gateway, Patience
from services.simulator.announcing import Announcer
from services.simulator.books import BookDesk
from services.simulator.core.facts import Group
from services.simulator.core.rules import Rules
from services.simulator.deciding import Decider
from services.simulator.handlers import (
    on_config_changed,
    on_config_test_requested,
    on_control_changed,
    on_groups_closed,
)
from services.simulator.scheduler import FAILURES_MAX, Scheduler
from services.simulator.settings import Settings
from services.simulator.store.books import KEPT, BookStore
from services.simulator.store.config_tests import RunStore
from services.simulator.store.configs import ConfigStore, CurrentRules
from services.simulator.store.groups import GroupStore
from services.simulator.store.session import BEGINNING
from services.simulator.testing import Workers

SERVICE: Final = "simulator"
CONSUMERS: Final = {Scope.EXEC_USER: "simulator-user", Scope.EXEC_GLOBAL: "simulator-global"}
STANDS_BACK_SECONDS: Final = {Scope.EXEC_USER: None, Scope.EXEC_GLOBAL: 0.3}
"""The user scope fetches books; the global one steps in where it does not."""
SWEEP_OLDER_THAN: Final = timedelta(seconds=30)
SWEEP_REACH: Final = timedelta(hours=6)
"""Regular sweeps look back this far; the look at start goes to the beginning."""
START_BATCH: Final = 20_000
POOL_SIZE: Final = 6
REST_SECONDS: Final = 0.1
"""Groups are heard of well before they are due, so reading them may be unhurried."""
CLOB_PATIENCE: Final = Patience(attempts=2, connect_seconds=1, read_seconds=2)
"""A book must come while the decision waits for it."""

_log = structlog.get_logger()


def closed(group: Group) -> GroupClosed:
    """Return the message that announced a group."""
    return GroupClosed(
        group_id=group.id,
        kind=group.kind,
        user_id=group.user_id,
        occurred_at=group.first_event_time,
        observed_at=group.closed_at,
    )


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run one simulator until `stop`."""
    async with opened_frame(SERVICE, settings, pool_size=POOL_SIZE) as frame, AsyncExitStack() as cleanup:
        frame.health.require("scheduler", within_seconds=15)
        frame.health.set_detail("scope", settings.scope.value)
        simulator = _Simulator(settings, frame)
        cleanup.push_async_callback(simulator.close)
        await simulator.run(stop)


class _Simulator:
    """The parts of one process, and what runs beside its scheduler."""

    def __init__(self, settings: Settings, frame: Frame) -> None:
        self._settings, self._scope, self._consumer = settings, settings.scope, CONSUMERS[settings.scope]
        self._engine, self._bus, self._health = frame.engine, frame.bus, frame.health
        self._bucket = RedisTokenBucket(settings.redis_url.get_secret_value(), LIMITER_FALLBACK.set)
        self._clob = Gateway(settings.clob_url, "clob", self._bucket, patience=CLOB_PATIENCE, metrics=UpstreamMetrics())
        self._configs = ConfigStore(self._engine)
        self._groups = GroupStore(self._engine, self._scope, self._consumer)
        self._rules = CurrentRules({})
        self._config_changed = asyncio.Event()
        self._config_fault: str | None = None
        self._workers = Workers(self._engine, settings.database_url.get_secret_value())
        self._announcer = Announcer(self._scope, self._publish)
        self._books = BookStore(self._engine, settings.instance)
        self._retention = Retention("books", KEPT, self._books.prune, _now)
        self._desk = BookDesk(
            ClobClient(self._clob),
            self._books,
            self._books_settled,
            now=_now,
            stands_back_seconds=STANDS_BACK_SECONDS[self._scope],
            patience_seconds=settings.book_patience_seconds,
        )
        self._scheduler = self._make_scheduler()
        self._consume()

    def _make_scheduler(self) -> Scheduler:
        settings = self._settings
        decider = Decider(
            self._engine,
            self._books,
            self._configs,
            scope=self._scope,
            consumer=self._consumer,
            seed=settings.seed,
            now=_now,
        )
        return Scheduler(
            decider,
            scope=self._scope,
            seed=settings.seed,
            chunk_max=settings.groups_per_chunk_max,
            rules_for=self._rules_for,
            want_books=self._desk.want,
            announce=self._announcer.decided,
            give_up=self._give_up,
            now=_now,
            is_outage=is_outage,
        )

    def _consume(self) -> None:
        bus, consumer = self._bus, self._consumer
        handle = on_groups_closed(self._groups, self._scheduler.wait_for, self._announcer.again)
        bus.consume(GROUPS_CLOSED, consumer, handle, batch_max=500, rest_seconds=REST_SECONDS)
        bus.consume(CONFIG_CHANGED, consumer, on_config_changed(self._config_changed.set))
        bus.consume(CONTROL_CHANGED, consumer, on_control_changed(self._scheduler.look))
        if consumer in CONFIG_TEST_REQUESTED.groups:
            bus.consume(CONFIG_TEST_REQUESTED, consumer, on_config_test_requested(self._workers.wake))

    async def run(self, stop: asyncio.Event) -> None:
        """Take up what former lives left, then listen and decide until `stop`."""
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(self._desk.run()),
                tasks.create_task(self._books.listen(self._desk.settled_elsewhere)),
            ]
            try:
                await _until_up(self._merge, stop)
                background.append(tasks.create_task(self._watch_config()))
                await _until_up(self._take_up, stop)
                await self._bus.start()
                background.append(tasks.create_task(self._sweep()))
                if self._consumer in CONFIG_TEST_REQUESTED.groups:
                    background += [tasks.create_task(self._workers.run()), tasks.create_task(self._sweep_tests())]
                background.append(tasks.create_task(self._retention.run()))
                await self._scheduler.run(stop, lambda: self._health.progress("scheduler"))
            finally:
                await self._bus.stop()
                for task in background:
                    task.cancel()

    async def close(self) -> None:
        """Let go of the exchange and its budget."""
        await self._clob.close()
        await self._bucket.close()

    def _rules_for(self, user_id: UUID) -> Rules:
        return self._rules.of(user_id)

    def _books_settled(self, group_ids: Sequence[UUID]) -> None:
        self._scheduler.books_settled(group_ids)

    async def _publish(self, messages: Sequence[AttemptDecided]) -> None:
        await self._bus.publish(ATTEMPTS_DECIDED, messages)

    async def _give_up(self, group: Group, error: Exception) -> None:
        await self._bus.give_up(GROUPS_CLOSED, self._consumer, closed(group), error, attempts=FAILURES_MAX + 1)

    async def _take_up(self) -> None:
        """Let the groups wait that former lives left undecided."""
        found = await self._groups.missing(BEGINNING, _now(), START_BATCH)
        self._scheduler.wait_for(found)
        if found:
            _log.info("undecided_groups_taken_up", groups=len(found))

    async def _merge(self) -> None:
        """Merge what was set into versions, and learn which are in force."""
        try:
            if written := await self._configs.merge():
                _log.info("config_merged", versions=written)
            self._health.set_fault("config", None)
            self._config_fault = None
        except Rejected as error:
            if str(error) != self._config_fault:
                _log.error("config_rejected", error=str(error))
            self._config_fault = str(error)
            self._health.set_fault("config", str(error)[:300])
        rules = await self._configs.current()
        if rules != self._rules:
            self._rules = rules
            self._scheduler.rules_changed()

    async def _watch_config(self) -> None:
        """Merge on every change, and regularly should a message be lost; forever."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.config_seconds):
                    await self._config_changed.wait()
            self._config_changed.clear()
            await _unless_away(self._merge())

    async def _sweep(self) -> None:
        """Refill the stream with groups that nobody decided, and send kept announcements; forever."""

        async def rows(limit: int) -> list[GroupClosed]:
            now = _now()
            return [
                closed(each) for each in await self._groups.missing(now - SWEEP_REACH, now - SWEEP_OLDER_THAN, limit)
            ]

        while True:
            await asyncio.sleep(self._settings.sweep_seconds)
            await _unless_away(self._announcer.flush())
            await _unless_away(self._bus.sweep(GROUPS_CLOSED, self._consumer, rows))

    async def _sweep_tests(self) -> None:
        """Refill the stream with tests of a configuration that nobody works on; forever."""
        runs = RunStore(self._engine, self._settings.instance)

        async def rows(limit: int) -> list[ConfigTestRequested]:
            found = await runs.unheard(_now() - SWEEP_OLDER_THAN, limit)
            return [ConfigTestRequested(run_id=run, occurred_at=at, observed_at=at) for run, at in found]

        while True:
            await asyncio.sleep(self._settings.sweep_seconds)
            await _unless_away(self._bus.sweep(CONFIG_TEST_REQUESTED, self._consumer, rows))


def _now() -> datetime:
    return datetime.now(UTC)


async def _until_up(work: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
    """Do something that needs the database, as soon as it is there."""
    while not stop.is_set():
        if await _unless_away(work()):
            return
        await asyncio.sleep(1)


async def _unless_away(work: Awaitable[object]) -> bool:
    """Do something unless the database or Redis is away; return whether it was done."""
    try:
        await work
    except Unavailable as error:
        _log.warning("work_waits", error=str(error)[:200])
        return False
    except (SQLAlchemyError, OSError) as error:
        if not is_outage(error):
            raise
        _log.warning("work_waits", error=str(error)[:200])
        return False
    return True
