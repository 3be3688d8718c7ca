"""Composition root of the pricer: the only place that constructs."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from datetime import UTC, datetime

from libs.common.bus.limiter import RedisTokenBucket
from libs.common.bus.streams import MARKETS_RESOLVED, MARKS_UPDATED
from libs.common.db.thinning import Thinning
from libs.common.frame import opened_frame
from libs.common.messages import MarketResolved, MarkUpdated
from libs.common.observability import metrics
from libs.common.observability.metrics import LIMITER_FALLBACK, UpstreamMetrics
from libs.common.upstream.clob import ClobClient
from libs.common.upstream.data_api import DataApiClient
from libs.common.upstream.gateway import Gateway
from services.pricer.core import Freshness
from services.pricer.rounds import Rounds
from services.pricer.settings import Settings
from services.pricer.store import MARKS, SERVICE, PriceStore


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run one pricer until `stop`."""
    async with opened_frame(SERVICE, settings) as frame, AsyncExitStack() as cleanup:
        frame.health.require("rounds", within_seconds=120)
        bucket = RedisTokenBucket(settings.redis_url.get_secret_value(), LIMITER_FALLBACK.set)
        cleanup.push_async_callback(bucket.close)
        clob = Gateway(settings.clob_url, "clob", bucket, metrics=UpstreamMetrics())
        cleanup.push_async_callback(clob.close)
        data = Gateway(settings.data_api_url, "data", bucket, metrics=UpstreamMetrics())
        cleanup.push_async_callback(data.close)

        async def publish_marks(marks: Sequence[MarkUpdated]) -> None:
            await frame.bus.publish(MARKS_UPDATED, marks)
            for mark in marks:
                metrics.MARKS_UPDATED.labels(mark.source).inc()

        async def publish_resolved(resolved: Sequence[MarketResolved]) -> None:
            await frame.bus.publish(MARKETS_RESOLVED, resolved)
            metrics.MARKETS_RESOLVED.inc(len(resolved))

        def report(fresh: Freshness, refused: Mapping[str, str]) -> None:
            metrics.MARKS_STALE.set(fresh.stale)
            metrics.MARKS_MISSING.set(fresh.missing)
            metrics.MARK_AGE_OLDEST.set(fresh.oldest_seconds or 0)
            metrics.MARKETS_OVERDUE.set(fresh.overdue)
            metrics.RESOLUTIONS_REFUSED.set(len(refused))
            frame.health.set_detail("marks", asdict(fresh))
            frame.health.set_fault("resolutions", "; ".join(sorted(refused.values())[:3]) or None)

        rounds = Rounds(
            PriceStore(frame.engine),
            ClobClient(clob),
            DataApiClient(data),
            publish_marks,
            publish_resolved,
            settings,
            now=lambda: datetime.now(UTC),
            report=report,
        )
        await frame.bus.start()
        thinning = asyncio.create_task(
            Thinning(frame.engine, SERVICE, MARKS, now=lambda: datetime.now(UTC)).run(), name="thinning"
        )
        try:
            await rounds.run(stop, lambda: frame.health.progress("rounds"))
        finally:
            thinning.cancel()
