"""The SQL of a posting transaction. Rows go in as arrays, one statement whatever the batch."""

from typing import Final

from sqlalchemy import text

from libs.common.db import figures
from libs.common.db.thinning import Series

TAKE_TURNS: Final = text("SELECT pg_advisory_xact_lock(key) FROM unnest(CAST(:keys AS bigint[])) AS key")
KEEP_PORTFOLIOS: Final = text("SELECT id FROM portfolio WHERE id = ANY(:ids) ORDER BY id FOR KEY SHARE")
LOCK_PORTFOLIOS: Final = text("SELECT id FROM portfolio WHERE id = ANY(:ids) ORDER BY id FOR UPDATE")
LOCK_ALL_PORTFOLIOS: Final = text("SELECT id FROM portfolio ORDER BY id FOR UPDATE")
"""Who keeps a portfolio (FOR KEY SHARE, after a turn among its like) lets decisions lock it (FOR NO KEY UPDATE), and
waits for them only to update its row; who locks it keeps out both. Turns and rows are taken in order, turns first."""

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
       p.episodes_closed, p.episodes_won, p.episode_result_micros, p.folded_event_time, p.folded_tx_hash, p.base_before,
       p.base_share_micros, p.base_cost_micros, p.base_realized_pnl_micros, p.base_episodes_closed, p.base_episodes_won,
       p.base_episode_result_micros,
       r.condition_id AS resolved_condition_id
FROM unnest(CAST(:portfolios AS uuid[]), CAST(:assets AS text[])) AS k (portfolio_id, asset_id)
LEFT JOIN position p ON p.portfolio_id = k.portfolio_id AND p.asset_id = k.asset_id
LEFT JOIN outcome_asset o ON o.asset_id = k.asset_id
LEFT JOIN market_resolution r ON r.condition_id = o.condition_id
""")

ENTRIES: Final = """
SELECT l.id, l.seq, l.portfolio_id, l.scope, l.user_id, l.source_user_id, l.condition_id, l.asset_id, l.entry_type,
       l.share_delta_micros, l.cash_delta_micros, l.cost_micros, l.price_micros, l.ref_id, l.event_time, l.tx_hash,
       coalesce(placed.log_index, l.log_index) AS log_index, l.reverses
FROM ledger_entry l LEFT JOIN entry_place placed ON placed.ref_id = l.ref_id
"""
"""Entries, each with the place in its transaction that is known by now."""

HISTORY: Final = text(f"""
SELECT e.*
FROM unnest(CAST(:portfolios AS uuid[]), CAST(:assets AS text[]), CAST(:since AS timestamptz[]))
  AS k (portfolio_id, asset_id, since)
JOIN ({ENTRIES}) e ON e.portfolio_id = k.portfolio_id AND e.asset_id = k.asset_id AND e.event_time >= k.since
ORDER BY e.seq
""")  # noqa: S608

PLACE: Final = text("""
INSERT INTO entry_place (ref_id, log_index, placed_at)
SELECT p.*, clock_timestamp() FROM unnest(CAST(:refs AS text[]), CAST(:log_indexes AS int[])) AS p
ON CONFLICT (ref_id) DO UPDATE SET log_index = excluded.log_index, placed_at = excluded.placed_at
""")

WAIT_FOR_MARKET: Final = text("""
INSERT INTO waiting_event (event_id, kind, user_id, condition_id, waits_since)
SELECT id, kind, user_id, condition_id, clock_timestamp() FROM activity_event WHERE id = ANY(:ids)
ON CONFLICT DO NOTHING
""")

UPSERT_POSITIONS: Final = text("""
INSERT INTO position (
  portfolio_id, asset_id, condition_id, share_micros, cost_micros, realized_pnl_micros, episodes_closed,
  episodes_won, episode_result_micros, folded_event_time, folded_tx_hash, base_before,
  base_share_micros, base_cost_micros, base_realized_pnl_micros, base_episodes_closed, base_episodes_won,
  base_episode_result_micros, flags, updated_at)
SELECT p.*, '{}', clock_timestamp() FROM unnest(
  CAST(:portfolio_id AS uuid[]), CAST(:asset_id AS text[]), CAST(:condition_id AS text[]),
  CAST(:share_micros AS bigint[]), CAST(:cost_micros AS bigint[]), CAST(:realized_pnl_micros AS bigint[]),
  CAST(:episodes_closed AS bigint[]), CAST(:episodes_won AS bigint[]), CAST(:episode_result_micros AS bigint[]),
  CAST(:folded_event_time AS timestamptz[]), CAST(:folded_tx_hash AS text[]),
  CAST(:base_before AS timestamptz[]), CAST(:base_share_micros AS bigint[]), CAST(:base_cost_micros AS bigint[]),
  CAST(:base_realized_pnl_micros AS bigint[]), CAST(:base_episodes_closed AS bigint[]),
  CAST(:base_episodes_won AS bigint[]), CAST(:base_episode_result_micros AS bigint[])) AS p
ON CONFLICT (portfolio_id, asset_id) DO UPDATE SET
  condition_id = coalesce(excluded.condition_id, position.condition_id),
  share_micros = excluded.share_micros,
  cost_micros = excluded.cost_micros,
  realized_pnl_micros = excluded.realized_pnl_micros,
  episodes_closed = excluded.episodes_closed,
  episodes_won = excluded.episodes_won,
  episode_result_micros = excluded.episode_result_micros,
  folded_event_time = excluded.folded_event_time,
  folded_tx_hash = excluded.folded_tx_hash,
  base_before = excluded.base_before,
  base_share_micros = excluded.base_share_micros,
  base_cost_micros = excluded.base_cost_micros,
  base_realized_pnl_micros = excluded.base_realized_pnl_micros,
  base_episodes_closed = excluded.base_episodes_closed,
  base_episodes_won = excluded.base_episodes_won,
  base_episode_result_micros = excluded.base_episode_result_micros,
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
WITH locked AS MATERIALIZED (SELECT id FROM portfolio WHERE id = ANY(:id) ORDER BY id FOR NO KEY UPDATE)
UPDATE portfolio p SET
  cash_micros = p.cash_micros + d.cash,
  deposits_micros = p.deposits_micros + d.deposits,
  withdrawals_micros = p.withdrawals_micros + d.withdrawals,
  fees_micros = p.fees_micros + d.fees,
  realized_pnl_micros = p.realized_pnl_micros + d.realized
FROM unnest(
  CAST(:id AS uuid[]), CAST(:cash AS bigint[]), CAST(:deposits AS bigint[]), CAST(:withdrawals AS bigint[]),
  CAST(:fees AS bigint[]), CAST(:realized AS bigint[])) AS d (id, cash, deposits, withdrawals, fees, realized), locked
WHERE p.id = d.id AND p.id = locked.id
""")
"""From here to the commit decisions wait. Rows are locked in order, as decisions lock them."""

MARK_POSTED: Final = text("UPDATE copy_attempt SET posted_at = clock_timestamp() WHERE id = ANY(:ids)")

_VALUE: Final = figures.position_value("o.share_micros", "o.cost_micros", "m.price_micros")
UPSERT_SNAPSHOTS: Final = text(f"""
WITH held AS MATERIALIZED (
  SELECT portfolio_id, asset_id, share_micros, cost_micros FROM position
  WHERE portfolio_id = ANY(:ids) AND share_micros <> 0
), marks AS MATERIALIZED (
  SELECT a.asset_id, m.price_micros FROM (SELECT DISTINCT asset_id FROM held) a
  CROSS JOIN LATERAL (
    SELECT price_micros FROM market_price_snapshot s WHERE s.asset_id = a.asset_id ORDER BY s.at DESC LIMIT 1
  ) m
), worth AS (
  SELECT o.portfolio_id, sum({_VALUE})::bigint AS exposure, sum(o.cost_micros)::bigint AS cost
  FROM held o LEFT JOIN marks m ON m.asset_id = o.asset_id GROUP BY o.portfolio_id
)
INSERT INTO portfolio_snapshot (
  portfolio_id, at, equity_micros, cash_micros, exposure_micros, unrealized_pnl_micros, realized_pnl_micros,
  deposits_micros, withdrawals_micros, fees_micros)
SELECT p.id, date_trunc('minute', coalesce(CAST(:now AS timestamptz), clock_timestamp())),
       p.cash_micros + coalesce(h.exposure, 0), p.cash_micros, coalesce(h.exposure, 0),
       coalesce(h.exposure - h.cost, 0), p.realized_pnl_micros, p.deposits_micros, p.withdrawals_micros, p.fees_micros
FROM portfolio p LEFT JOIN worth h ON h.portfolio_id = p.id
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
""")  # noqa: S608  parts are constants
"""Mirrors `value` of the core: exposure, equity and unrealised PnL of `libs.common.domain.statistics`, for a set. Each
asset's mark is looked up once, however many portfolios hold it."""

SNAPSHOTS: Final = Series(
    "portfolio_snapshot",
    "portfolio_id",
    spared=f"""(
      SELECT h.at FROM portfolio_snapshot h
      WHERE h.portfolio_id = k.key AND h.at >= date_trunc('minute', greatest(
        (SELECT f.opened_at FROM portfolio f WHERE f.id = k.key),
        (SELECT a.decided_at FROM copy_attempt a JOIN portfolio f ON f.id = a.portfolio_id AND f.decision_seq = a.seq
         WHERE a.portfolio_id = k.key),
        (SELECT c.updated_at FROM control_flag c WHERE c.key = 'breaker_reset:' || CAST(k.key AS text))))
      ORDER BY {figures.pnl("h")} DESC, h.at LIMIT 1)""",  # noqa: S608  parts are constants
)
"""Thinned by the ledger. The peak since the last decision or reset stays: the drawdown breaker looks for it."""
