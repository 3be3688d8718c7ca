"""Configuration, blacklist and users' switches as the pages and the API read and write them: rows of intent."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.db import switches
from libs.common.db.blacklist import Listed, find_condition, read_blacklist, set_listed
from libs.common.db.engine import transaction
from libs.common.db.settings import BANKROLL, find_user, read_layers, write_settings
from libs.common.db.settings_view import SettingsView, read_settings
from libs.common.domain.config import AMOUNT_MICROS_MAX
from libs.common.domain.config_problem import ConfigRejected, Problem


async def view_settings(engine: AsyncEngine, user: UUID | None) -> SettingsView:
    """Return a layer of configuration."""
    async with transaction(engine) as connection:
        return await read_settings(connection, user)


async def user_of(engine: AsyncEngine, name: str) -> UUID:
    """Return the id of a user given by id or label; raises UnknownUserError."""
    async with transaction(engine) as connection:
        return await find_user(connection, name)


async def change_settings(
    engine: AsyncEngine,
    user: UUID | None,
    values: Mapping[str, Any],
    actor: str,
    *,
    replace: bool,
    if_match: str | None,
) -> tuple[list[UUID | None], SettingsView]:
    """Change a layer; return whose rows changed and the layer as it is now.

    Raises ConfigRejected for what is not valid, ConfigConflictError for an old etag.
    """
    wanted = dict(values)
    bankroll = _bankroll(wanted.pop(BANKROLL, None)) if user is None else None
    async with transaction(engine) as connection:
        changed = await write_settings(
            connection, {user: wanted}, actor, bankroll_micros=bankroll, replace=replace, if_match=if_match
        )
        return changed, await read_settings(connection, user)


def _bankroll(value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= AMOUNT_MICROS_MAX:
        raise ConfigRejected("global", [Problem(BANKROLL, f"expected whole micros of USDC, got {value!r:.60}")])
    return value


async def blacklist(engine: AsyncEngine) -> list[Listed]:
    """Return every row of the blacklist."""
    async with transaction(engine) as connection:
        return await read_blacklist(connection)


async def blacklist_market(
    engine: AsyncEngine, market: str, user: UUID | None, listed: bool | None, reason: str, actor: str
) -> tuple[str, bool]:
    """Write one row of the blacklist; return the condition and whether anything changed. Raises Rejected."""
    async with transaction(engine) as connection:
        condition = await find_condition(connection, market)
        return condition, await set_listed(connection, condition, user, listed, reason, actor)


async def enable_user(engine: AsyncEngine, user: UUID, enabled: bool, actor: str) -> switches.Switch:
    """Copy a user or not; they are shadowed all the same."""
    async with transaction(engine) as connection:
        labels = (await read_layers(connection)).labels
        return await switches.set_enabled(connection, user, labels[user], enabled, actor)
