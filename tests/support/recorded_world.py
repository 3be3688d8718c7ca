"""A stretch of life as it is recorded: real decisions, real postings, marks, flows, a settlement, a tripped breaker."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from libs.common.db.config_tests import read_run, request_run
from libs.common.db.engine import transaction
from libs.common.db.tables.markets import Market, MarketResolution, OutcomeAsset
from libs.common.domain.config_test import ConfigTestResult, RunView, read_draft
from libs.common.domain.kinds import Scope
from services.ledger.core.entries import Owner, Posting, deposit, withdrawal
from services.ledger.store.books import Books
from services.simulator.commands import apply_config_file
from services.simulator.config_test import work
from services.simulator.scheduler import portfolio_id
from tests.support.databases import Database
from tests.support.decisions import CONDITION, NO, YES, book, levels, usdc
from tests.support.simulator_world import HERON, OTTER, World

OTHER, UP, DOWN = "0x" + "d" * 64, "2001", "2002"
"""A second market, which gets resolved."""
SCOPES = (Scope.EXEC_USER, Scope.EXEC_GLOBAL)
OWNERS = ((Scope.EXEC_USER, OTTER), (Scope.EXEC_USER, HERON), (Scope.EXEC_GLOBAL, None))
ASKS = (("0.50", "25"), ("0.51", "5000"))
BIDS = (("0.49", "5000"), ("0.48", "5000"))


class RecordedWorld(World):
    """A world in which things happen one after the other."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.books = Books(database.engine("ledger"))
        self.exchange.books_by_asset = {YES: book(levels(*BIDS), levels(*ASKS))}
        self.version = 0

    async def open_second_market(self) -> None:
        row = {
            "condition_id": OTHER, "id": "2", "question": "?", "slug": "r", "active": True, "closed": False,
            "close_time": None, "accepting_orders": True, "neg_risk": False, "fee_rate": 0, "fee_exponent": 1,
            "tick_micros": 10_000, "version": "v1", "resolved": False, "refreshed_at": datetime.now(UTC),
        }  # fmt: skip
        await self.insert(Market, row)
        for index, asset in enumerate((UP, DOWN)):
            outcome = {"asset_id": asset, "condition_id": OTHER, "outcome_index": index, "name": str(index)}
            await self.insert(OutcomeAsset, outcome)

    async def new_books(self) -> None:
        """Serve new versions of all books."""
        self.version += 1
        for asset in (YES, NO, UP, DOWN):
            found = book(levels(*BIDS), levels(*ASKS), f"h{self.version}")
            self.exchange.books_by_asset[asset] = type(found)(asset, found.hash, 1, found.bids, found.asks)

    async def decide(self, *groups: Mapping[str, Any]) -> None:
        """Let groups be closed and decided in both scopes, all on one version of each book."""
        ids = [await self.close_group(age_s=4 - number / 100, **group) for number, group in enumerate(groups)]
        for scope in SCOPES:
            replica = self.replica(scope)
            await replica.configs.merge()
            await replica.hear(*ids)
            await replica.decide_all()

    async def post(self) -> None:
        """Post whatever was executed and is not posted."""
        rows = await self.execute(
            "SELECT id, portfolio_id FROM copy_attempt WHERE posted_at IS NULL AND decision = 'EXECUTE'"
        )
        await self.books.post_attempts({row.id: row.portfolio_id for row in rows})

    async def flow(self, amount: str) -> None:
        """Deposit (or withdraw) in every executable portfolio."""
        for scope, user in OWNERS:
            posting = Posting(Owner(scope, user), str(uuid4()), datetime.now(UTC))
            entry = deposit(posting, usdc(amount)) if usdc(amount) > 0 else withdrawal(posting, -usdc(amount))
            await self.books.post_entries([entry])

    async def resolve(self, payouts: tuple[int, int]) -> None:
        """Resolve the second market and settle it."""
        row = {"condition_id": OTHER, "payouts_micros": list(payouts), "source": "TEST"}
        await self.insert(MarketResolution, row | {"observed_at": datetime.now(UTC)})
        await self.books.settle([OTHER])

    async def equities(self) -> dict[Scope, int]:
        """Return what the portfolios of each scope are worth, by the ledger's own snapshots."""
        found = dict.fromkeys(SCOPES, 0)
        rows = await self.execute(
            "SELECT DISTINCT ON (p.id) p.scope, s.equity_micros FROM portfolio p"
            " JOIN portfolio_snapshot s ON s.portfolio_id = p.id WHERE p.scope <> 'SHADOW_USER'"
            " ORDER BY p.id, s.at DESC"
        )
        for row in rows:
            found[Scope(row.scope)] += row.equity_micros
        return found

    async def ask(self, draft: Mapping[str, Any], since: datetime, *, user: str | None = None) -> UUID:
        """Ask for a test of everything since a time, as the dashboard does."""
        async with transaction(self.database.engine("ui")) as connection:
            document = read_draft(draft, user)
            return await request_run(connection, document, user, since, datetime.now(UTC), "test")

    async def run(self, run_id: UUID) -> RunView:
        """Return a run as it stands."""
        async with transaction(self.database.engine("ui")) as connection:
            found = await read_run(connection, run_id)
        assert found is not None
        return found

    async def tested(self, draft: Mapping[str, Any], since: datetime, *, user: str | None = None) -> ConfigTestResult:
        """Ask for a test and let a worker do it; return the answer."""
        run_id = await self.ask(draft, since, user=user)
        await work(self.database.engine("simulator"), f"worker-{uuid4()}")
        run = await self.run(run_id)
        assert (run.state, run.error) == ("DONE", None)
        assert run.result is not None
        assert run.done == run.total
        return run.result


def buy(user: UUID = OTTER, asset: str = YES, notional: str = "1000", **more: Any) -> dict[str, Any]:
    """Return a BUY at 0.50."""
    shares = 2 * usdc(notional)
    return {
        "user": user, "asset_id": asset, "condition_id": CONDITION if asset in (YES, NO) else OTHER, "side": "BUY",
        "share_micros": shares, "usdc_notional_micros": usdc(notional), **more,
    }  # fmt: skip


def sell(user: UUID = OTTER, asset: str = YES, notional: str = "1000") -> dict[str, Any]:
    """Return a SELL at 0.50."""
    return buy(user, asset, notional, side="SELL")


def pairs(kind: str, user: UUID = OTTER, shares: str = "1000") -> dict[str, Any]:
    """Return a SPLIT or MERGE in the second market."""
    return {
        "user": user, "kind": kind, "asset_id": None, "condition_id": OTHER, "side": None,
        "share_micros": usdc(shares), "usdc_notional_micros": usdc(shares), "reference_price_micros": None,
    }  # fmt: skip


async def live(world: RecordedWorld, config: Mapping[str, Any] | None = None) -> datetime:
    """Live through everything a test of a configuration must survive; return when its range begins.

    `config` is applied when the range begins.

    Before the range: positions, one fill still in flight. In it: twins on one version of a book, both scopes, flows in
    and out, a settlement of what was bought before and in it, split and merge, sells, a loss that trips the drawdown
    breaker, and its reset.
    """
    await world.open()
    await world.open_second_market()
    await world.mark(YES, "0.50")
    await world.new_books()
    await world.decide(buy(), buy(HERON), buy(asset=UP))
    await world.post()
    await world.decide(buy(asset=UP), buy(HERON, UP))  # in flight when the range begins
    since = datetime.now(UTC)
    if config is not None:
        await apply_config_file(world.database.url(), None, config)
    await world.new_books()
    await world.mark(UP, "0.52")
    await world.decide(buy(), buy(), buy(HERON), sell(notional="300"))
    await world.post()
    await world.flow("500")
    await world.decide(pairs("SPLIT"), pairs("MERGE", shares="400"), buy(HERON, NO))
    await world.mark(YES, "0.61")
    await world.new_books()
    await world.decide(sell(HERON), sell(HERON, NO), buy(asset=DOWN, notional="2000"))
    await world.post()
    await world.resolve((1_000_000, 0))
    await world.decide(buy(asset=UP), buy(notional="5000"), sell(asset=NO))
    await world.flow("-250")
    await lose_and_reset(world)
    await world.new_books()
    await world.decide(buy(notional="3000"), sell())
    await world.post()
    return since


async def lose_and_reset(world: RecordedWorld) -> None:
    """Fall far enough below the peak to trip the breaker, then be reset by the admin."""
    await world.snapshot(Scope.EXEC_GLOBAL, None, minute(), "20000")
    await world.decide(buy(HERON), buy())
    await world.flag(f"breaker_reset:{portfolio_id(Scope.EXEC_GLOBAL, None)}", {"at": "now"})
    await world.execute("DELETE FROM portfolio_snapshot WHERE equity_micros = :peak", peak=usdc(20_000))


def minute() -> datetime:
    """Return a snapshot's time that no posting writes to."""
    return datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
