"""How commands write what the operator wants: one audited transaction, then a message that wakes who acts on it.

Works with the stack up or down: what is written down counts from the start on.
"""

import asyncio
import getpass
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from libs.common.bus.streams import Stream
    from libs.common.messages import Message

T = TypeVar("T")


def actor() -> str:
    """Return who asks, for the audit trail."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a user id without a name
        return "cli"


def look(data_dir: Path | None, command: str, work: "Callable[[AsyncConnection], Awaitable[T]]") -> T:
    """Run `work` on the stack's database, in one transaction."""
    return _run(data_dir, command, work, tell=None)


def write(
    data_dir: Path | None,
    command: str,
    work: "Callable[[AsyncConnection], Awaitable[T]]",
    tell: "Callable[[T], tuple[Stream[Message], Message] | None]",
) -> T:
    """Run `work` likewise, then put the message that `tell` makes of its result, if any, on its stream."""
    return _run(data_dir, command, work, tell)


def _run(
    data_dir: Path | None,
    command: str,
    work: "Callable[[AsyncConnection], Awaitable[T]]",
    tell: "Callable[[T], tuple[Stream[Message], Message] | None] | None",
) -> T:
    from services.cli.stack import session

    async def run(database_url: str, redis_url: str | None) -> T:
        from libs.common.db.engine import make_engine, transaction
        from services.simulator.commands import announce

        engine = make_engine(database_url, application=f"shadowbook-{command.split()[0]}", pool_size=1)
        try:
            async with transaction(engine) as connection:
                found = await work(connection)
        finally:
            await engine.dispose()
        told = tell(found) if tell is not None else None
        if told is not None:
            await announce(database_url, redis_url, told[0], [told[1]])
        return found

    with session(data_dir, command=command) as visit:
        return asyncio.run(run(visit.database_url, visit.redis_url))


def control_changed(key: str) -> "tuple[Stream[Message], Message]":
    """Return the message that a switch was turned."""
    from libs.common.bus.streams import CONTROL_CHANGED
    from libs.common.messages import ControlChanged

    now = datetime.now(UTC)
    return CONTROL_CHANGED, ControlChanged(key=key, occurred_at=now, observed_at=now)


def config_changed(user: UUID | None) -> "tuple[Stream[Message], Message]":
    """Return the message that configuration or blacklist changed."""
    from libs.common.bus.streams import CONFIG_CHANGED
    from libs.common.messages import ConfigChanged

    now = datetime.now(UTC)
    scope = "GLOBAL" if user is None else "USER"
    values = {"scope": scope, "user_id": user, "occurred_at": now, "observed_at": now}
    return CONFIG_CHANGED, ConfigChanged.model_validate(values)
