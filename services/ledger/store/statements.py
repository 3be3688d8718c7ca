"""The SQL of a posting transaction. Rows go in as arrays, one statement whatever the batch."""

from typing import Final

from sqlalchemy import text

from libs.common.db.thinning import Series

LOCK_PORTFOLIOS: Final = text("SELECT id FROM portfolio WHERE id = ANY(:ids) ORDER BY id FOR UPDATE")
LOCK_ALL_PORTFOLIOS: Final = text("SELECT id FROM portfolio ORDER BY id FOR UPDATE")
"""Postings wait for decisions (FOR NO KEY UPDATE) and valuations (FOR KEY SHARE); these two do not for each other."""

INSERT_ENTRIES: Final = text("""
INSERT INTO ledger_entry (
  id, portfolio_id, scope, user_id, source_user_id, condition_id, asset_id, entry_type, share_delta_micros,
  cash_delta_micros, cost_micros, price_micros, ref_id, event_time, tx_hash, log_index, reverses, created_at)
SELECT e.*, clock_timestamp() FROM unnest(
  CAST(:id AS uuid[]), CAST(:portfolio_id AS uuid[]), CAST(:scope AS text[]), CAST(:user_id AS uuid[]),
  CAST(:source_user_id AS uuid[]), CAST(:condition_id AS text[]), CAST(:asset_id AS text[]),
  CAST(:entry_type AS text[]), CAST(:share_delta_micros AS bigint[]), CAST(:cash_delta_micros AS bigint[]),
  CAST(:cost_micros AS bigint[]), CAST(:price_micros AS bigint[]), CAST(:ref_id AS text[]),
  CAST(:event_time AS timestamptz[]), CAST(:tx_hash AS text[]), CAST(:log_index AS int[]),
  CAST(:reverses AS uuid[])) AS e
ON CONFLICT ON CONSTRAINT ledger_entry_key DO NOTHING
RETURNING id
""")

POSITIONS: Final = text("""
SELECT k.portfolio_id, k.asset_id, p.share_micros, p.cost_micros, p.realized_pnl_micros, p.condition_id,
       p.folded_event_time, p.folded_tx_hash, p.folded_log_index, r.condition_id AS resolved_condition_id
FROM unnest(CAST(:portfolios AS uuid[]), CAST(:assets AS text[])) AS k (portfolio_id, asset_id)
LEFT JOIN position p ON p.portfolio_id = k.portfolio_id AND p.asset_id = k.asset_id
LEFT JOIN outcome_asset o ON o.asset_id = k.asset_id
LEFT JOIN market_resolution r ON r.condition_id = o.condition_id
""")

HISTORY: Final = text("""
SELECT e.id, e.scope, e.user_id, e.source_user_id, e.condition_id, e.asset_id, e.entry_type, e.share_delta_micros,
       e.cash_delta_micros, e.cost_micros, e.price_micros, e.ref_id, e.event_time, e.tx_hash, e.log_index, e.reverses,
       e.portfolio_id
FROM unnest(CAST(:portfolios AS uuid[]), CAST(:assets AS text[])) AS k (portfolio_id, asset_id)
JOIN ledger_entry e ON e.portfolio_id = k.portfolio_id AND e.asset_id = k.asset_id
ORDER BY e.seq
""")

UPSERT_POSITIONS: Final = text("""
INSERT INTO position (
  portfolio_id, asset_id, condition_id, share_micros, cost_micros, realized_pnl_micros, folded_event_time,
  folded_tx_hash, folded_log_index, flags, updated_at)
SELECT p.*, '{}', clock_timestamp() FROM unnest(
  CAST(:portfolio_id AS uuid[]), CAST(:asset_id AS text[]), CAST(:condition_id AS text[]),
  CAST(:share_micros AS bigint[]), CAST(:cost_micros AS bigint[]), CAST(:realized_pnl_micros AS bigint[]),
  CAST(:folded_event_time AS timestamptz[]), CAST(:folded_tx_hash AS text[]), CAST(:folded_log_index AS int[])) AS p
ON CONFLICT (portfolio_id, asset_id) DO UPDATE SET
  condition_id = coalesce(excluded.condition_id, position.condition_id),
  share_micros = excluded.share_micros,
  cost_micros = excluded.cost_micros,
  realized_pnl_micros = excluded.realized_pnl_micros,
  folded_event_time = excluded.folded_event_time,
  folded_tx_hash = excluded.folded_tx_hash,
  folded_log_index = excluded.folded_log_index,
  flags = CASE WHEN excluded.share_micros < 0 THEN position.flags ELSE array_remove(position.flags, 'oversold') END,
  updated_at = excluded.updated_at
""")

SOURCES: Final = text(
    "SELECT asset_id, source_user_id, share_micros FROM position_source WHERE asset_id = ANY(:assets)"
)
FOLLOWED_IN_ORDER: Final = text("SELECT id FROM followed_user ORDER BY followed_at, id")
UPSERT_SOURCES: Final = text("""
INSERT INTO position_source (asset_id, source_user_id, share_micros)
SELECT * FROM unnest(CAST(:asset_id AS text[]), CAST(:source_user_id AS uuid[]), CAST(:share_micros AS bigint[]))
ON CONFLICT (asset_id, source_user_id) DO UPDATE SET share_micros = excluded.share_micros
""")

UPDATE_PORTFOLIOS: Final = text("""
UPDATE portfolio p SET
  cash_micros = p.cash_micros + d.cash,
  deposits_micros = p.deposits_micros + d.deposits,
  withdrawals_micros = p.withdrawals_micros + d.withdrawals,
  fees_micros = p.fees_micros + d.fees,
  realized_pnl_micros = p.realized_pnl_micros + d.realized
FROM unnest(
  CAST(:id AS uuid[]), CAST(:cash AS bigint[]), CAST(:deposits AS bigint[]), CAST(:withdrawals AS bigint[]),
  CAST(:fees AS bigint[]), CAST(:realized AS bigint[])) AS d (id, cash, deposits, withdrawals, fees, realized)
WHERE p.id = d.id
""")

MARK_POSTED: Final = text("UPDATE copy_attempt SET posted_at = clock_timestamp() WHERE id = ANY(:ids)")

UPSERT_SNAPSHOTS: Final = text("""
INSERT INTO portfolio_snapshot (
  portfolio_id, at, equity_micros, cash_micros, exposure_micros, unrealized_pnl_micros, realized_pnl_micros,
  deposits_micros, withdrawals_micros, fees_micros)
SELECT p.id, date_trunc('minute', coalesce(CAST(:now AS timestamptz), clock_timestamp())), p.cash_micros + h.exposure,
       p.cash_micros, h.exposure, h.exposure - h.cost, p.realized_pnl_micros, p.deposits_micros,
       p.withdrawals_micros, p.fees_micros
FROM portfolio p
CROSS JOIN LATERAL (
  SELECT coalesce(sum(CASE WHEN m.price_micros IS NULL THEN o.cost_micros
                           ELSE floor(o.share_micros::numeric * m.price_micros * 0.000001) END), 0)::bigint AS exposure,
         coalesce(sum(o.cost_micros), 0)::bigint AS cost
  FROM position o
  LEFT JOIN LATERAL (
    SELECT price_micros FROM market_price_snapshot WHERE asset_id = o.asset_id ORDER BY at DESC LIMIT 1
  ) m ON true
  WHERE o.portfolio_id = p.id AND o.share_micros <> 0
) h
WHERE p.id = ANY(:ids)
ORDER BY p.id
ON CONFLICT (portfolio_id, at) DO UPDATE SET
  equity_micros = excluded.equity_micros,
  cash_micros = excluded.cash_micros,
  exposure_micros = excluded.exposure_micros,
  unrealized_pnl_micros = excluded.unrealized_pnl_micros,
  realized_pnl_micros = excluded.realized_pnl_micros,
  deposits_micros = excluded.deposits_micros,
  withdrawals_micros = excluded.withdrawals_micros,
  fees_micros = excluded.fees_micros
""")

SNAPSHOTS: Final = Series(
    "portfolio_snapshot",
    "portfolio_id",
    spared="""(
      SELECT h.at FROM portfolio_snapshot h
      WHERE h.portfolio_id = k.key AND h.at >= date_trunc('minute', greatest(
        (SELECT f.opened_at FROM portfolio f WHERE f.id = k.key),
        (SELECT a.decided_at FROM copy_attempt a JOIN portfolio f ON f.id = a.portfolio_id AND f.decision_seq = a.seq
         WHERE a.portfolio_id = k.key),
        (SELECT c.updated_at FROM control_flag c WHERE c.key = 'breaker_reset:' || CAST(k.key AS text))))
      ORDER BY h.equity_micros - h.deposits_micros + h.withdrawals_micros DESC, h.at LIMIT 1)""",
)
"""Thinned by the ledger. The peak since the last decision or reset stays: the drawdown breaker looks for it."""
