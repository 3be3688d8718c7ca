"""THE MAP: every stream in the order in which facts flow, who puts messages on it and which groups read it.

Groups, ACL rules, trimming, sweeps and the status page are all derived from it. A group bears the name of its service,
with a suffix where the service reads a stream once per scope.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from libs.common.messages import (
    AttemptDecided,
    ConfigChanged,
    ConfigTestRequested,
    ControlChanged,
    EventDetected,
    GroupClosed,
    MarketResolved,
    MarkUpdated,
    Message,
    ReconcileRequested,
)

M_co = TypeVar("M_co", bound=Message, covariant=True)
SUBJECT_MAX_CHARS: Final = 160


@dataclass(frozen=True, slots=True)
class Stream(Generic[M_co]):
    """One stream. `subject` names the field of the message that says which thing it is about."""

    name: str
    message: type[M_co]
    groups: tuple[str, ...]
    writers: tuple[str, ...]
    subject: str

    @property
    def dead_letters(self) -> str:
        """Name of the stream that mirrors this one's dead letters."""
        return f"{self.name}.dlq"

    def subject_of(self, message: Message) -> str | None:
        """Return the id `message` is about, as text."""
        value = getattr(message, self.subject)
        return None if value is None else str(value)[:SUBJECT_MAX_CHARS]

    def require_group(self, group: str) -> None:
        """Raise ValueError unless `group` is one of this stream's groups."""
        if group not in self.groups:
            raise ValueError(f"stream {self.name}: expected one of the groups {', '.join(self.groups)}, got {group!r}")


EVENTS_DETECTED: Final = Stream("events.detected", EventDetected, ("ledger", "grouper"), ("ingest",), "event_id")
GROUPS_CLOSED: Final = Stream(
    "groups.closed", GroupClosed, ("simulator-user", "simulator-global"), ("grouper",), "group_id"
)
ATTEMPTS_DECIDED: Final = Stream("attempts.decided", AttemptDecided, ("ledger",), ("simulator",), "attempt_id")
MARKS_UPDATED: Final = Stream("marks.updated", MarkUpdated, ("ledger",), ("pricer",), "asset_id")
MARKETS_RESOLVED: Final = Stream("markets.resolved", MarketResolved, ("ledger",), ("pricer",), "condition_id")
RECONCILE_REQUESTED: Final = Stream("reconcile.requested", ReconcileRequested, ("ingest",), ("ui",), "wallet")
CONFIG_CHANGED: Final = Stream(
    "config.changed", ConfigChanged, ("simulator-user", "simulator-global"), ("ui",), "user_id"
)
CONFIG_TEST_REQUESTED: Final = Stream(
    "config.test.requested", ConfigTestRequested, ("simulator-user",), ("ui",), "run_id"
)
CONTROL_CHANGED: Final = Stream(
    "control.changed", ControlChanged, ("simulator-user", "simulator-global"), ("ui",), "key"
)

ALL: Final[tuple[Stream[Message], ...]] = (
    EVENTS_DETECTED,
    GROUPS_CLOSED,
    ATTEMPTS_DECIDED,
    MARKS_UPDATED,
    MARKETS_RESOLVED,
    RECONCILE_REQUESTED,
    CONFIG_CHANGED,
    CONFIG_TEST_REQUESTED,
    CONTROL_CHANGED,
)
BY_NAME: Final[Mapping[str, Stream[Message]]] = {stream.name: stream for stream in ALL}


def service_of(group: str) -> str:
    """Return the service that reads as `group` (`simulator-user` is the simulator)."""
    return group.partition("-")[0]


def consumed_by(service: str) -> tuple[Stream[Message], ...]:
    """Return the streams a service reads, in flow order."""
    return tuple(stream for stream in ALL if any(service_of(group) == service for group in stream.groups))


def written_by(service: str) -> tuple[Stream[Message], ...]:
    """Return the streams a service puts messages on, in flow order."""
    return tuple(stream for stream in ALL if service in stream.writers)
