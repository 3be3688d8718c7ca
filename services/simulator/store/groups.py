"""Closed groups: those a message names, those that still wait, and what was held before them."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.bus.streams import GROUPS_CLOSED
from libs.common.domain.kinds import Scope
from services.simulator.core.facts import Group
from services.simulator.store import statements as sql
from services.simulator.store.driver import Connection, driver_connection
from services.simulator.store.rows import Candidate, attempted_of, group_of


class GroupStore:
    """Reads groups in one scope, as one consumer group of the bus."""

    def __init__(self, engine: AsyncEngine, scope: Scope, consumer: str) -> None:
        self._engine = engine
        self._scope = scope
        self._consumer = consumer

    async def find(self, group_ids: Sequence[UUID]) -> list[Candidate]:
        """Return those groups that exist, with their attempts in this scope."""
        async with driver_connection(self._engine) as connection:
            rows = await sql.GROUPS.rows(connection, ids=group_ids, scope=self._scope.value)
        return [attempted_of(row) for row in rows]

    async def missing(self, since: datetime, closed_before: datetime, limit: int) -> list[Group]:
        """Return groups without attempt in this scope and without open or discarded dead letter, in order."""
        parameters = {
            "since": since,
            "before": closed_before,
            "scope": self._scope.value,
            "stream": GROUPS_CLOSED.name,
            "consumer": self._consumer,
            "limit": limit,
        }
        async with driver_connection(self._engine) as connection:
            return [group_of(row) for row in await sql.MISSING.rows(connection, **parameters)]


async def shadow_held(connection: Connection, groups: Sequence[Group]) -> dict[UUID, int]:
    """Return the shares followed users held of a group's token before it, by group."""
    if not groups:
        return {}
    rows = await sql.SHADOW_HELD.rows(
        connection,
        groups=[group.id for group in groups],
        users=[group.user_id for group in groups],
        assets=[group.asset_id for group in groups],
        before=[group.first_event_time for group in groups],
        ordinals=[group.first_ordinal for group in groups],
    )
    return {row["group_id"]: int(row["share_micros"]) for row in rows}
