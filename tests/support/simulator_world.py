"""A database as the simulator finds it: followed users, portfolios with cash, a market with a mark, closed groups."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.db.engine import is_outage, transaction
from libs.common.db.tables.config import ControlFlag
from libs.common.db.tables.groups import EventGroup
from libs.common.db.tables.ledger import LedgerEntry, Portfolio, PortfolioSnapshot, Position
from libs.common.db.tables.markets import Market, MarketPriceSnapshot, OutcomeAsset
from libs.common.db.tables.users import FollowedUser
from libs.common.domain.book import Book
from libs.common.domain.kinds import Scope
from services.simulator.books import BookDesk
from services.simulator.core.facts import Group
from services.simulator.deciding import Decider
from services.simulator.records import Decided
from services.simulator.scheduler import Scheduler, portfolio_id
from services.simulator.store.books import BookStore
from services.simulator.store.configs import ConfigStore
from services.simulator.store.groups import GroupStore
from services.simulator.store.rows import Candidate
from tests.support.databases import Database
from tests.support.decisions import BOOK, CONDITION, NO, YES, usdc

OTTER, HERON = UUID(int=11), UUID(int=12)
CONSUMERS = {Scope.EXEC_USER: "simulator-user", Scope.EXEC_GLOBAL: "simulator-global"}


@dataclass
class Exchange:
    """A book host: answers what it is told to, and counts the calls."""

    books_by_asset: dict[str, Book] = field(default_factory=lambda: {YES: BOOK})
    calls: list[tuple[str, ...]] = field(default_factory=list)

    async def books(self, asset_ids: Sequence[str]) -> Mapping[str, Book]:
        self.calls.append(tuple(asset_ids))
        await asyncio.sleep(0)
        return {each: self.books_by_asset[each] for each in asset_ids if each in self.books_by_asset}


class World:
    """Seeds a database and runs the simulator's parts on it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.exchange = Exchange()
        self.given_up: list[tuple[Group, Exception]] = []
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        """The clock of groups, marks and decisions."""

    async def insert(self, table: Any, *rows: dict[str, Any]) -> None:
        async with transaction(self.database.engine()) as connection:
            for row in rows:
                await connection.execute(insert(table).values(row))

    async def open(self, *, market: bool = True, portfolios: bool = True) -> None:
        """Follow two users, open their portfolios and the global one, and merge the configuration."""
        followed = datetime(2026, 9, 1, tzinfo=UTC)
        for place, (user, label) in enumerate(((OTTER, "otter"), (HERON, "heron"))):
            await self.insert(
                FollowedUser,
                {
                    "id": user, "label": label, "profile_wallet": f"0x{label}", "enabled": True,
                    "followed_at": followed + timedelta(days=place),
                },
            )  # fmt: skip
        if portfolios:
            await self.open_portfolios()
        if market:
            await self.open_market()
        await ConfigStore(self.database.engine("simulator")).merge()

    async def open_portfolios(self) -> None:
        for scope, user in ((Scope.EXEC_USER, OTTER), (Scope.EXEC_USER, HERON), (Scope.EXEC_GLOBAL, None)):
            identity = portfolio_id(scope, user)
            opened = datetime.now(UTC) - timedelta(hours=1)
            await self.insert(
                Portfolio,
                {
                    "id": identity, "scope": scope.value, "user_id": user, "opened_at": opened,
                    "cash_micros": usdc(10_000), "deposits_micros": usdc(10_000),
                },
            )  # fmt: skip
            entry = {
                "id": uuid4(), "portfolio_id": identity, "scope": scope.value, "user_id": user,
                "entry_type": "DEPOSIT", "share_delta_micros": 0, "cash_delta_micros": usdc(10_000),
                "ref_id": "bankroll", "event_time": opened, "created_at": opened,
            }  # fmt: skip
            await self.insert(LedgerEntry, entry)

    async def open_market(self, **changes: Any) -> None:
        row = {
            "condition_id": CONDITION, "id": "1", "question": "?", "slug": "q", "active": True, "closed": False,
            "close_time": datetime.now(UTC) + timedelta(days=1), "accepting_orders": True, "neg_risk": False,
            "fee_rate": Decimal("0.07"), "fee_exponent": Decimal(1), "tick_micros": 10_000, "version": "v1",
            "resolved": False, "refreshed_at": datetime.now(UTC),
        }  # fmt: skip
        await self.insert(Market, row | changes)
        for index, asset in enumerate((YES, NO)):
            outcome = {"asset_id": asset, "condition_id": CONDITION, "outcome_index": index, "name": str(index)}
            await self.insert(OutcomeAsset, outcome)

    async def mark(self, asset: str, price: str) -> None:
        row = {"asset_id": asset, "at": self.now(), "price_micros": usdc(price), "source": "MIDPOINT"}
        await self.insert(MarketPriceSnapshot, row)

    async def hold(self, scope: Scope, user: UUID | None, asset: str, shares: str, cost: str) -> None:
        row = {
            "portfolio_id": portfolio_id(scope, user), "asset_id": asset, "condition_id": CONDITION,
            "share_micros": usdc(shares), "cost_micros": usdc(cost), "realized_pnl_micros": 0, "flags": [],
            "updated_at": datetime.now(UTC),
        }  # fmt: skip
        await self.insert(Position, row)

    async def snapshot(self, scope: Scope, user: UUID | None, at: datetime, equity: str) -> None:
        row = {
            "portfolio_id": portfolio_id(scope, user), "at": at, "equity_micros": usdc(equity), "cash_micros": 0,
            "exposure_micros": 0, "unrealized_pnl_micros": 0, "realized_pnl_micros": 0,
            "deposits_micros": usdc(10_000), "fees_micros": 0,
        }  # fmt: skip
        await self.insert(PortfolioSnapshot, row)

    async def flag(self, key: str, value: dict[str, Any]) -> None:
        row = {"key": key, "value": value, "updated_at": datetime.now(UTC), "updated_by": "test"}
        await self.insert(ControlFlag, row)

    async def close_group(self, *, age_s: float = 4.0, user: UUID = OTTER, **changes: Any) -> UUID:
        """Commit a closed BUY group of 1000 USDC first detected `age_s` ago."""
        first = self.now() - timedelta(seconds=age_s)
        row = {
            "id": uuid4(), "kind": "TRADE", "user_id": user, "condition_id": CONDITION, "asset_id": YES, "side": "BUY",
            "share_micros": usdc(2000), "usdc_notional_micros": usdc(1000), "reference_price_micros": usdc("0.5"),
            "first_event_time": first - timedelta(seconds=1), "first_detect_time": first, "first_ordinal": 1,
            "closed_at": first + timedelta(seconds=2),
        }  # fmt: skip
        await self.insert(EventGroup, row | changes)
        return UUID(str((row | changes)["id"]))

    def replica(self, scope: Scope, name: str = "simulator-0", engine: AsyncEngine | None = None) -> "Replica":
        """Return one simulator process's parts, not running; `engine`: another way to the database."""
        return Replica(self, scope, name, engine or self.database.engine("simulator"))

    async def attempts(self, scope: Scope) -> list[Any]:
        """Return the attempts of a scope, in order of decision."""
        query = text("SELECT * FROM copy_attempt WHERE scope = :scope ORDER BY portfolio_id, seq")
        async with self.database.engine().connect() as connection:
            return list((await connection.execute(query, {"scope": scope.value})).all())

    async def execute(self, statement: str, **parameters: Any) -> list[Any]:
        async with self.database.engine().begin() as connection:
            result = await connection.execute(text(statement), parameters)
            return list(result.all()) if result.returns_rows else []


class Replica:
    """The parts of one process: a desk, a scheduler and what they stand on."""

    def __init__(self, world: World, scope: Scope, name: str, engine: AsyncEngine) -> None:
        self.world, self.scope = world, scope
        self.configs = ConfigStore(engine)
        self.books = BookStore(engine, name)
        self.groups = GroupStore(engine, scope, CONSUMERS[scope])
        self.announced: list[UUID] = []
        self.decider = Decider(
            engine,
            self.books,
            self.configs,
            scope=scope,
            consumer=CONSUMERS[scope],
            seed=0,
            now=world.now,
        )
        self.desk = BookDesk(world.exchange, self.books, self._settled, now=world.now, patience_seconds=0.1)
        self.scheduler = Scheduler(
            self.decider,
            scope=scope,
            seed=0,
            chunk_max=100,
            rules_for=lambda user: self.rules.of(user),
            want_books=self.desk.want,
            announce=self._announce,
            give_up=self._give_up,
            now=world.now,
            is_outage=is_outage,
        )

    async def start(self) -> None:
        """Learn the configuration in force."""
        self.rules = await self.configs.current()

    async def hear(self, *group_ids: UUID) -> None:
        """Let groups wait, as their messages would."""
        await self.start()
        self.scheduler.wait_for([each.group for each in await self.groups.find(group_ids)])

    async def decide_all(self) -> None:
        """Run desk and scheduler until nothing waits that could be decided."""
        async with asyncio.timeout(20):
            while len(self.scheduler):
                await self.scheduler.tick()
                await self.get_books()
                await asyncio.sleep(0.005)

    async def get_books(self) -> None:
        """Run one round of the desk."""
        await self.desk.tend()
        if asked := self.desk.next_call():
            await self.desk.call(asked)

    def _settled(self, group_ids: Sequence[UUID]) -> None:
        self.scheduler.books_settled(group_ids)

    async def _announce(self, decided: Sequence[Decided], known: Sequence[Candidate]) -> None:
        self.announced += [each.attempt_id for each in decided]
        self.announced += [each.attempted.id for each in known if each.attempted]

    async def _give_up(self, group: Group, error: Exception) -> None:
        self.world.given_up.append((group, error))
        row = {
            "id": uuid4(), "stream": "groups.closed", "group_name": CONSUMERS[self.scope], "message_id": "x",
            "subject": str(group.id), "payload": "{}", "error": str(error), "attempts": 4, "status": "OPEN",
            "first_at": datetime.now(UTC), "last_at": datetime.now(UTC),
        }  # fmt: skip
        from libs.common.db.tables.system import DeadLetter

        await self.world.insert(DeadLetter, row)
