"""Composition root of ingest: the only place that constructs."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Final

import structlog

from libs.common.bus import Bus
from libs.common.bus.limiter import RedisTokenBucket
from libs.common.bus.streams import EVENTS_DETECTED, RECONCILE_REQUESTED
from libs.common.db.checkpoints import beat
from libs.common.db.dead_letters import PostgresDeadLetters
from libs.common.db.engine import is_outage, make_engine
from libs.common.domain.errors import Unavailable
from libs.common.messages import EventDetected
from libs.common.observability.health import Health
from libs.common.observability.http import serve_http
from libs.common.observability.metrics import BusMetrics
from libs.common.upstream.data_api import DataApiClient
from libs.common.upstream.gamma import GammaClient
from libs.common.upstream.gateway import Gateway
from services.ingest.announce import Announcer
from services.ingest.core.sightings import POSITION_TYPES
from services.ingest.feed import Feed
from services.ingest.handlers import on_reconcile_requested
from services.ingest.intake import Intake
from services.ingest.markets import Markets
from services.ingest.metering import UpstreamMetering
from services.ingest.poller import Poller
from services.ingest.roster import Roster
from services.ingest.settings import Settings
from services.ingest.store import SERVICE, IngestStore, MarketStore, Recorded

POLL_SILENCE_SECONDS: Final = 150.0
RECONCILE_SECONDS_MAX: Final = 600.0
FLUSH_SECONDS: Final = 2.0

_log = structlog.get_logger()


def _now() -> datetime:
    return datetime.now(UTC)


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run one ingest until `stop`."""
    redis_url = settings.redis_url.get_secret_value()
    health = Health(SERVICE, settings.instance)
    health.require("roster", within_seconds=15)
    health.require("polling", within_seconds=POLL_SILENCE_SECONDS)
    async with AsyncExitStack() as cleanup:
        door = serve_http(health, settings.http_port)
        cleanup.callback(door.close)
        engine = make_engine(settings.database_url.get_secret_value(), application=settings.instance)
        cleanup.push_async_callback(engine.dispose)
        bus = Bus(
            redis_url,
            service=SERVICE,
            instance=settings.instance,
            dead_letters=PostgresDeadLetters(engine),
            health=health,
            metrics=BusMetrics(),
            is_outage=is_outage,
        )
        bucket = RedisTokenBucket(redis_url)
        cleanup.push_async_callback(bucket.close)
        metering = UpstreamMetering()
        data = Gateway(settings.data_api_url, "data", bucket, metrics=metering)
        gamma = Gateway(settings.gamma_url, "gamma", bucket, metrics=metering)
        cleanup.push_async_callback(data.close)
        cleanup.push_async_callback(gamma.close)

        store = IngestStore(engine)
        roster = Roster(store)
        markets = Markets(
            MarketStore(engine),
            GammaClient(gamma),
            now=_now,
            clock=time.monotonic,
            refresh_seconds=settings.market_refresh_seconds,
        )

        async def publish(messages: Sequence[EventDetected]) -> None:
            await bus.publish(EVENTS_DETECTED, messages)

        announcer = Announcer(publish, markets.condition_of, _now)

        def committed(recorded: Recorded) -> None:
            markets.want(
                (fill.key.asset_id for fill in recorded.created),
                (fact.sighting.key.condition_id for fact in recorded.facts if fact.sighting.kind in POSITION_TYPES),
            )
            announcer.announce(recorded)
            feed.notice(recorded)

        intake = Intake(store, committed, _now)
        poller = Poller(DataApiClient(data), intake, store, roster, at_once=settings.polls_at_once_max)
        feed = Feed(settings, roster, intake, store, health, bucket, poller.reach_back_after_reconnect)
        bus.consume(
            RECONCILE_REQUESTED,
            SERVICE,
            on_reconcile_requested(poller),
            batch_max=20,
            timeout_seconds=RECONCILE_SECONDS_MAX,
        )

        await _first_look(roster, stop)
        async with asyncio.TaskGroup() as group:
            tasks = {
                name: group.create_task(work, name=name)
                for name, work in {
                    "heartbeat": beat(engine, SERVICE, settings.instance, settings.http_port, health.snapshot),
                    "roster": roster.run(lambda: health.progress("roster")),
                    "intake": intake.run(),
                    "announcer": announcer.run(),
                    "markets": markets.run(),
                    "market-refresh": markets.run_refresh(lambda: health.progress("markets")),
                    "poller": poller.run(lambda: health.progress("polling")),
                    "feed": feed.run(),
                    "bus": bus.start(),
                }.items()
            }
            await stop.wait()
            for name in ("feed", "poller", "intake"):
                tasks[name].cancel()
            await announcer.flush(FLUSH_SECONDS)
            await bus.stop()
            for task in tasks.values():
                task.cancel()


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
