"""Composition root of ingest: the only place that constructs."""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from libs.common.bus.limiter import RedisTokenBucket
from libs.common.bus.streams import EVENTS_DETECTED, RECONCILE_REQUESTED
from libs.common.db.engine import make_engine
from libs.common.db.retention import Retention
from libs.common.domain.errors import Unavailable
from libs.common.frame import Frame, opened_frame
from libs.common.messages import EventDetected
from libs.common.observability.metrics import LIMITER_FALLBACK, UpstreamMetrics
from libs.common.upstream.data_api import DataApiClient
from libs.common.upstream.gamma import GammaClient
from libs.common.upstream.gateway import Gateway
from services.ingest.announce import Announcer
from services.ingest.backfill import Backfiller
from services.ingest.contact import ChainContact, PollContact, take_leave
from services.ingest.core.positions import Sync
from services.ingest.core.sightings import POSITION_TYPES
from services.ingest.feed import Feed
from services.ingest.handlers import on_reconcile_requested
from services.ingest.intake import Intake
from services.ingest.markets import Markets
from services.ingest.poller import Poller
from services.ingest.positions import Positions, sync_message
from services.ingest.roster import Roster
from services.ingest.settings import Settings
from services.ingest.store import (
    SERVICE,
    ContactStore,
    IngestStore,
    MarketStore,
    PositionStore,
    Recorded,
    TurnStore,
)
from services.ingest.store.events import PAYLOADS_KEPT

POLL_SILENCE_SECONDS: Final = 150.0
RECONCILE_SECONDS_MAX: Final = 600.0
FLUSH_SECONDS: Final = 2.0
MATCHING_SECONDS: Final = 30.0
"""How long the server lets a transaction stand still: matching computes in between, for seconds where a page has a
thousand twins. No decision waits for its locks."""

_log = structlog.get_logger()


def _now() -> datetime:
    return datetime.now(UTC)


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run one ingest until `stop`."""
    async with opened_frame(SERVICE, settings, idle_seconds=MATCHING_SECONDS) as frame, AsyncExitStack() as cleanup:
        frame.health.require("roster", within_seconds=15)
        frame.health.require("polling", within_seconds=POLL_SILENCE_SECONDS)
        parts = _Parts(settings, frame)
        cleanup.push_async_callback(parts.close)
        await _first_look(parts.roster, stop)
        async with asyncio.TaskGroup() as group:
            tasks = {name: group.create_task(work, name=name) for name, work in parts.work().items()}
            await stop.wait()
            parts.chain_contact.leaves()
            for name in ("feed", "poller", "backfiller", "positions", "intake"):
                tasks[name].cancel()
            await parts.announcer.flush(FLUSH_SECONDS)
            await take_leave(parts.chain_contact, parts.poll_contact, parts.roster.follows.keys())
            await frame.bus.stop()
            for task in tasks.values():
                task.cancel()


class _Parts:
    """Everything one ingest is made of."""

    def __init__(self, settings: Settings, frame: Frame) -> None:
        self._frame = frame
        self._bucket = RedisTokenBucket(settings.redis_url.get_secret_value(), LIMITER_FALLBACK.set)
        self._data = Gateway(settings.data_api_url, "data", self._bucket, metrics=UpstreamMetrics())
        self._gamma = Gateway(settings.gamma_url, "gamma", self._bucket, metrics=UpstreamMetrics())
        store = IngestStore(frame.engine)
        self._hot = make_engine(
            settings.database_url.get_secret_value(),
            application=f"{settings.instance}:logs",
            pool_size=1,
            idle_seconds=MATCHING_SECONDS,
        )
        self.roster = Roster(store)
        turns = TurnStore(frame.engine, settings.instance)
        self._markets = Markets(
            MarketStore(frame.engine),
            GammaClient(self._gamma),
            turns,
            now=_now,
            clock=time.monotonic,
            refresh_seconds=settings.market_refresh_seconds,
        )
        self.announcer = Announcer(self._publish, self._markets.condition_of, _now)
        self._intake = Intake(store, self._committed, _now, self._markets.hint, IngestStore(self._hot))
        records = ContactStore(frame.engine, settings.instance)
        self.chain_contact, self.poll_contact = ChainContact(records, _now), PollContact(records, _now)
        api = DataApiClient(self._data)
        self._poller = Poller(
            api, self._intake, turns, self.roster, at_once=settings.polls_at_once_max, contact=self.poll_contact
        )
        self._backfiller = Backfiller(api, self._intake, turns, self.roster, contact=self.poll_contact)
        self._positions = Positions(
            api,
            PositionStore(frame.engine),
            self._poller,
            turns,
            self._synced,
            settle_seconds=settings.positions_settle_seconds,
        )
        self._retention = Retention("payloads", PAYLOADS_KEPT, store.drop_payloads, _now)
        self._feed = Feed(
            settings,
            self.roster,
            self._intake,
            store,
            frame.health,
            self._bucket,
            self._poller.reach_back_after_reconnect,
            self.chain_contact,
        )
        handler = on_reconcile_requested(self._poller, self._backfiller, self._markets)
        frame.bus.consume(RECONCILE_REQUESTED, SERVICE, handler, batch_max=20, timeout_seconds=RECONCILE_SECONDS_MAX)

    def work(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Return what runs side by side, by name."""
        health = self._frame.health
        return {
            "roster": self.roster.run(lambda: health.progress("roster")),
            "intake": self._intake.run(),
            "announcer": self.announcer.run(),
            "markets": self._markets.run(),
            "market-refresh": self._markets.run_refresh(lambda: health.progress("markets")),
            "poller": self._poller.run(self._polled),
            "backfiller": self._backfiller.run(),
            "positions": self._positions.run(),
            "feed": self._feed.run(),
            "retention": self._retention.run(),
            "bus": self._frame.bus.start(),
        }

    async def close(self) -> None:
        """Close every connection."""
        for gateway in (self._data, self._gamma):
            await gateway.close()
        await self._bucket.close()
        await self._hot.dispose()

    def _polled(self) -> None:
        self._frame.health.progress("polling")
        self._frame.health.set_detail("polling", self._poller.pace())

    async def _publish(self, messages: Sequence[EventDetected]) -> None:
        await self._frame.bus.publish(EVENTS_DETECTED, messages)

    def _committed(self, recorded: Recorded) -> None:
        """Tell everyone whom a committed batch concerns."""
        self._markets.want(
            (fill.key.asset_id for fill in recorded.created),
            (fact.sighting.key.condition_id for fact in recorded.facts if fact.sighting.kind in POSITION_TYPES),
        )
        self.announcer.announce(recorded)
        if recorded.corrected:
            self._synced(recorded.corrected, _now())
        self._feed.notice(recorded)

    def _synced(self, syncs: Sequence[Sync], at: datetime) -> None:
        """Tell everyone whom openings and adjustments concern."""
        self._markets.want((sync.asset_id for sync in syncs), ())
        self.announcer.tell(sync_message(sync, at) for sync in syncs)


async def _first_look(roster: Roster, stop: asyncio.Event) -> None:
    """Know whom we follow before anything starts; a database that is away is awaited."""
    while not stop.is_set():
        try:
            await roster.look()
        except Unavailable as error:
            _log.warning("start_waits", error=str(error)[:200])
            await asyncio.sleep(1)
        else:
            return
