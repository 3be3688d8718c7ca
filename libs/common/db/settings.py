"""What the admin sets: rows of guardrail_config and copy_sizing_config, validated together and audited.

Intents of the ui and the operator. Writers take turns, and each is judged against what the others set: a change that
would make any user's merged configuration contradict itself is refused with that user's name, and nothing is written.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.common.db.audit import write_audit
from libs.common.db.tables.config import CopySizingConfig, GuardrailConfig
from libs.common.db.tables.users import FollowedUser
from libs.common.domain.config import (
    GUARDRAIL_FIELDS,
    SIZING_FIELDS,
    CopyConfig,
    contradictions,
    merge,
    overrides,
)
from libs.common.domain.config_problem import ConfigRejected, Problem
from libs.common.domain.errors import Rejected, ShadowbookError
from libs.common.domain.identity import identify

BANKROLL: Final = "bankroll_micros"
"""Kept in the global sizing row; the ledger reads it when it opens a portfolio."""
GLOBAL: Final = "global"

_SIZING = CopySizingConfig.__table__  # type: ignore[attr-defined]
_GUARDRAILS = GuardrailConfig.__table__  # type: ignore[attr-defined]
_USERS = FollowedUser.__table__  # type: ignore[attr-defined]
_LOCK: Final = text("SELECT pg_advisory_xact_lock(1523632378)")
"""Writers of configuration and blacklist take turns."""
_UPSERT: Final = """
INSERT INTO {table} (id, scope, user_id, values, updated_at, updated_by)
VALUES (:id, :scope, :user_id, CAST(:values AS jsonb), clock_timestamp(), :actor)
ON CONFLICT (scope, user_id) DO UPDATE SET
  values = excluded.values, updated_at = excluded.updated_at, updated_by = excluded.updated_by
"""
_ROWS: Final = {
    "copy_sizing_config": (text(_UPSERT.format(table="copy_sizing_config")), SIZING_FIELDS | {BANKROLL}),
    "guardrail_config": (text(_UPSERT.format(table="guardrail_config")), GUARDRAIL_FIELDS),
}

Layers = dict[UUID | None, dict[str, Any]]
"""What is set, by user; None is global."""


class ConfigConflictError(ShadowbookError):
    """Somebody else changed this configuration since it was read."""


class UnknownUserError(Rejected):
    """Nobody is followed by that name or id."""


@dataclass(frozen=True, slots=True)
class SetLayers:
    """Rows as they stand. `malformed` are users (None: global) whose row is no JSON object; theirs counts as empty."""

    values: Layers
    labels: Mapping[UUID, str]
    bankroll_micros: int | None = None
    malformed: frozenset[UUID | None] = field(default=frozenset())

    def name_of(self, user: UUID | None) -> str:
        """Return how a person calls a layer."""
        return GLOBAL if user is None else f"user {self.labels.get(user, user)}"

    def etag(self, user: UUID | None) -> str:
        """Return a mark that changes whenever a layer does."""
        content = [self.values.get(user, {}), self.bankroll_micros if user is None else None]
        return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]

    def merged(self, user: UUID | None) -> CopyConfig:
        """Return the merged configuration of a layer; raises ConfigRejected where rows are not valid."""
        where = self.name_of(user)
        if user in self.malformed:
            raise ConfigRejected(where, [Problem("values", "expected a JSON object in each configuration row")])
        own = self.values.get(user, {})
        config = merge(self.values[None], own, where=where)
        if problems := contradictions(config, own):
            raise ConfigRejected(where, problems)
        return config


async def lock_settings(connection: AsyncConnection) -> None:
    """Let writers of settings take turns until the end of the transaction."""
    await connection.execute(_LOCK)


async def read_layers(connection: AsyncConnection) -> SetLayers:
    """Return every configuration row."""
    values: Layers = {None: {}}
    malformed: set[UUID | None] = set()
    for table in (_SIZING, _GUARDRAILS):
        for row in await connection.execute(select(table.c.user_id, table.c["values"])):
            layer = values.setdefault(row.user_id, {})
            if isinstance(row[1], dict):
                layer.update(row[1])
            else:
                malformed.add(row.user_id)
    bankroll = values[None].pop(BANKROLL, None)
    labels = {row.id: row.label for row in await connection.execute(select(_USERS.c.id, _USERS.c.label))}
    return SetLayers(values, labels, bankroll, frozenset(malformed))


async def find_user(connection: AsyncConnection, name: str) -> UUID:
    """Return the id of a user ever followed, given by label or id; raises UnknownUserError."""
    rows = await connection.execute(select(_USERS.c.id, _USERS.c.label))
    for row in rows:
        if name in (row.label, str(row.id)):
            found: UUID = row.id
            return found
    raise UnknownUserError(f"expected the name or id of a followed user, got {name!r:.80}")


async def write_settings(
    connection: AsyncConnection,
    changes: Mapping[UUID | None, Mapping[str, Any]],
    actor: str,
    *,
    bankroll_micros: int | None = None,
    replace: bool = False,
    if_match: str | None = None,
) -> list[UUID | None]:
    """Set what `changes` set and leave the rest (`replace`: take back the rest); return whose rows changed.

    A null takes a setting back to what is inherited. Raises ConfigRejected for what is not valid, alone or merged with
    what others set, and ConfigConflictError where `if_match` is no longer the (only) layer's etag; nothing is written
    then.
    """
    await lock_settings(connection)
    before = await read_layers(connection)
    _expect(before, changes, if_match)
    values = {user: dict(layer) for user, layer in before.values.items()}
    for user, layer in changes.items():
        named = overrides(layer, over={} if user is None else before.values[None], where=before.name_of(user),
                          is_part=True)  # fmt: skip
        kept = {} if replace else values.get(user, {})
        values[user] = {name: value for name, value in {**kept, **named}.items() if value is not None}
    bankroll = before.bankroll_micros if bankroll_micros is None else bankroll_micros
    after = SetLayers(values, before.labels, bankroll, before.malformed - changes.keys())
    _judge(before, after, changes)
    changed = [
        user for user in values if after.etag(user) != before.etag(user) or user in before.malformed & changes.keys()
    ]
    for user in changed:
        await _write(connection, user, values[user], bankroll if user is None else None, actor)
    if changed:
        await write_audit(connection, actor, "config.apply", "config", _audited(before, after, changed))
    return changed


def _expect(before: SetLayers, changes: Mapping[UUID | None, Any], if_match: str | None) -> None:
    for user in changes:
        if if_match is not None and before.etag(user) != if_match:
            raise ConfigConflictError(
                f"{before.name_of(user)}: expected the configuration marked {if_match}, but somebody changed it: it is "
                f"{before.etag(user)} now; read it again"
            )


def _judge(before: SetLayers, after: SetLayers, changes: Mapping[UUID | None, Any]) -> None:
    """Raise ConfigRejected when a changed layer, or through it another one that was valid, is not valid any more."""
    for user in after.values:
        try:
            after.merged(user)
        except ConfigRejected:
            if user in changes or _is_valid(before, user):
                raise


def _is_valid(layers: SetLayers, user: UUID | None) -> bool:
    try:
        layers.merged(user)
    except ConfigRejected:
        return False
    return True


async def _write(
    connection: AsyncConnection, user: UUID | None, values: Mapping[str, Any], bankroll: int | None, actor: str
) -> None:
    scope = "GLOBAL" if user is None else "USER"
    stored = dict(values) if bankroll is None else {**values, BANKROLL: bankroll}
    for table, (statement, names) in _ROWS.items():
        own = {name: value for name, value in stored.items() if name in names}
        parameters = {"id": identify(table, scope, user or ""), "scope": scope, "user_id": user, "actor": actor}
        await connection.execute(statement, parameters | {"values": orjson.dumps(own).decode()})


def _audited(before: SetLayers, after: SetLayers, changed: list[UUID | None]) -> dict[str, Any]:
    """Return what changed, by layer and setting, as [from, to]; null: inherited."""
    detail: dict[str, Any] = {}
    for user in changed:
        old, new = before.values.get(user, {}), after.values[user]
        moved = {name: [old.get(name), new.get(name)] for name in sorted(old.keys() | new.keys())}
        moved = {name: pair for name, pair in moved.items() if pair[0] != pair[1]}
        if user is None:
            if before.bankroll_micros != after.bankroll_micros:
                moved[BANKROLL] = [before.bankroll_micros, after.bankroll_micros]
            detail[GLOBAL] = moved
        else:
            detail.setdefault("users", {})[after.labels.get(user, str(user))] = moved
    return detail
