"""The invariants of the books (SPEC section 6) as queries: what each compares, and the rows that break it.

`:settled` is the time before which everything seen must be done; what is younger may still be on its way. What ended in
a dead letter that nobody replayed is not missed here: it is listed there. What waits for its market is told apart.
"""

from dataclasses import dataclass
from typing import Final

from libs.common.db import figures
from services.ledger.store.excused import given_up, waits_for_market


@dataclass(frozen=True, slots=True)
class Invariant:
    """One rule: its name, what `counted` counts, and a query whose rows (one text column) are violations."""

    name: str
    unit: str
    counted: str
    violations: str


_POSITION: Final = "f.scope || coalesce(' ' || u.label, '')"
_OWNER: Final = "JOIN portfolio f ON f.id = x.portfolio_id LEFT JOIN followed_user u ON u.id = f.user_id"

_CASH: Final = """
WITH kinds AS (
  SELECT e.portfolio_id, e.cash_delta_micros AS cash, e.cost_micros AS cost,
         coalesce(o.entry_type, e.entry_type) AS kind
  FROM ledger_entry e LEFT JOIN ledger_entry o ON o.id = e.reverses
), sums AS (
  SELECT portfolio_id, sum(cash) AS cash,
         coalesce(sum(CASE kind WHEN 'DEPOSIT' THEN cash WHEN 'OPENING' THEN cost END), 0) AS deposits,
         coalesce(-sum(cash) FILTER (WHERE kind = 'WITHDRAWAL'), 0) AS withdrawals,
         coalesce(-sum(cash) FILTER (WHERE kind = 'FEE'), 0) AS fees
  FROM kinds GROUP BY portfolio_id
)
SELECT f.scope || coalesce(' ' || u.label, '') || ': ' || v.what || ' is ' || v.row_value || ', entries sum to '
       || v.sum
FROM portfolio f
LEFT JOIN followed_user u ON u.id = f.user_id
LEFT JOIN sums s ON s.portfolio_id = f.id
CROSS JOIN LATERAL (VALUES
  ('cash', f.cash_micros, coalesce(s.cash, 0)), ('deposits', f.deposits_micros, coalesce(s.deposits, 0)),
  ('withdrawals', f.withdrawals_micros, coalesce(s.withdrawals, 0)), ('fees', f.fees_micros, coalesce(s.fees, 0))
) AS v (what, row_value, sum)
WHERE v.row_value <> v.sum
"""

_PROFIT: Final = """
SELECT f.scope || coalesce(' ' || u.label, '') || ': realised ' || f.realized_pnl_micros || ', cash ' || f.cash_micros
       || ' do not agree with positions: realised ' || h.realized || ' before fees of ' || f.fees_micros || ', cost '
       || h.cost
FROM portfolio f
LEFT JOIN followed_user u ON u.id = f.user_id
CROSS JOIN LATERAL (
  SELECT coalesce(sum(realized_pnl_micros), 0) AS realized, coalesce(sum(cost_micros), 0) AS cost
  FROM position WHERE portfolio_id = f.id
) h
WHERE f.realized_pnl_micros <> h.realized - f.fees_micros
   OR f.cash_micros + h.cost <> f.deposits_micros - f.withdrawals_micros + f.realized_pnl_micros
"""

_SHARES: Final = f"""
SELECT {_POSITION} || ', asset ' || x.asset_id || ': position ' || x.held || ' with cost ' || x.cost
       || ', entries sum to ' || x.sum
FROM (
  SELECT portfolio_id, asset_id, coalesce(p.share_micros, 0) AS held, coalesce(p.cost_micros, 0) AS cost,
         coalesce(s.shares, 0) AS sum
  FROM position p FULL JOIN (
    SELECT portfolio_id, asset_id, sum(share_delta_micros) AS shares FROM ledger_entry
    WHERE asset_id IS NOT NULL GROUP BY portfolio_id, asset_id
  ) s USING (portfolio_id, asset_id)
) x {_OWNER}
WHERE x.held <> x.sum OR (x.held = 0 AND x.cost <> 0)
"""  # noqa: S608

_MARKETS: Final = f"""
SELECT {_POSITION} || ', asset ' || x.asset_id || ' is kept in condition ' || x.condition_id
       || ', its token belongs to ' || o.condition_id
FROM position x {_OWNER} JOIN outcome_asset o ON o.asset_id = x.asset_id AND o.condition_id <> x.condition_id
"""  # noqa: S608

_SOURCES: Final = """
SELECT 'asset ' || asset_id || ': EXEC_GLOBAL holds ' || coalesce(p.share_micros, 0) || ', its sources sum to '
       || coalesce(s.shares, 0)
FROM (
  SELECT asset_id, share_micros FROM position JOIN portfolio f ON f.id = portfolio_id WHERE f.scope = 'EXEC_GLOBAL'
) p FULL JOIN (SELECT asset_id, sum(share_micros) AS shares FROM position_source GROUP BY asset_id) s USING (asset_id)
WHERE coalesce(p.share_micros, 0) <> coalesce(s.shares, 0)
"""

_NEVER_NEGATIVE: Final = f"""
SELECT {_POSITION} || ', entry ' || x.id || ': leaves ' || x.cash || ' in cash and ' || x.shares || ' of asset '
       || coalesce(x.asset_id, '-')
FROM (
  SELECT portfolio_id, id, asset_id, ref_id, seq, sum(cash_delta_micros) OVER w AS cash,
         sum(share_delta_micros) OVER (PARTITION BY portfolio_id, asset_id ORDER BY seq) AS shares,
         lead(ref_id) OVER w IS NOT DISTINCT FROM ref_id AS goes_on
  FROM ledger_entry WHERE scope <> 'SHADOW_USER'
  WINDOW w AS (PARTITION BY portfolio_id ORDER BY seq)
) x {_OWNER}
WHERE x.shares < 0 OR (x.cash < 0 AND NOT x.goes_on)
ORDER BY x.seq
"""  # noqa: S608

_EXECUTED: Final = f"""
WITH expected AS (
  SELECT a.id, a.id::text AS ref_id, e.entry_type, e.asset_id, e.shares, e.cash
  FROM copy_attempt a
  CROSS JOIN LATERAL (
    SELECT 'TRADE_FILL' AS entry_type, a.asset_id, s.sign * a.filled_share_micros AS shares,
           -s.sign * a.filled_notional_micros AS cash
    FROM (SELECT CASE a.side WHEN 'BUY' THEN 1 ELSE -1 END AS sign) s WHERE a.kind = 'TRADE'
    UNION ALL
    SELECT 'FEE', a.asset_id, 0, -a.fee_micros WHERE a.kind = 'TRADE' AND a.fee_micros <> 0
    UNION ALL
    SELECT a.kind, o.asset_id, s.sign * a.filled_share_micros,
           CASE o.outcome_index WHEN 0 THEN -s.sign * a.filled_share_micros ELSE 0 END
    FROM outcome_asset o, (SELECT CASE a.kind WHEN 'SPLIT' THEN 1 ELSE -1 END AS sign) s
    WHERE a.kind <> 'TRADE' AND o.condition_id = a.condition_id
  ) e
  WHERE a.decision = 'EXECUTE' AND a.posted_at IS NOT NULL
), posted AS (
  SELECT ref_id, entry_type, asset_id, share_delta_micros AS shares, cash_delta_micros AS cash FROM ledger_entry
  WHERE scope <> 'SHADOW_USER' AND entry_type NOT IN ('DEPOSIT', 'WITHDRAWAL', 'SETTLEMENT')
)
SELECT 'attempt ' || ref_id || ': expected ' || entry_type || ' of ' || coalesce(e.shares::text, 'no') || ' shares for '
       || coalesce(e.cash::text, 'no') || ' cash, found ' || coalesce(p.shares::text, 'none') || ' for '
       || coalesce(p.cash::text, 'none')
FROM expected e FULL JOIN posted p USING (ref_id, entry_type, asset_id)
WHERE (e.shares, e.cash) IS DISTINCT FROM (p.shares, p.cash)
UNION ALL
SELECT 'attempt ' || a.id || ': decided EXECUTE at ' || a.decided_at || ' and not posted' FROM copy_attempt a
WHERE a.decision = 'EXECUTE' AND a.posted_at IS NULL AND a.decided_at < :settled AND NOT {given_up("a.id::text")}
"""  # noqa: S608

_BOOKED: Final = """
  SELECT id, 'TRADE' AS kind, CASE side WHEN 'BUY' THEN share_micros ELSE -share_micros END AS shares,
         CASE side WHEN 'BUY' THEN -usdc_notional_micros ELSE usdc_notional_micros END - fee_micros AS cash,
         10 + share_micros / 10000000000 AS tolerance, status, incarnation, detect_time
  FROM trade_event WHERE booked AND share_micros > 0
  UNION ALL
  SELECT id, kind, (SELECT count(*) FROM outcome_asset o WHERE o.condition_id = activity_event.condition_id)
           * CASE kind WHEN 'SPLIT' THEN share_micros ELSE -share_micros END,
         CASE kind WHEN 'SPLIT' THEN -share_micros ELSE share_micros END, 0, status, 0, detect_time
  FROM activity_event WHERE booked AND share_micros > 0 AND kind IN ('SPLIT', 'MERGE')
"""

# A fill first seen by the API may get its exact fee from its log after it was posted, within the tolerance of SPEC 3.
_SHADOW: Final = f"""
WITH events AS ({_BOOKED}), posted AS (
  SELECT o.ref_id, sum(e.share_delta_micros) FILTER (WHERE e.reverses IS NULL) AS shares,
         sum(e.cash_delta_micros) FILTER (WHERE e.reverses IS NULL) AS cash,
         sum(e.share_delta_micros) AS net_shares, sum(e.cash_delta_micros) AS net_cash
  FROM ledger_entry e JOIN ledger_entry o ON o.id = coalesce(e.reverses, e.id)
  WHERE e.scope = 'SHADOW_USER' AND o.entry_type IN ('TRADE_FILL', 'FEE', 'SPLIT', 'MERGE')
  GROUP BY o.ref_id
)
SELECT CASE
  WHEN v.id IS NULL THEN 'ref ' || p.ref_id || ': shadow entries of no booked event'
  WHEN p.ref_id IS NULL THEN v.kind || ' ' || v.id || ': booked and not posted in shadow'
  WHEN v.status = 'REVERSED' THEN v.kind || ' ' || v.id || ': reversed, yet ' || p.net_shares || ' shares and '
       || p.net_cash || ' cash of it stand'
  ELSE v.kind || ' ' || v.id || ': expected ' || v.shares || ' shares for ' || v.cash || ' cash, posted ' || p.shares
       || ' for ' || p.cash || ', of which ' || p.net_shares || ' shares and ' || p.net_cash || ' cash stand' END
FROM events v FULL JOIN posted p ON p.ref_id = v.id::text
WHERE v.id IS NULL
   OR (p.ref_id IS NULL AND v.detect_time < :settled AND NOT {given_up("v.id::text")}
       AND NOT {waits_for_market("v.id")})
   OR (p.ref_id IS NOT NULL AND (p.shares <> v.shares OR abs(p.cash - v.cash) > v.tolerance))
   OR (v.status = 'REVERSED' AND v.detect_time < :settled AND (p.net_shares <> 0 OR p.net_cash <> 0))
   OR (v.status <> 'REVERSED' AND (p.net_shares <> p.shares OR p.net_cash <> p.cash))
"""  # noqa: S608

_SYNCED: Final = f"""
WITH posted AS (
  SELECT user_id, ref_id, entry_type, asset_id, share_delta_micros AS shares, cash_delta_micros AS cash
  FROM ledger_entry WHERE scope = 'SHADOW_USER' AND entry_type IN ('OPENING', 'ADJUSTMENT')
)
SELECT coalesce(s.kind, p.entry_type) || ' of ref ' || coalesce(s.ref_id, p.ref_id) || ', asset '
       || coalesce(s.asset_id, p.asset_id) || ': recorded ' || coalesce(s.share_delta_micros::text, 'no')
       || ' shares for ' || coalesce(s.cash_delta_micros::text, 'no') || ' cash, posted '
       || coalesce(p.shares::text, 'none') || ' for ' || coalesce(p.cash::text, 'none')
FROM position_sync s
FULL JOIN posted p ON (p.user_id, p.ref_id, p.entry_type, p.asset_id) = (s.user_id, s.ref_id, s.kind, s.asset_id)
WHERE s.id IS NULL OR (p.ref_id IS NULL AND s.detect_time < :settled AND NOT {given_up("s.id::text")})
   OR (p.ref_id IS NOT NULL AND (p.shares, p.cash) <> (s.share_delta_micros, s.cash_delta_micros))
"""  # noqa: S608

_GROUPED: Final = f"""
SELECT e.kind || ' ' || e.id || ': booked and in no group' FROM ({_BOOKED}) e
WHERE e.status = 'CANONICAL' AND e.incarnation = 0 AND e.detect_time < :settled
  AND NOT EXISTS (SELECT FROM event_group_member m WHERE m.event_id = e.id) AND NOT {given_up("e.id::text")}
"""  # noqa: S608

_DECIDED: Final = f"""
SELECT 'group ' || g.id || ': ' || count(a.id) || ' attempts in ' || s.scope FROM event_group g
CROSS JOIN (VALUES ('EXEC_USER'), ('EXEC_GLOBAL')) AS s (scope)
LEFT JOIN copy_attempt a ON a.group_id = g.id AND a.scope = s.scope
GROUP BY g.id, g.closed_at, s.scope
HAVING count(a.id) > 1 OR (count(a.id) = 0 AND g.closed_at < :settled AND NOT {given_up("g.id::text")})
"""  # noqa: S608

_SETTLED: Final = f"""
SELECT {_POSITION} || ', asset ' || x.asset_id || ': ' || x.share_micros || ' shares of the resolved condition '
       || o.condition_id || ' are not settled'
FROM position x {_OWNER}
JOIN outcome_asset o ON o.asset_id = x.asset_id
JOIN market_resolution r ON r.condition_id = o.condition_id
WHERE x.share_micros <> 0 AND r.observed_at < :settled AND NOT {given_up("r.condition_id")}
"""  # noqa: S608

_PAID: Final = f"""
SELECT {_POSITION} || ', settlement of ref ' || x.ref_id || ': ' || -x.share_delta_micros || ' shares of asset '
       || x.asset_id || ' for ' || x.cash_delta_micros || ', its payouts are '
       || coalesce(r.payouts_micros::text, 'none')
FROM ledger_entry x {_OWNER}
LEFT JOIN outcome_asset o ON o.asset_id = x.asset_id
LEFT JOIN market_resolution r ON r.condition_id = o.condition_id
WHERE x.entry_type = 'SETTLEMENT' AND x.cash_delta_micros IS DISTINCT FROM
  -sign(x.share_delta_micros)
  * floor(abs(x.share_delta_micros)::numeric * r.payouts_micros[o.outcome_index + 1] / 1000000)
"""  # noqa: S608

_SNAPSHOTS: Final = f"""
SELECT {_POSITION} || ' at ' || x.at || ': equity ' || x.equity_micros || ' is not cash ' || x.cash_micros
       || ' + exposure ' || x.exposure_micros
FROM portfolio_snapshot x {_OWNER}
WHERE x.equity_micros <> x.cash_micros + x.exposure_micros
UNION ALL
SELECT {_POSITION} || ' at ' || x.at || ': realised ' || x.realized_pnl_micros || ' + unrealised '
       || x.unrealized_pnl_micros || ' is not equity less flows, ' || {figures.pnl("x")}
FROM portfolio_snapshot x {_OWNER} WHERE x.realized_pnl_micros + x.unrealized_pnl_micros <> {figures.pnl("x")}
UNION ALL
SELECT {_POSITION} || ' at ' || x.at || ': the newest snapshot has cash ' || x.cash_micros || ', realised '
       || x.realized_pnl_micros || ', the books ' || f.cash_micros || ', ' || f.realized_pnl_micros
FROM (SELECT DISTINCT ON (portfolio_id) * FROM portfolio_snapshot ORDER BY portfolio_id, at DESC) x {_OWNER}
WHERE (x.cash_micros, x.realized_pnl_micros, x.deposits_micros, x.withdrawals_micros, x.fees_micros)
   <> (f.cash_micros, f.realized_pnl_micros, f.deposits_micros, f.withdrawals_micros, f.fees_micros)
"""  # noqa: S608

_PLACES: Final = f"""
SELECT 'event ' || e.id || ' is posted at ' || v.posted || ' of its transaction, its log stands at ' || v.told
FROM trade_event e JOIN ledger_entry l ON l.ref_id = e.id::text LEFT JOIN entry_place p ON p.ref_id = l.ref_id
CROSS JOIN LATERAL (
  SELECT coalesce(p.log_index, l.log_index) AS posted, coalesce(e.log_index, e.ordinal) AS told) v
WHERE l.scope = 'SHADOW_USER' AND l.entry_type = 'TRADE_FILL' AND v.posted <> v.told AND NOT EXISTS (
  SELECT FROM event_sighting s WHERE s.event_id = e.id AND s.source = 'CHAIN' AND s.seen_at >= :settled)
  AND NOT {given_up("e.id::text")}
"""  # noqa: S608

_COUNT: Final = "SELECT count(*) FROM "

INVARIANTS: Final = (
    Invariant("cash and flows are the sums of entries", "entries", _COUNT + "ledger_entry", _CASH),
    Invariant("realised profit and cost agree with cash", "portfolios", _COUNT + "portfolio", _PROFIT),
    Invariant("positions are the sums of entries", "positions", _COUNT + "position", _SHARES),
    Invariant("positions are kept in the markets of their tokens", "positions", _COUNT + "position", _MARKETS),
    Invariant("global positions are the sums of their sources", "sources", _COUNT + "position_source", _SOURCES),
    Invariant(
        "executable cash and shares are never below 0",
        "entries",
        _COUNT + "ledger_entry WHERE scope <> 'SHADOW_USER'",
        _NEVER_NEGATIVE,
    ),
    Invariant(
        "every EXECUTE has exactly its entries",
        "attempts",
        _COUNT + "copy_attempt WHERE decision = 'EXECUTE'",
        _EXECUTED,
    ),
    Invariant("every booked event has exactly its shadow entries", "events", f"{_COUNT}({_BOOKED}) e", _SHADOW),
    Invariant(
        "every fill is posted where its log stands",
        "fills",
        _COUNT + "ledger_entry WHERE scope = 'SHADOW_USER' AND entry_type = 'TRADE_FILL'",
        _PLACES,
    ),
    Invariant(
        "every opening and adjustment has exactly its shadow entry",
        "position syncs",
        _COUNT + "position_sync",
        _SYNCED,
    ),
    Invariant("every booked event is in one group", "events", f"{_COUNT}({_BOOKED}) e", _GROUPED),
    Invariant("one attempt per group and scope", "groups", _COUNT + "event_group", _DECIDED),
    Invariant("resolved positions are settled", "resolutions", _COUNT + "market_resolution", _SETTLED),
    Invariant(
        "settlements pay what was resolved",
        "settlements",
        _COUNT + "ledger_entry WHERE entry_type = 'SETTLEMENT'",
        _PAID,
    ),
    Invariant("equity is cash + positions", "snapshots", _COUNT + "portfolio_snapshot", _SNAPSHOTS),
)
