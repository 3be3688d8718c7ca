"""Translate events.detected into running clocks."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol
from uuid import UUID

from libs.common.domain.errors import Rejected
from libs.common.messages import EventDetected
from services.grouper.core import Key, key_of


class KnownEvents(Protocol):
    """The part of the store that says which events exist."""

    async def known(self, event_ids: Sequence[UUID]) -> set[UUID]:
        """Return those that exist."""


def on_events_detected(
    events: KnownEvents, start: Callable[[Key, EventDetected], None]
) -> Callable[[Sequence[EventDetected]], Awaitable[None]]:
    """Return the handler that starts the clock of every event that is to be grouped."""

    async def handle(batch: Sequence[EventDetected]) -> None:
        known = await events.known([message.event_id for message in batch])
        for message in batch:
            if message.event_id not in known:
                raise Rejected(f"expected an event that ingest committed, got unknown event_id {message.event_id}")
        for message in batch:
            if key := key_of(message):
                start(key, message)

    return handle
