"""Whose turn it is: polls and backfills are taken in turns by all replicas, so that none does another's work again."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.db.checkpoints import load_checkpoint, load_checkpoints, save_checkpoint
from libs.common.db.engine import transaction

_TAKE: Final = text(
    """
    INSERT INTO system_checkpoint AS c (service, key, value, updated_at)
    VALUES ('ingest', 'turn:' || :key, jsonb_build_object('owner', CAST(:owner AS text),
      'until', extract(epoch FROM clock_timestamp()) + CAST(:seconds AS float)), clock_timestamp())
    ON CONFLICT (service, key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at
    WHERE CAST(c.value->>'until' AS float) < extract(epoch FROM clock_timestamp()) OR c.value->>'owner' = :owner
    RETURNING 1
    """
)
_END: Final = text(
    """
    UPDATE system_checkpoint SET value = value || '{"until": 0}'
    WHERE service = 'ingest' AND key = 'turn:' || :key AND value->>'owner' = :owner
    """
)
_ASK: Final = text(
    """
    INSERT INTO system_checkpoint AS c (service, key, value, updated_at)
    VALUES ('ingest', 'backfill:' || :wallet, :wish, clock_timestamp())
    ON CONFLICT (service, key) DO UPDATE
    SET updated_at = excluded.updated_at, value = CASE
      WHEN c.value->>'finished_at' IS NULL AND CAST(c.value->>'from' AS bigint) <= CAST(:first AS bigint)
      THEN c.value || jsonb_build_object('to', greatest(CAST(c.value->>'to' AS bigint), CAST(:last AS bigint)))
      ELSE excluded.value END
    RETURNING value
    """
).bindparams(bindparam("wish", type_=JSONB))
_ADVANCE: Final = text(
    """
    UPDATE system_checkpoint SET value = value || :progress, updated_at = clock_timestamp()
    WHERE service = 'ingest' AND key = 'backfill:' || :wallet AND value->>'asked_at' = :asked_at
    RETURNING 1
    """
).bindparams(bindparam("progress", type_=JSONB))
_OPEN: Final = text(
    """
    SELECT key FROM system_checkpoint
    WHERE service = 'ingest' AND key LIKE 'backfill:%' AND value->>'finished_at' IS NULL
    ORDER BY value->>'asked_at', key
    """
)
SERVICE: Final = "ingest"


class TurnStore:
    """What one replica knows of turns; `owner` is its name, under which it finds its own turns again."""

    def __init__(self, engine: AsyncEngine, owner: str) -> None:
        self._engine = engine
        self._owner = owner

    async def take_turn(self, key: str, seconds: float) -> dict[str, Any] | None:
        """Take the turn for `key` for at most `seconds`; returns the checkpoint under it ({}: none yet).

        None when another replica has the turn. Taking a turn one has makes it longer.
        """
        async with transaction(self._engine) as connection:
            given = {"key": key, "owner": self._owner, "seconds": seconds}
            if await connection.scalar(_TAKE, given) is None:
                return None
            return await load_checkpoint(connection, SERVICE, key) or {}

    async def end_turn(self, key: str, value: Mapping[str, Any] | None = None) -> None:
        """Keep `value` (if any) under `key` and give the turn to whoever wants it next."""
        async with transaction(self._engine) as connection:
            if value is not None:
                await save_checkpoint(connection, SERVICE, key, value)
            await connection.execute(_END, {"key": key, "owner": self._owner})

    async def remember(self, key: str, value: Mapping[str, Any]) -> None:
        """Keep `value` under `key`, the turn goes on."""
        async with transaction(self._engine) as connection:
            await save_checkpoint(connection, SERVICE, key, value)

    async def ask_backfill(self, wallet: str, wish: Mapping[str, Any]) -> dict[str, Any]:
        """Record a wish to read `wallet` from `wish["from"]` to `wish["to"]` (epoch seconds); returns what stands.

        A backfill under way that begins as early goes on where it is.
        """
        given = {"wallet": wallet, "wish": dict(wish), "first": wish["from"], "last": wish["to"]}
        async with transaction(self._engine) as connection:
            return dict((await connection.execute(_ASK, given)).scalar_one())

    async def advance_backfill(self, wallet: str, asked_at: str, progress: Mapping[str, Any]) -> bool:
        """Add to what is kept of a backfill; false when it was replaced by a wish for more meanwhile."""
        given = {"wallet": wallet, "asked_at": asked_at, "progress": dict(progress)}
        async with transaction(self._engine) as connection:
            return await connection.scalar(_ADVANCE, given) is not None

    async def open_backfills(self) -> list[str]:
        """Return the wallets whose backfill is not finished, the one asked for first first."""
        async with transaction(self._engine) as connection:
            return [str(key).removeprefix("backfill:") for key in await connection.scalars(_OPEN)]

    async def backfills(self) -> dict[str, dict[str, Any]]:
        """Return every wallet's last backfill."""
        async with transaction(self._engine) as connection:
            found = await load_checkpoints(connection, SERVICE, "backfill:")
        return {key.removeprefix("backfill:"): value for key, value in found.items()}
