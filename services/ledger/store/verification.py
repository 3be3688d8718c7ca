"""Check every invariant over all rows: in SQL where sets suffice, by streaming entries through the core where not."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Final

from sqlalchemy import NullPool, Row, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from libs.common.db.engine import async_url
from libs.common.domain.kinds import Scope
from services.ledger.core.fold import in_order, refold
from services.ledger.core.snapshot import Valued, value
from services.ledger.store.invariants import INVARIANTS
from services.ledger.store.session import entry_of, holding_of

QUERY_SECONDS: Final = 900
SHOWN_MAX: Final = 20
"""Violations of one invariant that are spelled out; the rest is counted."""
GRACE: Final = timedelta(seconds=30)
"""What is younger, counted back from the last sign of life of a ledger, may still be on its way."""
CHUNK: Final = 2_000

_ALIVE: Final = text(
    "SELECT max(updated_at) FROM system_checkpoint WHERE service = 'ledger' AND starts_with(key, 'process:')"
)
_HISTORIES: Final = text("""
SELECT e.*, p.share_micros, p.cost_micros AS position_cost, p.realized_pnl_micros, p.episodes_closed,
       p.episodes_won, p.episode_result_micros
FROM ledger_entry e
LEFT JOIN position p ON p.portfolio_id = e.portfolio_id AND p.asset_id = e.asset_id
WHERE e.asset_id IS NOT NULL
ORDER BY e.portfolio_id, e.asset_id, e.seq
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
        checks.append(await _check_values(connection))
    return Report(tuple(checks))


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


async def _check_folds(connection: AsyncConnection) -> Check:
    """Fold every position from its entries and compare cost, realised profit and episodes."""
    compared, violated, found = 0, 0, []
    async for rows in grouped(connection, _HISTORIES, "portfolio_id", "asset_id"):
        first = rows[0]
        folded = refold(in_order(Scope(first.scope), [entry_of(row) for row in rows]))
        kept = holding_of(first, first.position_cost)
        compared += 1
        if folded != kept:
            violated += 1
            found.append(
                f"portfolio {first.portfolio_id}, asset {first.asset_id}: entries fold to {folded}, kept {kept}"
            )
            del found[SHOWN_MAX:]
    return Check("cost and realised profit are the fold of entries", compared, "positions", violated, tuple(found))


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
    async for chunk in result.partitions():
        for _, rows in groupby(chunk, key=lambda row: tuple(getattr(row, name) for name in key)):
            part = list(rows)
            if group and any(getattr(group[0], name) != getattr(part[0], name) for name in key):
                yield group
                group = []
            group += part
    if group:
        yield group
