"""The ledger as a process would run it: its own database role, its own Redis user, messages in, books out."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from libs.common.bus import Bus
from libs.common.bus.streams import ATTEMPTS_DECIDED, EVENTS_DETECTED, MARKETS_RESOLVED, MARKS_UPDATED
from libs.common.db.dead_letters import PostgresDeadLetters
from libs.common.domain.kinds import Decision, EventKind, MarkSource, Scope, Side
from libs.common.domain.money import MICROS
from libs.common.messages import AttemptDecided, EventDetected, MarketResolved, MarkUpdated
from services.cli.stack.ports import free_port
from services.ledger.app import serve
from services.ledger.settings import Settings
from services.ledger.store import Books
from tests.integration.test_ledger import BANKROLL, CONDITION, LEGS, OTTER, World
from tests.support.databases import Database

pytestmark = pytest.mark.integration

NOW = datetime(2026, 9, 28, 9, 0, tzinfo=UTC)


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110  what is awaited is a row that another task commits
            await asyncio.sleep(0.02)


@asynccontextmanager
async def ledgers(database: Database, url: str, count: int) -> AsyncIterator[None]:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for number in range(count):
            settings = Settings(
                database_url=SecretStr(database.url("ledger")),
                redis_url=SecretStr(url),
                instance=f"ledger-{number}",
                http_port=free_port(),
            )
            tasks.create_task(serve(settings, stop))
        yield
        stop.set()


@pytest.fixture
async def bus(database: Database, redis_url: str) -> AsyncIterator[Bus]:
    bus = Bus(redis_url, service="test", instance="test", dead_letters=PostgresDeadLetters(database.engine("operator")))
    yield bus
    await bus.redis.aclose()


def detected(event: UUID, kind: EventKind = EventKind.TRADE) -> EventDetected:
    return EventDetected(
        event_id=event,
        kind=kind,
        booked=True,
        user_id=OTTER,
        condition_id=CONDITION,
        asset_id=LEGS[0],
        side=Side.BUY,
        occurred_at=NOW,
        observed_at=NOW,
    )


def decided(attempt: UUID, scope: Scope) -> AttemptDecided:
    return AttemptDecided(
        attempt_id=attempt,
        group_id=uuid4(),
        scope=scope,
        user_id=OTTER,
        decision=Decision.EXECUTE,
        occurred_at=NOW,
        observed_at=NOW,
    )


async def test_two_ledgers_turn_messages_into_books_and_give_up_on_what_was_never_committed(
    database: Database, redis_url_for: Callable[[str], str], bus: Bus
) -> None:
    world = World(database)
    await world.market()
    async with ledgers(database, redis_url_for("ledger"), 2):
        await world.follow_only()

        async def opened() -> bool:
            return len(await world.rows("SELECT id FROM portfolio")) == 3

        await eventually(opened)
        events = [await world.fill("BUY", 2 * MICROS, MICROS) for _ in range(30)]
        bought = await world.attempt(Scope.EXEC_USER, 10, 5)
        both = await world.attempt(Scope.EXEC_GLOBAL, 20, 9)
        stranger = uuid4()
        await bus.publish(EVENTS_DETECTED, [detected(event) for event in (*events, stranger, *events[:5])])
        await bus.publish(ATTEMPTS_DECIDED, [decided(both, Scope.EXEC_GLOBAL), decided(bought, Scope.EXEC_USER)])

        async def posted() -> bool:
            return len(await world.entries()) == 2 + 30 + 2

        await eventually(posted)

        async def given_up() -> bool:
            return [row.subject for row in await world.rows("SELECT subject FROM dead_letter")] == [str(stranger)]

        await eventually(given_up)
        await world.mark(LEGS[0], 600_000)
        mark = MarkUpdated(
            asset_id=LEGS[0],
            price_micros=600_000,
            source=MarkSource.MIDPOINT,
            occurred_at=NOW,
            observed_at=NOW,
        )
        await bus.publish(MARKS_UPDATED, [mark])

        async def marked() -> bool:
            return bool((await world.snapshots(Scope.SHADOW_USER))[-1].exposure_micros == 36 * MICROS)

        await eventually(marked)
        await world.resolve(MICROS, 0)
        resolved = MarketResolved(condition_id=CONDITION, payouts_micros=(MICROS, 0), occurred_at=NOW, observed_at=NOW)
        await bus.publish(MARKETS_RESOLVED, [resolved, resolved])

        async def settled() -> bool:
            return bool((await world.portfolio(Scope.EXEC_GLOBAL, None)).cash_micros == BANKROLL - 9 + 20)

        await eventually(settled)
    assert (await world.portfolio(Scope.SHADOW_USER)).cash_micros == 30 * MICROS
    assert (await world.portfolio(Scope.EXEC_USER)).cash_micros == BANKROLL - 5 + 10
    assert await world.violations() == []


async def test_what_waits_is_posted_when_its_market_is_learned_though_another_look_fails(
    database: Database, redis_url_for: Callable[[str], str], bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(database)

    async def fail(_: Books) -> int:
        raise RuntimeError("a portfolio that cannot be valued")

    monkeypatch.setattr(Books, "revalue_minute", fail)
    async with ledgers(database, redis_url_for("ledger"), 2):
        await world.follow_only()
        fill, split = await world.fill("BUY", 2 * MICROS, MICROS), await world.activity("SPLIT", 7)
        await bus.publish(EVENTS_DETECTED, [detected(split, EventKind.SPLIT), detected(fill)])

        async def posted(count: int) -> bool:
            return len([entry for entry in await world.entries() if entry.scope == "SHADOW_USER"]) == count

        await eventually(lambda: posted(1))
        await world.market()
        await eventually(lambda: posted(3))

        async def nobody_waits() -> bool:
            return await world.books.waiting() == 0

        await eventually(nobody_waits)
    assert await world.violations() == []
