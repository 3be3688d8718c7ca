"""Markets and their outcomes as ingest stores them, and which of them are worth asking about again."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Text, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.db.checkpoints import save_checkpoint
from libs.common.db.engine import transaction
from libs.common.db.tables.markets import Market, OutcomeAsset
from libs.common.domain.market import OUTCOMES_MIN, MarketFacts
from services.ingest.store.turns import SERVICE

_MARKET: Final = Market.__table__  # type: ignore[attr-defined]
_ASSET: Final = OutcomeAsset.__table__  # type: ignore[attr-defined]

# What is asked for is noted at once: a market that Gamma lists no longer goes to the end of the queue like all others.
_STALE: Final = text(
    """
    UPDATE market SET refreshed_at = greatest(clock_timestamp(), :before) WHERE condition_id IN (
      SELECT m.condition_id FROM market m
      WHERE NOT m.resolved AND m.refreshed_at < :before AND (
        EXISTS (SELECT FROM outcome_asset o JOIN position p ON p.asset_id = o.asset_id
                WHERE o.condition_id = m.condition_id AND p.share_micros <> 0)
        OR EXISTS (SELECT FROM outcome_asset o JOIN trade_event e ON e.asset_id = o.asset_id
                   WHERE o.condition_id = m.condition_id AND e.detect_time > :recent))
      ORDER BY m.refreshed_at LIMIT :limit FOR UPDATE OF m SKIP LOCKED)
    RETURNING condition_id
    """
)

_NAMELESS: Final = text(
    """
    SELECT DISTINCT e.asset_id FROM (
      SELECT asset_id FROM trade_event WHERE detect_time > :since
      UNION ALL SELECT asset_id FROM position_sync WHERE detect_time > :since) e
    WHERE NOT EXISTS (SELECT FROM outcome_asset o WHERE o.asset_id = e.asset_id)
      AND e.asset_id <> ALL(CAST(:wanted AS text[]))
    LIMIT :limit
    """
)
_NAMELESS_CONDITIONS: Final = text(
    """
    SELECT DISTINCT e.condition_id FROM (
      SELECT condition_id FROM activity_event
      WHERE detect_time > :since AND kind IN ('SPLIT', 'MERGE', 'REDEEM', 'CONVERSION') AND condition_id <> ''
      UNION ALL SELECT condition_id FROM waiting_event) e
    WHERE (SELECT count(*) FROM outcome_asset o WHERE o.condition_id = e.condition_id) < 2
      AND e.condition_id <> ALL(CAST(:wanted AS text[]))
    LIMIT :limit
    """
)
_OF_ASSETS: Final = select(_ASSET.c.asset_id, _ASSET.c.condition_id).where(
    _ASSET.c.asset_id == func.any(bindparam("assets", type_=ARRAY(Text)))
)
_CONDITIONS: Final = (
    select(_ASSET.c.condition_id)
    .where(_ASSET.c.condition_id == func.any(bindparam("conditions", type_=ARRAY(Text))))
    .group_by(_ASSET.c.condition_id)
    .having(func.count() >= OUTCOMES_MIN)
)


class MarketStore:
    """Reads and writes Market and OutcomeAsset."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def save(self, markets: Sequence[MarketFacts], now: datetime) -> None:
        """Store what Gamma says now; an asset keeps the market it was first seen in."""
        if not markets:
            return
        rows = [_market_row(market, now) for market in sorted(markets, key=lambda each: each.condition_id)]
        statement = insert(_MARKET)
        kept = {"condition_id", "id"}
        update = {column.name: statement.excluded[column.name] for column in _MARKET.c if column.name not in kept}
        assets = [
            {
                "asset_id": outcome.asset_id,
                "condition_id": market.condition_id,
                "outcome_index": outcome.index,
                "name": outcome.name,
            }
            for market in markets
            for outcome in market.outcomes
        ]
        async with transaction(self._engine) as connection:
            for row in rows:
                await connection.execute(
                    statement.on_conflict_do_update(index_elements=["condition_id"], set_=update), row
                )
            if assets:
                assets.sort(key=lambda asset: str(asset["asset_id"]))
                await connection.execute(insert(_ASSET).on_conflict_do_nothing(), assets)

    async def conditions_of(self, asset_ids: Iterable[str]) -> dict[str, str]:
        """Return the condition of each of these assets that is known."""
        async with transaction(self._engine) as connection:
            rows = await connection.execute(_OF_ASSETS, {"assets": list(asset_ids)})
            return {row.asset_id: row.condition_id for row in rows}

    async def known_conditions(self, condition_ids: Iterable[str]) -> set[str]:
        """Return those of the conditions whose market is known, with two outcomes at least."""
        async with transaction(self._engine) as connection:
            return set(await connection.scalars(_CONDITIONS, {"conditions": list(condition_ids)}))

    async def nameless(
        self, since: datetime, limit: int, besides: tuple[Iterable[str], Iterable[str]]
    ) -> tuple[list[str], list[str]]:
        """Return assets and conditions whose market is not known, at most `limit` of each, besides those given.

        Of events detected after `since`; what a split or merge waits for, however old.
        """
        assets, conditions = ({"since": since, "limit": limit, "wanted": list(each)} for each in besides)
        async with transaction(self._engine) as connection:
            found = list(await connection.scalars(_NAMELESS, assets))
            return found, list(await connection.scalars(_NAMELESS_CONDITIONS, conditions))

    async def stale(self, before: datetime, recent: datetime, limit: int) -> list[str]:
        """Return conditions held, or traded after `recent`, last asked for before `before`: they count as asked now."""
        parameters = {"before": before, "recent": recent, "limit": limit}
        async with transaction(self._engine) as connection:
            return list(await connection.scalars(_STALE, parameters))

    async def note(self, what: str, at: datetime) -> None:
        """Remember when something of this name was last so."""
        async with transaction(self._engine) as connection:
            await save_checkpoint(connection, SERVICE, what, {"at": at.isoformat()})


def _market_row(market: MarketFacts, now: datetime) -> dict[str, object]:
    return {
        "condition_id": market.condition_id,
        "id": market.id[:40],
        "question": market.question,
        "slug": market.slug,
        "close_time": market.close_time,
        "active": market.active,
        "closed": market.closed,
        "accepting_orders": market.accepting_orders,
        "neg_risk": market.neg_risk,
        "fee_rate": market.fee_rate,
        "fee_exponent": market.fee_exponent,
        "tick_micros": market.tick_micros,
        "version": market.version[:10],
        "resolved": market.resolved,
        "refreshed_at": now,
    }
