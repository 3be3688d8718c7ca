"""One-time login tokens (their hashes) and the audit trail of sign-ins."""

from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.db.audit import write_audit
from libs.common.db.checkpoints import save_checkpoint
from libs.common.db.engine import transaction

SERVICE: Final = "ui"
LIFETIME: Final = timedelta(minutes=10)

_EXPIRED: Final = text("""
DELETE FROM system_checkpoint
WHERE service = 'ui' AND key LIKE 'login:%' AND CAST(value->>'expires_at' AS timestamptz) <= clock_timestamp()
""")
_CONSUME: Final = text("""
DELETE FROM system_checkpoint
WHERE service = 'ui' AND key = :key AND CAST(value->>'expires_at' AS timestamptz) > clock_timestamp()
RETURNING key
""")
_EXISTS: Final = text("""
SELECT true FROM system_checkpoint
WHERE service = 'ui' AND key = :key AND CAST(value->>'expires_at' AS timestamptz) > clock_timestamp()
""")


async def keep_token(engine: AsyncEngine, token_hash: str) -> None:
    """Keep a token's hash until it is used or runs out; forgets those that have run out."""
    expires = datetime.now(UTC) + LIFETIME
    async with transaction(engine) as connection:
        await connection.execute(_EXPIRED)
        await save_checkpoint(connection, SERVICE, f"login:{token_hash}", {"expires_at": expires.isoformat()})


async def is_token_good(engine: AsyncEngine, token_hash: str) -> bool:
    """Tell whether a token could still be used."""
    async with transaction(engine) as connection:
        return bool(await connection.scalar(_EXISTS, {"key": f"login:{token_hash}"}))


async def consume_token(engine: AsyncEngine, token_hash: str, actor: str) -> bool:
    """Use a token up and write the audit row, in one transaction; False when it is unknown, used or too old."""
    async with transaction(engine) as connection:
        used = await connection.scalar(_CONSUME, {"key": f"login:{token_hash}"})
        if used is None:
            return False
        await write_audit(connection, actor, "login", "session", {"method": "one-time link"})
        return True
