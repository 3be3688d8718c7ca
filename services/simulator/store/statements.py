"""The SQL of a decision transaction. Reads come in sets, one statement whatever the number of groups."""

from typing import Final

from libs.common.db import figures
from services.simulator.store.driver import Query

_GROUP: Final = """
g.id, g.kind, g.user_id, g.condition_id, g.asset_id, g.side, g.share_micros, g.usdc_notional_micros,
g.reference_price_micros, g.first_event_time, g.first_detect_time, g.first_ordinal, g.closed_at
"""

LOCK_PORTFOLIOS: Final = Query("""
WITH limits AS MATERIALIZED (
  SELECT set_config('lock_timeout', CAST(:lock_ms AS text), true),
         set_config('idle_in_transaction_session_timeout', CAST(:idle_ms AS text), true)
)
SELECT p.id, p.scope, p.user_id, p.cash_micros, p.deposits_micros, p.withdrawals_micros, p.decision_seq,
       p.decided_through, p.last_first_detect_time, p.last_first_event_time, p.last_first_ordinal, p.last_group_id,
       p.peak_equity_micros, p.drawdown_tripped
FROM limits, portfolio p WHERE p.id = ANY(CAST(:ids AS uuid[])) ORDER BY p.id FOR NO KEY UPDATE OF p
""")
"""A process that stops while it holds the lock is cut off by the server, so that another can go on."""

PORTFOLIOS: Final = Query("""
SELECT p.id, p.scope, p.user_id, p.cash_micros, p.deposits_micros, p.withdrawals_micros, p.decision_seq,
       p.decided_through, p.last_first_detect_time, p.last_first_event_time, p.last_first_ordinal, p.last_group_id,
       p.peak_equity_micros, p.drawdown_tripped
FROM portfolio p LEFT JOIN followed_user u ON u.id = p.user_id WHERE p.scope = :scope ORDER BY u.followed_at, p.id
""")
LABELS: Final = Query("SELECT id, label FROM followed_user")

_UNDECIDED: Final = """
  WHERE {of_lane} g.first_detect_time >= lane.since
    AND NOT EXISTS (SELECT FROM copy_attempt a WHERE a.scope = :scope AND a.group_id = g.id)
    AND NOT EXISTS (
      SELECT FROM dead_letter d WHERE d.subject = CAST(g.id AS text) AND d.stream = :stream
        AND d.group_name = :consumer AND d.status IN ('OPEN', 'DISCARDED'))
  ORDER BY g.first_detect_time, g.first_event_time, g.first_ordinal, g.id
  LIMIT :limit
"""


def undecided(*, per_user: bool) -> Query:
    """Return the query for the first undecided groups of each lane, from its low-water mark on, with their books."""
    of_lane = "g.user_id = lane.user_id AND" if per_user else ""
    return Query(f"""
SELECT lane.portfolio_id, first.*, b.book_hash, b.fetched_at, b.error
FROM unnest(CAST(:portfolios AS uuid[]), CAST(:users AS uuid[]), CAST(:since AS timestamptz[]))
  AS lane (portfolio_id, user_id, since)
CROSS JOIN LATERAL (SELECT {_GROUP} FROM event_group g {_UNDECIDED.format(of_lane=of_lane)}) first
LEFT JOIN group_book b ON b.group_id = first.id
ORDER BY first.first_detect_time, first.first_event_time, first.first_ordinal, first.id
""")  # noqa: S608  parts are constants


GROUPS: Final = Query(f"""
SELECT {_GROUP}, b.book_hash, b.fetched_at, b.error, a.id AS attempt_id, a.decision, a.decided_at
FROM event_group g
LEFT JOIN group_book b ON b.group_id = g.id
LEFT JOIN copy_attempt a ON a.scope = :scope AND a.group_id = g.id
WHERE g.id = ANY(CAST(:ids AS uuid[]))
""")  # noqa: S608  parts are constants

MISSING: Final = Query(f"""
SELECT {_GROUP} FROM event_group g
WHERE g.first_detect_time >= :since AND g.closed_at < :before
  AND NOT EXISTS (SELECT FROM copy_attempt a WHERE a.scope = :scope AND a.group_id = g.id)
  AND NOT EXISTS (
    SELECT FROM dead_letter d WHERE d.subject = CAST(g.id AS text) AND d.stream = :stream
      AND d.group_name = :consumer AND d.status IN ('OPEN', 'DISCARDED'))
ORDER BY g.first_detect_time, g.first_event_time, g.first_ordinal, g.id LIMIT :limit
""")  # noqa: S608  parts are constants
"""Undecided groups of a scope, oldest first: for the look at start and for sweeps."""

SWITCHES: Final = Query("""
SELECT
  (SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM control_flag) AS flags,
  (SELECT coalesce(jsonb_agg(jsonb_build_array(u.id, u.unfollowed_at IS NULL AND
     CASE WHEN f.value @> '{"disabled": true}' THEN false WHEN f.value @> '{"disabled": false}' THEN true
          ELSE u.enabled END) ORDER BY u.followed_at, u.id), '[]')
   FROM followed_user u LEFT JOIN control_flag f ON f.key = 'user_disabled:' || CAST(u.id AS text)) AS users,
  (SELECT coalesce(jsonb_agg(jsonb_build_array(scope, user_id, version)), '[]')
   FROM (SELECT DISTINCT ON (scope, user_id) scope, user_id, version FROM effective_config
         ORDER BY scope, user_id, version DESC) latest) AS configs
""")

CONFIG_VALUES: Final = Query(
    "SELECT version, values FROM effective_config WHERE version = ANY(CAST(:versions AS bigint[]))"
)

POSITIONS: Final = Query("""
SELECT portfolio_id, asset_id, condition_id, share_micros, cost_micros FROM position
WHERE portfolio_id = ANY(CAST(:ids AS uuid[])) AND share_micros <> 0
""")

SOURCES: Final = Query("""
SELECT asset_id, source_user_id, share_micros FROM position_source
WHERE share_micros > 0 AND (asset_id = ANY(CAST(:assets AS text[])) OR source_user_id = ANY(CAST(:users AS uuid[])))
""")
"""Whose the open shares of some assets are, and everything that is some users'."""

IN_FLIGHT: Final = Query("""
SELECT a.portfolio_id, a.kind, a.side, a.condition_id, a.asset_id, a.user_id, a.filled_share_micros,
       a.filled_notional_micros, a.fee_micros,
       CASE WHEN a.kind <> 'TRADE' THEN ARRAY(
         SELECT o.asset_id FROM outcome_asset o WHERE o.condition_id = a.condition_id ORDER BY o.outcome_index)
       END AS legs
FROM copy_attempt a
WHERE a.portfolio_id = ANY(CAST(:ids AS uuid[])) AND a.posted_at IS NULL AND a.decision = 'EXECUTE'
ORDER BY a.portfolio_id, a.seq
""")
"""Decided and not yet posted, in the order they will be posted."""

STARTS: Final = Query(f"""
SELECT p.id, last.decided_at AS last_decided_at,
       CAST(last.inputs #>> '{{portfolio,net_flows_micros}}' AS bigint) AS last_flows_micros,
       CAST(last.inputs #>> '{{clock,effective_due_at}}' AS timestamptz) AS last_effective_due_at,
       day.equity_micros AS day_equity_micros, {figures.net_flows("day")} AS day_flows_micros,
       week.equity_micros AS week_equity_micros, {figures.net_flows("week")} AS week_flows_micros,
       (SELECT e.cash_delta_micros FROM ledger_entry e
        WHERE e.portfolio_id = p.id AND e.asset_id IS NULL AND e.entry_type = 'DEPOSIT' ORDER BY e.seq LIMIT 1)
         AS first_deposit_micros,
       (SELECT max({figures.pnl("s")}) FROM portfolio_snapshot s
        WHERE s.portfolio_id = p.id
          AND s.at >= date_trunc('minute', greatest(last.decided_at, reset.at, p.opened_at))) AS peak_pnl_micros,
       reset.at AS reset_at, reset.value AS reset_value,
       reset.at IS NOT NULL AND reset.at IS DISTINCT FROM p.drawdown_reset_at AS is_reset
FROM portfolio p
LEFT JOIN copy_attempt last ON last.portfolio_id = p.id AND last.seq = p.decision_seq
LEFT JOIN LATERAL (
  SELECT f.updated_at AS at, f.value FROM control_flag f
  WHERE f.key = 'breaker_reset:' || CAST(p.id AS text)) reset ON true
LEFT JOIN LATERAL {figures.last_snapshot("p.id", ":day")} day ON true
LEFT JOIN LATERAL {figures.last_snapshot("p.id", ":week")} week ON true
WHERE p.id = ANY(CAST(:ids AS uuid[]))
""")  # noqa: S608  parts are constants
"""What breakers count from. A reset is carried out once: by the first decision after the one that carried out the last,
told apart by its own time and not by comparing clocks, so that none is lost to a decision under way."""

MARKETS: Final = Query("""
SELECT m.condition_id, m.close_time, m.closed, m.resolved OR r.condition_id IS NOT NULL AS resolved,
       m.accepting_orders, m.fee_rate, m.fee_exponent,
       ARRAY(SELECT o.asset_id FROM outcome_asset o WHERE o.condition_id = m.condition_id ORDER BY o.outcome_index)
         AS asset_ids
FROM market m LEFT JOIN market_resolution r ON r.condition_id = m.condition_id
WHERE m.condition_id IN (
  SELECT unnest(CAST(:conditions AS text[]))
  UNION SELECT o.condition_id FROM outcome_asset o WHERE o.asset_id = ANY(CAST(:assets AS text[])))
""")

MARKS: Final = Query("""
SELECT k.asset_id, coalesce(r.payouts_micros[o.outcome_index + 1], m.price_micros) AS price_micros
FROM unnest(CAST(:assets AS text[])) AS k (asset_id)
LEFT JOIN outcome_asset o ON o.asset_id = k.asset_id
LEFT JOIN market_resolution r ON r.condition_id = o.condition_id
LEFT JOIN LATERAL (
  SELECT s.price_micros FROM market_price_snapshot s WHERE s.asset_id = k.asset_id ORDER BY s.at DESC LIMIT 1) m ON true
WHERE coalesce(r.payouts_micros[o.outcome_index + 1], m.price_micros) IS NOT NULL
""")
"""Latest marks; a resolved asset is worth its payout."""

TAKEN: Final = Query("""
SELECT k.portfolio_id, k.asset_id, k.book_hash, a.side, f.price_micros, sum(f.share_micros) AS share_micros
FROM unnest(CAST(:portfolios AS uuid[]), CAST(:assets AS text[]), CAST(:hashes AS text[]))
  AS k (portfolio_id, asset_id, book_hash)
JOIN copy_attempt a ON a.portfolio_id = k.portfolio_id AND a.asset_id = k.asset_id AND a.book_hash = k.book_hash
  AND a.decision = 'EXECUTE'
JOIN executable_fill f ON f.attempt_id = a.id
GROUP BY k.portfolio_id, k.asset_id, k.book_hash, a.side, f.price_micros
""")
"""What portfolios already took of book versions."""

SHADOW_HELD: Final = Query("""
SELECT k.group_id, CAST(o.share_micros
  - coalesce((SELECT sum(e.share_delta_micros) FROM ledger_entry e
      WHERE e.portfolio_id = o.portfolio_id AND e.asset_id = o.asset_id AND e.event_time >= k.before
        AND (e.event_time, coalesce(e.log_index, -1)) > (k.before, k.ordinal)), 0)
  - coalesce((SELECT sum(e.share_delta_micros) FROM event_group_member m
      JOIN ledger_entry e ON e.ref_id = CAST(m.event_id AS text)
      WHERE m.group_id = k.group_id AND e.portfolio_id = o.portfolio_id AND e.asset_id = o.asset_id
        AND (e.event_time, coalesce(e.log_index, -1)) <= (k.before, k.ordinal)), 0) AS bigint) AS share_micros
FROM unnest(CAST(:groups AS uuid[]), CAST(:users AS uuid[]), CAST(:assets AS text[]), CAST(:before AS timestamptz[]),
            CAST(:ordinals AS int[])) AS k (group_id, user_id, asset_id, before, ordinal)
JOIN portfolio p ON p.scope = 'SHADOW_USER' AND p.user_id = k.user_id
JOIN position o ON o.portfolio_id = p.id AND o.asset_id = k.asset_id
""")
"""Their own position before a group, its members left out: what they hold, less what came since. Of what happened in
the second of its first fill, the logs behind that came since: a second is one block, in which logs are numbered."""

WRITE: Final = Query("""
WITH attempts AS (
  INSERT INTO copy_attempt
  SELECT r.* FROM jsonb_populate_recordset(CAST(NULL AS copy_attempt), CAST(:attempts AS jsonb)) r
), fills AS (
  INSERT INTO executable_fill
  SELECT r.* FROM jsonb_populate_recordset(CAST(NULL AS executable_fill), CAST(:fills AS jsonb)) r
)
UPDATE portfolio p SET
  decision_seq = r.decision_seq, decided_through = r.decided_through, peak_equity_micros = r.peak_equity_micros,
  drawdown_tripped = r.drawdown_tripped, drawdown_reset_at = r.drawdown_reset_at,
  last_first_detect_time = r.last_first_detect_time,
  last_first_event_time = r.last_first_event_time, last_first_ordinal = r.last_first_ordinal,
  last_group_id = r.last_group_id
FROM jsonb_populate_recordset(CAST(NULL AS portfolio), CAST(:portfolios AS jsonb)) r WHERE p.id = r.id
""")

BOOKS: Final = Query("""
SELECT b.asset_id, b.hash, b.timestamp_ms, b.bids, b.asks
FROM unnest(CAST(:assets AS text[]), CAST(:hashes AS text[])) AS k (asset_id, hash)
JOIN book_snapshot b ON b.asset_id = k.asset_id AND b.hash = k.hash
""")
