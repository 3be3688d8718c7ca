"""One decision transaction: everything that is due in some portfolios, in order, on what is true under their locks.

Postgres says what is undecided, so a group that another replica heard of is decided in its turn. A group whose book or
market is still awaited, or that is not due yet, ends its portfolio's turn; nothing overtakes it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.domain.book import Book
from libs.common.domain.kinds import Scope
from services.simulator.core.facts import Group
from services.simulator.core.rules import Rules
from services.simulator.records import attempt_row, fill_rows, portfolio_row
from services.simulator.store.books import BookStore
from services.simulator.store.configs import ConfigStore
from services.simulator.store.driver import LOCK_NOT_AVAILABLE, driver_transaction
from services.simulator.store.holders import end_stuck_holders
from services.simulator.store.rows import BookKey, Candidate, LockedPortfolio, Switches
from services.simulator.store.session import DecisionSession
from services.simulator.turns import Chunk, Facts, Turn, UnwritableError, decide_one, low_water, take_turn


class Decider:
    """Decides in one scope; as many of these as there are replicas may run."""

    def __init__(
        self,
        engine: AsyncEngine,
        books: BookStore,
        configs: ConfigStore,
        *,
        scope: Scope,
        consumer: str,
        seed: int,
        now: Callable[[], datetime],
    ) -> None:
        self._engine = engine
        self._books = books
        self._configs = configs
        self._scope = scope
        self._consumer = consumer
        self._seed = seed
        self._now = now

    async def run(self, wanted: Mapping[UUID, Sequence[Group]], limit: int) -> Chunk:
        """Decide what is due in the portfolios of `wanted`, at most `limit` groups each, and commit it.

        `wanted` names, by portfolio, the groups this process waits for; older ones that nobody decided come first.
        Where a lock cannot be had because its holder stands still, the holder is ended and the lock asked for again.
        """
        try:
            return await self._run(wanted, limit)
        except Exception as error:
            cause = error.__cause__ if isinstance(error, UnwritableError) else error
            is_locked = getattr(cause, "sqlstate", None) == LOCK_NOT_AVAILABLE
            if not is_locked or not await end_stuck_holders(self._engine):
                raise
        return await self._run(wanted, limit)

    async def _run(self, wanted: Mapping[UUID, Sequence[Group]], limit: int) -> Chunk:
        chunk = Chunk()
        async with driver_transaction(self._engine) as connection:
            session = DecisionSession(connection, self._scope, self._consumer)
            locked = await session.lock(wanted)
            chunk.absent = wanted.keys() - locked.keys()
            if not locked:
                return chunk
            portfolios = list(locked.values())
            undecided = await session.undecided(portfolios, limit)
            await self._add_late(session, wanted, locked, undecided, limit, chunk)
            candidates = [each for found in undecided.values() for each in found]
            if not candidates:
                return chunk
            groups = [each.group for each in candidates]
            switches = await session.switches()
            rules = await self._rules(session, groups, switches)
            facts = Facts(
                switches=switches,
                rules=rules,
                market=await session.markets(groups),
                books=await self._read_books(session, candidates),
                shadow_held=await session.shadow_held(
                    [group for group in groups if _is_proportional(group, switches, rules)]
                ),
                decided_at=self._now(),
            )
            turns = {each: take_turn(each, undecided[each], facts, self._seed, chunk) for each in undecided}
            turns = {each: turn for each, turn in turns.items() if turn.ready}
            if turns:
                await self._decide(session, [locked[each] for each in turns], turns, facts, chunk)
        return chunk

    async def _rules(
        self, session: DecisionSession, groups: Sequence[Group], switches: Switches
    ) -> Mapping[int, Rules]:
        wanted = {version for group in groups if (version := switches.version_for(group.user_id)) is not None}
        self._configs.learn(await session.config_values(self._configs.unknown(wanted)))
        return self._configs.rules(wanted)

    async def _read_books(self, session: DecisionSession, candidates: Iterable[Candidate]) -> dict[BookKey, Book]:
        keys = {(each.group.asset_id, each.book_hash) for each in candidates if each.group.asset_id and each.book_hash}
        found = self._books.known(keys)
        missing = await session.books(keys - found.keys())
        self._books.remember(missing)
        return found | {(book.asset_id, book.hash): book for book in missing}

    async def _add_late(
        self,
        session: DecisionSession,
        wanted: Mapping[UUID, Sequence[Group]],
        locked: Mapping[UUID, LockedPortfolio],
        undecided: dict[UUID, list[Candidate]],
        limit: int,
        chunk: Chunk,
    ) -> None:
        """Add groups we wait for that lie behind the low-water mark; note those that are decided already."""
        missing: dict[UUID, UUID] = {}
        for portfolio, groups in wanted.items():
            found = undecided.get(portfolio)
            if found is None:
                continue
            seen = {each.group.id for each in found}
            last = found[-1].group.order if len(found) >= limit else None
            through = locked[portfolio].decided_through
            for group in groups:
                is_late = through is not None and group.first_detect_time < through
                if group.id not in seen and (is_late or last is None or group.order <= last):
                    missing[group.id] = portfolio
        for candidate in await session.groups(sorted(missing)):
            if candidate.attempted is not None:
                chunk.known.append(candidate)
            else:
                undecided[missing[candidate.group.id]].append(candidate)
        for portfolio in set(missing.values()):
            undecided[portfolio].sort(key=lambda each: each.group.order)

    async def _decide(
        self,
        session: DecisionSession,
        portfolios: Sequence[LockedPortfolio],
        turns: Mapping[UUID, Turn],
        facts: Facts,
        chunk: Chunk,
    ) -> None:
        users = {candidate.group.user_id for turn in turns.values() for candidate, _ in turn.ready}
        states, starts = await session.states(portfolios, facts.market, facts.switches, users, facts.decided_at)
        keys = [
            (portfolio, candidate.group.asset_id or "", candidate.book_hash)
            for portfolio, turn in turns.items()
            for candidate, _ in turn.ready
            if candidate.book_hash is not None
        ]
        await session.load_taken(states, keys)
        rows = []
        for portfolio in portfolios:
            state, start, turn = states[portfolio.id], starts[portfolio.id], turns[portfolio.id]
            decided_at = max(facts.decided_at, start["last_decided_at"] or facts.decided_at)
            effective = start["last_effective_due_at"]
            following = turn.next_undecided
            for candidate, due in turn.ready:
                effective = due if effective is None else max(due, effective)
                try:
                    decided = decide_one(candidate, due, effective, state, facts, decided_at, self._scope)
                except Exception as error:  # noqa: BLE001  its fate is decided by the scheduler; the others go on
                    chunk.failed.append((candidate.group, error))
                    following = candidate.group
                    break
                chunk.decided.append(decided)
            rows.append(portfolio_row(state, low_water(portfolio, state, following)))
        try:
            attempts = [attempt_row(decided) for decided in chunk.decided]
            fills = [row for decided in chunk.decided for row in fill_rows(decided)]
            await session.write(attempts, fills, rows)
        except Exception as error:
            if len(chunk.decided) == 1:
                raise UnwritableError(chunk.decided[0].group) from error
            raise


def _is_proportional(group: Group, switches: Switches, rules: Mapping[int, Rules]) -> bool:
    version = switches.version_for(group.user_id)
    return version is not None and group.side is not None and not group.is_open and rules[version].sells_proportionally
