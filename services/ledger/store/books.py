"""What the ledger does in Postgres, a transaction each: open portfolios, post events and attempts, settle, value."""

from collections import Counter, deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeVar
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.db.engine import transaction
from libs.common.domain.errors import Rejected, Unavailable
from libs.common.domain.kinds import EventKind, Scope
from services.ledger.core.entries import LEGS, Entry, portfolio_id
from services.ledger.store.facts import (
    attempt_facts,
    check_attempts,
    event_facts,
    portfolios_with_unposted,
    reversals,
    wanted_portfolios,
)
from services.ledger.store.session import Session
from services.ledger.store.settling import check_conditions, settlements

T = TypeVar("T")
POST_MAX: Final = 500
"""Attempts posted in one transaction: none of them is in the books before its end."""
VALUE_MAX: Final = 10
"""Portfolios valued in one transaction: postings wait for it, and decisions wait for those."""
SHORT_SECONDS: Final = 60
"""Two polls: a shadow short before them and after was oversold, not merely seen in the wrong order."""

_KNOWN_BY_NOW: Final = text("""
SELECT event_id, kind, user_id FROM waiting_event w
WHERE (SELECT count(*) FROM outcome_asset o WHERE o.condition_id = w.condition_id) >= :legs
ORDER BY waits_since LIMIT :limit
""")
_NO_LONGER_WAITING: Final = text("DELETE FROM waiting_event WHERE event_id = ANY(:ids)")
_WAITING: Final = text("SELECT count(*) FROM waiting_event")
_MISSING: Final = text("""
SELECT count(*) FROM followed_user u
WHERE NOT EXISTS (SELECT FROM portfolio p WHERE p.user_id = u.id AND p.scope = 'EXEC_USER')
""")
_OPEN_PORTFOLIOS: Final = text("""
INSERT INTO portfolio (
  id, scope, user_id, opened_at, cash_micros, deposits_micros, withdrawals_micros, fees_micros, realized_pnl_micros,
  decision_seq, drawdown_tripped)
SELECT p.*, 0, 0, 0, 0, 0, 0, false FROM unnest(
  CAST(:ids AS uuid[]), CAST(:scopes AS text[]), CAST(:users AS uuid[]), CAST(:opened AS timestamptz[])) AS p
ORDER BY 1
ON CONFLICT DO NOTHING
RETURNING id
""")
_HOLDERS: Final = text("SELECT DISTINCT portfolio_id FROM position WHERE asset_id = ANY(:assets) AND share_micros <> 0")
_WITHOUT_MINUTE: Final = text("""
SELECT p.id FROM portfolio p
WHERE EXISTS (SELECT FROM position o WHERE o.portfolio_id = p.id AND o.share_micros <> 0)
  AND coalesce((SELECT max(s.at) FROM portfolio_snapshot s WHERE s.portfolio_id = p.id), '-infinity')
      < date_trunc('minute', coalesce(CAST(:now AS timestamptz), clock_timestamp()))
""")
"""One step from the end of an index for each portfolio; NOT EXISTS would be planned as a join with all snapshots."""
_FLAG_OVERSOLD: Final = text("""
UPDATE position p SET flags = array_append(flags, 'oversold')
WHERE portfolio_id = ANY(:ids) AND share_micros < 0 AND NOT 'oversold' = ANY(flags)
  AND share_micros - coalesce((
    SELECT sum(e.share_delta_micros) FROM ledger_entry e
    WHERE e.portfolio_id = p.portfolio_id AND e.asset_id = p.asset_id AND e.created_at
      >= coalesce(CAST(:now AS timestamptz), clock_timestamp()) - make_interval(secs => :seconds)), 0) < 0
""")


@dataclass(slots=True)
class Outcome:
    """What a call posted, by scope and entry type, and what it had to leave out and why."""

    posted: Counter[tuple[str, str]] = field(default_factory=Counter)
    rejected: list[str] = field(default_factory=list)
    waiting: int = 0
    """Splits and merges put aside, as their market is unknown."""

    def raise_for_left_out(self) -> None:
        """Raise Rejected if something was left out; the rest is committed and harmless to repeat."""
        if self.rejected:
            raise Rejected("; ".join(self.rejected[:5]))


class Books:
    """The only writer of entries, positions and snapshots. Safe to run in several processes."""

    def __init__(self, engine: AsyncEngine, now: Callable[[], datetime] | None = None) -> None:
        """Keep books in `engine`; `now` sets the minute of snapshots (default: the database's clock)."""
        self._engine = engine
        self._now = now

    async def open_portfolios(self) -> Outcome:
        """Give every followed user the portfolios still missing, with their bankroll; open the global one too."""
        outcome = Outcome()
        async with transaction(self._engine) as connection:
            if not (await connection.execute(_MISSING)).scalar():
                return outcome
            wanted = await wanted_portfolios(connection)
            parameters = {
                "ids": [each.owner.portfolio_id for each in wanted],
                "scopes": [each.owner.scope for each in wanted],
                "users": [each.owner.user_id for each in wanted],
                "opened": [each.opened_at for each in wanted],
            }
            opened = set((await connection.execute(_OPEN_PORTFOLIOS, parameters)).scalars())
            session = Session(connection)
            await session.keep(opened)
            await session.post(
                [each.bankroll for each in wanted if each.bankroll and each.owner.portfolio_id in opened]
            )
            await session.apply()
            await session.snapshot(opened, self._clock())
            outcome.posted = session.posted
        return outcome

    async def post_events(self, events: Mapping[UUID, tuple[EventKind, UUID]]) -> Outcome:
        """Post what detected events (id -> kind, user) mean in shadow; reversed ones are taken back.

        A split or merge of a market nobody knows is put aside for `post_waiting`.
        """
        users = {user for _, user in events.values()}
        portfolios = {portfolio_id(Scope.SHADOW_USER, user) for user in users}
        async with transaction(self._engine) as connection:
            session = Session(connection)
            kept = await session.keep(portfolios)
            if kept == portfolios:
                facts = await event_facts(connection, events)
                await session.post(facts.entries)
                await session.place(facts.placed)
                await session.wait_for_market(facts.waiting)
                if facts.reversed:
                    await session.post(await reversals(connection, facts.reversed))
                await session.finish(self._clock())
        if kept != portfolios:
            return await self._post_events_of_new_users(events)
        return await self._settle_reopened(
            session.resolved, Outcome(session.posted, facts.rejected, len(facts.waiting))
        )

    async def post_waiting(self) -> Outcome:
        """Post the splits and merges that were put aside and whose market is known by now."""
        async with transaction(self._engine) as connection:
            parameters = {"legs": LEGS, "limit": POST_MAX}
            known = (await connection.execute(_KNOWN_BY_NOW, parameters)).all()
        outcome = Outcome()

        async def post(rows: Sequence[Row[Any]]) -> None:
            events = {row.event_id: (EventKind(row.kind), row.user_id) for row in rows}
            outcome.posted += (await self.post_events(events)).posted
            async with transaction(self._engine) as connection:
                await connection.execute(_NO_LONGER_WAITING, {"ids": list(events)})

        await _in_parts(known, POST_MAX, post)
        return outcome

    async def waiting(self) -> int:
        """Return how many splits and merges wait for their market."""
        async with transaction(self._engine) as connection:
            return int((await connection.execute(_WAITING)).scalar_one())

    async def _post_events_of_new_users(self, events: Mapping[UUID, tuple[EventKind, UUID]]) -> Outcome:
        """Open missing portfolios and try again; events of users nobody follows are rejected."""
        await self.open_portfolios()
        async with transaction(self._engine) as connection:
            known = await Session(connection).keep({portfolio_id(Scope.SHADOW_USER, u) for _, u in events.values()})
        ours = {
            event: (kind, user)
            for event, (kind, user) in events.items()
            if portfolio_id(Scope.SHADOW_USER, user) in known
        }
        outcome = await self.post_events(ours) if ours else Outcome()
        outcome.rejected += [
            f"event {event}: expected a followed user, got {user}"
            for event, (_, user) in events.items()
            if event not in ours
        ]
        return outcome

    async def post_attempts(self, attempts: Mapping[UUID, UUID]) -> Outcome:
        """Post executed attempts (id -> portfolio), and every older one of their portfolios, in decision order."""
        outcome = Outcome()
        resolved: set[str] = set()
        left = dict(attempts)
        while left:
            async with transaction(self._engine) as connection:
                session = Session(connection)
                kept = await session.keep(set(left.values()))
                facts = await attempt_facts(connection, kept, limit=POST_MAX)
                await session.post(facts.entries)
                await session.mark_posted(facts.attempts)
                for attempt in facts.attempts:
                    left.pop(attempt, None)
                wrong, unposted = await check_attempts(connection, left) if left else ([], set())
                await session.finish(self._clock())
            outcome.posted += session.posted
            outcome.rejected += wrong
            resolved |= session.resolved
            if unposted and not facts.attempts:
                raise RuntimeError(f"attempts {sorted(unposted)[:5]} are to be posted, yet none of them was found")
            left = {attempt: portfolio for attempt, portfolio in left.items() if attempt in unposted}
        return await self._settle_reopened(resolved, outcome)

    async def settle(self, conditions: Sequence[str]) -> Outcome:
        """Settle every open position in resolved conditions, in every portfolio.

        All portfolios are locked, so that none can gain a position unseen; what executables decided in these
        conditions before is posted before, and where that reopens another settled one, it is settled with them.
        """
        async with transaction(self._engine) as connection:
            session = Session(connection)
            await session.lock_all()
            fit, wrong = await check_conditions(session, conditions)
            if late := await portfolios_with_unposted(connection, conditions):
                facts = await attempt_facts(connection, late)
                await session.post(facts.entries)
                await session.mark_posted(facts.attempts)
            reopened, _ = await check_conditions(session, sorted(session.resolved.difference(conditions)))
            await session.post(await settlements(session, [*fit, *reopened]))
            await session.finish(self._clock())
        return Outcome(session.posted, wrong)

    async def revalue(self, assets: Sequence[str]) -> int:
        """Write the current snapshot of every portfolio that holds one of these assets; return how many."""
        async with transaction(self._engine) as connection:
            holders = set((await connection.execute(_HOLDERS, {"assets": list(assets)})).scalars())
        return await self._snapshot(holders)

    async def revalue_minute(self) -> int:
        """Write the current minute's snapshot of every portfolio that holds something and has none yet."""
        async with transaction(self._engine) as connection:
            portfolios = set((await connection.execute(_WITHOUT_MINUTE, {"now": self._clock()})).scalars())
        return await self._snapshot(portfolios)

    async def _snapshot(self, portfolios: Collection[UUID]) -> int:
        async def value(part: Sequence[UUID]) -> None:
            async with transaction(self._engine) as connection:
                session = Session(connection)
                await session.keep(part)
                await session.snapshot(part, self._clock())
                parameters = {"ids": part, "seconds": SHORT_SECONDS, "now": self._clock()}
                await connection.execute(_FLAG_OVERSOLD, parameters)

        await _in_parts(sorted(portfolios), VALUE_MAX, value)
        return len(portfolios)

    async def post_entries(self, entries: Sequence[Entry]) -> Outcome:
        """Post entries made elsewhere (flows, openings, adjustments) in one transaction."""
        async with transaction(self._engine) as connection:
            session = Session(connection)
            await session.keep({entry.portfolio_id for entry in entries})
            await session.post(entries)
            await session.finish(self._clock())
        return await self._settle_reopened(session.resolved, Outcome(session.posted))

    async def _settle_reopened(self, conditions: Collection[str], outcome: Outcome) -> Outcome:
        """Settle at once what was just posted in conditions that are resolved already."""
        if conditions:
            settled = await self.settle(sorted(conditions))
            outcome.posted += settled.posted
        return outcome

    def _clock(self) -> datetime | None:
        return self._now() if self._now else None


async def _in_parts(items: Sequence[T], size: int, work: Callable[[Sequence[T]], Awaitable[None]]) -> None:
    """Do `work` on all items, `size` at a time; those of a part that fails one by one, so that none fails for another.

    Raises Unavailable at once, any other failure after the rest is done.
    """
    parts = deque(items[start : start + size] for start in range(0, len(items), size))
    failure: Exception | None = None
    while parts:
        part = parts.popleft()
        try:
            await work(part)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001  raised at the end
            if len(part) > 1:
                parts.extend([each] for each in part)
            else:
                failure = error
    if failure is not None:
        raise failure
