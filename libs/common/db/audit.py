"""The audit trail: who changed what, in the transaction that changes it."""

from typing import Any
from uuid import uuid4

from sqlalchemy import func, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.common.db.tables.system import AuditLog

_AUDIT = AuditLog.__table__  # type: ignore[attr-defined]


async def write_audit(
    connection: AsyncConnection, actor: str, action: str, subject: str, detail: dict[str, Any]
) -> None:
    """Write who did what; `detail` must be JSON-able."""
    row = {"id": uuid4(), "actor": actor, "action": action, "subject": subject, "detail": detail}
    await connection.execute(insert(_AUDIT).values(**row, at=func.clock_timestamp()))
