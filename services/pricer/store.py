"""The pricer's Postgres: what is held, the latest marks, and where marks and resolutions are kept."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Text, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.db.checkpoints import save_checkpoint
from libs.common.db.engine import transaction
from libs.common.db.tables.markets import MarketPriceSnapshot, MarketResolution
from libs.common.db.thinning import Series
from libs.common.domain.kinds import MarkSource
from libs.common.domain.market import Resolution
from services.pricer.core import Held, Mark

SERVICE: Final = "pricer"
MARKS: Final = Series("market_price_snapshot", "asset_id")
"""Thinned by the pricer; an asset's last mark is the last of its bucket and stays."""

_MARKS: Final = MarketPriceSnapshot.__table__  # type: ignore[attr-defined]
_RESOLUTIONS: Final = MarketResolution.__table__  # type: ignore[attr-defined]

# Nobody holds it, nobody cares; what is held includes what was decided but not posted.
_HELD: Final = text(
    """
    WITH held AS (
      SELECT asset_id FROM position WHERE share_micros <> 0
      UNION SELECT asset_id FROM copy_attempt WHERE posted_at IS NULL AND decision = 'EXECUTE' AND asset_id IS NOT NULL
    )
    SELECT held.asset_id, o.condition_id, m.close_time, coalesce(m.closed, false) AS closed,
           r.payouts_micros[o.outcome_index + 1] AS payout_micros
    FROM held
    LEFT JOIN outcome_asset o USING (asset_id)
    LEFT JOIN market m USING (condition_id)
    LEFT JOIN market_resolution r USING (condition_id)
    """
)
# What a skip would have filled is marked like a position until its market is over, so that reasons can be judged by it.
_IMAGINED: Final = text(
    """
    SELECT o.asset_id, o.condition_id, m.close_time, m.closed, CAST(NULL AS bigint) AS payout_micros
    FROM outcome_asset o
    JOIN market m USING (condition_id)
    WHERE NOT EXISTS (SELECT FROM market_resolution r WHERE r.condition_id = o.condition_id)
      AND EXISTS (SELECT FROM copy_attempt a WHERE a.asset_id = o.asset_id AND a.counterfactual_share_micros > 0)
    """
)
_LATEST: Final = text(
    """
    SELECT a.asset_id, s.price_micros, s.source, s.at
    FROM unnest(:assets) AS a (asset_id)
    CROSS JOIN LATERAL (
      SELECT price_micros, source, at FROM market_price_snapshot WHERE asset_id = a.asset_id ORDER BY at DESC LIMIT 1
    ) s
    """
).bindparams(bindparam("assets", type_=ARRAY(Text)))
_REDEEMED: Final = text(
    """
    SELECT DISTINCT condition_id FROM activity_event
    WHERE kind = 'REDEEM' AND detect_time >= :since AND condition_id <> ''
    """
)
_OUTCOMES: Final = text(
    """
    SELECT asset_id, condition_id, outcome_index FROM outcome_asset WHERE condition_id = ANY(:conditions)
    """
).bindparams(bindparam("conditions", type_=ARRAY(Text)))


class PriceStore:
    """Reads positions and markets, writes marks and resolutions."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def held(self) -> list[Held]:
        """Return every asset that some portfolio holds."""
        async with transaction(self._engine) as connection:
            rows = await connection.execute(_HELD)
            return [Held(row.asset_id, row.condition_id, row.close_time, row.closed, row.payout_micros) for row in rows]

    async def imagined(self) -> list[Held]:
        """Return every asset of an unresolved market that some skip would have traded, held or not."""
        async with transaction(self._engine) as connection:
            rows = await connection.execute(_IMAGINED)
            return [Held(row.asset_id, row.condition_id, row.close_time, row.closed, row.payout_micros) for row in rows]

    async def latest(self, asset_ids: Sequence[str]) -> dict[str, Mark]:
        """Return the latest mark of each asset that has one."""
        async with transaction(self._engine) as connection:
            rows = await connection.execute(_LATEST, {"assets": list(asset_ids)})
            return {row.asset_id: Mark(row.asset_id, row.price_micros, MarkSource(row.source), row.at) for row in rows}

    async def redeemed_since(self, since: datetime) -> set[str]:
        """Return the conditions that a followed wallet was seen to redeem since then."""
        async with transaction(self._engine) as connection:
            return set(await connection.scalars(_REDEEMED, {"since": since}))

    async def add_marks(self, marks: Sequence[Mark]) -> None:
        """Keep marks; one that is there already stays."""
        if not marks:
            return
        rows = [
            {"asset_id": mark.asset_id, "at": mark.at, "price_micros": mark.price_micros, "source": mark.source}
            for mark in marks
        ]
        async with transaction(self._engine) as connection:
            await connection.execute(insert(_MARKS).values(rows).on_conflict_do_nothing())

    async def add_resolutions(self, resolutions: Iterable[Resolution], now: datetime) -> list[Mark]:
        """Keep final payouts and mark their outcomes at them, in one transaction; returns those marks."""
        found = {resolution.condition_id: resolution for resolution in resolutions}
        if not found:
            return []
        async with transaction(self._engine) as connection:
            rows = [
                {
                    "condition_id": resolution.condition_id,
                    "payouts_micros": list(resolution.payouts_micros),
                    "resolved_at": resolution.resolved_at,
                    "source": resolution.source,
                    "observed_at": now,
                }
                for resolution in found.values()
            ]
            await connection.execute(insert(_RESOLUTIONS).values(rows).on_conflict_do_nothing())
            outcomes = await connection.execute(_OUTCOMES, {"conditions": list(found)})
            marks = [
                Mark(row.asset_id, found[row.condition_id].payouts_micros[row.outcome_index], MarkSource.PAYOUT, now)
                for row in outcomes
                if row.outcome_index < len(found[row.condition_id].payouts_micros)
            ]
            if marks:
                values = [
                    {"asset_id": mark.asset_id, "at": mark.at, "price_micros": mark.price_micros, "source": mark.source}
                    for mark in marks
                ]
                await connection.execute(insert(_MARKS).values(values).on_conflict_do_nothing())
            return marks

    async def remember(self, key: str, value: Mapping[str, Any]) -> None:
        """Keep a checkpoint under the pricer's name."""
        async with transaction(self._engine) as connection:
            await save_checkpoint(connection, SERVICE, key, value)
