"""The pricer's Postgres: what is held, the latest marks, and where marks and resolutions are kept."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Text, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from libs.common.db.checkpoints import save_checkpoint
from libs.common.db.engine import transaction
from libs.common.db.tables.markets import MarketResolution
from libs.common.db.thinning import Series
from libs.common.domain.kinds import MarkSource
from libs.common.domain.market import Resolution
from services.pricer.core import Held, Mark, misfit

SERVICE: Final = "pricer"
MARKS: Final = Series("market_price_snapshot", "asset_id")
"""Thinned by the pricer; an asset's last mark is the last of its bucket and stays."""

A_MOMENT: Final = timedelta(microseconds=1)
RECHECKED_MAX: Final = 200

_RESOLUTIONS: Final = MarketResolution.__table__  # type: ignore[attr-defined]

# Nobody holds it, nobody cares; what is held includes what was decided but not posted.
_HELD: Final = text(
    """
    WITH RECURSIVE next (asset_id) AS (
      (SELECT asset_id FROM position WHERE share_micros <> 0 ORDER BY asset_id LIMIT 1)
      UNION ALL
      SELECT (SELECT p.asset_id FROM position p WHERE p.share_micros <> 0 AND p.asset_id > next.asset_id
              ORDER BY p.asset_id LIMIT 1)
      FROM next WHERE next.asset_id IS NOT NULL
    ), held AS (
      SELECT asset_id FROM next WHERE asset_id IS NOT NULL
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
_KEPT: Final = text(
    "SELECT condition_id, payouts_micros, resolved_at FROM market_resolution WHERE condition_id = ANY(:conditions)"
).bindparams(bindparam("conditions", type_=ARRAY(Text)))
_RECENT: Final = text(
    """
    SELECT condition_id, payouts_micros FROM market_resolution WHERE observed_at BETWEEN :since AND :until
    ORDER BY observed_at DESC LIMIT :limit
    """
)
# Pricers write one after the other: a mark that was taken before a resolution must not land after its payout.
_IN_TURN: Final = text("SELECT pg_advisory_xact_lock(hashtext('pricer:marks'))")
_ADD_MARKS: Final = text(
    """
    INSERT INTO market_price_snapshot (asset_id, at, price_micros, source)
    SELECT m.* FROM unnest(
      CAST(:assets AS text[]), CAST(:at AS timestamptz[]), CAST(:prices AS int[]), CAST(:sources AS text[])
    ) AS m (asset_id, at, price_micros, source)
    WHERE m.source = 'PAYOUT' OR NOT EXISTS (
      SELECT FROM outcome_asset o JOIN market_resolution r USING (condition_id) WHERE o.asset_id = m.asset_id)
    ON CONFLICT DO NOTHING
    """
)
_OUTCOMES: Final = text(
    """
    SELECT asset_id, condition_id, outcome_index FROM outcome_asset WHERE condition_id = ANY(:conditions)
    """
).bindparams(bindparam("conditions", type_=ARRAY(Text)))


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of conditions after new payouts were told: the kept payouts and time of resolution by condition.

    `marks` are of their outcomes; `refused` says by condition why what was told is not what is kept.
    """

    payouts: Mapping[str, tuple[tuple[int, ...], datetime | None]]
    marks: Sequence[Mark]
    refused: Mapping[str, str]


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
        """Keep marks; one that is there already stays, and what is resolved takes no other mark than its payout."""
        if not marks:
            return
        async with transaction(self._engine) as connection:
            await connection.execute(_IN_TURN)
            await _insert(connection, marks)

    async def add_resolutions(self, resolutions: Iterable[Resolution], now: datetime) -> Kept:
        """Keep final payouts and mark their outcomes at them, in one transaction.

        The first payouts of a condition stay: others that come later, or that do not fit its outcomes, are refused.
        """
        told = {resolution.condition_id: resolution for resolution in resolutions}
        if not told:
            return Kept({}, [], {})
        async with transaction(self._engine) as connection:
            await connection.execute(_IN_TURN)
            outcomes: dict[str, dict[int, str]] = {condition: {} for condition in told}
            for row in await connection.execute(_OUTCOMES, {"conditions": list(told)}):
                outcomes[row.condition_id][row.outcome_index] = row.asset_id
            refused = {
                condition: reason
                for condition, resolution in told.items()
                if (reason := misfit(condition, resolution.payouts_micros, outcomes[condition]))
            }
            rows = [
                {
                    "condition_id": resolution.condition_id,
                    "payouts_micros": list(resolution.payouts_micros),
                    "resolved_at": resolution.resolved_at and min(resolution.resolved_at, now),
                    "source": resolution.source,
                    "observed_at": now,
                }
                for condition, resolution in told.items()
                if condition not in refused
            ]
            if rows:
                await connection.execute(insert(_RESOLUTIONS).values(rows).on_conflict_do_nothing())
            kept = await self._kept(connection, [condition for condition in told if condition not in refused])
            refused |= contradictions(kept, told)
            assets = {asset for condition in kept for asset in outcomes[condition].values()}
            last = {row.asset_id: row for row in await connection.execute(_LATEST, {"assets": list(assets)})}
            marks = [
                # Whatever the clocks of several pricers say, a payout is the last mark.
                Mark(asset, payouts[index], MarkSource.PAYOUT, max(now, last[asset].at + A_MOMENT))
                if asset in last
                else Mark(asset, payouts[index], MarkSource.PAYOUT, now)
                for condition, (payouts, _) in kept.items()
                for index, asset in outcomes[condition].items()
                if asset not in last or last[asset].source != MarkSource.PAYOUT
            ]
            await _insert(connection, marks)
            return Kept(kept, marks, refused)

    async def resolved_between(self, since: datetime, until: datetime) -> dict[str, tuple[int, ...]]:
        """Return the payouts of conditions that became final between these times, the latest RECHECKED_MAX of them."""
        async with transaction(self._engine) as connection:
            rows = await connection.execute(_RECENT, {"since": since, "until": until, "limit": RECHECKED_MAX})
            return {row.condition_id: tuple(row.payouts_micros) for row in rows}

    async def _kept(
        self, connection: AsyncConnection, conditions: Sequence[str]
    ) -> dict[str, tuple[tuple[int, ...], datetime | None]]:
        rows = await connection.execute(_KEPT, {"conditions": list(conditions)})
        return {row.condition_id: (tuple(row.payouts_micros), row.resolved_at) for row in rows}

    async def remember(self, key: str, value: Mapping[str, Any]) -> None:
        """Keep a checkpoint under the pricer's name."""
        async with transaction(self._engine) as connection:
            await save_checkpoint(connection, SERVICE, key, value)


async def _insert(connection: AsyncConnection, marks: Sequence[Mark]) -> None:
    """Insert marks, but none of a resolved asset beside its payout."""
    columns = {
        "assets": [mark.asset_id for mark in marks],
        "at": [mark.at for mark in marks],
        "prices": [mark.price_micros for mark in marks],
        "sources": [mark.source for mark in marks],
    }
    await connection.execute(_ADD_MARKS, columns)


def contradictions(
    kept: Mapping[str, tuple[tuple[int, ...], datetime | None]], told: Mapping[str, Resolution]
) -> dict[str, str]:
    """Return the conditions of which something else is told than is kept, and what."""
    return {
        condition: f"condition {condition}: settled at {payouts}, now told {told[condition].payouts_micros}"
        for condition, (payouts, _) in kept.items()
        if condition in told and told[condition].payouts_micros != payouts
    }
