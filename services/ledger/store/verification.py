"""Check every invariant over all rows: in SQL where sets suffice, by streaming entries through the core where not."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Final
from uuid import UUID

from sqlalchemy import NullPool, Row, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from libs.common.db.engine import async_url
from libs.common.domain.statistics import attribute
from services.ledger.core.fold import NOTHING, Holding, concerns_position, post
from services.ledger.core.snapshot import Valued, value
from services.ledger.store.invariants import INVARIANTS
from services.ledger.store.rows import base_of, entry_of, holding_of
from services.ledger.store.statements import ENTRIES, FOLLOWED_IN_ORDER

QUERY_SECONDS: Final = 900
SHOWN_MAX: Final = 20
"""Violations of one invariant that are spelled out; the rest is counted."""
GRACE: Final = timedelta(seconds=30)
"""What is younger, counted back from the last sign of life of a ledger, may still be on its way."""
CHUNK: Final = 2_000

_ALIVE: Final = text(
    "SELECT max(updated_at) FROM system_checkpoint WHERE service = 'ledger' AND starts_with(key, 'process:')"
)
# In the order they fold in: a shadow's as the chain says, an executable's as they were posted.
_HISTORIES: Final = text(f"""
SELECT e.*, e.reverses IS NOT NULL OR r.id IS NOT NULL AS undone, p.share_micros, p.cost_micros AS position_cost,
       p.realized_pnl_micros, p.episodes_closed, p.episodes_won, p.episode_result_micros, p.base_before,
       p.base_share_micros, p.base_cost_micros, p.base_realized_pnl_micros, p.base_episodes_closed,
       p.base_episodes_won, p.base_episode_result_micros
FROM ({ENTRIES}) e
LEFT JOIN position p ON p.portfolio_id = e.portfolio_id AND p.asset_id = e.asset_id
LEFT JOIN (SELECT id, reverses FROM ledger_entry WHERE reverses IS NOT NULL) r ON r.reverses = e.id
CROSS JOIN LATERAL (SELECT
  CASE e.scope WHEN 'SHADOW_USER' THEN e.event_time END AS at, CASE e.scope WHEN 'SHADOW_USER' THEN e.tx_hash END AS tx,
  CASE e.scope WHEN 'SHADOW_USER' THEN coalesce(e.log_index, -1) END AS log_index) o
WHERE e.asset_id IS NOT NULL
ORDER BY e.portfolio_id, e.asset_id, o.at, o.tx COLLATE "C" NULLS LAST, o.log_index, e.seq
""")  # noqa: S608
_OWNED: Final = text("""
SELECT e.asset_id, e.share_delta_micros, e.source_user_id, k.kept FROM ledger_entry e
LEFT JOIN (SELECT asset_id, jsonb_object_agg(source_user_id, share_micros) AS kept FROM position_source
           WHERE share_micros <> 0 GROUP BY asset_id) k ON k.asset_id = e.asset_id
WHERE e.scope = 'EXEC_GLOBAL' AND e.share_delta_micros <> 0
ORDER BY e.asset_id, e.seq
""")
_VALUED: Final = text("""
SELECT s.portfolio_id, s.at, s.cash_micros, s.exposure_micros, s.unrealized_pnl_micros, o.share_micros, o.cost_micros,
       m.price_micros AS mark_micros, m.at AS marked_at
FROM portfolio f
CROSS JOIN LATERAL (
  SELECT * FROM portfolio_snapshot WHERE portfolio_id = f.id ORDER BY at DESC LIMIT 1) s
LEFT JOIN position o ON o.portfolio_id = f.id AND o.share_micros <> 0
LEFT JOIN LATERAL (
  SELECT price_micros, at FROM market_price_snapshot WHERE asset_id = o.asset_id ORDER BY at DESC LIMIT 1) m ON true
ORDER BY s.portfolio_id
""")


@dataclass(frozen=True, slots=True)
class Check:
    """One invariant: how many rows were compared, how many break it, and the first of those in words."""

    name: str
    compared: int
    unit: str
    violated: int
    violations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What `verify` compared and found. Iterating yields the violations, one line each."""

    checks: tuple[Check, ...]
    waiting: int = 0
    """Splits and merges that no book has yet, as their market is unknown."""

    @property
    def ok(self) -> bool:
        """Tell whether every invariant holds."""
        return not any(check.violated for check in self.checks)

    def __iter__(self) -> Iterator[str]:
        for check in self.checks:
            yield from (f"{check.name}: {violation}" for violation in check.violations)
            if check.violated > len(check.violations):
                yield f"{check.name}: and {check.violated - len(check.violations):,} more"

    def lines(self) -> Iterator[str]:
        """Yield one line per invariant, each followed by its violations."""
        for check in self.checks:
            result = "ok" if not check.violated else f"{check.violated:,} violations"
            yield f"{check.name}: {check.compared:,} {check.unit}: {result}"
            yield from (f"  {violation}" for violation in check.violations)
        if self.waiting:
            yield f"not in the books yet: {self.waiting:,} splits and merges that wait for their market"


async def verify_books(url: str) -> Report:
    """Check all invariants in one consistent view of the database at `url`; writes nothing."""
    async with view(url) as connection:
        alive = await connection.scalar(_ALIVE)
        settled = (alive or datetime.now(UTC)) - GRACE
        checks = []
        for rule in INVARIANTS:
            compared = await connection.scalar(text(rule.counted))
            query = text(f"SELECT v.*, count(*) OVER () FROM ({rule.violations}) v LIMIT {SHOWN_MAX}")  # noqa: S608
            parameters = {"settled": settled} if ":settled" in rule.violations else {}
            rows = (await connection.execute(query, parameters)).all()
            found = tuple(str(row[0]) for row in rows)
            checks.append(Check(rule.name, compared or 0, rule.unit, rows[0][1] if rows else 0, found))
        checks.append(await _check_folds(connection))
        checks.append(await _check_sources(connection))
        checks.append(await _check_values(connection))
        waiting = await connection.scalar(text("SELECT count(*) FROM waiting_event"))
    return Report(tuple(checks), waiting or 0)


@asynccontextmanager
async def view(url: str) -> AsyncIterator[AsyncConnection]:
    """Yield a connection that sees one moment of the database at `url` and writes nothing."""
    arguments = {"command_timeout": QUERY_SECONDS, "server_settings": {"timezone": "UTC", "jit": "off"}}
    engine = create_async_engine(async_url(url), poolclass=NullPool, connect_args=arguments)
    try:
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            async with connection.begin():
                yield connection
    finally:
        await engine.dispose()


@dataclass(slots=True)
class _Fold:
    """One position folded entry by entry, and what is kept of it."""

    row: Row[Any]
    holding: Holding = NOTHING
    base: Holding | None = None

    def take(self, row: Row[Any]) -> None:
        """Fold the next entry."""
        if self.base is None and row.base_before is not None and row.event_time >= row.base_before:
            self.base = self.holding
        entry = entry_of(row)
        if not row.undone and concerns_position(entry):
            self.holding = post(self.holding, entry)

    def wrong(self) -> str | None:
        """Say what is kept and does not agree."""
        row, base = self.row, base_of(self.row)
        kept = holding_of(row, row.position_cost)
        where = f"portfolio {row.portfolio_id}, asset {row.asset_id}"
        if kept != self.holding:
            return f"{where}: entries fold to {self.holding}, kept {kept}"
        folded = self.holding if self.base is None else self.base
        if base is not None and base.holding != folded:
            return f"{where}: entries before {base.before} fold to {folded}, kept {base.holding}"
        return None


async def _folds(connection: AsyncConnection) -> AsyncIterator[_Fold]:
    """Fold every position as its entries stream by; no history is held, however long."""
    fold: _Fold | None = None
    result = await connection.stream(_HISTORIES.execution_options(yield_per=CHUNK))
    async for row in result:
        if fold is None or (row.asset_id, row.portfolio_id) != (fold.row.asset_id, fold.row.portfolio_id):
            if fold is not None:
                yield fold
            fold = _Fold(row)
        fold.take(row)
    if fold is not None:
        yield fold


async def _check_folds(connection: AsyncConnection) -> Check:
    """Fold every position from its entries and compare cost, realised profit, episodes and the base of late ones."""
    compared, violated, found = 0, 0, []
    async for fold in _folds(connection):
        compared += 1
        if wrong := fold.wrong():
            violated += 1
            found.append(wrong)
            del found[SHOWN_MAX:]
    return Check("cost and realised profit are the fold of entries", compared, "positions", violated, tuple(found))


async def _check_sources(connection: AsyncConnection) -> Check:
    """Share every global position out to its sources, entry by entry, and compare."""
    rank = {user: place for place, user in enumerate(await connection.scalars(FOLLOWED_IN_ORDER))}
    held: dict[UUID, int] = {}
    last: Row[Any] | None = None
    compared, violated, found = 0, 0, []

    def close(row: Row[Any]) -> None:
        nonlocal compared, violated
        compared += 1
        kept = {UUID(user): shares for user, shares in (row.kept or {}).items()}
        if kept != held:
            violated += 1
            found.append(f"asset {row.asset_id}: entries leave {_shares(held)}, kept {_shares(kept)}")
            del found[SHOWN_MAX:]

    async for row in await connection.stream(_OWNED.execution_options(yield_per=CHUNK)):
        if last is not None and last.asset_id != row.asset_id:
            close(last)
            held = {}
        held = attribute(held, row.share_delta_micros, row.source_user_id, rank)
        last = row
    if last is not None:
        close(last)
    return Check("global shares belong to whom entries name", compared, "assets", violated, tuple(found))


def _shares(held: Mapping[UUID, int]) -> str:
    return ", ".join(f"{shares} to user {user}" for user, shares in sorted(held.items())) or "nothing"


async def _check_values(connection: AsyncConnection) -> Check:
    """Value every portfolio by its marks and compare its newest snapshot, unless a mark came since."""
    compared, violated, found = 0, 0, []
    async for rows in grouped(connection, _VALUED, "portfolio_id"):
        first = rows[0]
        if any(row.marked_at is not None and row.marked_at >= first.at for row in rows):
            continue
        held = [Valued(row.share_micros, row.cost_micros, row.mark_micros) for row in rows if row.share_micros]
        worth = value(first.cash_micros, held)
        compared += 1
        if (worth.exposure_micros, worth.unrealized_pnl_micros) != (first.exposure_micros, first.unrealized_pnl_micros):
            violated += 1
            kept = f"{first.exposure_micros} unrealised {first.unrealized_pnl_micros}"
            at_marks = f"{worth.exposure_micros} unrealised {worth.unrealized_pnl_micros}"
            found.append(f"portfolio {first.portfolio_id} at {first.at}: exposure {kept}, at its marks {at_marks}")
            del found[SHOWN_MAX:]
    return Check("newest snapshots are worth their marks", compared, "portfolios", violated, tuple(found))


async def grouped(
    connection: AsyncConnection, query: TextClause, *key: str, **parameters: Any
) -> AsyncIterator[list[Row[Any]]]:
    """Stream a sorted query, one list of rows per key."""
    group: list[Row[Any]] = []
    result = await connection.stream(query.execution_options(yield_per=CHUNK), parameters)
    async for chunk in result.partitions(CHUNK):
        for _, rows in groupby(chunk, key=lambda row: tuple(getattr(row, name) for name in key)):
            part = list(rows)
            if group and any(getattr(group[0], name) != getattr(part[0], name) for name in key):
                yield group
                group = []
            group += part
    if group:
        yield group
