"""One posting transaction: keep portfolios, insert entries, and apply to the projection what was really inserted.

Decisions read a portfolio under its row lock, which a posting takes only when it updates the row, at its end: what a
decision sees is wholly before or wholly after it, and it waits for two statements and the commit, not for all of it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.common.domain.kinds import EntryType, Scope
from libs.common.domain.statistics import attribute
from services.ledger.core.entries import Entry
from services.ledger.core.fold import concerns_position, in_order
from services.ledger.core.standing import Standing
from services.ledger.store import statements as sql
from services.ledger.store.rows import Place, entry_columns, entry_of, position_columns, standing_of


@dataclass(slots=True)
class PortfolioDelta:
    """What a transaction adds to one portfolio's row."""

    cash: int = 0
    deposits: int = 0
    withdrawals: int = 0
    fees: int = 0
    realized: int = 0

    def add(self, entry: Entry) -> None:
        """Count one entry's cash, and what kind of flow it is."""
        self.cash += entry.cash_delta_micros
        kind = entry.undoes or entry.entry_type
        if kind is EntryType.DEPOSIT:
            self.deposits += entry.cash_delta_micros
        elif kind is EntryType.WITHDRAWAL:
            self.withdrawals -= entry.cash_delta_micros
        elif kind is EntryType.OPENING:
            self.deposits += entry.basis_micros
        elif kind is EntryType.FEE:
            self.fees -= entry.cash_delta_micros
            self.realized += entry.cash_delta_micros


@dataclass(frozen=True, slots=True)
class Placed:
    """A posted fill of a shadow, and the index its log turned out to have."""

    ref_id: str
    portfolio_id: UUID
    asset_id: str
    event_time: datetime
    log_index: int


class Session:
    """The books within one transaction. Keep or lock first, then post as often as needed, then finish."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.connection = connection
        self.posted: Counter[tuple[str, str]] = Counter()
        """Inserted entries by scope and type."""
        self.touched: set[UUID] = set()
        """Portfolios that changed."""
        self._deltas: defaultdict[UUID, PortfolioDelta] = defaultdict(PortfolioDelta)
        self.resolved: set[str] = set()
        """Conditions with final payouts in which a posting left shares open."""

    async def keep(self, portfolios: Iterable[UUID]) -> set[UUID]:
        """Keep every other writer of the books, but no decision, from portfolios; return those that exist."""
        ids = sorted(portfolios)
        keys = sorted(int.from_bytes(each.bytes[:8], "big", signed=True) for each in ids)
        await self.connection.execute(sql.TAKE_TURNS, {"keys": keys})
        rows = await self.connection.execute(sql.KEEP_PORTFOLIOS, {"ids": ids})
        return set(rows.scalars())

    async def lock(self, portfolios: Iterable[UUID]) -> set[UUID]:
        """Keep every other writer and decisions from portfolios; return those that exist."""
        rows = await self.connection.execute(sql.LOCK_PORTFOLIOS, {"ids": sorted(portfolios)})
        return set(rows.scalars())

    async def lock_all(self) -> None:
        """Keep every other writer and decisions from all portfolios."""
        await self.connection.execute(sql.LOCK_ALL_PORTFOLIOS)

    async def post(self, entries: Sequence[Entry]) -> None:
        """Insert entries in this order; what is new changes positions, sources and sums, the rest nothing."""
        if not entries:
            return
        inserted = set((await self.connection.execute(sql.INSERT_ENTRIES, entry_columns(entries))).scalars())
        new = [entry for entry in entries if entry.id in inserted]
        if not new:
            return
        moves: defaultdict[Place, list[Entry]] = defaultdict(list)
        for entry in new:
            self.posted[entry.owner.scope, entry.entry_type] += 1
            self._deltas[entry.portfolio_id].add(entry)
            if concerns_position(entry) and entry.asset_id is not None and entry.undoes is not EntryType.FEE:
                moves[entry.portfolio_id, entry.asset_id].append(entry)
        if moves:
            await self._move(moves)
            await self._attribute([entry for entry in new if entry.owner.scope is Scope.EXEC_GLOBAL])

    async def place(self, fills: Sequence[Placed]) -> None:
        """Take over where logs say that posted fills stand, and fold their positions again in that order."""
        if not fills:
            return
        refs = {fill.ref_id: fill.log_index for fill in fills}
        await self.connection.execute(sql.PLACE, {"refs": list(refs), "log_indexes": list(refs.values())})
        since: dict[Place, datetime] = {}
        for fill in fills:
            place = (fill.portfolio_id, fill.asset_id)
            since[place] = min(fill.event_time, since.get(place, fill.event_time))
        rows = (await self.connection.execute(sql.POSITIONS, _places(since))).all()
        standings = {(row.portfolio_id, row.asset_id): standing_of(row) for row in rows}
        histories = await self.history({place: standing.since(since[place]) for place, standing in standings.items()})
        for place, standing in standings.items():
            before = standing.holding.realized_pnl_micros
            placed = [entry for entry in histories[place] if entry.ref_id in refs]
            standing.fold_again(placed, in_order(Scope.SHADOW_USER, histories[place]))
            self._deltas[place[0]].realized += standing.holding.realized_pnl_micros - before
        await self.connection.execute(sql.UPSERT_POSITIONS, position_columns(standings))

    async def wait_for_market(self, events: Sequence[UUID]) -> None:
        """Put splits and merges aside until their market is known."""
        if events:
            await self.connection.execute(sql.WAIT_FOR_MARKET, {"ids": events})

    async def mark_posted(self, attempts: Sequence[UUID]) -> None:
        """Say of copy attempts that their entries are in the books."""
        if attempts:
            await self.connection.execute(sql.MARK_POSTED, {"ids": attempts})

    async def apply(self) -> None:
        """Add to the rows of portfolios what was posted since the last time; decisions wait from here on."""
        if not self._deltas:
            return
        ordered = list(self._deltas.values())
        columns: dict[str, Any] = {
            name: [getattr(delta, name) for delta in ordered]
            for name in ("cash", "deposits", "withdrawals", "fees", "realized")
        }
        await self.connection.execute(sql.UPDATE_PORTFOLIOS, {"id": list(self._deltas), **columns})
        self.touched |= self._deltas.keys()
        self._deltas.clear()

    async def finish(self, now: datetime | None = None) -> None:
        """Apply what was posted and write the snapshots of what changed; the commit belongs right after it."""
        await self.apply()
        await self.snapshot(self.touched, now)

    async def snapshot(self, portfolios: Iterable[UUID], now: datetime | None = None) -> None:
        """Write the snapshots of the current minute of kept portfolios; `now` defaults to the database's clock."""
        ids = sorted(portfolios)
        if ids:
            await self.connection.execute(sql.UPSERT_SNAPSHOTS, {"ids": ids, "now": now})

    async def history(self, places: Mapping[Place, datetime]) -> dict[Place, list[Entry]]:
        """Return the entries of positions that happened from a time each on, as posted."""
        found: dict[Place, list[Entry]] = {place: [] for place in places}
        if found:
            parameters = {**_places(places), "since": list(places.values())}
            for row in await self.connection.execute(sql.HISTORY, parameters):
                found[row.portfolio_id, row.asset_id].append(entry_of(row))
        return found

    async def _move(self, moves: Mapping[Place, Sequence[Entry]]) -> None:
        standings: dict[Place, Standing] = {}
        resolved: dict[Place, str] = {}
        late: dict[Place, datetime] = {}
        for row in await self.connection.execute(sql.POSITIONS, _places(moves)):
            place = (row.portfolio_id, row.asset_id)
            standing = standings[place] = standing_of(row)
            entries = in_order(moves[place][0].owner.scope, moves[place])
            if (since := standing.since_when(entries)) is not None:
                late[place] = since
            if row.resolved_condition_id is not None:
                resolved[place] = row.resolved_condition_id
        histories = await self.history(late)
        for place, standing in standings.items():
            before = standing.holding.realized_pnl_micros
            entries = in_order(moves[place][0].owner.scope, moves[place])
            if place in histories:
                standing.fold_again(entries, in_order(entries[0].owner.scope, histories[place]))
            else:
                standing.add(entries)
            if place in resolved and standing.holding.share_micros:
                self.resolved.add(resolved[place])
            self._deltas[place[0]].realized += standing.holding.realized_pnl_micros - before
        await self.connection.execute(sql.UPSERT_POSITIONS, position_columns(standings))

    async def _attribute(self, entries: Sequence[Entry]) -> None:
        entries = [entry for entry in entries if entry.asset_id is not None and entry.share_delta_micros]
        if not entries:
            return
        sources: defaultdict[str, dict[UUID, int]] = defaultdict(dict)
        assets = sorted({entry.asset_id for entry in entries if entry.asset_id is not None})
        for row in await self.connection.execute(sql.SOURCES, {"assets": assets}):
            sources[row.asset_id][row.source_user_id] = row.share_micros
        followed: Sequence[UUID] = ()
        if any(entry.share_delta_micros < 0 for entry in entries):
            followed = (await self.connection.execute(sql.FOLLOWED_IN_ORDER)).scalars().all()
        rank = {user: place for place, user in enumerate(followed)}
        rows: dict[tuple[str, UUID], int] = {}
        for entry in entries:
            asset = entry.asset_id or ""
            before = sources[asset]
            after = attribute(before, entry.share_delta_micros, entry.source_user_id, rank)
            for user in before.keys() | after.keys():
                if before.get(user, 0) != after.get(user, 0):
                    rows[asset, user] = after.get(user, 0)
            sources[asset] = after
        columns = {
            "asset_id": [asset for asset, _ in rows],
            "source_user_id": [user for _, user in rows],
            "share_micros": list(rows.values()),
        }
        await self.connection.execute(sql.UPSERT_SOURCES, columns)


def _places(places: Iterable[Place]) -> dict[str, Any]:
    keys = list(places)
    return {"portfolios": [portfolio for portfolio, _ in keys], "assets": [asset for _, asset in keys]}
