"""Attempts with everything they were decided from, in order of decision, a page at a time."""

from typing import Final

from sqlalchemy import text

RECORDED: Final = text("""
SELECT g.id, g.kind, g.user_id, g.condition_id, g.asset_id, g.side, g.share_micros, g.usdc_notional_micros,
       g.reference_price_micros, g.first_event_time, g.first_detect_time, g.first_ordinal, g.closed_at,
       a.id AS attempt_id, a.scope, a.decision, a.reason_codes, a.inputs, a.checks, a.config_version, a.book_hash,
       a.best_bid_micros, a.best_ask_micros, a.mid_price_micros, a.limit_price_micros, a.depth_micros,
       a.target_notional_micros, a.filled_share_micros, a.filled_notional_micros, a.vwap_price_micros, a.fee_micros,
       a.counterfactual_share_micros, a.counterfactual_notional_micros,
       e.values AS config, b.timestamp_ms, b.bids, b.asks, b.hash,
       (SELECT coalesce(jsonb_agg(
                 jsonb_build_array(f.level, f.price_micros, f.share_micros, f.notional_micros, f.fee_micros)
                 ORDER BY f.level), '[]')
        FROM executable_fill f WHERE f.attempt_id = a.id) AS fills
FROM copy_attempt a
JOIN event_group g ON g.id = a.group_id
JOIN followed_user u ON u.id = a.user_id
JOIN effective_config e ON e.version = a.config_version
LEFT JOIN book_snapshot b ON b.asset_id = a.asset_id AND b.hash = a.book_hash
WHERE (CAST(:user AS text) IS NULL OR u.label = :user) AND a.decided_at >= :since
  AND (a.decided_at, a.id) > (:after, CAST(:after_id AS uuid))
ORDER BY a.decided_at, a.id LIMIT :page
""")
