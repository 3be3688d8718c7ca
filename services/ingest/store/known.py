"""What the books know of the tokens of a reading: of each, up to the time that its row counts."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ingest.core.positions import Held, Known, Owner

TAKEN_BACK_FOR: Final = timedelta(minutes=10)
"""A reversed fill that was not mined again for so long will not be."""
MARK_AGE_MAX: Final = timedelta(minutes=15)
"""Marks are written at least every ten minutes while an asset is held: so far from the follow one is of the follow."""

# By token and user first, as the indexes are; a row's own `as_of` bounds what of the books it can know.
_KNOWN: Final = text("""
SELECT u.asset_id,
  coalesce(f.shares, 0) + coalesce(a.shares, 0) + coalesce(s.shares, 0) AS shares, coalesce(a.redeemed, 0) AS redeemed,
  coalesce(s.opened, false) AS opened, coalesce(a.over, false) OR r.condition_id IS NOT NULL AS over,
  coalesce(f.unsettled, false) AS unsettled, m.price_micros AS mark,
  coalesce(n.price_micros, r.payouts_micros[o.outcome_index + 1]) AS later_mark,
  u.asset_id = ANY(CAST(:left_out AS text[])) AS left_out
FROM unnest(CAST(:assets AS text[]), CAST(:conditions AS text[]), CAST(:until AS timestamptz[]))
  AS u (asset_id, condition_id, until)
LEFT JOIN LATERAL (
  SELECT sum(CASE side WHEN 'BUY' THEN share_micros ELSE -share_micros END)
           FILTER (WHERE status = 'CANONICAL' AND event_time <= u.until) AS shares,
         bool_or(status = 'REVERSED' AND event_time > :recent AND NOT EXISTS (
           SELECT FROM trade_event n
           WHERE (n.tx_hash, n.wallet, n.asset_id, n.side, n.share_micros, n.ordinal)
             = (e.tx_hash, e.wallet, e.asset_id, e.side, e.share_micros, e.ordinal)
             AND n.incarnation > e.incarnation)) AS unsettled
  FROM trade_event e WHERE e.user_id = :user AND e.asset_id = u.asset_id AND e.wallet = :wallet AND e.booked
) f ON true
LEFT JOIN LATERAL (
  SELECT sum(CASE e.kind WHEN 'SPLIT' THEN e.share_micros WHEN 'MERGE' THEN -e.share_micros
                  ELSE CASE e.asset_id WHEN u.asset_id THEN -e.share_micros ELSE 0 END END)
           FILTER (WHERE e.booked AND e.event_time <= u.until) AS shares,
         sum(e.usdc_micros)
           FILTER (WHERE e.booked AND e.kind = 'REDEEM' AND e.asset_id = '' AND e.event_time <= u.until) AS redeemed,
         bool_or(e.kind = 'REDEEM') AS over
  FROM activity_event e
  WHERE e.user_id = :user AND e.condition_id = u.condition_id AND e.kind IN ('SPLIT', 'MERGE', 'REDEEM')
    AND e.wallet = :wallet AND e.status = 'CANONICAL' AND u.condition_id <> ''
) a ON true
LEFT JOIN LATERAL (
  SELECT sum(share_delta_micros) AS shares, bool_or(kind = 'OPENING' AND event_time >= :opened_at) AS opened
  FROM position_sync p WHERE p.wallet = :wallet AND p.asset_id = u.asset_id AND p.user_id = :user
) s ON true
LEFT JOIN market_resolution r ON r.condition_id = u.condition_id
LEFT JOIN LATERAL (
  SELECT price_micros FROM market_price_snapshot p
  WHERE p.asset_id = u.asset_id AND p.at <= :followed_at AND p.at > :fresh ORDER BY p.at DESC LIMIT 1
) m ON true
LEFT JOIN LATERAL (
  SELECT price_micros FROM market_price_snapshot p
  WHERE p.asset_id = u.asset_id AND p.at > :followed_at AND p.at <= :soon ORDER BY p.at LIMIT 1
) n ON true
LEFT JOIN outcome_asset o ON o.asset_id = u.asset_id AND o.condition_id = u.condition_id
""")


async def known_of(
    connection: AsyncConnection,
    owner: Owner,
    held: Mapping[str, Held],
    now: datetime,
    left_out: Sequence[str] = (),
) -> dict[str, Known]:
    """Return what is known of each token held; `left_out` are those whose opening of this follow was given up."""
    parameters: dict[str, Any] = {
        "user": owner.user_id,
        "wallet": owner.wallet,
        "assets": list(held),
        "conditions": [row.condition_id for row in held.values()],
        "until": [row.as_of for row in held.values()],
        "recent": now - TAKEN_BACK_FOR,
        "opened_at": owner.followed_at - timedelta(milliseconds=1),
        "followed_at": owner.followed_at,
        "fresh": owner.followed_at - MARK_AGE_MAX,
        "soon": owner.followed_at + MARK_AGE_MAX,
        "left_out": list(left_out),
    }
    return {
        row.asset_id: Known(
            row.shares, row.redeemed, row.opened, row.over, row.unsettled, row.mark, row.later_mark, row.left_out
        )
        for row in await connection.execute(_KNOWN, parameters)
    }
