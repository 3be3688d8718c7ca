"""Ids are pure functions of facts, so a replay finds what it did before.

Those of fills and of all that stems from them begin with the hour of the fill. What comes into being together then
stands together in every index on ids, so that writing it touches a few pages, however much was written before.
"""

from datetime import datetime
from typing import Final
from uuid import UUID, uuid5

from libs.common.domain.kinds import Scope

NAMESPACE: Final = UUID("5b1f0c6e-4d0e-5d5c-9f0a-7a0d2c5a9b11")


def identify(kind: str, *facts: object) -> UUID:
    """Return the id of the thing of this `kind` that `facts` determine (order matters, text form counts)."""
    return uuid5(NAMESPACE, "\x1f".join((kind, *(str(fact) for fact in facts))))


def user_id(label: str) -> UUID:
    """Return the id of the followed user with this label."""
    return identify("user", label)


def at_hour(identity: UUID, of: datetime | UUID) -> UUID:
    """Return `identity` with the hour of a time, or of the id it stems from, in its first two bytes.

    Hours since 1970 modulo 65536: they begin again after seven years, which costs order and nothing else.
    """
    hour = of.bytes[:2] if isinstance(of, UUID) else (int(of.timestamp()) // 3600 % 65536).to_bytes(2, "big")
    return UUID(bytes=hour + identity.bytes[2:])


def event_id(event_time: datetime, kind: str, *facts: object) -> UUID:
    """Return the id of an event of this `kind` that happened then: `facts` tell it from all others."""
    return at_hour(identify(kind, *facts), event_time)


def group_id(first_event: UUID) -> UUID:
    """Return the id of the group that an event opens."""
    return at_hour(identify("group", first_event), first_event)


def attempt_id(scope: Scope, group: UUID) -> UUID:
    """Return the id of the one attempt a group gets in a scope."""
    return at_hour(identify("attempt", scope, group), group)
