"""Messages in the hands of a consumer: read, pending in Redis, and waiting for their next try."""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from libs.common.bus.failures import Failure
from libs.common.bus.streams import Stream
from libs.common.bus.wire import Fields, claimed_subject, payload_text
from libs.common.domain.dead_letter import DeadLetter, LetterKind, letter_id
from libs.common.messages import Message

M = TypeVar("M", bound=Message)


@dataclass(slots=True)
class Entry(Generic[M]):
    """One stream entry on its way. Either `message` is readable or `letter` says why it is given up on."""

    id: str
    fields: Fields
    message: M | None
    letter: DeadLetter | None = None
    failure: Failure | None = None
    waits: int = 0
    """Tries that ended in an outage; they only stretch the delay."""
    deaths: int = 0
    """Processes that died running it."""


def letter_for(stream: Stream[M], group: str, entry: Entry[M], kind: LetterKind, failure: Failure) -> DeadLetter:
    """Return the dead letter of an entry, whose last failure was `failure`."""
    payload = payload_text(entry.fields)
    subject = claimed_subject(stream, entry.fields) if entry.message is None else stream.subject_of(entry.message)
    return DeadLetter(
        id=letter_id(stream.name, group, entry.id, payload),
        stream=stream.name,
        group=group,
        message_id=entry.id,
        subject=subject,
        payload=payload,
        error=f"{kind}: {failure.error}",
        traceback=failure.traceback,
        attempts=failure.attempts,
        first_at=failure.first_at,
        last_at=failure.last_at,
    )


@dataclass(slots=True)
class Parked(Generic[M]):
    """A queue of entries by the time (seconds of the event loop's clock) at which each is due again."""

    _heap: list[tuple[float, int, Entry[M]]] = field(default_factory=list)
    _ids: set[str] = field(default_factory=set)
    _added: int = 0

    def __len__(self) -> int:
        return len(self._heap)

    def __contains__(self, message_id: str) -> bool:
        return message_id in self._ids

    def add(self, entries: Iterable[Entry[M]], due: float) -> None:
        """Queue entries for `due`, in their order; one that waits already keeps its place."""
        for entry in entries:
            if entry.id not in self._ids:
                self._added += 1
                self._ids.add(entry.id)
                heapq.heappush(self._heap, (due, self._added, entry))

    def take(self, now: float, limit: int) -> list[Entry[M]]:
        """Remove and return at most `limit` entries that are due."""
        taken: list[Entry[M]] = []
        while self._heap and len(taken) < limit and self._heap[0][0] <= now:
            entry = heapq.heappop(self._heap)[2]
            self._ids.discard(entry.id)
            taken.append(entry)
        return taken

    def next_due(self) -> float | None:
        """Return when the next entry is due, or None when none waits."""
        return self._heap[0][0] if self._heap else None

    def make_due(self, now: float) -> None:
        """Let every entry that waits longer be due now."""
        self._heap = [(min(due, now), number, entry) for due, number, entry in self._heap]
        heapq.heapify(self._heap)
