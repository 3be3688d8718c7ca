"""One decision transaction: lock portfolios, read what decisions need, write what they are."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from libs.common.bus.streams import GROUPS_CLOSED
from libs.common.domain.book import Book
from libs.common.domain.kinds import Scope, Side
from libs.common.domain.statistics import start_of_day, start_of_week
from services.simulator.core.facts import Group
from services.simulator.core.portfolio import Holding, PortfolioState, Trade
from services.simulator.store import statements as sql
from services.simulator.store.driver import Connection, json_text
from services.simulator.store.groups import shadow_held
from services.simulator.store.rows import (
    BookKey,
    Candidate,
    LockedPortfolio,
    Market,
    Switches,
    attempted_of,
    book_of,
    candidate_of,
    market_of,
    portfolio_of,
    state_of,
    trade_of,
)

LOCK_WAIT_MS: Final = 2_000
"""How long to wait for another decider or the ledger to let go of a portfolio."""
IDLE_MS: Final = 3_000
"""How long this process may stop in mid-transaction before the server cuts it off."""
BEGINNING: Final = datetime(2020, 1, 1, tzinfo=UTC)
PAUSE_FLAG: Final = "engine_paused"

_UNDECIDED: Final = {
    Scope.EXEC_USER: sql.undecided(per_user=True),
    Scope.EXEC_GLOBAL: sql.undecided(per_user=False),
}


class DecisionSession:
    """The reads and writes of one transaction. Lock first."""

    def __init__(self, connection: Connection, scope: Scope, consumer: str) -> None:
        self._connection = connection
        self._scope = scope
        self._dead = {"stream": GROUPS_CLOSED.name, "consumer": consumer}

    async def lock(self, portfolios: Iterable[UUID]) -> dict[UUID, LockedPortfolio]:
        """Lock portfolio rows in id order; return those that exist."""
        parameters = {"ids": sorted(portfolios), "lock_ms": str(LOCK_WAIT_MS), "idle_ms": str(IDLE_MS)}
        rows = await sql.LOCK_PORTFOLIOS.rows(self._connection, **parameters)
        return {row["id"]: portfolio_of(row) for row in rows}

    async def unlocked(self) -> list[LockedPortfolio]:
        """Return every portfolio of the scope without locking it: to look at, not to decide by."""
        rows = await sql.PORTFOLIOS.rows(self._connection, scope=self._scope.value)
        return [portfolio_of(row) for row in rows]

    async def labels(self) -> dict[UUID, str]:
        """Return the names of all users ever followed."""
        return {row["id"]: row["label"] for row in await sql.LABELS.rows(self._connection)}

    async def undecided(self, locked: Sequence[LockedPortfolio], limit: int) -> dict[UUID, list[Candidate]]:
        """Return the first `limit` undecided groups of each portfolio, in order, from its low-water mark on."""
        parameters = {
            "portfolios": [each.id for each in locked],
            "users": [each.user_id for each in locked],
            "since": [each.decided_through or BEGINNING for each in locked],
            "scope": self._scope.value,
            "limit": limit,
            **self._dead,
        }
        found: dict[UUID, list[Candidate]] = {each.id: [] for each in locked}
        for row in await _UNDECIDED[self._scope].rows(self._connection, **parameters):
            found[row["portfolio_id"]].append(candidate_of(row))
        return found

    async def groups(self, group_ids: Sequence[UUID]) -> list[Candidate]:
        """Return groups by id, with their attempts."""
        if not group_ids:
            return []
        rows = await sql.GROUPS.rows(self._connection, ids=group_ids, scope=self._scope.value)
        return [attempted_of(row) for row in rows]

    async def switches(self) -> Switches:
        """Return flags, users and configuration versions."""
        row = (await sql.SWITCHES.rows(self._connection))[0]
        users, configs = row["users"], row["configs"]
        flag = row["flags"].get(PAUSE_FLAG) or {}
        return Switches(
            engine_paused=is_on(flag),
            enabled=frozenset(UUID(user) for user, enabled in users if enabled),
            follow_order=tuple(UUID(user) for user, _ in users),
            global_version=next((version for scope, _, version in configs if scope == "GLOBAL"), None),
            user_versions={UUID(user): version for scope, user, version in configs if scope == "USER"},
        )

    async def markets(self, groups: Iterable[Group]) -> Market:
        """Return the markets of `groups`."""
        found = Market()
        parameters = {
            "conditions": sorted({group.condition_id for group in groups if group.condition_id}),
            "assets": sorted({group.asset_id for group in groups if group.asset_id}),
        }
        for row in await sql.MARKETS.rows(self._connection, **parameters):
            market = market_of(row)
            found.by_condition[market.condition_id] = market
            found.by_asset.update(dict.fromkeys(market.asset_ids, market))
        return found

    async def states(
        self, locked: Sequence[LockedPortfolio], market: Market, switches: Switches, users: set[UUID], now: datetime
    ) -> tuple[dict[UUID, PortfolioState], dict[UUID, Any]]:
        """Return portfolios as decisions see them, in-flight fills included, and their rows of STARTS.

        In EXEC_GLOBAL they know the exposure of `users` only, and whose the shares are that may move now.
        """
        ids = [each.id for each in locked]
        starts = {
            row["id"]: row
            for row in await sql.STARTS.rows(self._connection, ids=ids, day=start_of_day(now), week=start_of_week(now))
        }
        positions = await sql.POSITIONS.rows(self._connection, ids=ids)
        in_flight: defaultdict[UUID, list[Trade]] = defaultdict(list)
        for row in await sql.IN_FLIGHT.rows(self._connection, ids=ids):
            in_flight[row["portfolio_id"]].append(trade_of(row))
        moving = set(market.by_asset)
        for trades in in_flight.values():
            for trade in trades:
                moving.update(trade.legs, [trade.asset_id] if trade.asset_id else [])
        sources = await self._sources(moving, users)
        assets = moving.union(row["asset_id"] for row in positions)
        marks = {
            row["asset_id"]: row["price_micros"]
            for row in await sql.MARKS.rows(self._connection, assets=sorted(assets))
        }
        holdings: defaultdict[UUID, dict[str, Holding]] = defaultdict(dict)
        for row in positions:
            holdings[row["portfolio_id"]][row["asset_id"]] = Holding(
                row["condition_id"],
                row["share_micros"],
                row["cost_micros"],
                marks.get(row["asset_id"]),
                sources.get(row["asset_id"], {}),
            )
        states = {}
        for each in locked:
            state = states[each.id] = state_of(each, starts[each.id], switches.follow_order)
            state.load(holdings[each.id], marks)
            for trade in in_flight[each.id]:
                state.apply(trade)
        return states, starts

    async def _sources(self, assets: set[str], users: set[UUID]) -> dict[str, dict[UUID, int]]:
        found: defaultdict[str, dict[UUID, int]] = defaultdict(dict)
        if self._scope is Scope.EXEC_GLOBAL:
            for row in await sql.SOURCES.rows(self._connection, assets=sorted(assets), users=sorted(users)):
                found[row["asset_id"]][row["source_user_id"]] = row["share_micros"]
        return found

    async def load_taken(self, states: Mapping[UUID, PortfolioState], keys: Iterable[tuple[UUID, str, str]]) -> None:
        """Load what portfolios took of book versions, given as (portfolio, asset, hash)."""
        wanted = sorted(set(keys))
        if not wanted:
            return
        parameters = {
            "portfolios": [each[0] for each in wanted],
            "assets": [each[1] for each in wanted],
            "hashes": [each[2] for each in wanted],
        }
        for row in await sql.TAKEN.rows(self._connection, **parameters):
            side = None if row["side"] is None else Side(row["side"])
            states[row["portfolio_id"]].take(
                (row["asset_id"], row["book_hash"], side), [(row["price_micros"], int(row["share_micros"]))]
            )

    async def shadow_held(self, groups: Sequence[Group]) -> dict[UUID, int]:
        """Return the shares followed users held of a group's token before it."""
        return await shadow_held(self._connection, groups)

    async def write(
        self,
        attempts: Sequence[Mapping[str, Any]],
        fills: Sequence[Mapping[str, Any]],
        portfolios: Sequence[Mapping[str, Any]],
    ) -> None:
        """Insert attempts with their fills and move the portfolios on."""
        await sql.WRITE.rows(
            self._connection,
            attempts=json_text(attempts),
            fills=json_text(fills),
            portfolios=json_text(portfolios),
        )

    async def config_values(self, versions: Iterable[int]) -> list[tuple[int, Mapping[str, Any]]]:
        """Return the values of configuration versions."""
        wanted = sorted(versions)
        rows = await sql.CONFIG_VALUES.rows(self._connection, versions=wanted) if wanted else []
        return [(row["version"], row["values"]) for row in rows]

    async def books(self, keys: Iterable[BookKey]) -> list[Book]:
        """Return book versions."""
        wanted = sorted(keys)
        if not wanted:
            return []
        assets, hashes = [key[0] for key in wanted], [key[1] for key in wanted]
        return [book_of(row) for row in await sql.BOOKS.rows(self._connection, assets=assets, hashes=hashes)]


def is_on(flag: Any) -> bool:
    """Tell whether a control flag's document says yes: `{"paused": true}`, or any other name for it."""
    if isinstance(flag, Mapping):
        return any(value is True for value in flag.values())
    return flag is True
