"""Configuration rows merged into versions of EffectiveConfig, and versions compiled for deciding."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from libs.common.db.engine import transaction
from libs.common.db.tables.config import CopySizingConfig, EffectiveConfig, GuardrailConfig
from libs.common.domain.config import CopyConfig, document, merge
from services.simulator.core.rules import Rules, compile_rules
from services.simulator.store.settings_rows import BANKROLL

_GUARDRAILS = GuardrailConfig.__table__  # type: ignore[attr-defined]
_SIZING = CopySizingConfig.__table__  # type: ignore[attr-defined]
_EFFECTIVE = EffectiveConfig.__table__  # type: ignore[attr-defined]
_LOCK: Final = text("SELECT pg_advisory_xact_lock(:key)")
_LATEST: Final = text("""
SELECT DISTINCT ON (scope, user_id) user_id, version, values FROM effective_config
ORDER BY scope, user_id, version DESC
""")
_LOCK_KEY: Final = 0x5AD0C0F6
"""Mergers take turns, so that no two write the same version."""
CACHE_MAX: Final = 1_000
_DEFAULTS: Final = compile_rules(CopyConfig(), 0)

Layers = dict[UUID | None, dict[str, Any]]
"""What was set, by user; None is global."""


@dataclass(frozen=True, slots=True)
class CurrentRules:
    """Rules by user; None is global."""

    by_user: Mapping[UUID | None, Rules]

    def of(self, user_id: UUID) -> Rules:
        """Return the rules of a user: their own, else the global ones, else SPEC 5's defaults."""
        return self.by_user.get(user_id) or self.by_user.get(None) or _DEFAULTS


class ConfigStore:
    """Merges what was set; remembers compiled versions, which never change."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._compiled: dict[int, Rules] = {}
        self._seen: Layers | None = None

    async def merge(self) -> int:
        """Write a version for every configuration whose values changed; return how many.

        Every user with a row, or with a version from before, has versions of their own. Raises Rejected when rows hold
        what the schema refuses; the versions in force stay.
        """
        async with transaction(self._engine) as connection:
            layers = await self._layers(connection)
            if layers == self._seen:
                return 0
            await connection.execute(_LOCK, {"key": _LOCK_KEY})
            layers = await self._layers(connection)
            wanted = merged_layers(layers)
            latest = await self._latest(connection)
            for user in latest:
                wanted.setdefault(user, wanted[None])
            changed = [user for user, values in wanted.items() if latest.get(user) != values]
            for user in changed:
                await connection.execute(
                    insert(_EFFECTIVE).values(
                        scope="GLOBAL" if user is None else "USER",
                        user_id=user,
                        values=wanted[user],
                        effective_at=func.clock_timestamp(),
                    )
                )
        self._seen = layers
        return len(changed)

    def unknown(self, versions: Iterable[int]) -> set[int]:
        """Return the versions whose values must be read first."""
        if len(self._compiled) > CACHE_MAX:
            self._compiled.clear()
        return set(versions) - self._compiled.keys()

    def learn(self, rows: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
        """Compile versions for deciding."""
        for version, values in rows:
            self._compiled[version] = compile_rules(CopyConfig.model_validate(values), version)

    def rules(self, versions: Iterable[int]) -> dict[int, Rules]:
        """Return compiled versions."""
        return {version: self._compiled[version] for version in versions}

    async def current(self) -> "CurrentRules":
        """Return the rules in force now, for waking up in time; decisions read their own."""
        async with transaction(self._engine) as connection:
            rows = (await connection.execute(_LATEST)).all()
        unknown = self.unknown(row.version for row in rows)
        self.learn((row.version, row[2]) for row in rows if row.version in unknown)
        rules = self.rules(row.version for row in rows)
        return CurrentRules({row.user_id: rules[row.version] for row in rows})

    async def _layers(self, connection: AsyncConnection) -> Layers:
        found: Layers = {None: {}}
        for table in (_SIZING, _GUARDRAILS):
            for row in await connection.execute(select(table.c.user_id, table.c["values"])):
                values = {name: value for name, value in row[1].items() if name != BANKROLL}
                found.setdefault(row.user_id, {}).update(values)
        return found

    async def _latest(self, connection: AsyncConnection) -> dict[UUID | None, dict[str, Any]]:
        return {row.user_id: row[2] for row in await connection.execute(_LATEST)}


def merged_layers(layers: Layers) -> dict[UUID | None, dict[str, Any]]:
    """Return the complete configuration document of each user with a row, and the global one."""
    shared = layers[None]
    return {
        user: document(
            merge(shared, {} if user is None else values, where="global" if user is None else f"user {user}")
        )
        for user, values in layers.items()
    }
