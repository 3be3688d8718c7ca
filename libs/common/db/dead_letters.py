"""Dead letters in Postgres: what the bus gave up on, kept until a person replays or discards it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.db.audit import write_audit
from libs.common.db.engine import transaction
from libs.common.db.tables.system import DeadLetter as Table
from libs.common.domain.dead_letter import DeadLetter, LetterStatus
from libs.common.domain.errors import Rejected

FIND_MAX: Final = 10_000

_LETTERS = Table.__table__  # type: ignore[attr-defined]
_VERBS: Final = {LetterStatus.REPLAYED: "dead_letter.replay", LetterStatus.DISCARDED: "dead_letter.discard"}


class PostgresDeadLetters:
    """The bus' `DeadLetterStore` over the tables dead_letter and audit_log.

    A service's role may record and read; only the operator's may settle. Every method raises Unavailable while the
    database is away.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def record(self, letters: Sequence[DeadLetter]) -> None:
        """Keep letters, in one transaction; one that is there already stays as it is."""
        if not letters:
            return
        async with transaction(self._engine) as connection:
            await connection.execute(
                upsert(_LETTERS).on_conflict_do_nothing(index_elements=["id"]), [_columns(letter) for letter in letters]
            )

    async def get(self, letter_id: UUID) -> DeadLetter | None:
        """Return a letter, or None."""
        async with transaction(self._engine) as connection:
            row = (await connection.execute(select(_LETTERS).where(_LETTERS.c.id == letter_id))).one_or_none()
        return None if row is None else _letter(row)

    async def find(
        self,
        *,
        stream: str | None = None,
        group: str | None = None,
        status: LetterStatus | None = None,
        limit: int = 100,
    ) -> list[DeadLetter]:
        """Return letters, newest first, at most `limit`."""
        query = select(_LETTERS).order_by(_LETTERS.c.last_at.desc(), _LETTERS.c.id).limit(min(limit, FIND_MAX))
        wanted = {"stream": stream, "group_name": group, "status": status}
        for column, value in wanted.items():
            if value is not None:
                query = query.where(_LETTERS.c[column] == value)
        async with transaction(self._engine) as connection:
            return [_letter(row) for row in await connection.execute(query)]

    async def settle(
        self, letter_id: UUID, status: LetterStatus, *, actor: str, reason: str, payload: str | None = None
    ) -> DeadLetter:
        """Turn an OPEN letter REPLAYED or DISCARDED and write the audit row, in one transaction.

        The letter keeps its own payload; a repaired one goes to the audit row. Raises Rejected when there is no such
        letter or it is not open.
        """
        now = datetime.now(UTC)
        change = (
            update(_LETTERS)
            .where(_LETTERS.c.id == letter_id, _LETTERS.c.status == LetterStatus.OPEN)
            .values(status=status, status_at=now, status_reason=reason)
            .returning(*_LETTERS.c)
        )
        async with transaction(self._engine) as connection:
            row = (await connection.execute(change)).one_or_none()
            if row is None:
                found = await connection.scalar(select(_LETTERS.c.status).where(_LETTERS.c.id == letter_id))
                raise Rejected(f"dead letter {letter_id}: expected it open, it is {found or 'unknown'}")
            detail = {"stream": row.stream, "group": row.group_name, "reason": reason, "repaired_payload": payload}
            await write_audit(connection, actor, _VERBS[status], str(letter_id), detail, now)
            return _letter(row)

    async def blocked(self, stream: str, group: str, subjects: Sequence[str]) -> set[str]:
        """Return which of `subjects` have an open or discarded letter: a sweep must leave them alone."""
        query = select(_LETTERS.c.subject).where(
            _LETTERS.c.subject.in_(subjects),
            _LETTERS.c.stream == stream,
            _LETTERS.c.group_name == group,
            _LETTERS.c.status != LetterStatus.REPLAYED,
        )
        async with transaction(self._engine) as connection:
            return set((await connection.scalars(query)).all())


def _columns(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "stream": letter.stream,
        "group_name": letter.group,
        "message_id": letter.message_id,
        "subject": letter.subject,
        "payload": letter.payload,
        "error": letter.error.replace("\x00", "\\x00"),
        "traceback": letter.traceback and letter.traceback.replace("\x00", "\\x00"),
        "attempts": letter.attempts,
        "first_at": letter.first_at,
        "last_at": letter.last_at,
        "status": letter.status,
        "status_at": letter.status_at,
        "status_reason": letter.status_reason,
    }


def _letter(row: Row[Any]) -> DeadLetter:
    return DeadLetter(
        id=row.id,
        stream=row.stream,
        group=row.group_name,
        message_id=row.message_id,
        subject=row.subject,
        payload=row.payload,
        error=row.error,
        traceback=row.traceback,
        attempts=row.attempts,
        first_at=row.first_at,
        last_at=row.last_at,
        status=LetterStatus(row.status),
        status_at=row.status_at,
        status_reason=row.status_reason,
    )
