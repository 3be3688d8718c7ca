"""One layer of configuration as the admin sees it: what is set here, what is inherited, what is in force."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.common.db.settings import read_layers
from libs.common.domain.config import CopyConfig, document, remarks
from libs.common.domain.config_problem import ConfigRejected

HISTORY_MAX: Final = 1_000

_IN_FORCE: Final = text("""
SELECT version, values, effective_at FROM effective_config
WHERE user_id IS NOT DISTINCT FROM CAST(:user AS uuid) ORDER BY version DESC LIMIT 1
""")
_HISTORY: Final = text("""
SELECT * FROM (
  SELECT c.version, c.effective_at, u.label, c.values,
         lag(c.values) OVER (PARTITION BY c.user_id ORDER BY c.version) AS before
  FROM effective_config c LEFT JOIN followed_user u ON u.id = c.user_id
  WHERE CAST(:all AS boolean) OR c.user_id IS NOT DISTINCT FROM CAST(:user AS uuid)) h
ORDER BY version DESC LIMIT :limit
""")


class SettingsView(BaseModel):
    """One layer. Amounts are micros, percentages decimal text.

    `own` holds what this layer sets, `inherited` what would count if it set nothing, `values` what both give, `sources`
    where each value comes from (user, global, default). `in_force` is what decisions are made by, blacklist table
    included; `version` names it in attempts (the global one where a user has none). `etag` changes
    with `own`. `problem` says why rows written by hand are not merged, `remarks` what is probably not meant.
    """

    model_config = ConfigDict(frozen=True)

    user_id: UUID | None
    user: str | None
    etag: str
    version: int | None
    effective_at: datetime | None
    own: dict[str, Any]
    inherited: dict[str, Any]
    values: dict[str, Any]
    sources: dict[str, str]
    in_force: dict[str, Any] | None
    bankroll_micros: int | None
    remarks: list[str]
    problem: str | None


class Change(BaseModel):
    """One version: when it came into force, for whom (null: all), and what changed, as [from, to]."""

    model_config = ConfigDict(frozen=True)

    version: int
    effective_at: datetime
    user: str | None
    changes: dict[str, list[Any]]


async def read_settings(connection: AsyncConnection, user: UUID | None) -> SettingsView:
    """Return the layer of a user, None: the global one."""
    layers = await read_layers(connection)
    own, problem, hints = layers.values.get(user, {}), None, list[str]()
    inherited = document(CopyConfig())
    values = inherited
    try:
        if user is not None:
            inherited = values = document(layers.merged(None))
        config = layers.merged(user)
        values, hints = document(config), remarks(config)
    except ConfigRejected as error:
        problem = str(error)
    shared = layers.values[None]
    sources = {
        name: "user" if user is not None and name in own else "global" if name in shared else "default"
        for name in CopyConfig.model_fields
    }
    row = (await connection.execute(_IN_FORCE, {"user": user})).one_or_none()
    if row is None and user is not None:
        row = (await connection.execute(_IN_FORCE, {"user": None})).one_or_none()
    return SettingsView(
        user_id=user,
        user=None if user is None else layers.labels.get(user),
        etag=layers.etag(user),
        version=row.version if row else None,
        effective_at=row.effective_at if row else None,
        own=own,
        inherited=inherited,
        values=values,
        sources=sources,
        in_force=row[1] if row else None,
        bankroll_micros=layers.bankroll_micros,
        remarks=hints,
        problem=problem,
    )


async def read_history(
    connection: AsyncConnection, user: UUID | None = None, *, everybody: bool = False, limit: int = 100
) -> list[Change]:
    """Return the last versions of one layer, or of all, the youngest first."""
    parameters = {"user": user, "all": everybody, "limit": min(limit, HISTORY_MAX)}
    found = []
    for row in await connection.execute(_HISTORY, parameters):
        new, old = row[3], row.before or {}
        changes = {name: [old.get(name), new[name]] for name in new if old.get(name) != new[name]}
        found.append(
            Change(version=row.version, effective_at=row.effective_at, user=row.label, changes=changes if old else {})
        )
    return found
