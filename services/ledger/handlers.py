"""Translate messages into what the books do with them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from libs.common.domain.kinds import Decision, EventKind, Scope
from libs.common.messages import AttemptDecided, EventDetected, MarketResolved, MarkUpdated
from services.ledger.core.entries import portfolio_id

Report = Callable[["Posted", Sequence[tuple[Scope, datetime]]], None]
"""Told of what was posted, with scope and time of detection or decision of each fact."""


class Posted(Protocol):
    """What a call to the books posted and left out."""

    @property
    def posted(self) -> Mapping[tuple[str, str], int]:
        """Entries by scope and type."""

    @property
    def waiting(self) -> int:
        """Splits and merges put aside until their market is known."""

    def raise_for_left_out(self) -> None:
        """Raise Rejected for what was left out; the rest is committed."""


class EventBooks(Protocol):
    """The books as events see them."""

    async def post_events(self, events: Mapping[UUID, tuple[EventKind, UUID]]) -> Posted:
        """Post what events (id -> kind, user) mean in shadow."""


class AttemptBooks(Protocol):
    """The books as copy attempts see them."""

    async def post_attempts(self, attempts: Mapping[UUID, UUID]) -> Posted:
        """Post executed attempts (id -> portfolio)."""


class SettlingBooks(Protocol):
    """The books as resolutions see them."""

    async def settle(self, conditions: Sequence[str]) -> Posted:
        """Settle every open position in resolved conditions."""


class ValuedBooks(Protocol):
    """The books as marks see them."""

    async def revalue(self, assets: Sequence[str]) -> int:
        """Snapshot every holder of these assets."""


def on_events_detected(books: EventBooks, report: Report) -> Callable[[Sequence[EventDetected]], Awaitable[None]]:
    """Return the handler that posts shadow entries."""

    async def handle(batch: Sequence[EventDetected]) -> None:
        outcome = await books.post_events({each.event_id: (each.kind, each.user_id) for each in batch})
        report(outcome, [(Scope.SHADOW_USER, each.observed_at) for each in batch])
        outcome.raise_for_left_out()

    return handle


def on_attempts_decided(books: AttemptBooks, report: Report) -> Callable[[Sequence[AttemptDecided]], Awaitable[None]]:
    """Return the handler that posts what was executed; a skip posts nothing."""

    async def handle(batch: Sequence[AttemptDecided]) -> None:
        executed = [each for each in batch if each.decision is Decision.EXECUTE]
        outcome = await books.post_attempts({each.attempt_id: _portfolio_of(each) for each in executed})
        report(outcome, [(each.scope, each.observed_at) for each in executed])
        outcome.raise_for_left_out()

    return handle


def on_markets_resolved(books: SettlingBooks, report: Report) -> Callable[[Sequence[MarketResolved]], Awaitable[None]]:
    """Return the handler that settles."""

    async def handle(batch: Sequence[MarketResolved]) -> None:
        outcome = await books.settle(sorted({each.condition_id for each in batch}))
        report(outcome, [])
        outcome.raise_for_left_out()

    return handle


def on_marks_updated(
    books: ValuedBooks, report: Callable[[int], None]
) -> Callable[[Sequence[MarkUpdated]], Awaitable[None]]:
    """Return the handler that values the holders of what was marked."""

    async def handle(batch: Sequence[MarkUpdated]) -> None:
        report(await books.revalue(sorted({each.asset_id for each in batch})))

    return handle


def _portfolio_of(message: AttemptDecided) -> UUID:
    return portfolio_id(message.scope, None if message.scope is Scope.EXEC_GLOBAL else message.user_id)
