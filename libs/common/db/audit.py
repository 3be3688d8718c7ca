"""The audit trail: who changed what, in the transaction that changes it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import func, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.common.db.tables.system import AuditLog

_AUDIT = AuditLog.__table__  # type: ignore[attr-defined]


async def write_audit(
    connection: AsyncConnection,
    actor: str,
    action: str,
    subject: str,
    detail: Mapping[str, Any],
    at: datetime | None = None,
) -> None:
    """Write who did what, `at` a time or now; `detail` must be JSON-able."""
    row = {"id": uuid4(), "actor": actor, "action": action, "subject": subject, "detail": dict(detail)}
    await connection.execute(insert(_AUDIT).values(**row, at=at or func.clock_timestamp()))
