"""What the books say beside a reading of positions: for `shadowbook verify --online`. Reads only, in one view."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.db.engine import transaction
from services.ingest.core.comparison import Shadow, Wallet
from services.ingest.core.positions import Held

_WALLETS: Final = text("""
SELECT w.wallet, w.user_id, u.label, u.followed_at, w.unfollowed_at IS NULL AS followed,
       EXISTS (SELECT FROM system_checkpoint o WHERE o.service = 'ingest' AND o.key = 'opening:' || w.wallet
               AND (o.value ->> 'followed_at')::timestamptz = w.followed_at) AS opened,
       (SELECT to_timestamp((p.value ->> 'through')::bigint) FROM system_checkpoint p
        WHERE p.service = 'ingest' AND p.key = 'poll:' || w.wallet) AS through
FROM followed_user_proxy_wallet w JOIN followed_user u ON u.id = w.user_id
ORDER BY u.label, w.wallet
""")

_SHADOWS: Final = text("""
SELECT f.user_id, p.asset_id, coalesce(p.condition_id, '') AS condition_id, p.share_micros
FROM position p JOIN portfolio f ON f.id = p.portfolio_id WHERE f.scope = 'SHADOW_USER'
""")

_RESOLVED: Final = text("SELECT condition_id FROM market_resolution")

_BUSY: Final = text("""
SELECT DISTINCT user_id FROM (
  SELECT user_id, id::text AS ref FROM trade_event WHERE booked AND share_micros > 0 AND detect_time > :recent
  UNION ALL
  SELECT user_id, id::text FROM activity_event
  WHERE booked AND share_micros > 0 AND kind IN ('SPLIT', 'MERGE') AND detect_time > :recent
  UNION ALL
  SELECT user_id, ref_id FROM position_sync WHERE detect_time > :recent
) e WHERE NOT EXISTS (SELECT FROM ledger_entry l WHERE l.ref_id = e.ref AND l.scope = 'SHADOW_USER')
UNION
SELECT e.user_id FROM activity_event e JOIN followed_user_proxy_wallet w USING (wallet)
WHERE e.kind = 'CONVERSION' AND e.booked AND w.unfollowed_at IS NULL
  AND (e.asset_id <> '' OR e.detect_time > :recent
       OR EXISTS (SELECT FROM outcome_asset o WHERE o.condition_id = e.condition_id))
  AND NOT EXISTS (SELECT FROM position_sync s WHERE s.event_id = e.id)
""")

_LATER: Final = text("""
SELECT u.asset_id,
  coalesce((SELECT sum(CASE side WHEN 'BUY' THEN share_micros ELSE -share_micros END) FROM trade_event e
    WHERE e.user_id = :user AND e.wallet = :wallet AND e.asset_id = u.asset_id AND e.booked
      AND e.status = 'CANONICAL' AND e.event_time > u.until), 0)
  + coalesce((SELECT sum(CASE kind WHEN 'SPLIT' THEN share_micros ELSE -share_micros END) FROM activity_event e
    WHERE e.user_id = :user AND e.wallet = :wallet AND e.condition_id = u.condition_id AND u.condition_id <> ''
      AND e.booked AND e.kind IN ('SPLIT', 'MERGE') AND e.event_time > u.until), 0)
  + coalesce((SELECT sum(share_delta_micros) FROM position_sync s
    WHERE s.user_id = :user AND s.wallet = :wallet AND s.asset_id = u.asset_id AND s.kind = 'ADJUSTMENT'
      AND s.event_time > u.until), 0) AS shares
FROM unnest(CAST(:assets AS text[]), CAST(:conditions AS text[]), CAST(:until AS timestamptz[]))
  AS u (asset_id, condition_id, until)
""")

_LAST: Final = text("""
SELECT asset_id, max(event_time) AS at FROM (
  SELECT asset_id, event_time FROM trade_event WHERE user_id = :user AND wallet = :wallet AND booked
  UNION ALL SELECT asset_id, event_time FROM position_sync WHERE user_id = :user AND wallet = :wallet
  UNION ALL
  SELECT o.asset_id, e.event_time FROM activity_event e JOIN outcome_asset o ON o.condition_id = e.condition_id
  WHERE e.user_id = :user AND e.wallet = :wallet AND e.booked AND e.kind IN ('SPLIT', 'MERGE')
) e GROUP BY asset_id
""")


@dataclass(frozen=True, slots=True)
class View:
    """Everything of the books that a comparison needs."""

    wallets: Sequence[Wallet]
    shadows: Sequence[Shadow]
    resolved: frozenset[str]
    busy: frozenset[UUID]
    """Users of whom something is recorded and not in the books yet."""
    later: Mapping[tuple[str, str], int]
    """By (wallet, token): shares that moved after what the wallet's row counts."""
    last: Mapping[tuple[str, str], datetime]
    """By (wallet, token): the last thing booked of it."""


class ComparisonStore:
    """Reads of `verify --online`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def wallets(self) -> list[Wallet]:
        """Return every wallet ever followed."""
        async with transaction(self._engine) as connection:
            return [Wallet(**row._asdict()) for row in await connection.execute(_WALLETS)]

    async def view(self, held: Mapping[str, Mapping[str, Held]], recent: datetime) -> View:
        """Return the books beside readings (wallet -> token -> row); what was seen after `recent` may be under way."""
        later: dict[tuple[str, str], int] = {}
        last: dict[tuple[str, str], datetime] = {}
        async with self._engine.connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            wallets = [Wallet(**row._asdict()) for row in await connection.execute(_WALLETS)]
            for wallet in wallets:
                rows = held.get(wallet.wallet, {})
                whose = {"user": wallet.user_id, "wallet": wallet.wallet}
                asked = whose | {
                    "assets": list(rows),
                    "conditions": [row.condition_id for row in rows.values()],
                    "until": [row.as_of for row in rows.values()],
                }
                for found in await connection.execute(_LATER, asked):
                    later[wallet.wallet, found.asset_id] = int(found.shares)
                for found in await connection.execute(_LAST, whose):
                    last[wallet.wallet, found.asset_id] = found.at
            shadows = [Shadow(**row._asdict()) for row in await connection.execute(_SHADOWS)]
            resolved = frozenset(await connection.scalars(_RESOLVED))
            busy = frozenset(await connection.scalars(_BUSY, {"recent": recent}))
        return View(wallets, shadows, resolved, busy, later, last)
