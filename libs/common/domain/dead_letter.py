"""What a group gives up on: the letter, why, and what became of it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from libs.common.domain.identity import identify


class LetterStatus(StrEnum):
    """What became of a dead letter."""

    OPEN = "OPEN"
    REPLAYED = "REPLAYED"
    DISCARDED = "DISCARDED"


class LetterKind(StrEnum):
    """Why a message was given up on; its error text starts with it."""

    POISON = "POISON"
    REJECTED = "REJECTED"
    FAILED = "FAILED"
    CRASH = "CRASH"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message given up on by one group. `message_id` is its entry on the stream, `subject` the id it is about."""

    id: UUID
    stream: str
    group: str
    message_id: str
    subject: str | None
    payload: str
    error: str
    traceback: str | None
    attempts: int
    first_at: datetime
    last_at: datetime
    status: LetterStatus = LetterStatus.OPEN
    status_at: datetime | None = None
    status_reason: str | None = None


def letter_id(stream: str, group: str, message_id: str, payload: str) -> UUID:
    """Return the id of the letter of one entry in one group, so that writing it twice leaves one."""
    return identify("dead_letter", stream, group, message_id, payload)
