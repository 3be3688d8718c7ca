"""The SQL of `preload`, in order."""

from importlib import import_module
from typing import Final

BEFORE: Final = """
CREATE TEMP TABLE taken_down (step int, sql text);
DO $$ DECLARE r record; BEGIN
  FOR r IN SELECT c.conrelid::regclass AS owner, c.conname, pg_get_constraintdef(c.oid) AS def,
             CASE c.contype WHEN 'f' THEN 2 ELSE 1 END AS step
           FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
           WHERE t.relnamespace = 'public'::regnamespace AND c.contype IN ('p', 'u', 'f')
           ORDER BY c.contype = 'f' DESC LOOP
    INSERT INTO taken_down VALUES (r.step, format('ALTER TABLE %s ADD CONSTRAINT %I %s', r.owner, r.conname, r.def));
    EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', r.owner, r.conname);
  END LOOP;
  FOR r IN SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' LOOP
    INSERT INTO taken_down VALUES (0, r.indexdef);
    EXECUTE format('DROP INDEX %I', r.indexname);
  END LOOP;
END $$;
"""
"""Take every index and constraint down: built at the end they cost minutes less, and check what was written."""

AFTER: Final = """
DO $$ DECLARE r record; BEGIN
  FOR r IN SELECT sql FROM taken_down ORDER BY step LOOP EXECUTE r.sql; END LOOP;
END $$;
"""

AROUND: Final = """
CREATE TEMP TABLE span (groups int, markets int, since timestamptz, until timestamptz, bankroll bigint);
CREATE TEMP TABLE people (n int, id uuid, label text, wallet text, followed bool, shadow uuid, mine uuid);
CREATE TEMP TABLE everybody (id uuid);
CREATE TEMP TABLE tokens (n int, asset_id text, condition_id text, outcome_index int, price_micros bigint,
  payout_micros bigint, resolved_at timestamptz);
CREATE FUNCTION pg_temp.id(text) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$ SELECT md5($1)::uuid $$;
CREATE FUNCTION pg_temp.id(text, at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
  SELECT (lpad(to_hex(extract(epoch FROM at)::bigint / 3600 % 65536), 4, '0') || substr(md5($1), 5))::uuid $$;
CREATE FUNCTION pg_temp.tx(bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT '0x' || md5('t' || $1) || md5('x' || $1) $$;
"""

_PEOPLE: Final = """
INSERT INTO followed_user (id, label, profile_wallet, enabled, followed_at, unfollowed_at)
SELECT id, label, wallet, true, since, CASE WHEN NOT followed THEN until END FROM people, span;
INSERT INTO followed_user_proxy_wallet (wallet, user_id, followed_at, unfollowed_at)
SELECT wallet, id, since, CASE WHEN NOT followed THEN until END FROM people, span;
INSERT INTO system_checkpoint (service, key, value, updated_at)
SELECT 'ingest', 'opening:' || wallet, jsonb_build_object('followed_at', since), since FROM people, span
UNION ALL SELECT 'ledger', 'events-swept', jsonb_build_object('through', until, 'missing', 0), until FROM span
UNION ALL SELECT service, 'thinning', jsonb_build_object('began_at', until, 'rows', 0), until
FROM span, unnest(ARRAY['ledger', 'pricer']) AS service;
"""

_MARKETS: Final = """
INSERT INTO tokens
SELECT 1000 + 2 * m + o, rpad('7' || (m * 2 + o), 76, md5((m * 2 + o)::text)), '0x' || md5('m' || m) || md5('k' || m),
       o, 10000 * (20 + m * 7 % 60), CASE WHEN (m + o) % 2 = 0 THEN 1000000 ELSE 0 END,
       least(until - interval '1 minute', since + (until - since) * ((m + 21)::float8 / markets))
FROM span, generate_series(0, markets - 1) m, generate_series(0, 1) o;
INSERT INTO market (condition_id, id, question, slug, close_time, active, closed, accepting_orders, neg_risk, fee_rate,
  fee_exponent, tick_micros, version, resolved, refreshed_at)
SELECT condition_id, CASE WHEN resolved_at IS NULL THEN (9000000 + n / 2)::text ELSE 'p' || n END,
       'Question number ' || n || '?', 'question-' || n, coalesce(resolved_at, '2030-01-01'), true,
       resolved_at IS NOT NULL, resolved_at IS NULL, false, 0.05, 1, 1000, 'v1', resolved_at IS NOT NULL,
       clock_timestamp()
FROM tokens WHERE outcome_index = 0;
INSERT INTO outcome_asset (asset_id, condition_id, outcome_index, name)
SELECT asset_id, condition_id, outcome_index, CASE outcome_index WHEN 0 THEN 'Yes' ELSE 'No' END FROM tokens;
INSERT INTO market_resolution (condition_id, payouts_micros, resolved_at, source, observed_at)
SELECT condition_id, array_agg(payout_micros ORDER BY outcome_index), min(resolved_at), 'RESOLUTIONS', min(resolved_at)
FROM tokens WHERE resolved_at IS NOT NULL GROUP BY condition_id;
"""

# Each place (user, asset) buys four times and sells once, always the same, so that it never sells what it has not.
_GROUPS: Final = """
CREATE TEMP TABLE g AS
SELECT x.n, p.id AS user_id, p.wallet, p.shadow, p.mine, t.asset_id, t.condition_id, t.price_micros,
       CASE WHEN row_number() OVER (PARTITION BY x.u, x.a ORDER BY x.n) % 5 = 0 THEN 'SELL' ELSE 'BUY' END AS side,
       (20 + x.a % 30) * 1000000::bigint AS shares, (x.u + x.a) % 10 = 0 AS skipped,
       date_trunc('second', since + (until - interval '5 minutes' - since) * (x.n::float8 / groups)) AS event_time
FROM (
  SELECT n, place % 40 AS u, place / 40 AS a FROM (
    SELECT n, floor(4000 * ((hashint8(n) & 2147483647) / 2147483648.0) ^ 2)::int AS place
    FROM span, generate_series(0, groups - 1, 2) n) hot
  UNION ALL
  SELECT n, (market * 13 + n % 5) % 50, 1000 + 2 * market + (n / 10) % 2 FROM (
    SELECT n, greatest(0, (n::bigint * markets / groups)::int - (hashint8(n) & 1023) % 20) AS market
    FROM span, generate_series(1, groups - 1, 2) n) passing
) x JOIN people p ON p.n = x.u JOIN tokens t ON t.n = x.a, span;
ALTER TABLE g ADD id uuid, ADD detect_time timestamptz, ADD decided_at timestamptz;
UPDATE g SET id = pg_temp.id('g' || n, event_time), detect_time = event_time + interval '1.3 s',
  decided_at = event_time + interval '4.3 s';
CREATE TEMP TABLE e AS SELECT pg_temp.id('e' || n || '.' || i, event_time) AS event_id, 2 * n + i AS m, i, g.*
FROM g, generate_series(0, 1) i;
CREATE TEMP TABLE a AS
SELECT g.*, pg_temp.id('a' || scope || n, event_time) AS attempt_id, scope, portfolio_id, NOT skipped AND (
         scope = 'EXEC_USER' OR side = 'BUY') AS executed,
       shares * 2 / 100 AS filled, shares * 2 / 100 * price_micros / 1000000 AS notional, 1230 AS fee,
       row_number() OVER (PARTITION BY portfolio_id ORDER BY n) AS seq
FROM g, everybody,
  LATERAL (VALUES ('EXEC_USER', g.mine), ('EXEC_GLOBAL', everybody.id)) s (scope, portfolio_id);
ANALYZE g, e, a, tokens;
"""

_EVENTS: Final = """
INSERT INTO trade_event (id, user_id, wallet, asset_id, side, share_micros, price_micros, usdc_notional_micros,
  fee_micros, tx_hash, ordinal, incarnation, role, log_index, block_number, block_hash, event_time, detect_time,
  first_source, status, booked)
SELECT event_id, user_id, wallet, asset_id, side, shares, price_micros, shares * price_micros / 1000000, 12340,
       pg_temp.tx(m), 0, 0, 'MAKER', 7, 60000000 + n, pg_temp.tx(-n), event_time, detect_time, 'CHAIN', 'CANONICAL',
       true
FROM e ORDER BY m;
"""
_SIGHTINGS: Final = """
INSERT INTO event_sighting (event_id, source, seen_at, share_micros, usdc_micros, payload)
SELECT event_id, source, seen_at, shares, shares * price_micros / 1000000,
       CASE WHEN seen_at > until - interval '30 days' THEN decode(repeat(md5(m::text), bytes / 16), 'hex') END
FROM e, span, LATERAL (VALUES ('CHAIN', detect_time, 480), ('DATA_API', detect_time + interval '3 s', 380)) AS s
  (source, seen_at, bytes)
ORDER BY m;
"""
_CLOSED: Final = """
INSERT INTO event_group (id, kind, user_id, condition_id, asset_id, side, share_micros, usdc_notional_micros,
  reference_price_micros, first_event_time, first_detect_time, first_ordinal, closed_at)
SELECT id, 'TRADE', user_id, condition_id, asset_id, side, 2 * shares, 2 * shares * price_micros / 1000000,
       price_micros, event_time, detect_time, 7, detect_time + interval '2 s'
FROM g ORDER BY n;
INSERT INTO event_group_member (event_id, group_id, position) SELECT event_id, id, i FROM e ORDER BY m;
"""
_BOOKS: Final = """
INSERT INTO book_snapshot (asset_id, hash, timestamp_ms, fetched_at, bids, asks)
SELECT asset_id, md5('b' || n), extract(epoch FROM decided_at)::bigint * 1000, decided_at,
       bids, asks
FROM g, span, LATERAL (
  SELECT jsonb_agg(jsonb_build_array(499000 - 1000 * i, (n % 1000 + i * 37) * 10000)) AS bids,
         jsonb_agg(jsonb_build_array(501000 + 1000 * i, (n % 999 + i * 41) * 10000)) AS asks
  FROM generate_series(0, 39) i) book WHERE decided_at > until - interval '30 days' AND n % 3 = 0 ORDER BY n;
INSERT INTO group_book (group_id, claimed_by, claimed_at, asset_id, book_hash, fetched_at)
SELECT id, 'simulator-1', decided_at, asset_id, md5('b' || n), decided_at FROM g, span
WHERE decided_at > until - interval '30 days' ORDER BY n;
"""
_ATTEMPTS: Final = """
CREATE TEMP TABLE checks AS
SELECT jsonb_agg(jsonb_build_object('name', c, 'passed', true, 'value', 123456789, 'limit', 987654321)) AS passed
FROM unnest(ARRAY['paused', 'enabled', 'known', 'open', 'closing', 'stale', 'day', 'week', 'drawdown', 'minimum',
                  'cash', 'total', 'market', 'spread', 'reference', 'mid', 'depth']) c;
INSERT INTO copy_attempt (id, portfolio_id, seq, scope, user_id, group_id, kind, condition_id, asset_id, side,
  decision, reason_codes, out_of_order, due_at, decided_at, book_hash, book_fetched_at, best_bid_micros,
  best_ask_micros, mid_price_micros, their_reference_price_micros, limit_price_micros, depth_micros,
  target_notional_micros, filled_share_micros, filled_notional_micros, vwap_price_micros, fee_micros, fee_rate,
  cash_micros, equity_micros, held_share_micros, exposure_total_micros, exposure_market_micros, exposure_user_micros,
  day_start_equity_micros, week_start_equity_micros, peak_equity_micros, counterfactual_share_micros,
  counterfactual_notional_micros, config_version, inputs, checks, posted_at)
SELECT attempt_id, portfolio_id, seq, scope, user_id, id, 'TRADE', condition_id, asset_id, side,
       CASE WHEN executed THEN 'EXECUTE' ELSE 'SKIP' END,
       CASE WHEN executed THEN '{}' ELSE '{WORSE_THAN_THEIR_PRICE}' END::text[], false, decided_at, decided_at,
       md5('b' || n), decided_at, 499000, 501000, 500000, price_micros, 510000, 987654321, 5000000,
       CASE WHEN executed THEN filled ELSE 0 END, CASE WHEN executed THEN notional ELSE 0 END, price_micros,
       CASE WHEN executed THEN fee ELSE 0 END, 0.05, bankroll - n, bankroll, 1000000 * (n % 977),
       1000000::bigint * (n % 9973), 1000000 * (n % 97), 1000000 * (n % 997), bankroll, bankroll, bankroll,
       CASE WHEN NOT executed THEN filled END, CASE WHEN NOT executed THEN notional END, 1,
       jsonb_build_object('version', 1, 'clock', jsonb_build_object('decided_at', decided_at, 'effective_due_at',
         decided_at, 'engine_paused', false, 'user_enabled', true), 'book_error', NULL,
         'market', jsonb_build_object('condition_id', condition_id, 'asset_ids', jsonb_build_array(asset_id, asset_id),
           'close_time', '2030-01-01T00:00:00Z', 'closed', false, 'resolved', false, 'accepting_orders', true,
           'fee_rate', '0.05', 'fee_exponent', '1'),
         'portfolio', jsonb_build_object('cash_micros', bankroll - n, 'equity_micros', bankroll,
           'exposure_total_micros', n, 'exposure_market_micros', n, 'exposure_user_micros', n,
           'held_share_micros', 0, 'leg_share_micros', jsonb_build_array(0, n), 'leg_cost_micros',
           jsonb_build_array(0, n), 'day_start_equity_micros', bankroll, 'day_flows_micros', 0,
           'week_start_equity_micros', bankroll, 'week_flows_micros', 0, 'peak_equity_micros', bankroll,
           'drawdown_tripped', false, 'net_flows_micros', bankroll, 'taken', '[]'::jsonb,
           'shadow_share_micros', NULL)),
       (SELECT passed FROM checks),
       CASE WHEN executed THEN decided_at + interval '0.1 s' END
FROM a, span ORDER BY n, scope DESC;
INSERT INTO executable_fill (attempt_id, level, share_micros, price_micros, notional_micros, fee_micros)
SELECT attempt_id, i, filled / 2, price_micros, notional / 2, fee / 2 FROM a, generate_series(0, 1) i
WHERE executed ORDER BY n, scope DESC;
"""

_ENTRIES: Final = """
INSERT INTO ledger_entry (id, portfolio_id, scope, user_id, source_user_id, condition_id, asset_id, entry_type,
  share_delta_micros, cash_delta_micros, price_micros, ref_id, event_time, tx_hash, log_index, created_at)
SELECT pg_temp.id(scope || ref_id || entry_type || portfolio_id), portfolio_id, scope, user_id, source_user_id,
       condition_id, asset_id, entry_type, shares, cash, price_micros, ref_id, event_time, tx_hash, log_index,
       created_at
FROM (
  SELECT id AS portfolio_id, 'EXEC_GLOBAL' AS scope, NULL::uuid AS user_id, NULL::uuid AS source_user_id,
         NULL AS condition_id, NULL AS asset_id, 'DEPOSIT' AS entry_type, 0::bigint AS shares, bankroll AS cash,
         NULL::bigint AS price_micros, 'bankroll' AS ref_id, since AS event_time, NULL AS tx_hash,
         NULL::int AS log_index, since AS created_at FROM everybody, span
  UNION ALL
  SELECT mine, 'EXEC_USER', id, NULL, NULL, NULL, 'DEPOSIT', 0, bankroll, NULL, 'bankroll', since, NULL, NULL, since
  FROM people, span
  UNION ALL
  SELECT shadow, 'SHADOW_USER', user_id, NULL, condition_id, asset_id, entry_type, delta, cash, price, event_id::text,
         event_time, pg_temp.tx(m), 7, detect_time
  FROM e, LATERAL (SELECT CASE side WHEN 'BUY' THEN 1 ELSE -1 END AS sign) s, LATERAL (VALUES
    ('TRADE_FILL', sign * shares, -sign * shares * price_micros / 1000000, price_micros),
    ('FEE', 0, -12340, NULL)) AS v (entry_type, delta, cash, price)
  UNION ALL
  SELECT portfolio_id, scope, CASE scope WHEN 'EXEC_USER' THEN user_id END,
         CASE scope WHEN 'EXEC_GLOBAL' THEN user_id END, condition_id, asset_id, entry_type, delta, cash, price,
         attempt_id::text, decided_at, NULL, NULL, decided_at + interval '0.1 s'
  FROM a, LATERAL (SELECT CASE side WHEN 'BUY' THEN 1 ELSE -1 END AS sign) s, LATERAL (VALUES
    ('TRADE_FILL', sign * filled, -sign * notional, price_micros), ('FEE', 0, -fee, NULL)) AS v (
    entry_type, delta, cash, price)
  WHERE executed
) x ORDER BY created_at, scope, ref_id, entry_type DESC;
INSERT INTO ledger_entry (id, portfolio_id, scope, user_id, condition_id, asset_id, entry_type, share_delta_micros,
  cash_delta_micros, price_micros, ref_id, event_time, created_at)
SELECT pg_temp.id('s' || portfolio_id || asset_id), portfolio_id, scope, user_id, condition_id, asset_id, 'SETTLEMENT',
       -shares, shares * payout_micros / 1000000, payout_micros, condition_id, resolved_at, resolved_at
FROM (
  SELECT portfolio_id, scope, user_id, e.condition_id, e.asset_id, sum(share_delta_micros)::bigint AS shares,
         payout_micros, resolved_at
  FROM ledger_entry e JOIN tokens t ON t.asset_id = e.asset_id WHERE resolved_at IS NOT NULL
  GROUP BY portfolio_id, scope, user_id, e.condition_id, e.asset_id, payout_micros, resolved_at
) held WHERE shares > 0 ORDER BY resolved_at, portfolio_id, asset_id;
"""

_PROJECTION: Final = """
INSERT INTO position (portfolio_id, asset_id, condition_id, share_micros, cost_micros, realized_pnl_micros, flags,
  folded_event_time, folded_tx_hash, updated_at)
SELECT s.portfolio_id, s.asset_id, t.condition_id, s.shares, s.shares * t.price_micros / 1000000, s.realized, '{}',
       (s.last).event_time, (s.last).tx_hash, s.at
FROM (
  SELECT e.portfolio_id, e.asset_id, sum(share_delta_micros)::bigint AS shares, max(e.created_at) AS at,
         coalesce(sum(cash_delta_micros + share_delta_micros * t.price_micros / 1000000)
           FILTER (WHERE entry_type = 'SETTLEMENT'), 0)::bigint AS realized,
         (array_agg(e ORDER BY event_time DESC, tx_hash COLLATE "C" DESC NULLS FIRST))[1] AS last
  FROM ledger_entry e JOIN tokens t ON t.asset_id = e.asset_id WHERE entry_type <> 'FEE'
  GROUP BY e.portfolio_id, e.asset_id
) s JOIN tokens t ON t.asset_id = s.asset_id;
UPDATE position p SET base_before = folded_event_time, base_share_micros = b.shares,
  base_cost_micros = b.shares * t.price_micros / 1000000, base_realized_pnl_micros = 0,
  base_episodes_closed = 0, base_episodes_won = 0, base_episode_result_micros = b.fees
FROM (
  SELECT e.portfolio_id, e.asset_id,
         coalesce(sum(share_delta_micros) FILTER (WHERE e.event_time < l.folded_event_time), 0)::bigint AS shares,
         coalesce(sum(cash_delta_micros) FILTER (
           WHERE e.event_time < l.folded_event_time AND e.entry_type = 'FEE'), 0)::bigint AS fees
  FROM ledger_entry e JOIN position l ON l.portfolio_id = e.portfolio_id AND l.asset_id = e.asset_id
  WHERE e.scope = 'SHADOW_USER' GROUP BY e.portfolio_id, e.asset_id
) b JOIN tokens t ON t.asset_id = b.asset_id
WHERE p.portfolio_id = b.portfolio_id AND p.asset_id = b.asset_id;
INSERT INTO position_source (asset_id, source_user_id, share_micros)
SELECT e.asset_id, source_user_id, CASE WHEN t.resolved_at IS NULL THEN sum(share_delta_micros) ELSE 0 END
FROM ledger_entry e JOIN tokens t ON t.asset_id = e.asset_id
WHERE scope = 'EXEC_GLOBAL' AND source_user_id IS NOT NULL GROUP BY e.asset_id, source_user_id, t.resolved_at;
INSERT INTO portfolio (id, scope, user_id, opened_at, cash_micros, deposits_micros, withdrawals_micros, fees_micros,
  realized_pnl_micros, decision_seq, decided_through, last_first_detect_time, last_first_event_time, last_first_ordinal,
  last_group_id, peak_equity_micros, drawdown_tripped)
SELECT o.id, o.scope, o.user_id, since, coalesce(s.cash, 0), coalesce(s.deposits, 0), 0, coalesce(s.fees, 0),
       coalesce(r.realized, 0) - coalesce(s.fees, 0), coalesce(l.seq, 0), l.detect_time, l.detect_time, l.event_time,
       CASE WHEN l.id IS NOT NULL THEN 7 END, l.id, CASE WHEN l.id IS NOT NULL THEN bankroll END, false
FROM span, (
  SELECT shadow AS id, 'SHADOW_USER' AS scope, id AS user_id FROM people
  UNION ALL SELECT mine, 'EXEC_USER', id FROM people UNION ALL SELECT id, 'EXEC_GLOBAL', NULL FROM everybody) o
LEFT JOIN (
  SELECT portfolio_id, sum(cash_delta_micros) AS cash,
         -sum(cash_delta_micros) FILTER (WHERE entry_type = 'FEE') AS fees,
         sum(cash_delta_micros) FILTER (WHERE entry_type = 'DEPOSIT') AS deposits
  FROM ledger_entry GROUP BY portfolio_id) s ON s.portfolio_id = o.id
LEFT JOIN (SELECT portfolio_id, sum(realized_pnl_micros) AS realized FROM position GROUP BY portfolio_id) r
  ON r.portfolio_id = o.id
LEFT JOIN (SELECT DISTINCT ON (portfolio_id) * FROM a ORDER BY portfolio_id, seq DESC) l ON l.portfolio_id = o.id;
"""

# As retention leaves them: minutes for a week, quarters of an hour before. Snapshots value what is open at its cost.
_SERIES: Final = """
CREATE TEMP TABLE bins AS
SELECT at FROM span, generate_series(greatest(date_trunc('minute', since),
  date_trunc('minute', until) - interval '7 days'), date_trunc('minute', until), interval '1 minute') at
UNION ALL
SELECT at + interval '14 minutes' FROM span, generate_series(date_trunc('day', since), date_trunc('minute', until)
  - interval '7 days 15 minutes', interval '15 minutes') at;
INSERT INTO market_price_snapshot (asset_id, at, price_micros, source)
SELECT asset_id, at, price_micros + 1000 * (extract(epoch FROM at)::bigint / 900 % 9), 'MIDPOINT' FROM tokens, bins
WHERE resolved_at IS NULL
UNION ALL SELECT asset_id, resolved_at, payout_micros, 'PAYOUT' FROM tokens WHERE resolved_at IS NOT NULL
ORDER BY 2, 1;
INSERT INTO portfolio_snapshot (portfolio_id, at, equity_micros, cash_micros, exposure_micros, unrealized_pnl_micros,
  realized_pnl_micros, deposits_micros, withdrawals_micros, fees_micros)
SELECT portfolio_id, at, deposits + realized, cash, deposits + realized - cash, 0, realized, deposits, 0, fees FROM (
  SELECT portfolio_id, at, kept, sum(cash) OVER w AS cash, sum(fees) OVER w AS fees, sum(deposits) OVER w AS deposits,
         sum(realized) OVER w AS realized
  FROM (
    SELECT f.id AS portfolio_id, bins.at, true AS kept, 0 AS cash, 0 AS fees, 0 AS deposits, 0 AS realized
    FROM portfolio f, bins
    UNION ALL
    SELECT portfolio_id, date_trunc('minute', created_at), false, cash_delta_micros,
           CASE entry_type WHEN 'FEE' THEN -cash_delta_micros ELSE 0 END,
           CASE entry_type WHEN 'DEPOSIT' THEN cash_delta_micros ELSE 0 END,
           CASE entry_type WHEN 'FEE' THEN cash_delta_micros WHEN 'SETTLEMENT' THEN
             cash_delta_micros + share_delta_micros * t.price_micros / 1000000 ELSE 0 END
    FROM ledger_entry e LEFT JOIN tokens t ON t.asset_id = e.asset_id
  ) moves WINDOW w AS (PARTITION BY portfolio_id ORDER BY at, kept)
) sums WHERE kept ORDER BY at, portfolio_id;
"""

STEPS: Final = {
    "people": _PEOPLE,
    "markets": _MARKETS,
    "groups planned": _GROUPS,
    "events": _EVENTS,
    "sightings": _SIGHTINGS,
    "groups": _CLOSED,
    "books": _BOOKS,
    "attempts": _ATTEMPTS,
    "entries": _ENTRIES,
    "projection": _PROJECTION,
    "episodes": import_module("libs.common.db.migrations.versions.0009_episodes").BACKFILL,
    "snapshots and marks": _SERIES,
}
