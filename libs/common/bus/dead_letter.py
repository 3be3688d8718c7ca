"""Where what a group gives up on is kept: the store, and its mirror on `<stream>.dlq`.

The store (Postgres) is written before the message is acknowledged; the mirror is for people with a Redis client.
"""

from collections.abc import Sequence
from typing import Any, Final, Protocol
from uuid import UUID

from libs.common.domain.dead_letter import DeadLetter, LetterStatus

MIRROR_MAX: Final = 10_000
"""Letters a mirror keeps; Postgres keeps all."""


class DeadLetterStore(Protocol):
    """Where letters are kept. Every method raises Unavailable while the store is away."""

    async def record(self, letters: Sequence[DeadLetter]) -> None:
        """Keep letters, in one transaction; one that is there already stays as it is."""

    async def get(self, letter_id: UUID) -> DeadLetter | None:
        """Return a letter, or None."""

    async def find(
        self,
        *,
        stream: str | None = None,
        group: str | None = None,
        status: LetterStatus | None = None,
        limit: int = 100,
    ) -> list[DeadLetter]:
        """Return letters, newest first, at most `limit`."""

    async def settle(
        self, letter_id: UUID, status: LetterStatus, *, actor: str, reason: str, payload: str | None = None
    ) -> DeadLetter:
        """Turn an OPEN letter REPLAYED (with the repaired payload, if any) or DISCARDED, with an audit row.

        Raises Rejected when there is no such letter or it is not open.
        """

    async def blocked(self, stream: str, group: str, subjects: Sequence[str]) -> set[str]:
        """Return which of `subjects` have an open or discarded letter: a sweep must leave them alone."""


def mirror_fields(letter: DeadLetter) -> dict[Any, Any]:
    """Return the entry that mirrors a letter."""
    return {
        "__data__": letter.payload,
        "dead_letter_id": str(letter.id),
        "group": letter.group,
        "message_id": letter.message_id,
        "error": letter.error,
        "attempts": letter.attempts,
        "first_at": letter.first_at.isoformat(),
        "last_at": letter.last_at.isoformat(),
    }
