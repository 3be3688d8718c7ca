"""Composition root of the pricer: the only place that constructs."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from libs.common.db.dead_letters import PostgresDeadLetters

from libs.common.bus import Bus
from libs.common.bus.limiter import RedisTokenBucket
from libs.common.bus.streams import MARKETS_RESOLVED, MARKS_UPDATED
from libs.common.db.checkpoints import beat
from libs.common.db.engine import make_engine
from libs.common.messages import MarketResolved, MarkUpdated
from libs.common.observability.health import Health
from libs.common.observability.http import serve_http
from libs.common.upstream.clob import ClobClient
from libs.common.upstream.data_api import DataApiClient
from libs.common.upstream.gateway import Gateway
from services.pricer.rounds import Rounds
from services.pricer.settings import Settings
from services.pricer.store import SERVICE, PriceStore


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run one pricer until `stop`."""
    redis_url = settings.redis_url.get_secret_value()
    engine = make_engine(settings.database_url.get_secret_value(), application=settings.instance)
    health = Health(SERVICE, settings.instance)
    health.require("rounds", within_seconds=120)
    serve_http(health, settings.http_port)
    bus = Bus(
        redis_url,
        service=SERVICE,
        instance=settings.instance,
        dead_letters=PostgresDeadLetters(engine),
        health=health,
    )
    bucket = RedisTokenBucket(redis_url)
    clob = Gateway(settings.clob_url, "clob", bucket)
    data = Gateway(settings.data_api_url, "data", bucket)

    async def publish_marks(marks: Sequence[MarkUpdated]) -> None:
        await bus.publish(MARKS_UPDATED, marks)

    async def publish_resolved(resolved: Sequence[MarketResolved]) -> None:
        await bus.publish(MARKETS_RESOLVED, resolved)

    rounds = Rounds(
        PriceStore(engine),
        ClobClient(clob),
        DataApiClient(data),
        publish_marks,
        publish_resolved,
        settings,
        now=lambda: datetime.now(UTC),
    )
    async with asyncio.TaskGroup() as tasks:
        beating = tasks.create_task(beat(engine, SERVICE, settings.instance, settings.http_port, health.snapshot))
        await bus.start()
        try:
            await rounds.run(stop, lambda: health.progress("rounds"))
        finally:
            await bus.stop()
            beating.cancel()
    for gateway in (clob, data):
        await gateway.aclose()
    await bucket.close()
    await engine.dispose()
