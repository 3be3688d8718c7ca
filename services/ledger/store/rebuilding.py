"""Rebuild the projection from entries: compute beside the live rows, compare, and put right only what differs.

Everything is compared in one consistent view without a lock. What differs is computed again under the locks of its
portfolios and written in one transaction, so that the books of an honest database are neither locked nor touched.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from libs.common.db.engine import transaction
from libs.common.domain.kinds import Scope
from services.ledger.core.projection import Projected, project, sources
from services.ledger.core.standing import EVER, Standing, is_honest
from services.ledger.store import statements as sql
from services.ledger.store.moments import dishonest_moments, rewrite_moments
from services.ledger.store.rows import Place, base_of, entry_of, holding_of, position_columns
from services.ledger.store.session import Session
from services.ledger.store.verification import grouped, view

_HISTORIES: Final = text(f"""
SELECT coalesce(e.portfolio_id, p.portfolio_id) AS place_portfolio, coalesce(e.asset_id, p.asset_id) AS place_asset,
       e.*, p.portfolio_id AS kept_portfolio, p.condition_id AS kept_condition, p.share_micros,
       p.cost_micros AS position_cost, p.realized_pnl_micros, p.episodes_closed, p.episodes_won,
       p.episode_result_micros, p.folded_event_time, p.folded_tx_hash, p.base_before, p.base_share_micros,
       p.base_cost_micros, p.base_realized_pnl_micros, p.base_episodes_closed, p.base_episodes_won,
       p.base_episode_result_micros
FROM ({sql.ENTRIES} WHERE asset_id IS NOT NULL AND (CAST(:scope AS text) IS NULL OR scope = :scope)) e
FULL JOIN (
  SELECT o.* FROM position o JOIN portfolio f ON f.id = o.portfolio_id
  WHERE CAST(:scope AS text) IS NULL OR f.scope = :scope) p
ON p.portfolio_id = e.portfolio_id AND p.asset_id = e.asset_id
ORDER BY 1, 2, e.seq
""")  # noqa: S608
_TOTALS: Final = text("""
WITH kinds AS (
  SELECT e.portfolio_id, e.cash_delta_micros AS cash, e.cost_micros AS cost,
         coalesce(o.entry_type, e.entry_type) AS kind
  FROM ledger_entry e LEFT JOIN ledger_entry o ON o.id = e.reverses
  WHERE CAST(:ids AS uuid[]) IS NULL OR e.portfolio_id = ANY(:ids)
), sums AS (
  SELECT portfolio_id, sum(cash) AS cash,
         coalesce(sum(CASE kind WHEN 'DEPOSIT' THEN cash WHEN 'OPENING' THEN cost END), 0) AS deposits,
         coalesce(-sum(cash) FILTER (WHERE kind = 'WITHDRAWAL'), 0) AS withdrawals,
         coalesce(-sum(cash) FILTER (WHERE kind = 'FEE'), 0) AS fees
  FROM kinds GROUP BY portfolio_id
)
SELECT f.id, f.cash_micros, f.deposits_micros, f.withdrawals_micros, f.fees_micros, f.realized_pnl_micros,
       coalesce(s.cash, 0)::bigint AS cash, coalesce(s.deposits, 0)::bigint AS deposits,
       coalesce(s.withdrawals, 0)::bigint AS withdrawals, coalesce(s.fees, 0)::bigint AS fees,
       coalesce((SELECT sum(p.realized_pnl_micros) FROM position p WHERE p.portfolio_id = f.id), 0)::bigint
         - coalesce(s.fees, 0)::bigint AS realized
FROM portfolio f LEFT JOIN sums s ON s.portfolio_id = f.id
WHERE (CAST(:ids AS uuid[]) IS NULL OR f.id = ANY(:ids)) AND (CAST(:scope AS text) IS NULL OR f.scope = :scope)
ORDER BY f.id
""")
_SET_TOTALS: Final = text("""
UPDATE portfolio SET cash_micros = :cash, deposits_micros = :deposits, withdrawals_micros = :withdrawals,
  fees_micros = :fees, realized_pnl_micros = :realized WHERE id = :id
""")
_SET_POSITION: Final = text("""
UPDATE position SET share_micros = 0, cost_micros = 0, realized_pnl_micros = 0, flags = '{}',
  condition_id = NULL, folded_event_time = NULL, folded_tx_hash = NULL,
  episodes_closed = 0, episodes_won = 0, episode_result_micros = 0,
  base_before = NULL, base_share_micros = NULL, base_cost_micros = NULL, base_realized_pnl_micros = NULL,
  base_episodes_closed = NULL, base_episodes_won = NULL, base_episode_result_micros = NULL,
  updated_at = clock_timestamp() WHERE portfolio_id = :portfolio AND asset_id = :asset
""")
_GLOBAL: Final = text("""
SELECT e.* FROM ledger_entry e
WHERE e.scope = 'EXEC_GLOBAL' AND e.asset_id IS NOT NULL
  AND (CAST(:assets AS text[]) IS NULL OR e.asset_id = ANY(:assets))
ORDER BY e.asset_id, e.seq
""")
_SOURCES: Final = text("SELECT asset_id, source_user_id, share_micros FROM position_source WHERE share_micros <> 0")
_GLOBAL_PORTFOLIO: Final = text("SELECT id FROM portfolio WHERE scope = 'EXEC_GLOBAL'")
_FORGET_SOURCES: Final = text("UPDATE position_source SET share_micros = 0 WHERE asset_id = ANY(:assets)")
_NAMES: Final = ("cash", "deposits", "withdrawals", "fees", "realized")
_COLUMNS: Final = ("cash_micros", "deposits_micros", "withdrawals_micros", "fees_micros", "realized_pnl_micros")


@dataclass(frozen=True, slots=True)
class Change:
    """A row that was not what its entries add up to. `kept` and `rebuilt` are in micros, by name."""

    portfolio_id: UUID
    what: str
    kept: str
    rebuilt: str


@dataclass(slots=True)
class Rebuilt:
    """What was compared, what differed, and whether it was put right."""

    positions: int = 0
    portfolios: int = 0
    assets: int = 0
    snapshots: int = 0
    changes: list[Change] = field(default_factory=list)
    applied: bool = False


@dataclass(slots=True)
class _Suspects:
    places: set[Place] = field(default_factory=set)
    portfolios: set[UUID] = field(default_factory=set)
    assets: set[str] = field(default_factory=set)
    moments: dict[UUID, list[Any]] = field(default_factory=dict)


async def rebuild_books(url: str, engine: AsyncEngine, scope: Scope | None = None, *, dry_run: bool = False) -> Rebuilt:
    """Compare positions, sources, portfolios and minute snapshots of a scope (None: all) with entries; repair them.

    `url` is read for the comparison, `engine` writes. With `dry_run` nothing is written.
    """
    found, suspects = Rebuilt(), _Suspects()
    async with view(url) as connection:
        await _compare_positions(connection, scope, found, suspects)
        await _compare_totals(connection, scope, found, suspects)
        if scope in {None, Scope.EXEC_GLOBAL}:
            await _compare_sources(connection, found, suspects)
        async for portfolio, moment, change in dishonest_moments(connection, scope, found):
            suspects.moments.setdefault(portfolio, []).append(moment)
            found.changes.append(Change(portfolio, *change))
    if found.changes and not dry_run:
        await _repair(engine, suspects)
        found.applied = True
    return found


async def _compare_positions(
    connection: AsyncConnection, scope: Scope | None, found: Rebuilt, suspects: _Suspects
) -> None:
    async for rows in grouped(connection, _HISTORIES, "place_portfolio", "place_asset", scope=scope):
        first = rows[0]
        history = [entry_of(row) for row in rows if row.id is not None]
        rebuilt = project(history)
        kept = holding_of(first, first.position_cost)
        folded = first.folded_event_time and (first.folded_event_time, first.folded_tx_hash)
        found.positions += 1
        honest = is_honest(base_of(first), history)
        told = {entry.condition_id for entry in history if entry.condition_id is not None}
        at_home = first.kept_portfolio is None or not told or first.kept_condition in told
        if (
            kept == rebuilt.holding
            and (folded == rebuilt.folded or first.kept_portfolio is None)
            and honest
            and at_home
        ):
            continue
        place = (first.place_portfolio, first.place_asset)
        suspects.places.add(place)
        suspects.portfolios.add(place[0])
        what = f"position {place[1]}"
        found.changes.append(
            Change(
                place[0],
                what,
                f"{kept} in {first.kept_condition} at {folded}{'' if honest else ', base wrong'}",
                f"{rebuilt.holding} in {rebuilt.condition_id} at {rebuilt.folded}",
            )
        )


async def _compare_totals(
    connection: AsyncConnection, scope: Scope | None, found: Rebuilt, suspects: _Suspects
) -> None:
    """Compare sums; realised profit follows from positions, so wrong positions are put right first."""
    for row in await connection.execute(_TOTALS, {"ids": None, "scope": scope}):
        found.portfolios += 1
        wrong = [
            (name, getattr(row, column), getattr(row, name))
            for name, column in zip(_NAMES, _COLUMNS, strict=True)
            if getattr(row, column) != getattr(row, name)
        ]
        if wrong:
            suspects.portfolios.add(row.id)
        found.changes += [Change(row.id, name, str(kept), str(rebuilt)) for name, kept, rebuilt in wrong]


async def _compare_sources(connection: AsyncConnection, found: Rebuilt, suspects: _Suspects) -> None:
    portfolio = await connection.scalar(_GLOBAL_PORTFOLIO)
    if portfolio is None:
        return
    kept: dict[str, dict[UUID, int]] = {}
    for row in await connection.execute(_SOURCES):
        kept.setdefault(row.asset_id, {})[row.source_user_id] = row.share_micros
    async for asset, rebuilt in _sources(connection, None):
        found.assets += 1
        if kept.pop(asset, {}) != rebuilt:
            suspects.assets.add(asset)
            found.changes.append(Change(portfolio, f"sources of {asset}", "other", str(rebuilt)))
    for asset, shares in kept.items():
        suspects.assets.add(asset)
        found.changes.append(Change(portfolio, f"sources of {asset}", str(shares), "nobody"))
    if suspects.assets:
        suspects.portfolios.add(portfolio)


async def _sources(
    connection: AsyncConnection, assets: Sequence[str] | None
) -> AsyncIterator[tuple[str, dict[UUID, int]]]:
    followed = (await connection.execute(sql.FOLLOWED_IN_ORDER)).scalars().all()
    async for rows in grouped(connection, _GLOBAL, "asset_id", assets=assets):
        yield rows[0].asset_id, sources([entry_of(row) for row in rows], followed)


async def _repair(engine: AsyncEngine, suspects: _Suspects) -> None:
    """Compute what differed again, under the locks of its portfolios, and write it."""
    async with transaction(engine) as connection:
        session = Session(connection)
        locked = await session.lock(suspects.portfolios | suspects.moments.keys())
        histories = await session.history(dict.fromkeys(suspects.places, EVER))
        standings = {place: _standing(project(history)) for place, history in histories.items() if history}
        if standings:
            await connection.execute(sql.UPSERT_POSITIONS, position_columns(standings))
        for portfolio, asset in suspects.places - standings.keys():
            await connection.execute(_SET_POSITION, {"portfolio": portfolio, "asset": asset})
        if suspects.assets:
            await connection.execute(_FORGET_SOURCES, {"assets": sorted(suspects.assets)})
            rows = [
                (asset, user, shares)
                async for asset, open_shares in _sources(connection, sorted(suspects.assets))
                for user, shares in open_shares.items()
            ]
            names = ("asset_id", "source_user_id", "share_micros")
            columns = {name: [row[place] for row in rows] for place, name in enumerate(names)}
            await connection.execute(sql.UPSERT_SOURCES, columns)
        for row in (await connection.execute(_TOTALS, {"ids": sorted(locked), "scope": None})).all():
            await connection.execute(_SET_TOTALS, {"id": row.id} | {name: getattr(row, name) for name in _NAMES})
        await rewrite_moments(connection, suspects.moments)
        await session.snapshot(locked)


def _standing(projected: Projected) -> Standing:
    return Standing(projected.holding, projected.condition_id, projected.folded)
