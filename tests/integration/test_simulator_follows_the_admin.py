"""A running simulator, with Valkey and without it: what the admin sets is in force within two seconds."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from libs.common.bus import Bus
from libs.common.bus.status import stream_status
from libs.common.bus.streams import GROUPS_CLOSED
from libs.common.db import switches
from libs.common.db.blacklist import set_listed
from libs.common.db.dead_letters import PostgresDeadLetters
from libs.common.db.engine import transaction
from libs.common.db.settings import write_settings
from libs.common.domain.kinds import Scope
from services.simulator.commands import apply_config_file
from tests.integration.test_simulator_service import book_host, closed, eventually, simulators
from tests.support import databases
from tests.support.databases import Database, Redis
from tests.support.decisions import CONDITION
from tests.support.simulator_world import CONSUMERS, HERON, OTTER, World

__all__ = ["book_host"]

pytestmark = pytest.mark.integration
SOON = timedelta(seconds=2)


class Valkey:
    """One that can be taken away."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.server: Redis = self._stack.enter_context(databases.embedded_valkey(databases.fresh_passwords()))

    def take_away(self) -> None:
        self._stack.close()


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    found = Valkey()
    yield found
    found.take_away()


async def announce(world: World, url: str, *groups: UUID) -> None:
    letters = PostgresDeadLetters(world.database.engine())
    bus = Bus(url, service="test", instance="test", dead_letters=letters)
    await bus.publish(GROUPS_CLOSED, [closed(each) for each in groups])
    await bus.redis.aclose()


def heard(url: str) -> Callable[[], Awaitable[bool]]:
    async def all_heard() -> bool:
        streams = {(each.name, each.group): each for each in await stream_status(url)}
        return streams[GROUPS_CLOSED.name, "simulator-user"].lag == 0

    return all_heard


async def version_since(world: World, before: int, user: UUID | None = None) -> tuple[int, datetime]:
    """Wait for a version later than `before`; return it and since when it is in force."""
    found: list[Any] = []

    async def merged() -> bool:
        found[:] = await world.execute(
            "SELECT version, effective_at FROM effective_config WHERE version > :v AND user_id IS NOT DISTINCT FROM :u",
            v=before,
            u=user,
        )
        return bool(found)

    await eventually(merged)
    return found[0].version, found[0].effective_at


async def latest(world: World) -> int:
    return int((await world.execute("SELECT coalesce(max(version), 0) FROM effective_config"))[0][0])


async def set_at(world: World) -> datetime:
    found: datetime = (await world.execute("SELECT max(at) FROM audit_log"))[0][0]
    return found


def decided(world: World, count: int, *scopes: Scope) -> Callable[[], Awaitable[bool]]:
    async def all_decided() -> bool:
        return all([len(await world.attempts(scope)) >= count for scope in scopes or (Scope.EXEC_USER,)])

    return all_decided


@pytest.mark.parametrize("away", [False, True], ids=["with Valkey", "with Valkey away"])
async def test_a_change_is_in_force_within_two_seconds_and_named_by_the_attempts(
    database: Database, valkey: Valkey, book_host: str, away: bool
) -> None:
    world = World(database)
    await world.open()
    await apply_config_file(database.url(), None, {"global": {"decision_latency_ms": 3500, "jitter_ms": 0}})
    async with simulators(database, valkey.server.url("simulator"), book_host, Scope.EXEC_USER):
        await version_since(world, 1)
        before = await latest(world)
        # Two groups wait out their latency while the configuration changes under them.
        groups = [await world.close_group(age_s=2, user=user) for user in (OTTER, HERON)]
        await announce(world, valkey.server.url(), *groups)
        if away:
            await eventually(heard(valkey.server.url()))
            valkey.take_away()
        changes = {"global": {"copy_pct": 3}, "users": {"otter": {"copy_pct": 2}}}
        await apply_config_file(database.url(), valkey.server.url(), changes)
        changed_at = await set_at(world)
        (shared, since), (own, own_since) = [await version_since(world, before, user) for user in (None, OTTER)]
        assert max(since, own_since) - changed_at < SOON
        await eventually(decided(world, 2))
        attempts = {each.user_id: each for each in await world.attempts(Scope.EXEC_USER)}
        assert {user: each.config_version for user, each in attempts.items()} == {OTTER: own, HERON: shared}
        assert (attempts[OTTER].target_notional_micros, attempts[HERON].target_notional_micros) == (
            20_000_000, 30_000_000,
        )  # fmt: skip

        before = await latest(world)
        async with transaction(database.engine("ui")) as connection:
            await set_listed(connection, CONDITION, None, True, "", "admin")
        _, since = await version_since(world, before)
        assert since - await set_at(world) < SOON


async def test_a_shorter_latency_counts_for_groups_that_wait_already(
    database: Database, valkey: Valkey, book_host: str
) -> None:
    world = World(database)
    await world.open()
    slow = {"decision_latency_ms": 600_000, "jitter_ms": 0, "max_event_age_seconds": 700}
    await apply_config_file(database.url(), None, {"global": slow})
    async with simulators(database, valkey.server.url("simulator"), book_host, Scope.EXEC_USER):
        await version_since(world, 1)
        await announce(world, valkey.server.url(), await world.close_group(age_s=2))
        await eventually(heard(valkey.server.url()))
        await apply_config_file(database.url(), valkey.server.url(), {"global": {"decision_latency_ms": 750}})
        changed_at = await set_at(world)
        await eventually(decided(world, 1))
        (attempt,) = await world.attempts(Scope.EXEC_USER)
        assert attempt.decided_at - changed_at < SOON + timedelta(seconds=1)


async def test_rows_written_wrongly_by_hand_show_in_health_and_decisions_go_on(
    database: Database, redis_url_for: Callable[[str], str], redis_url: str, book_host: str
) -> None:
    world = World(database)
    await world.open()
    async with simulators(database, redis_url_for("simulator"), book_host, Scope.EXEC_USER) as (port,):

        async def health() -> Any:
            async with httpx.AsyncClient() as client:
                return (await client.get(f"http://127.0.0.1:{port}/health")).json()

        async def fault_is(shown: bool) -> bool:
            return ("config" in (await health())["faults"]) is shown

        await world.execute(
            "INSERT INTO copy_sizing_config (id, scope, values, updated_at, updated_by)"
            """ VALUES (gen_random_uuid(), 'GLOBAL', '{"copy_pct": "lots"}', now(), 'hand')"""
        )
        await eventually(lambda: fault_is(True))
        assert (await health())["faults"]["config"] == "global: copy_pct: expected a number, got 'lots'"
        group = await world.close_group()
        await announce(world, redis_url, group)
        await eventually(decided(world, 1))
        (attempt,) = await world.attempts(Scope.EXEC_USER)
        assert (attempt.decision, attempt.config_version) == ("EXECUTE", await latest(world))
        async with transaction(database.engine("ui")) as connection:
            await write_settings(connection, {None: {}}, "admin", replace=True)
        await eventually(lambda: fault_is(False))


async def test_switches_count_at_once_with_nobody_to_tell_of_them(
    database: Database, redis_url_for: Callable[[str], str], redis_url: str, book_host: str
) -> None:
    world = World(database)
    await world.open()
    async with simulators(database, redis_url_for("simulator"), book_host, Scope.EXEC_USER, Scope.EXEC_GLOBAL):
        async with transaction(database.engine("ui")) as connection:
            await switches.set_enabled(connection, OTTER, "otter", False, "admin")
        first = await world.close_group(age_s=3)
        await announce(world, redis_url, first)
        await eventually(decided(world, 1, *CONSUMERS))
        async with transaction(database.engine("ui")) as connection:
            await switches.set_paused(connection, True, "admin")
        await announce(world, redis_url, await world.close_group(user=HERON))
        await eventually(decided(world, 2, *CONSUMERS))
    for scope in CONSUMERS:
        reasons = {each.user_id: each.reason_codes for each in await world.attempts(scope)}
        assert reasons == {OTTER: ["USER_DISABLED"], HERON: ["ENGINE_PAUSED"]}
