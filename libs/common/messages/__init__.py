"""One frozen model per stream: facts in the past tense that tell a consumer which rows of Postgres to look at.

`occurred_at` is when it happened in the world, `observed_at` when we saw or did it. A change of meaning is a new class.
"""

from typing import Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from libs.common.domain.kinds import Decision, EventKind, EventStatus, GroupKind, MarkSource, Scope, Side


class Message(BaseModel):
    """What every message carries."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    occurred_at: AwareDatetime
    observed_at: AwareDatetime


class EventDetected(Message):
    """A fill or activity of a followed wallet was committed, or reversed (`occurred_at` = its event time)."""

    event_id: UUID
    kind: EventKind
    status: EventStatus = EventStatus.CANONICAL
    booked: bool
    user_id: UUID
    condition_id: str | None
    asset_id: str | None
    side: Side | None


class GroupClosed(Message):
    """A group of events was closed and waits for its decisions."""

    group_id: UUID
    kind: GroupKind
    user_id: UUID


class AttemptDecided(Message):
    """A copy decision was committed."""

    attempt_id: UUID
    group_id: UUID
    scope: Scope
    user_id: UUID
    decision: Decision


class MarkUpdated(Message):
    """An asset has a new mark."""

    asset_id: str = Field(max_length=100)
    price_micros: int = Field(ge=0, le=1_000_000)
    source: MarkSource


class MarketResolved(Message):
    """A condition's payouts are final; micros per share by outcome index."""

    condition_id: str = Field(max_length=80)
    payouts_micros: tuple[int, ...]


class ReconcileRequested(Message):
    """Someone wants a wallet (or all of them, None) polled now, reaching back `hours`."""

    wallet: str | None = None
    hours: int | None = Field(default=None, ge=1, le=24 * 90)
    requested_by: str = Field(max_length=100)


class ConfigChanged(Message):
    """A configuration row changed; the simulator merges it."""

    scope: Literal["GLOBAL", "USER"]
    user_id: UUID | None = None


class ConfigTestRequested(Message):
    """Someone wants a configuration tested on what was recorded; the row says which."""

    run_id: UUID


class ControlChanged(Message):
    """A control flag changed."""

    key: str = Field(max_length=60)


__all__ = [
    "AttemptDecided",
    "ConfigChanged",
    "ConfigTestRequested",
    "ControlChanged",
    "EventDetected",
    "GroupClosed",
    "MarkUpdated",
    "MarketResolved",
    "Message",
    "ReconcileRequested",
]
