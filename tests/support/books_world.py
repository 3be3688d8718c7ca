"""What the ledger is told in the state machine, in Postgres and beside it in the toy, and how it is told.

A fact is written to the database as the other services would, and kept here with what it means to the toy. Telling it
posts it on both sides. Whoever tells may die; then another replica is told again, and sweeps as it would.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import text

from libs.common.db.tables.events import PositionSync
from libs.common.db.tables.markets import MarketPriceSnapshot
from libs.common.db.tables.users import FollowedUser
from libs.common.domain.errors import Rejected, Unavailable
from libs.common.domain.kinds import EntryType, EventKind, Scope
from services.ledger.commands import rebuild
from services.ledger.core.entries import portfolio_id
from services.ledger.store import Books, Sweeps
from services.ledger.store.books import Outcome
from services.ledger.store.flows import post_flow
from tests.integration.test_ledger import BANKROLL, START, World
from tests.support.crashes import Crashes, Death
from tests.support.databases import Database
from tests.support.toy_books import Happened, ToyBooks, ToyPortfolio, flowed

USERS: Final = {"otter": UUID(int=3), "heron": UUID(int=2), "stoat": UUID(int=1)}
"""In the order of their follows, which is not that of their ids."""
CONDITIONS: Final = {"0xc1": ("1001", "1002"), "0xc2": ("2001", "2002")}
ASSETS: Final = tuple(asset for legs in CONDITIONS.values() for asset in legs)
LATE: Final = {"0xc3": ("3001", "3002")}
"""Whose market is learned late, if ever."""
EMPTIED: Final = (
    "followed_user, market, outcome_asset, trade_event, activity_event, position_sync, event_group, copy_attempt, "
    "market_resolution, market_price_snapshot, portfolio, portfolio_snapshot, position, position_source, entry_place, "
    "waiting_event, ledger_entry, audit_log, system_checkpoint"
)


@dataclass
class Event:
    """A fact of a shadow: its row, what it means, and whether it was taken back."""

    id: UUID
    kind: EventKind
    user: str
    happened: Happened | None
    is_reversed: bool = False
    condition: str | None = None
    """Of a split or merge: without its market it cannot be posted."""


@dataclass(frozen=True)
class Attempt:
    """A decision of an executable portfolio."""

    id: UUID
    scope: Scope
    user: str | None
    happened: Happened


Act = Callable[[Books], Awaitable[Outcome]]


class BooksWorld(World):
    """Books kept by two replicas, and the toy."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        other = Database(database.cluster, database.name)
        self.databases = (database, other)
        self.engines = [each.engine("ledger") for each in self.databases]
        self.replicas = [Books(engine) for engine in self.engines]
        self.crashes = [Crashes(engine) for engine in self.engines]

    async def begin(self, *, are_open: bool) -> None:
        """Forget everything and follow the users; `are_open` tells that their portfolios are open already."""
        async with self.database.engine().begin() as connection:
            await connection.execute(text(f"TRUNCATE {EMPTIED} CASCADE"))
        self.toy = ToyBooks()
        self.events: list[Event] = []
        self.attempts: list[Attempt] = []
        self.posted_attempts: set[UUID] = set()
        self.unknown = set(LATE)
        self.put_aside: list[Event] = []
        self.marked_at = START
        for place, (label, user) in enumerate(USERS.items()):
            at = START - timedelta(hours=1) + timedelta(minutes=place // 2)
            row = {"label": label, "profile_wallet": f"0x{place}", "enabled": True, "followed_at": at}
            await self.write(FollowedUser, id=user, **row)
            self.toy.open(Scope.SHADOW_USER, label, 0)
            self.toy.open(Scope.EXEC_USER, label, BANKROLL)
        self.toy.open(Scope.EXEC_GLOBAL, None, BANKROLL)
        for condition, legs in CONDITIONS.items():
            await self.market(condition, legs)
        if are_open:
            await self.replicas[0].open_portfolios()

    async def close(self) -> None:
        """Close every connection."""
        for each in self.databases:
            await each.dispose()

    def followed(self) -> list[str]:
        """Return the users as they were followed; who came at once comes by id."""
        return sorted(USERS, key=lambda label: (list(USERS).index(label) // 2, USERS[label]))

    async def sync(self, kind: EventKind, user: str, happened: Happened, price: int | None, **place: Any) -> None:
        """Record an opening or an adjustment."""
        (move,) = happened.moves
        number = next(self.sequence)
        ref = f"{USERS[user]}:{move.asset}" if kind is EventKind.OPENING else str(uuid4())
        row = {
            "id": uuid4(), "kind": kind, "user_id": USERS[user], "wallet": "0x1", "asset_id": move.asset,
            "share_delta_micros": move.shares, "cash_delta_micros": move.cash, "price_micros": price, "ref_id": ref,
            "tx_hash": None, "as_of": START, "event_time": START, "detect_time": START + timedelta(microseconds=number),
        }  # fmt: skip
        await self.write(PositionSync, **row | place)
        self.events.append(Event(row["id"], kind, user, happened))  # type: ignore[arg-type]

    async def change(self, statement: str, **parameters: Any) -> Sequence[Any]:
        """Change rows as their service would; return what the statement does."""
        async with self.database.engine().begin() as connection:
            done = await connection.execute(text(statement), parameters)
            return done.all() if done.returns_rows else ()

    async def perform(self, act: Act, replica: int, death: tuple[Death, int] | None) -> None:
        """Do something on one replica; if it dies of it, the other does it again, and what it left open is swept."""
        self.crashes[replica].arm(death)
        try:
            (await act(self.replicas[replica])).raise_for_left_out()
        except Unavailable:
            if not self.crashes[replica].fired:
                raise
        died = self.crashes[replica].fired
        self.crashes[replica].arm(None)
        if not died:
            return
        (await act(self.replicas[1 - replica])).raise_for_left_out()
        sweeps = Sweeps(self.engines[replica])
        for message in await sweeps.resolutions(datetime.now(UTC) + timedelta(hours=1), 100):
            (await self.replicas[replica].settle([message.condition_id])).raise_for_left_out()

    def post_events(self, batch: Sequence[Event]) -> Act:
        """Return what posts events."""
        return lambda books: books.post_events({each.id: (each.kind, USERS[each.user]) for each in batch})

    def post_attempts(self, batch: Sequence[Attempt]) -> Act:
        """Return what posts attempts."""
        return lambda books: books.post_attempts({each.id: self.portfolio_of(each) for each in batch})

    @staticmethod
    def portfolio_of(attempt: Attempt) -> UUID:
        """Return the id of the portfolio that decided."""
        return portfolio_id(attempt.scope, USERS[attempt.user] if attempt.user else None)

    async def learn(self, condition: str, replica: int, death: tuple[Death, int] | None) -> None:
        """Learn a market; what waited for it is posted."""
        await self.market(condition, LATE[condition])
        self.unknown.discard(condition)
        await self.perform(lambda books: books.post_waiting(), replica, death)
        self.believe_events(self.put_aside)

    def believe_events(self, batch: Sequence[Event]) -> None:
        """Post events in the toy, but for those that wait for their market."""
        for event in batch:
            if event.condition in self.unknown:
                self.put_aside.append(event)
            elif event.happened is not None:
                portfolio = self.toy.portfolios[Scope.SHADOW_USER, event.user]
                portfolio.post(str(event.id), event.happened)
                if event.is_reversed:
                    portfolio.taken_back.add(str(event.id))

    def believe_attempts(self, portfolios: set[tuple[Scope, str | None]]) -> None:
        """Post in the toy all that these portfolios decided so far: older decisions go before younger ones."""
        for attempt in self.attempts:
            if (attempt.scope, attempt.user) in portfolios:
                self.toy.portfolios[attempt.scope, attempt.user].post(str(attempt.id), attempt.happened)
                self.posted_attempts.add(attempt.id)

    async def catch_up(self) -> None:
        """Post in the toy what a settlement posted early: whatever a portfolio decided that it settles in."""
        rows = await self.rows("SELECT id FROM copy_attempt WHERE posted_at IS NOT NULL")
        posted = {UUID(str(row.id)) for row in rows}
        assert self.posted_attempts <= posted, "a decision that was told is not posted"
        waits: set[tuple[Scope, str | None]] = set()
        for attempt in self.attempts:
            owner = (attempt.scope, attempt.user)
            if attempt.id not in posted:
                waits.add(owner)
                continue
            assert owner not in waits, f"{owner} posted a decision before an older one"
            self.toy.portfolios[owner].post(str(attempt.id), attempt.happened)
            self.posted_attempts.add(attempt.id)

    def prospect(self, scope: Scope, user: str | None) -> ToyPortfolio:
        """Return a portfolio as it will be with everything it decided: what the next decision sees."""
        now = self.toy.portfolios[scope, user]
        then = ToyPortfolio(now.by_time, dict(now.posted), set(now.taken_back))
        for attempt in self.attempts:
            if (attempt.scope, attempt.user) == (scope, user):
                then.post(str(attempt.id), attempt.happened)
        return then

    async def flow(self, user: str | None, amount: int, replica: int, death: tuple[Death, int] | None) -> None:
        """Deposit, or withdraw (negative), by one command that is given twice."""
        scope = Scope.EXEC_USER if user else Scope.EXEC_GLOBAL
        command, kind = uuid4(), EntryType.DEPOSIT if amount > 0 else EntryType.WITHDRAWAL
        expected = amount > 0 or self.prospect(scope, user).cash() >= -amount
        said = {"user": user, "command_id": command, "actor": "test"}

        async def act(books: Books) -> Outcome:
            engine = self.engines[self.replicas.index(books)]
            try:
                await post_flow(engine, kind, abs(amount), **said)  # type: ignore[arg-type]
                assert expected, f"took {-amount} that is not there"
            except Rejected:
                assert not expected, f"refused {-amount} that is there"
            return Outcome()

        await self.perform(act, replica, death)
        await act(self.replicas[replica])
        if expected:
            self.believe_attempts({(scope, user)})
            self.toy.portfolios[scope, user].post(str(command), flowed(amount))

    async def marks(self, asset: str, price: int, replica: int, death: tuple[Death, int] | None) -> None:
        """Mark a token and value who holds it."""
        self.marked_at += timedelta(seconds=1)
        row = {"asset_id": asset, "at": self.marked_at, "price_micros": price, "source": "MIDPOINT"}
        await self.write(MarketPriceSnapshot, **row)
        self.toy.marks[asset] = price

        async def act(books: Books) -> Outcome:
            await books.revalue([asset])
            return Outcome()

        await self.perform(act, replica, death)

    async def together(self, *acts: Act) -> None:
        """Do things at once, each on both replicas."""
        done = await asyncio.gather(*(act(books) for act in acts for books in self.replicas))
        for outcome in done:
            outcome.raise_for_left_out()

    async def agree(self) -> None:
        """Hold every portfolio against the toy: totals, positions, attribution and newest snapshots."""
        await self.catch_up()
        self.toy.settle_all()
        labels = {user: label for label, user in USERS.items()} | {None: None}
        owners = {row.id: (row.scope, labels[row.user_id]) for row in await self.rows("SELECT * FROM portfolio")}
        positions: dict[Any, dict[str, tuple[int, int, int]]] = {}
        for row in await self.rows("SELECT * FROM position"):
            kept = (row.share_micros, row.cost_micros, row.realized_pnl_micros)
            positions.setdefault(owners[row.portfolio_id], {})[row.asset_id] = kept
        totals = await self.rows(TOTALS)
        for row in totals:
            owner = owners[row.id]
            portfolio = self.toy.portfolios[owner]
            expected = {asset: portfolio.position(asset) for asset in portfolio.assets()}
            places = {asset: (each.shares, each.cost, each.realized) for asset, each in expected.items()}
            assert positions.get(owner, {}) == places, f"positions of {owner}"
            worth = self.toy.standing(portfolio)
            flows = (worth.cash, worth.deposits, worth.withdrawals, worth.fees, worth.realized)
            assert tuple(row)[1:6] == flows, f"totals of {owner}"
            values = (worth.cash + worth.exposure, worth.exposure, worth.unrealized)
            assert tuple(row)[6:] == (*flows, *values), f"newest snapshot of {owner}"
        sources: dict[str, dict[str, int]] = {}
        for row in await self.rows("SELECT * FROM position_source WHERE share_micros <> 0"):
            sources.setdefault(row.asset_id, {})[str(labels[row.source_user_id])] = row.share_micros
        everyone = self.toy.portfolios[Scope.EXEC_GLOBAL, None]
        whose = {asset: everyone.sources(asset, self.followed()) for asset in everyone.assets()}
        assert sources == {asset: each for asset, each in whose.items() if each}

    async def finish(self) -> None:
        """Tell everything that was not told, and let the service's own checks look."""
        await self.together(self.post_events(self.events), self.post_attempts(self.attempts))
        self.believe_events(self.events)
        self.believe_attempts(set(self.toy.portfolios))  # type: ignore[arg-type]
        await self.replicas[0].open_portfolios()
        await self.agree()
        assert await self.violations() == []
        for condition in sorted(self.unknown):
            await self.learn(condition, 0, None)
        await self.together(lambda books: books.post_waiting())
        assert await self.replicas[0].waiting() == 0
        await self.agree()
        assert await self.violations() == []
        for dry_run in (True, False):
            rebuilt = await rebuild(self.database.url(), dry_run=dry_run)
            assert rebuilt.changes == []


TOTALS: Final = """
SELECT p.id, p.cash_micros, p.deposits_micros, p.withdrawals_micros, p.fees_micros, p.realized_pnl_micros,
       s.cash_micros, s.deposits_micros, s.withdrawals_micros, s.fees_micros, s.realized_pnl_micros, s.equity_micros,
       s.exposure_micros, s.unrealized_pnl_micros
FROM portfolio p CROSS JOIN LATERAL (
  SELECT * FROM portfolio_snapshot WHERE portfolio_id = p.id ORDER BY at DESC LIMIT 1) s
"""
