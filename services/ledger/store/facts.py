"""What is to be posted, read from Postgres and turned into entries: events, decided attempts, follows, payouts."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.common.domain.kinds import EventKind, EventStatus, GroupKind, Scope, Side
from services.ledger.core import entries as posting
from services.ledger.core.entries import BANKROLL_DEFAULT_MICROS, BANKROLL_REF, Entry, Owner, Posting
from services.ledger.core.fold import order_of
from services.ledger.store.rows import entry_of
from services.ledger.store.session import Placed

_TRADES: Final = text("""
SELECT e.id, 'TRADE' AS kind, e.user_id, e.asset_id, o.condition_id, e.side, e.share_micros, e.usdc_notional_micros,
       e.fee_micros, e.event_time, e.detect_time, e.tx_hash, coalesce(e.log_index, e.ordinal) AS log_index,
       e.status, e.booked, e.incarnation, NULL AS legs,
       CASE e.first_source WHEN 'DATA_API' THEN (
         SELECT coalesce(p.log_index, l.log_index) FROM ledger_entry l LEFT JOIN entry_place p ON p.ref_id = l.ref_id
         WHERE l.scope = 'SHADOW_USER' AND l.user_id = e.user_id AND l.ref_id = e.id::text
           AND l.entry_type = 'TRADE_FILL') END AS posted_at_index
FROM trade_event e LEFT JOIN outcome_asset o ON o.asset_id = e.asset_id
WHERE e.id = ANY(:ids)
""")

_ACTIVITY: Final = text("""
SELECT e.id, e.kind, e.user_id, e.condition_id, e.share_micros, e.event_time, e.detect_time, e.tx_hash,
       e.ordinal AS log_index, e.status, e.booked, 0 AS incarnation,
       ARRAY(SELECT o.asset_id::text FROM outcome_asset o WHERE o.condition_id = e.condition_id
             ORDER BY o.outcome_index) AS legs
FROM activity_event e
WHERE e.id = ANY(:ids)
""")

_SYNCS: Final = text("""
SELECT id, kind, user_id, condition_id, asset_id, share_delta_micros AS share_micros, cash_delta_micros, price_micros,
       ref_id, event_time, detect_time, tx_hash, NULL::int AS log_index, 'CANONICAL' AS status,
       true AS booked, 0 AS incarnation
FROM position_sync WHERE id = ANY(:ids)
""")

_SHADOW_ENTRIES: Final = text("""
SELECT * FROM ledger_entry
WHERE ref_id = ANY(:refs) AND scope = 'SHADOW_USER' AND entry_type IN ('TRADE_FILL', 'FEE', 'SPLIT', 'MERGE')
ORDER BY seq
""")

_ATTEMPT_COLUMNS: Final = """
SELECT a.id, a.portfolio_id, a.scope, a.user_id, a.kind, coalesce(a.condition_id, o.condition_id) AS condition_id,
       a.asset_id, a.side, a.filled_share_micros, a.filled_notional_micros, a.fee_micros, a.decided_at, a.decision,
       a.posted_at,
       CASE WHEN a.kind <> 'TRADE' THEN
         ARRAY(SELECT l.asset_id::text FROM outcome_asset l WHERE l.condition_id = a.condition_id
               ORDER BY l.outcome_index) END AS legs
FROM copy_attempt a LEFT JOIN outcome_asset o ON o.asset_id = a.asset_id
"""
_ATTEMPTS: Final = text(f"{_ATTEMPT_COLUMNS} WHERE a.id = ANY(:ids)")
_UNPOSTED: Final = text(
    f"{_ATTEMPT_COLUMNS} WHERE a.portfolio_id = ANY(:portfolios) AND a.posted_at IS NULL AND a.decision = 'EXECUTE' "
    "ORDER BY a.portfolio_id, a.seq LIMIT :limit"
)
_UNPOSTED_IN: Final = text("""
SELECT DISTINCT portfolio_id FROM copy_attempt a
WHERE posted_at IS NULL AND decision = 'EXECUTE' AND (
  condition_id = ANY(:conditions)
  OR asset_id IN (SELECT asset_id FROM outcome_asset WHERE condition_id = ANY(:conditions)))
""")

_FOLLOWED: Final = text("SELECT id, followed_at FROM followed_user ORDER BY followed_at, id")
_BANKROLL: Final = text(
    "SELECT values ->> 'bankroll_micros' FROM copy_sizing_config WHERE scope = 'GLOBAL' AND user_id IS NULL"
)


SYNC_KINDS: Final = frozenset({EventKind.OPENING, EventKind.ADJUSTMENT})
"""Kinds of what positions show and no event explains."""


@dataclass(slots=True)
class Facts:
    """Entries to post, in order, and what became of each fact that was asked for."""

    entries: list[Entry] = field(default_factory=list)
    reversed: dict[str, int] = field(default_factory=dict)
    """Refs and incarnations of events that were reversed; their entries are posted, then taken back."""
    placed: list[Placed] = field(default_factory=list)
    """Posted fills whose log has told since where they stand."""
    attempts: list[UUID] = field(default_factory=list)
    """Attempts whose entries are among `entries`."""
    rejected: list[str] = field(default_factory=list)
    """What contradicts the facts, one line each."""
    waiting: list[UUID] = field(default_factory=list)
    """Splits and merges whose market is not known yet."""


async def event_facts(connection: AsyncConnection, events: Mapping[UUID, tuple[EventKind, UUID]]) -> Facts:
    """Read events (by id, with the kind and user they were announced with) and say what they post in shadow.

    Call it with the shadow portfolios of those users locked, so that of two processes the later one to post sees the
    later state of an event.
    """
    rows: dict[UUID, Row[Any]] = {}
    trades = [event for event, (kind, _) in events.items() if kind is EventKind.TRADE]
    syncs = [event for event, (kind, _) in events.items() if kind in SYNC_KINDS]
    others = [event for event, (kind, _) in events.items() if kind is not EventKind.TRADE and kind not in SYNC_KINDS]
    for query, ids in ((_TRADES, trades), (_ACTIVITY, others), (_SYNCS, syncs)):
        if ids:
            rows |= {row.id: row for row in await connection.execute(query, {"ids": ids})}
    facts = Facts()
    # Fills of one transaction that no log tells stand as the API listed them, a microsecond of detection apart.
    ordered = sorted(
        rows.values(),
        key=lambda row: (order_of(row.event_time, row.tx_hash, row.log_index), row.detect_time, row.id),
    )
    for event, (kind, user) in events.items():
        row = rows.get(event)
        if row is None or row.user_id != user:
            found = "no such row" if row is None else f"user {row.user_id}"
            facts.rejected.append(f"event {event}: expected a {kind} of user {user}, found {found}")
    for row in ordered:
        if row.user_id == events[row.id][1] and row.booked:
            _add_event(facts, row)
            if row.status == EventStatus.REVERSED:
                facts.reversed[str(row.id)] = row.incarnation
    return facts


def _add_event(facts: Facts, row: Row[Any]) -> None:
    place = Posting(
        owner=Owner(Scope.SHADOW_USER, row.user_id),
        ref_id=row.ref_id if row.kind in SYNC_KINDS else str(row.id),
        event_time=row.event_time,
        condition_id=row.condition_id or None,
        tx_hash=row.tx_hash,
        log_index=row.log_index,
    )
    if row.kind == EventKind.TRADE:
        if row.posted_at_index is not None:  # with the amounts the API gave; a fee its log told since was within them
            if row.posted_at_index != row.log_index:
                facts.placed.append(
                    Placed(place.ref_id, place.owner.portfolio_id, row.asset_id, row.event_time, row.log_index)
                )
            return
        facts.entries += posting.trade(
            place,
            row.asset_id,
            Side(row.side),
            share_micros=row.share_micros,
            notional_micros=row.usdc_notional_micros,
            fee_micros=row.fee_micros,
        )
    elif row.kind == EventKind.OPENING:
        shares, mark = row.share_micros, row.price_micros
        facts.entries.append(posting.opening(place, row.asset_id, share_micros=shares, mark_micros=mark))
    elif row.kind == EventKind.ADJUSTMENT:
        shares, cash = row.share_micros, row.cash_delta_micros
        facts.entries.append(posting.adjustment(place, row.asset_id, share_delta_micros=shares, cash_delta_micros=cash))
    elif row.kind in {EventKind.SPLIT, EventKind.MERGE} and row.share_micros > 0:
        if len(row.legs) < posting.LEGS:
            facts.waiting.append(row.id)
        else:
            facts.entries += posting.pair(place, GroupKind(row.kind), row.legs, share_micros=row.share_micros)


async def reversals(connection: AsyncConnection, incarnations: Mapping[str, int]) -> list[Entry]:
    """Return the entries that take back what is posted of reversed events (ref -> incarnation)."""
    posted = await connection.execute(_SHADOW_ENTRIES, {"refs": list(incarnations)})
    return [posting.reversal(entry_of(row), incarnations[row.ref_id]) for row in posted]


async def attempt_facts(
    connection: AsyncConnection, portfolios: Collection[UUID], *, limit: int | None = None
) -> Facts:
    """Say what the oldest unposted attempts of locked portfolios post, in decision order; all of them by default."""
    facts = Facts()
    for row in await connection.execute(_UNPOSTED, {"portfolios": list(portfolios), "limit": limit}):
        entries = _attempt_entries(row)
        if isinstance(entries, str):
            facts.rejected.append(entries)
        else:
            facts.entries += entries
            facts.attempts.append(row.id)
    return facts


async def check_attempts(connection: AsyncConnection, attempts: Mapping[UUID, UUID]) -> tuple[list[str], set[UUID]]:
    """Look up attempts, given with the portfolio they were announced for.

    Returns what contradicts the facts, one line each, and which of them still wait to be posted and can be.
    """
    rows = {row.id: row for row in await connection.execute(_ATTEMPTS, {"ids": list(attempts)})}
    wrong, unposted = [], set()
    for attempt, portfolio in attempts.items():
        row = rows.get(attempt)
        if row is None or row.portfolio_id != portfolio or row.decision != "EXECUTE":
            found = "no such row" if row is None else f"{row.decision} in portfolio {row.portfolio_id}"
            wrong.append(f"attempt {attempt}: expected EXECUTE in portfolio {portfolio}, found {found}")
        elif row.posted_at is None:
            entries = _attempt_entries(row)
            if isinstance(entries, str):
                wrong.append(entries)
            else:
                unposted.add(attempt)
    return wrong, unposted


def _attempt_entries(row: Row[Any]) -> tuple[Entry, ...] | str:
    """Return the entries of an executed attempt, or what is wrong with it."""
    scope = Scope(row.scope)
    place = Posting(
        owner=Owner(scope, None if scope is Scope.EXEC_GLOBAL else row.user_id),
        ref_id=str(row.id),
        event_time=row.decided_at,
        condition_id=row.condition_id,
        source_user_id=row.user_id if scope is Scope.EXEC_GLOBAL else None,
    )
    if row.filled_share_micros <= 0:
        return f"attempt {row.id}: expected filled shares in an EXECUTE, got {row.filled_share_micros}"
    if row.kind != GroupKind.TRADE:
        if len(row.legs) != posting.LEGS:
            return f"attempt {row.id}: expected {posting.LEGS} outcomes of {row.condition_id}, got {len(row.legs)}"
        return posting.pair(place, GroupKind(row.kind), row.legs, share_micros=row.filled_share_micros)
    return posting.trade(
        place,
        row.asset_id,
        Side(row.side),
        share_micros=row.filled_share_micros,
        notional_micros=row.filled_notional_micros,
        fee_micros=row.fee_micros,
    )


async def portfolios_with_unposted(connection: AsyncConnection, conditions: Sequence[str]) -> set[UUID]:
    """Return the portfolios that decided something in these conditions that is not in the books yet."""
    return set((await connection.execute(_UNPOSTED_IN, {"conditions": list(conditions)})).scalars())


@dataclass(frozen=True, slots=True)
class NewPortfolio:
    """A portfolio every followed user should have, and its bankroll, if any."""

    owner: Owner
    opened_at: datetime
    bankroll: Entry | None


async def wanted_portfolios(connection: AsyncConnection) -> list[NewPortfolio]:
    """Return the portfolios that all follows so far call for."""
    followed = (await connection.execute(_FOLLOWED)).all()
    configured = (await connection.execute(_BANKROLL)).scalar()
    bankroll = BANKROLL_DEFAULT_MICROS if configured is None else int(configured)

    def portfolio(scope: Scope, user: UUID | None, at: datetime) -> NewPortfolio:
        owner = Owner(scope, user)
        if scope is Scope.SHADOW_USER:
            return NewPortfolio(owner, at, None)
        return NewPortfolio(owner, at, posting.deposit(Posting(owner, BANKROLL_REF, at), bankroll))

    wanted = [portfolio(scope, row.id, row.followed_at) for row in followed for scope in _PER_USER]
    if followed:
        wanted.append(portfolio(Scope.EXEC_GLOBAL, None, followed[0].followed_at))
    return wanted


_PER_USER: Final = (Scope.SHADOW_USER, Scope.EXEC_USER)
