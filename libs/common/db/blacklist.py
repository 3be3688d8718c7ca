"""Markets that nothing is opened in: intents of the ui and the operator, merged into configuration by the simulator."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.common.db.audit import write_audit
from libs.common.db.settings import SetLayers, lock_settings, read_layers
from libs.common.db.tables.config import MarketBlacklist
from libs.common.db.tables.markets import Market
from libs.common.db.tables.users import FollowedUser
from libs.common.domain.config import BLACKLIST_MAX
from libs.common.domain.errors import Rejected
from libs.common.domain.identity import identify

REASON_LENGTH_MAX: Final = 300

_LIST: Final = MarketBlacklist.__table__  # type: ignore[attr-defined]
_USERS: Final = FollowedUser.__table__  # type: ignore[attr-defined]
_MARKETS: Final = Market.__table__  # type: ignore[attr-defined]
_CONDITION: Final = re.compile(r"0x[0-9a-f]{64}")
_UPSERT: Final = text("""
INSERT INTO market_blacklist (id, condition_id, user_id, listed, reason, updated_at, updated_by)
VALUES (:id, :condition, :user, :listed, :reason, clock_timestamp(), :actor)
ON CONFLICT (condition_id, user_id) DO UPDATE SET
  listed = excluded.listed, reason = excluded.reason, updated_at = excluded.updated_at, updated_by = excluded.updated_by
""")


@dataclass(frozen=True, slots=True)
class Listed:
    """One row, with the names a person knows; `user` is None where it is for all."""

    condition_id: str
    slug: str | None
    question: str | None
    user_id: UUID | None
    user: str | None
    listed: bool | None
    reason: str
    at: datetime
    by: str


async def read_blacklist(connection: AsyncConnection) -> list[Listed]:
    """Return every row that says something, the youngest first."""
    query = (
        select(_LIST, _USERS.c.label, _MARKETS.c.slug, _MARKETS.c.question)
        .outerjoin_from(_LIST, _USERS, _USERS.c.id == _LIST.c.user_id)
        .outerjoin(_MARKETS, _MARKETS.c.condition_id == _LIST.c.condition_id)
        .where(_LIST.c.listed.is_not(None))
        .order_by(_LIST.c.updated_at.desc(), _LIST.c.id)
    )
    return [
        Listed(
            condition_id=row.condition_id,
            slug=row.slug,
            question=row.question,
            user_id=row.user_id,
            user=row.label,
            listed=row.listed,
            reason=row.reason,
            at=row.updated_at,
            by=row.updated_by,
        )
        for row in await connection.execute(query)
    ]


def apply_blacklist(configured: Iterable[str], rows: Iterable[Listed], user: UUID | None) -> list[str]:
    """Return what is blacklisted for a user (None: for all): the configured, then rows for all, then the user's own."""
    found = set(configured)
    for row in sorted((row for row in rows if row.user_id in (None, user)), key=lambda row: row.user_id is not None):
        if row.listed:
            found.add(row.condition_id)
        else:
            found.discard(row.condition_id)
    return sorted(found)


async def find_condition(connection: AsyncConnection, name: str) -> str:
    """Return the condition of a market given by condition id, slug or page address; raises Rejected."""
    given = name.strip()
    if "://" in given:
        given = urlsplit(given).path.rstrip("/").rpartition("/")[2]
    if _CONDITION.fullmatch(given.lower()):
        return given.lower()
    query = select(_MARKETS.c.condition_id).where((_MARKETS.c.slug == given) | (_MARKETS.c.condition_id == given))
    found = (await connection.scalars(query.limit(2))).all()
    if len(found) != 1:
        raise Rejected(
            f"expected a condition id (0x and 64 hex digits), or the slug or page of one market seen before, "
            f"got {name!r:.120}"
        )
    return str(found[0])


async def set_listed(
    connection: AsyncConnection, condition: str, user: UUID | None, listed: bool | None, reason: str, actor: str
) -> bool:
    """Write one row with its audit; return whether anything changed. Raises Rejected for too long a reason or list.

    Taking a market off for all leaves no row that says so, but where the configuration's own lists name it.
    """
    if len(reason) > REASON_LENGTH_MAX:
        raise Rejected(f"reason: expected at most {REASON_LENGTH_MAX} characters, got {len(reason)}")
    await lock_settings(connection)
    rows = await read_blacklist(connection)
    if listed is False and user is None and not _is_configured(await read_layers(connection), condition):
        listed = None
    before = next((row for row in rows if (row.condition_id, row.user_id) == (condition, user)), None)
    if (before.listed if before else None) is listed:
        return False
    if listed and sum(1 for row in rows if row.listed) >= BLACKLIST_MAX:
        raise Rejected(f"blacklist: expected at most {BLACKLIST_MAX} markets; take some off first")
    parameters = {"id": identify("blacklist", condition, user or ""), "condition": condition, "user": user}
    await connection.execute(_UPSERT, parameters | {"listed": listed, "reason": reason, "actor": actor})
    action = {True: "blacklist.add", False: "blacklist.allow", None: "blacklist.remove"}[listed]
    detail = {"user": str(user) if user else None, "from": before.listed if before else None, "to": listed}
    await write_audit(connection, actor, action, condition, detail | {"reason": reason})
    return True


def _is_configured(layers: SetLayers, condition: str) -> bool:
    lists = (layer.get("market_blacklist") for layer in layers.values.values())
    return any(condition == str(each).lower() for found in lists if isinstance(found, list) for each in found)
