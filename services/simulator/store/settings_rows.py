"""What an operator sets: rows of guardrail_config and copy_sizing_config, with their audit."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.common.db.tables.system import AuditLog
from libs.common.db.tables.users import FollowedUser
from libs.common.domain.config import GUARDRAIL_FIELDS, SIZING_FIELDS, ConfigFile
from libs.common.domain.errors import Rejected
from libs.common.domain.identity import identify
from services.simulator.store.driver import json_text

BANKROLL: Final = "bankroll_micros"
"""Kept in the global sizing row; the ledger reads it when it opens a portfolio."""
_USERS = FollowedUser.__table__  # type: ignore[attr-defined]
_AUDIT = AuditLog.__table__  # type: ignore[attr-defined]
_UPSERT: Final = """
INSERT INTO {table} AS existing (id, scope, user_id, values, updated_at, updated_by)
VALUES (:id, :scope, :user_id, CAST(:values AS jsonb), :now, :actor)
ON CONFLICT (scope, user_id) DO UPDATE SET
  values = existing.values || excluded.values, updated_at = excluded.updated_at, updated_by = excluded.updated_by
"""
_TABLES: Final = {
    "copy_sizing_config": (text(_UPSERT.format(table="copy_sizing_config")), SIZING_FIELDS | {BANKROLL}),
    "guardrail_config": (text(_UPSERT.format(table="guardrail_config")), GUARDRAIL_FIELDS),
}


async def write_config(connection: AsyncConnection, file: ConfigFile, actor: str) -> list[UUID | None]:
    """Set what `file` sets, leave the rest; return whose configuration changed (None: global).

    Raises Rejected for a label nobody followed bears.
    """
    users = await _users(connection, file)
    shared = dict(file.global_values)
    if file.bankroll_micros is not None:
        shared[BANKROLL] = file.bankroll_micros
    layers: dict[UUID | None, Mapping[str, Any]] = {None: shared}
    layers.update({users[label]: values for label, values in file.user_values.items()})
    now = datetime.now(UTC)
    for user, values in layers.items():
        scope = "GLOBAL" if user is None else "USER"
        for table, (statement, names) in _TABLES.items():
            own = {name: value for name, value in values.items() if name in names}
            if own:
                parameters = {"id": identify(table, scope, user or ""), "scope": scope, "user_id": user}
                parameters |= {"values": json_text(own), "now": now, "actor": actor}
                await connection.execute(statement, parameters)
    changed = [user for user, values in layers.items() if values]
    if changed:
        detail = {"global": shared, "users": file.user_values}
        await connection.execute(
            insert(_AUDIT).values(
                id=uuid4(), at=now, actor=actor, action="config.apply", subject="config", detail=detail
            )
        )
    return changed


async def _users(connection: AsyncConnection, file: ConfigFile) -> dict[str, UUID]:
    if not file.user_values:
        return {}
    query = select(_USERS.c.label, _USERS.c.id).where(_USERS.c.label.in_(file.user_values))
    users = {row.label: row.id for row in await connection.execute(query)}
    unknown = sorted(file.user_values.keys() - users.keys())
    if unknown:
        raise Rejected(f"config: users: nobody is followed as {', '.join(unknown)}")
    return users
