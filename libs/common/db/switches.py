"""Switches of the ui and the operator: pause, copying of one user, reset of a drawdown breaker.

Rows of control_flag. The simulator reads them in the transaction of every decision, so they are in force with the next
one, whatever else is away.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.common.db import figures
from libs.common.db.audit import write_audit
from libs.common.db.tables.config import ControlFlag
from libs.common.domain.errors import Rejected
from libs.common.domain.kinds import Scope

PAUSE: Final = "engine_paused"
_DISABLED: Final = "user_disabled:"
_RESET: Final = "breaker_reset:"

_FLAGS: Final = ControlFlag.__table__  # type: ignore[attr-defined]
_UPSERT: Final = text("""
INSERT INTO control_flag (key, value, updated_at, updated_by)
VALUES (:key, CAST(:value AS jsonb), clock_timestamp(), :actor)
ON CONFLICT (key) DO UPDATE SET
  value = excluded.value, updated_at = greatest(excluded.updated_at, control_flag.updated_at + interval '1 us'),
  updated_by = excluded.updated_by
RETURNING updated_at
""")
_WORTH: Final = text(f"""
SELECT p.id, p.scope, u.label, coalesce(s.equity_micros, p.cash_micros) AS equity_micros,
       coalesce({figures.net_flows("s")}, {figures.net_flows("p")}) AS net_flows_micros
FROM portfolio p
LEFT JOIN followed_user u ON u.id = p.user_id
LEFT JOIN LATERAL {figures.last_snapshot("p.id")} s ON true
WHERE CASE WHEN CAST(:portfolio AS uuid) IS NULL
  THEN p.scope = :scope AND p.user_id IS NOT DISTINCT FROM CAST(:user AS uuid) ELSE p.id = :portfolio END
""")  # noqa: S608  parts are constants


def disabled_key(user: UUID) -> str:
    """Return the switch that stops copying of one user."""
    return f"{_DISABLED}{user}"


def reset_key(portfolio: UUID) -> str:
    """Return the switch that resets the drawdown breaker of one portfolio."""
    return f"{_RESET}{portfolio}"


@dataclass(frozen=True, slots=True)
class Switch:
    """A switch, since when it stands so and by whom; never touched: off."""

    on: bool = False
    since: datetime | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Reset:
    """A reset that was asked for: the next decision in the portfolio starts from this peak."""

    portfolio_id: UUID
    scope: Scope
    user: str | None
    equity_micros: int
    at: datetime


async def read_switch(connection: AsyncConnection, key: str) -> Switch:
    """Return the state of a switch."""
    query = select(_FLAGS.c.value, _FLAGS.c.updated_at, _FLAGS.c.updated_by).where(_FLAGS.c.key == key)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return Switch()
    return Switch(any(value is True for value in row.value.values()), row.updated_at, row.updated_by)


async def set_paused(connection: AsyncConnection, paused: bool, actor: str) -> Switch:
    """Pause or resume copying; one that stands so already keeps its time."""
    return await _turn(
        connection, PAUSE, "paused", paused, actor, "control.pause" if paused else "control.resume", PAUSE
    )


async def set_enabled(connection: AsyncConnection, user: UUID, label: str, enabled: bool, actor: str) -> Switch:
    """Copy a user or not; they are shadowed all the same. The returned switch is on while they are disabled."""
    action = "user.enable" if enabled else "user.disable"
    return await _turn(connection, disabled_key(user), "disabled", not enabled, actor, action, label)


async def reset_drawdown(
    connection: AsyncConnection,
    actor: str,
    *,
    portfolio: UUID | None = None,
    scope: Scope | None = None,
    user: UUID | None = None,
) -> Reset:
    """Ask for peak := equity in one executable portfolio, given by id or by scope and user; raises Rejected."""
    parameters = {"portfolio": portfolio, "scope": scope, "user": user}
    row = (await connection.execute(_WORTH, parameters)).one_or_none()
    if row is None or row.scope == Scope.SHADOW_USER:
        given = portfolio or f"{scope} of {user or 'all'}"
        raise Rejected(f"expected an executable portfolio (EXEC_USER or EXEC_GLOBAL), got {given}")
    value = {"equity_micros": row.equity_micros, "net_flows_micros": row.net_flows_micros}
    key = reset_key(row.id)
    at = await _write(connection, key, value, actor)
    await write_audit(connection, actor, "breaker.reset", key, value | {"scope": row.scope, "user": row.label})
    return Reset(row.id, Scope(row.scope), row.label, row.equity_micros, at)


async def _turn(
    connection: AsyncConnection, key: str, name: str, on: bool, actor: str, action: str, subject: str
) -> Switch:
    before = await read_switch(connection, key)
    if before.since is not None and before.on == on:
        return before
    at = await _write(connection, key, {name: on}, actor)
    await write_audit(connection, actor, action, subject, {"from": before.on, "to": on})
    return Switch(on, at, actor)


async def _write(connection: AsyncConnection, key: str, value: dict[str, Any], actor: str) -> datetime:
    parameters = {"key": key, "value": orjson.dumps(value).decode(), "actor": actor}
    at: datetime = (await connection.execute(_UPSERT, parameters)).scalar_one()
    return at
