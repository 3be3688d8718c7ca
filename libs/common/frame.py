"""What every service process is made of: database, bus, health, door and heartbeat, opened and closed in order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.bus import Bus
from libs.common.db.checkpoints import beat
from libs.common.db.dead_letters import PostgresDeadLetters
from libs.common.db.engine import IDLE_SECONDS, is_outage, make_engine
from libs.common.observability.health import Health
from libs.common.observability.http import serve_http
from libs.common.observability.metrics import BusMetrics
from libs.common.settings import ServiceSettings


@dataclass(frozen=True, slots=True)
class Frame:
    """The parts a service builds on. The bus is not started: declare consumers first."""

    engine: AsyncEngine
    health: Health
    bus: Bus


@asynccontextmanager
async def opened_frame(
    service: str, settings: ServiceSettings, *, pool_size: int = 4, idle_seconds: float = IDLE_SECONDS
) -> AsyncIterator[Frame]:
    """Yield the frame of one process of `service`, its door open and its heart beating; close it all at the end."""
    async with AsyncExitStack() as cleanup:
        health = Health(service, settings.instance)
        cleanup.callback(serve_http(health, settings.http_port).close)
        engine = make_engine(
            settings.database_url.get_secret_value(),
            application=settings.instance,
            pool_size=pool_size,
            idle_seconds=idle_seconds,
        )
        cleanup.push_async_callback(engine.dispose)
        beating = asyncio.create_task(beat(engine, service, settings.instance, settings.http_port, health.snapshot))
        cleanup.callback(beating.cancel)
        bus = Bus(
            settings.redis_url.get_secret_value(),
            service=service,
            instance=settings.instance,
            dead_letters=PostgresDeadLetters(engine),
            health=health,
            metrics=BusMetrics(),
            is_outage=is_outage,
        )
        cleanup.push_async_callback(bus.stop)
        yield Frame(engine, health, bus)
