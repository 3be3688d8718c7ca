"""Attempts with everything they were decided from, in order of decision within a scope, a page at a time."""

from typing import Final

from sqlalchemy import text

RECORDED: Final = text("""
SELECT g.id, g.kind, g.user_id, g.condition_id, g.asset_id, g.side, g.share_micros, g.usdc_notional_micros,
       g.reference_price_micros, g.first_event_time, g.first_detect_time, g.first_ordinal, g.closed_at,
       a.id AS attempt_id, a.portfolio_id, a.seq, a.user_id AS attempt_user_id, a.kind AS attempt_kind,
       a.condition_id AS attempt_condition_id, a.asset_id AS attempt_asset_id, a.side AS attempt_side,
       a.scope, a.decision, a.reason_codes, a.out_of_order, a.due_at, a.decided_at, a.inputs, a.checks,
       a.config_version, a.book_hash, a.book_fetched_at, a.best_bid_micros, a.best_ask_micros, a.mid_price_micros,
       a.their_reference_price_micros, a.limit_price_micros, a.depth_micros, a.target_notional_micros,
       a.filled_share_micros, a.filled_notional_micros, a.vwap_price_micros, a.fee_micros, a.fee_rate, a.cash_micros,
       a.equity_micros, a.held_share_micros, a.exposure_total_micros, a.exposure_market_micros,
       a.exposure_user_micros, a.day_start_equity_micros, a.week_start_equity_micros, a.peak_equity_micros,
       a.counterfactual_share_micros, a.counterfactual_notional_micros, b.timestamp_ms, b.bids, b.asks, b.hash,
       (SELECT coalesce(jsonb_agg(
                 jsonb_build_array(f.level, f.price_micros, f.share_micros, f.notional_micros, f.fee_micros)
                 ORDER BY f.level), '[]')
        FROM executable_fill f WHERE f.attempt_id = a.id) AS fills
FROM copy_attempt a
JOIN event_group g ON g.id = a.group_id
LEFT JOIN book_snapshot b ON b.asset_id = a.asset_id AND b.hash = a.book_hash
WHERE a.scope = :scope AND (CAST(:user AS uuid) IS NULL OR a.user_id = :user)
  AND a.decided_at >= :after AND (a.decided_at, a.id) > (:after, CAST(:after_id AS uuid))
  AND (CAST(:until AS timestamptz) IS NULL OR a.decided_at < :until)
ORDER BY a.decided_at, a.id LIMIT :page
""")
"""One scope from (`after`, `after_id`) on; an index serves the order, so a page costs what it holds."""

COUNTED: Final = text("""
SELECT count(*) FROM copy_attempt a
WHERE (CAST(:user AS uuid) IS NULL OR a.user_id = :user) AND a.decided_at >= :since
  AND (CAST(:until AS timestamptz) IS NULL OR a.decided_at < :until)
""")

CONFIGURATIONS: Final = text("SELECT version, values FROM effective_config WHERE version = ANY(:versions)")
