"""Asking for a test of a configuration, looking how far it is, and calling it off; whoever asks writes only intents."""

from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.common.db.audit import write_audit
from libs.common.domain.config_test import UNFINISHED, WAITING_MAX, RunView
from libs.common.domain.errors import Rejected

_LOCK: Final = text("SELECT pg_advisory_xact_lock(:key)")
_LOCK_KEY: Final = 0x5AD0C7E5
_WAITING: Final = text("SELECT count(*) FROM config_test_run WHERE state IN ('QUEUED', 'RUNNING')")
_USERS: Final = text("SELECT label, id FROM followed_user WHERE label = ANY(:labels)")
_INSERT: Final = text("""
INSERT INTO config_test_run (id, requested_at, requested_by, user_id, draft, since, until)
VALUES (:id, :requested_at, :requested_by, :user_id, :draft, :since, :until)
""").bindparams(bindparam("draft", type_=JSONB))
"""Whoever asks may write these columns and no others."""
_READ: Final = text("""
SELECT r.id, r.requested_at, r.requested_by, u.label AS user_label, r.draft, r.since, r.until, r.state, r.total, r.done,
       r.started_at, r.finished_at, r.cancel_requested_at, r.error, r.result
FROM config_test_run r LEFT JOIN followed_user u ON u.id = r.user_id
WHERE r.id = :id
""")
_CANCEL: Final = text("""
UPDATE config_test_run SET cancel_requested_at = clock_timestamp()
WHERE id = :id AND cancel_requested_at IS NULL AND state IN ('QUEUED', 'RUNNING') RETURNING id
""")


async def request_run(
    connection: AsyncConnection,
    draft: dict[str, Any],
    user_label: str | None,
    since: datetime,
    until: datetime,
    by: str,
) -> UUID:
    """Ask for a test of a draft that `read_draft` validated; return its id.

    Raises Rejected for users nobody follows, and when too many runs wait already.
    """
    labels = set(draft["users"]) | ({user_label} if user_label else set())
    users: dict[str, UUID] = {}
    if labels:
        users = {row.label: row.id for row in await connection.execute(_USERS, {"labels": sorted(labels)})}
    if unknown := sorted(labels - users.keys()):
        raise Rejected(f"users: nobody is followed as {', '.join(unknown)}")
    await connection.execute(_LOCK, {"key": _LOCK_KEY})
    if (waiting := (await connection.execute(_WAITING)).scalar_one()) >= WAITING_MAX:
        raise Rejected(f"{waiting} tests wait already: expected fewer than {WAITING_MAX}; cancel one or let them end")
    now, run_id = datetime.now(UTC), uuid4()
    row: dict[str, Any] = {
        "id": run_id,
        "requested_at": now,
        "requested_by": by,
        "user_id": users[user_label] if user_label else None,
    }
    row |= {"draft": draft, "since": since, "until": until}
    await connection.execute(_INSERT, row)
    detail = {"draft": draft, "user": user_label, "since": since.isoformat(), "until": until.isoformat()}
    await write_audit(connection, by, "config.test", str(run_id), detail)
    return run_id


async def read_run(connection: AsyncConnection, run_id: UUID) -> RunView | None:
    """Return a run, None where there is none."""
    row = (await connection.execute(_READ, {"id": run_id})).mappings().one_or_none()
    return None if row is None else RunView.model_validate(dict(row))


async def cancel_run(connection: AsyncConnection, run_id: UUID, by: str) -> bool:
    """Call a run off; return whether it had not ended and was not called off before."""
    called_off = (await connection.execute(_CANCEL, {"id": run_id})).one_or_none() is not None
    if called_off:
        await write_audit(connection, by, "config.test.cancel", str(run_id), {})
    return called_off


def is_finished(run: RunView) -> bool:
    """Tell whether a run has ended."""
    return run.state not in UNFINISHED
