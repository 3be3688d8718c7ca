"""Configuration rows merged into versions of EffectiveConfig, and versions compiled for deciding."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from libs.common.db.blacklist import Listed, apply_blacklist, read_blacklist
from libs.common.db.engine import transaction
from libs.common.db.settings import SetLayers, read_layers
from libs.common.db.tables.config import EffectiveConfig
from libs.common.domain.config import BLACKLIST_MAX, CopyConfig, document
from libs.common.domain.config_problem import ConfigRejected
from libs.common.domain.errors import Rejected
from services.simulator.core.rules import Rules, compile_rules

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

Documents = dict[UUID | None, dict[str, Any]]
"""Complete configurations by user; None is global."""
Seen = tuple[SetLayers, list[Listed]]
"""Everything a merge looks at."""


@dataclass(frozen=True, slots=True)
class CurrentRules:
    """Rules by user; None is global."""

    by_user: Mapping[UUID | None, Rules]

    @property
    def for_all(self) -> Rules:
        """Return the global rules."""
        return self.by_user.get(None) or _DEFAULTS

    def of(self, user_id: UUID) -> Rules:
        """Return the rules of a user: their own, else the global ones, else SPEC 5's defaults."""
        return self.by_user.get(user_id) or self.for_all


class ConfigStore:
    """Merges what was set; remembers compiled versions, which never change."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._compiled: dict[int, Rules] = {}
        self._seen: Seen | None = None
        self._refused: tuple[str, ...] = ()

    async def merge(self) -> int:
        """Write a version for every configuration whose values changed; return how many.

        Every user with a row, or with a version from before, has versions of their own. Where rows hold what the schema
        refuses, the last version of those whom it concerns stays in force, everybody else's is merged, and then
        Rejected says whose rows are wrong.
        """
        written = 0
        async with transaction(self._engine) as connection:
            seen = await self._look(connection)
            if seen != self._seen:
                await connection.execute(_LOCK, {"key": _LOCK_KEY})
                seen = await self._look(connection)
                latest = await self._latest(connection)
                wanted, self._refused = merged_layers(*seen, latest)
                changed = [user for user, values in wanted.items() if latest.get(user) != values]
                written = len(changed)
                for user in changed:
                    await connection.execute(
                        insert(_EFFECTIVE).values(
                            scope="GLOBAL" if user is None else "USER",
                            user_id=user,
                            values=wanted[user],
                            effective_at=func.clock_timestamp(),
                        )
                    )
        self._seen = seen
        if self._refused:
            raise Rejected("; ".join(self._refused))
        return written

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

    async def seen(self) -> Seen:
        """Return what is set now."""
        async with transaction(self._engine) as connection:
            return await self._look(connection)

    async def _look(self, connection: AsyncConnection) -> Seen:
        return await read_layers(connection), await read_blacklist(connection)

    async def _latest(self, connection: AsyncConnection) -> Documents:
        return {row.user_id: row[2] for row in await connection.execute(_LATEST)}


def merged_layers(
    layers: SetLayers, blacklist: list[Listed], latest: Mapping[UUID | None, dict[str, Any]]
) -> tuple[Documents, tuple[str, ...]]:
    """Return the complete configuration of all that have their own, and what is wrong with rows left out.

    While the global rows are wrong, the last good global configuration stands for them; without one nothing is decided.
    """
    wanted: Documents = {}
    refused = []
    try:
        shared = document(layers.merged(None))
    except ConfigRejected as error:
        refused.append(str(error))
        if None not in latest:
            return {}, tuple(refused)
        shared = latest[None]
        layers = replace(layers, values={**layers.values, None: shared}, malformed=layers.malformed - {None})
    users = dict.fromkeys((*layers.values, *latest, *(row.user_id for row in blacklist)))
    for user in users:
        try:
            values = document(layers.merged(user)) if user is not None else dict(shared)
        except ConfigRejected as error:
            refused.append(str(error))
            continue
        values["market_blacklist"] = apply_blacklist(values["market_blacklist"], blacklist, user)
        if len(values["market_blacklist"]) > BLACKLIST_MAX:
            refused.append(f"{layers.name_of(user)}: market_blacklist: expected at most {BLACKLIST_MAX} markets")
            continue
        wanted[user] = values
    return wanted, tuple(refused)
