"""Closed groups outside of decisions: those a message names, and those that still wait."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.bus.streams import GROUPS_CLOSED
from libs.common.domain.kinds import Scope
from services.simulator.core.facts import Group
from services.simulator.store import statements as sql
from services.simulator.store.driver import driver_connection
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
