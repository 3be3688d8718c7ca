"""The SQL that reads a recorded range."""

from typing import Final

from services.simulator.store.driver import Query

PORTFOLIOS: Final = Query("""
SELECT p.id, p.scope, p.user_id, u.label FROM portfolio p LEFT JOIN followed_user u ON u.id = p.user_id
WHERE p.scope = 'EXEC_GLOBAL'
   OR p.scope = 'EXEC_USER' AND (CAST(:users AS uuid[]) IS NULL OR p.user_id = ANY(CAST(:users AS uuid[])))
ORDER BY p.scope DESC, u.followed_at, u.id
""")

PEOPLE: Final = Query("SELECT id, label FROM followed_user ORDER BY followed_at, id")

_OF_RANGE: Final = """
  a.scope IN ('EXEC_USER', 'EXEC_GLOBAL') AND a.decided_at >= :since AND a.decided_at < :until
  AND a.portfolio_id = ANY(CAST(:portfolios AS uuid[]))
"""

SIZE: Final = Query(f"""
SELECT count(*) AS attempts, count(DISTINCT a.group_id) AS groups FROM copy_attempt a WHERE {_OF_RANGE}
""")  # noqa: S608  parts are constants

ASSETS: Final = Query(f"""
SELECT o.asset_id FROM copy_attempt a JOIN outcome_asset o ON o.condition_id = a.condition_id WHERE {_OF_RANGE}
UNION SELECT a.asset_id FROM copy_attempt a WHERE a.asset_id IS NOT NULL AND {_OF_RANGE}
UNION SELECT e.asset_id FROM ledger_entry e
  WHERE e.portfolio_id = ANY(CAST(:portfolios AS uuid[])) AND e.asset_id IS NOT NULL AND e.created_at < :since
  GROUP BY e.portfolio_id, e.asset_id HAVING sum(e.share_delta_micros) <> 0
UNION SELECT a.asset_id FROM copy_attempt a
  WHERE a.portfolio_id = ANY(CAST(:portfolios AS uuid[])) AND a.decision = 'EXECUTE' AND a.decided_at < :since
    AND a.asset_id IS NOT NULL AND (a.posted_at IS NULL OR a.posted_at >= :since)
""")  # noqa: S608  parts are constants

START_CASH: Final = Query("""
SELECT portfolio_id, sum(cash_delta_micros) AS cash_micros FROM ledger_entry
WHERE portfolio_id = ANY(CAST(:portfolios AS uuid[])) AND created_at < :since GROUP BY portfolio_id
""")

START_ENTRIES: Final = Query("""
WITH held AS MATERIALIZED (
  SELECT portfolio_id, asset_id FROM ledger_entry
  WHERE portfolio_id = ANY(CAST(:portfolios AS uuid[])) AND asset_id IS NOT NULL AND created_at < :since
  GROUP BY portfolio_id, asset_id HAVING sum(share_delta_micros) <> 0
)
SELECT e.portfolio_id, e.asset_id, e.condition_id, e.source_user_id, e.share_delta_micros,
       coalesce(e.cost_micros, -e.cash_delta_micros) AS cost_micros
FROM held JOIN ledger_entry e ON e.portfolio_id = held.portfolio_id AND e.asset_id = held.asset_id
WHERE e.created_at < :since AND e.share_delta_micros <> 0
ORDER BY e.seq
""")

START_IN_FLIGHT: Final = Query("""
SELECT a.portfolio_id, a.kind, a.side, a.condition_id, a.asset_id, a.user_id, a.filled_share_micros,
       a.filled_notional_micros, a.fee_micros,
       CASE WHEN a.kind <> 'TRADE' THEN ARRAY(
         SELECT o.asset_id FROM outcome_asset o WHERE o.condition_id = a.condition_id ORDER BY o.outcome_index)
       END AS legs
FROM copy_attempt a
WHERE a.portfolio_id = ANY(CAST(:portfolios AS uuid[])) AND a.decision = 'EXECUTE' AND a.decided_at < :since
  AND (a.posted_at IS NULL OR a.posted_at >= :since)
  AND NOT EXISTS (SELECT FROM ledger_entry e WHERE e.ref_id = CAST(a.id AS text) AND e.created_at < :since)
ORDER BY a.portfolio_id, a.seq
""")
"""Decided before the range, posted in it: every decision in the range saw them."""

MARKS_AT: Final = Query("""
SELECT k.asset_id, coalesce(
  CASE WHEN r.observed_at <= :at THEN r.payouts_micros[o.outcome_index + 1] END, m.price_micros) AS price_micros
FROM unnest(CAST(:assets AS text[])) AS k (asset_id)
LEFT JOIN outcome_asset o ON o.asset_id = k.asset_id
LEFT JOIN market_resolution r ON r.condition_id = o.condition_id
LEFT JOIN LATERAL (
  SELECT s.price_micros FROM market_price_snapshot s WHERE s.asset_id = k.asset_id AND s.at <= :at
  ORDER BY s.at DESC LIMIT 1) m ON true
WHERE coalesce(
  CASE WHEN r.observed_at <= :at THEN r.payouts_micros[o.outcome_index + 1] END, m.price_micros) IS NOT NULL
""")

MARKS: Final = Query("""
SELECT k.place, s.at, s.price_micros
FROM unnest(CAST(:assets AS text[])) WITH ORDINALITY AS k (asset_id, place)
JOIN market_price_snapshot s ON s.asset_id = k.asset_id AND s.at > :after AND s.at <= :upto
ORDER BY s.at
""")

FLOWS: Final = Query("""
SELECT e.portfolio_id, e.created_at, e.cash_delta_micros FROM ledger_entry e
WHERE e.portfolio_id = ANY(CAST(:portfolios AS uuid[])) AND e.asset_id IS NULL
  AND e.created_at >= :since AND e.created_at < :until
""")

SETTLEMENTS: Final = Query("""
WITH paid AS MATERIALIZED (
  SELECT o.asset_id, o.condition_id, r.payouts_micros[o.outcome_index + 1] AS payout_micros, r.observed_at
  FROM outcome_asset o JOIN market_resolution r ON r.condition_id = o.condition_id
  WHERE o.asset_id = ANY(CAST(:assets AS text[])) AND r.payouts_micros[o.outcome_index + 1] IS NOT NULL
), settled AS MATERIALIZED (
  SELECT e.ref_id AS condition_id, e.portfolio_id, min(e.created_at) AS at FROM ledger_entry e
  WHERE e.ref_id IN (SELECT condition_id FROM paid) AND e.entry_type = 'SETTLEMENT' GROUP BY 1, 2
), anybody AS MATERIALIZED (SELECT condition_id, min(at) AS at FROM settled GROUP BY 1)
SELECT k.portfolio_id, paid.asset_id, paid.payout_micros, paid.observed_at, k.place = 1 AS is_first,
       greatest(coalesce(settled.at, anybody.at, paid.observed_at), :since) AS settled_at
FROM paid
CROSS JOIN unnest(CAST(:portfolios AS uuid[])) WITH ORDINALITY AS k (portfolio_id, place)
LEFT JOIN settled ON settled.condition_id = paid.condition_id AND settled.portfolio_id = k.portfolio_id
LEFT JOIN anybody ON anybody.condition_id = paid.condition_id
""")
"""When each portfolio's shares of a resolved token were, or would have been, paid out."""

ATTEMPTS: Final = Query("""
SELECT g.id, g.kind, g.user_id, g.condition_id, g.asset_id, g.side, g.share_micros, g.usdc_notional_micros,
       g.reference_price_micros, g.first_event_time, g.first_detect_time, g.first_ordinal, g.closed_at,
       a.id AS attempt_id, a.portfolio_id, a.scope, a.seq, a.decided_at, a.decision, a.reason_codes,
       CAST(a.inputs AS text) AS inputs, a.config_version, a.book_hash, a.filled_share_micros,
       a.filled_notional_micros, a.fee_micros,
       CASE WHEN a.decision = 'EXECUTE' THEN jsonb_path_exists(
         a.checks, '$[*] ? (@.check == "filled").value ? (@.partial == true)') ELSE false END AS partial,
       CASE WHEN a.decision = 'EXECUTE' THEN ARRAY(
         SELECT ARRAY[f.price_micros, f.share_micros] FROM executable_fill f WHERE f.attempt_id = a.id ORDER BY f.level)
       END AS fills
FROM copy_attempt a JOIN event_group g ON g.id = a.group_id
WHERE a.scope = :scope AND a.portfolio_id = ANY(CAST(:portfolios AS uuid[]))
  AND a.decided_at >= :since AND a.decided_at < :until
ORDER BY a.decided_at, a.portfolio_id, a.seq
""")

BOOKS: Final = Query("""
SELECT b.asset_id, b.hash, b.timestamp_ms, CAST(b.bids AS text) AS bids, CAST(b.asks AS text) AS asks
FROM unnest(CAST(:assets AS text[]), CAST(:hashes AS text[])) AS k (asset_id, hash)
JOIN book_snapshot b ON b.asset_id = k.asset_id AND b.hash = k.hash
""")
