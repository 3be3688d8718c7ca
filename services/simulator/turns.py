"""What a portfolio may decide now, and one decision after the other, carried forward in memory; no I/O.

A group whose book or market is still awaited, or that is not due yet, ends its portfolio's turn: nothing overtakes it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from libs.common.domain.book import Book
from libs.common.domain.errors import Unavailable
from libs.common.domain.kinds import Decision, Scope
from services.simulator.core.decide import decide
from services.simulator.core.facts import Clock, Group
from services.simulator.core.portfolio import PortfolioState, Trade
from services.simulator.core.rules import Rules
from services.simulator.core.schedule import is_history, needs_book, own_due
from services.simulator.records import Decided
from services.simulator.store.rows import BookKey, Candidate, LockedPortfolio, Market, Switches

MARKET_WAIT: Final = timedelta(seconds=2)
"""How long past its due a group waits for its market to become known."""
RETRY: Final = timedelta(milliseconds=50)
"""How soon to look again for a book or a market that is not there yet."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """The group that ended a portfolio's turn, its own due, and when to try again, or which lacks its book."""

    group: Group
    due: datetime
    until: datetime
    lacks_book: bool = False


class UnwritableError(Exception):
    """The one decision of a transaction could not be written; the cause says why."""

    def __init__(self, group: Group) -> None:
        super().__init__(f"the decision on group {group.id} could not be written")
        self.group = group


@dataclass(slots=True)
class Chunk:
    """What one transaction did."""

    decided: list[Decided] = field(default_factory=list)
    known: list[Candidate] = field(default_factory=list)
    """Groups we waited for that turned out to be decided already."""
    blocked: dict[UUID, Blocked] = field(default_factory=dict)
    failed: list[tuple[Group, Exception]] = field(default_factory=list)
    """Groups whose decision raised; each ends its portfolio's turn."""
    absent: set[UUID] = field(default_factory=set)
    """Portfolios that do not exist yet."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What a portfolio may decide now: groups in order with their dues, and how far its low-water mark may go."""

    ready: list[tuple[Candidate, datetime]]
    next_undecided: Group | None


@dataclass(frozen=True, slots=True)
class Facts:
    """What all decisions of one transaction share."""

    switches: Switches
    rules: Mapping[int, Rules]
    market: Market
    books: Mapping[BookKey, Book]
    shadow_held: Mapping[UUID, int]
    decided_at: datetime

    def rules_for(self, group: Group) -> Rules:
        """Return the rules a group is decided under."""
        version = self.switches.version_for(group.user_id)
        if version is None:
            raise Unavailable("no configuration was merged yet")
        return self.rules[version]


def take_turn(portfolio: UUID, candidates: Sequence[Candidate], facts: Facts, seed: int, chunk: Chunk) -> Turn:
    """Return the groups to decide: all up to the first one that must still wait."""
    ready: list[tuple[Candidate, datetime]] = []
    for candidate in candidates:
        group = candidate.group
        rules = facts.rules_for(group)
        due = own_due(group, rules, seed)
        until = _wait_until(candidate, due, rules, facts)
        if until is not None:
            lacks_book = due <= facts.decided_at and _lacks_book(candidate, rules, facts.decided_at)
            chunk.blocked[portfolio] = Blocked(group, due, until, lacks_book)
            return Turn(ready, group)
        ready.append((candidate, due))
    return Turn(ready, None)


def _wait_until(candidate: Candidate, due: datetime, rules: Rules, facts: Facts) -> datetime | None:
    """Return when to look at a group again, None when it can be decided now."""
    now = facts.decided_at
    if now < due:
        return due
    if _lacks_book(candidate, rules, now):
        return now + RETRY
    if (
        facts.market.of(candidate.group) is None
        and now < due + MARKET_WAIT
        and not is_history(candidate.group, rules, now)
    ):
        return now + RETRY
    return None


def _lacks_book(candidate: Candidate, rules: Rules, now: datetime) -> bool:
    return needs_book(candidate.group, rules, now) and not candidate.book_is_settled


def decide_one(
    candidate: Candidate,
    due: datetime,
    effective: datetime,
    state: PortfolioState,
    facts: Facts,
    decided_at: datetime,
    scope: Scope,
) -> Decided:
    """Decide one group and carry its portfolio forward."""
    group, market, rules = candidate.group, facts.market.of(candidate.group), facts.rules_for(candidate.group)
    book = facts.books.get((group.asset_id or "", candidate.book_hash or ""))
    clock = Clock(scope, decided_at, facts.switches.engine_paused, group.user_id in facts.switches.enabled)
    view = state.view(group, market, candidate.book_hash, facts.shadow_held.get(group.id))
    outcome = decide(group, view, rules, market, book, clock)
    seq, late = state.decided(group, view, outcome.drawdown_tripped)
    if outcome.decision is Decision.EXECUTE:
        shares, notional = outcome.filled_share_micros, outcome.filled_notional_micros
        state.apply(Trade.of(group, market, shares, notional, outcome.fee_micros))
        if book is not None:
            taken = [(fill.price_micros, fill.share_micros) for fill in outcome.fills]
            state.take((book.asset_id, book.hash, group.side), taken)
    return Decided(
        group=group,
        view=view,
        market=market,
        clock=clock,
        outcome=outcome,
        config_version=rules.version,
        portfolio_id=state.id,
        seq=seq,
        out_of_order=late,
        due_at=due,
        effective_due_at=effective,
        book_hash=candidate.book_hash,
        book_fetched_at=candidate.book_fetched_at,
        book_error=candidate.book_error,
    )


def low_water(portfolio: LockedPortfolio, state: PortfolioState, following: Group | None) -> datetime | None:
    """Return the time before which everything first detected is decided, but for what was committed late."""
    if state.last_order is None:
        return portfolio.decided_through
    reached = state.last_order[0] if following is None else min(state.last_order[0], following.first_detect_time)
    return reached if portfolio.decided_through is None else max(reached, portfolio.decided_through)
