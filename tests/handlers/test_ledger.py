"""The ledger's handlers: what they hand to the books, and which verdict they pass on to the bus."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import pytest

from libs.common.domain.errors import Rejected
from libs.common.domain.kinds import Decision, EventKind, MarkSource, Scope, Side
from libs.common.messages import AttemptDecided, EventDetected, MarketResolved, MarkUpdated
from services.ledger.core.entries import portfolio_id
from services.ledger.handlers import (
    Posted,
    on_attempts_decided,
    on_events_detected,
    on_markets_resolved,
    on_marks_updated,
)
from services.ledger.store import Outcome

NOW = datetime(2026, 9, 28, 9, 0, tzinfo=UTC)
USER = UUID(int=1)


@dataclass
class FakeBooks:
    """Remembers what it was asked to post and answers with a prepared outcome."""

    outcome: Outcome = field(default_factory=Outcome)
    asked: list[object] = field(default_factory=list)
    reported: list[object] = field(default_factory=list)

    async def post_events(self, events: Mapping[UUID, tuple[EventKind, UUID]]) -> Outcome:
        self.asked.append(dict(events))
        return self.outcome

    async def post_attempts(self, attempts: Mapping[UUID, UUID]) -> Outcome:
        self.asked.append(dict(attempts))
        return self.outcome

    async def settle(self, conditions: Sequence[str]) -> Outcome:
        self.asked.append(list(conditions))
        return self.outcome

    async def revalue(self, assets: Sequence[str]) -> int:
        self.asked.append(list(assets))
        return 3

    def report(self, outcome: Posted, facts: Sequence[tuple[Scope, datetime]]) -> None:
        self.reported.append(facts)


def event(number: int) -> EventDetected:
    return EventDetected(
        event_id=UUID(int=number),
        kind=EventKind.TRADE,
        booked=True,
        user_id=USER,
        condition_id=None,
        asset_id="1001",
        side=Side.BUY,
        occurred_at=NOW,
        observed_at=NOW,
    )


def attempt(number: int, scope: Scope, decision: Decision = Decision.EXECUTE) -> AttemptDecided:
    return AttemptDecided(
        attempt_id=UUID(int=number),
        group_id=UUID(int=99),
        scope=scope,
        user_id=USER,
        decision=decision,
        occurred_at=NOW,
        observed_at=NOW,
    )


async def test_events_are_posted_in_one_call_however_often_they_were_announced() -> None:
    books = FakeBooks()
    await on_events_detected(books, books.report)([event(1), event(2), event(1)])
    assert books.asked == [{UUID(int=1): (EventKind.TRADE, USER), UUID(int=2): (EventKind.TRADE, USER)}]


async def test_contradicted_facts_are_rejected_after_the_rest_was_posted_and_reported() -> None:
    books = FakeBooks(Outcome(rejected=["event 1: expected a TRADE, found no such row"]))
    with pytest.raises(Rejected, match="no such row"):
        await on_events_detected(books, books.report)([event(1)])
    assert len(books.reported) == 1


async def test_a_split_that_waits_for_its_market_is_handled() -> None:
    books = FakeBooks(Outcome(waiting=1))
    await on_events_detected(books, books.report)([event(1)])
    assert len(books.reported) == 1


async def test_attempts_go_to_the_portfolio_of_their_scope_and_skips_go_nowhere() -> None:
    books = FakeBooks()
    batch = [
        attempt(1, Scope.EXEC_USER),
        attempt(2, Scope.EXEC_GLOBAL),
        attempt(3, Scope.EXEC_USER, Decision.SKIP),
    ]
    await on_attempts_decided(books, books.report)(batch)
    assert books.asked == [
        {
            UUID(int=1): portfolio_id(Scope.EXEC_USER, USER),
            UUID(int=2): portfolio_id(Scope.EXEC_GLOBAL, None),
        }
    ]


async def test_conditions_settle_once_per_batch() -> None:
    books = FakeBooks()
    resolved = MarketResolved(condition_id="0xc", payouts_micros=(1_000_000, 0), occurred_at=NOW, observed_at=NOW)
    await on_markets_resolved(books, books.report)([resolved, resolved])
    assert books.asked == [["0xc"]]


async def test_marks_revalue_the_holders_of_what_was_marked() -> None:
    books = FakeBooks()
    written: list[int] = []
    mark = MarkUpdated(asset_id="1001", price_micros=5, source=MarkSource.MIDPOINT, occurred_at=NOW, observed_at=NOW)
    await on_marks_updated(books, written.append)([mark, mark])
    assert books.asked == [["1001"]]
    assert written == [3]
