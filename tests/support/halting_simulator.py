"""A simulator process that halts itself in the middle of its first decision transaction, where its first argument says.

Arguments: place, signal name, scope, database URL, URL of the book host. It takes up what is undecided, as every
simulator does at its start, and says how it went on after it was woken.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

from libs.common.db.engine import is_outage, make_engine
from libs.common.domain.kinds import Scope
from libs.common.upstream.clob import ClobClient
from libs.common.upstream.gateway import Gateway
from libs.common.upstream.limits import NoLimit
from services.simulator.books import BookDesk
from services.simulator.deciding import Decider
from services.simulator.scheduler import Scheduler
from services.simulator.store.books import BookStore
from services.simulator.store.configs import ConfigStore
from services.simulator.store.groups import GroupStore
from services.simulator.store.session import BEGINNING, DecisionSession

LOCKED, WRITTEN, READING, FETCHING = "locked", "written", "reading", "fetching"
PLACES: Final = (LOCKED, WRITTEN, READING, FETCHING)
LARGE: Final = "SELECT repeat('x', 100000) FROM generate_series(1, 1000)"
"""An answer that no socket buffer holds."""


def halt_at(place: str, halt: Callable[[], None]) -> None:
    """Make the first decision transaction of this process halt."""
    session: Any = DecisionSession
    lock, write = session.lock, session.write
    halted: list[bool] = []

    async def locks(self: Any, portfolios: Any) -> Any:
        found = await lock(self, portfolios)
        if not halted and place == LOCKED:
            halted.append(True)
            halt()
        if not halted and place == READING:
            halted.append(True)
            reading = asyncio.create_task(self._connection.execute(LARGE))
            await asyncio.sleep(0)  # the statement is on its way
            halt()
            await reading
        return found

    async def writes(self: Any, *rows: Any) -> None:
        await write(self, *rows)
        if not halted and place == WRITTEN:
            halted.append(True)
            halt()

    session.lock, session.write = locks, writes


def _halts_fetching(client: Any, halt: Callable[[], None]) -> None:
    books: Callable[..., Awaitable[Any]] = client.books
    halted: list[bool] = []

    async def fetch(asset_ids: Any) -> Any:
        asked = asyncio.ensure_future(books(asset_ids))
        await asyncio.sleep(0)
        if not halted:
            halted.append(True)
            halt()
        return await asked

    client.books = fetch


async def live(place: str, name: str, scope: Scope, url: str, host: str) -> None:
    """Decide what is undecided; ends once nothing is left."""

    def halt() -> None:
        print("halting", flush=True)  # noqa: T201  the test reads it
        os.kill(os.getpid(), getattr(signal, name))

    engine = make_engine(url, application="halting", pool_size=4)
    configs, books = ConfigStore(engine), BookStore(engine, "halting")
    consumer = {Scope.EXEC_USER: "simulator-user", Scope.EXEC_GLOBAL: "simulator-global"}[scope]
    rules = await configs.current()
    gateway = Gateway(host, "clob", NoLimit())
    client: Any = ClobClient(gateway)
    if place == FETCHING:
        _halts_fetching(client, halt)
    else:
        halt_at(place, halt)

    def now() -> datetime:
        return datetime.now(UTC)

    async def nothing(*_: Any) -> None:
        return None

    desk = BookDesk(client, books, lambda ids: scheduler.books_settled(ids), now=now)
    scheduler = Scheduler(
        Decider(engine, books, configs, scope=scope, consumer=consumer, seed=0, now=now),
        scope=scope, seed=0, chunk_max=100, rules_for=rules.of, want_books=desk.want, announce=nothing, give_up=nothing,
        now=now, is_outage=is_outage,
    )  # fmt: skip
    scheduler.wait_for(await GroupStore(engine, scope, consumer).missing(BEGINNING, now(), 1_000))
    tasks = [asyncio.create_task(desk.run()), asyncio.create_task(scheduler.run(asyncio.Event(), lambda: None))]
    async with asyncio.timeout(30):
        while len(scheduler):  # noqa: ASYNC110  the scheduler has no event for it
            await asyncio.sleep(0.02)
    for task in tasks:
        task.cancel()
    await gateway.close()
    await engine.dispose()
    print("done", flush=True)  # noqa: T201  the test reads it


if __name__ == "__main__":
    asyncio.run(live(sys.argv[1], sys.argv[2], Scope(sys.argv[3]), sys.argv[4], sys.argv[5]))
