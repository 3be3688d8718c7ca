"""What `shadowbook export` streams: one query per KIND, with the columns of SPEC section 14 first and ours after them.

Rows come through a server-side cursor, so memory stays flat however many there are. Times are instants, amounts
integers; how they are written is the caller's business.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

CHUNK_ROWS: Final = 2_000
"""Rows held in memory at a time."""

Rows = Sequence[Sequence[Any]]


_EVENTS: Final = """
SELECT event.id, event.kind, event.status, event.incarnation, followed.label AS user_label, event.wallet,
       event.condition_id, event.asset_id, event.side, event.role, event.share_micros, event.price_micros,
       event.usdc_notional_micros, event.fee_micros, event.tx_hash, event.log_index, event.block_hash,
       event.event_time, event.detect_time, event.first_source,
       (SELECT count(*) FROM event_sighting WHERE event_id = event.id) AS sightings, event.mismatch,
       event.type, event.ordinal, event.block_number, event.booked
FROM (
    SELECT trade.id, 'TRADE' AS kind, status, incarnation, user_id, wallet, condition_id, trade.asset_id, side, role,
           share_micros, price_micros, usdc_notional_micros, fee_micros, tx_hash, log_index, block_hash, event_time,
           detect_time, first_source, mismatch, 'TRADE' AS type, ordinal, block_number, booked
    FROM trade_event AS trade LEFT JOIN outcome_asset ON outcome_asset.asset_id = trade.asset_id
    UNION ALL
    SELECT id, kind, status, 0, user_id, wallet, nullif(condition_id, ''), nullif(asset_id, ''), nullif(side, ''), NULL,
           share_micros, NULL, usdc_micros, 0, tx_hash, NULL, NULL, event_time,
           detect_time, 'DATA_API', NULL, type, ordinal, NULL, booked
    FROM activity_event
) AS event
JOIN followed_user AS followed ON followed.id = event.user_id
ORDER BY event.detect_time, event.id
"""

_SIGHTINGS: Final = """
SELECT event_id, source, seen_at, share_micros, usdc_micros
FROM event_sighting ORDER BY seen_at, event_id, source
"""

_GROUPS: Final = """
SELECT event_group.id, event_group.kind, followed.label AS user_label,
       coalesce(event_group.condition_id, outcome_asset.condition_id) AS condition_id, event_group.asset_id, side,
       share_micros, usdc_notional_micros, reference_price_micros, first_event_time, first_detect_time, closed_at,
       ARRAY(SELECT event_id::text FROM event_group_member WHERE group_id = event_group.id ORDER BY position)
           AS event_ids,
       first_ordinal
FROM event_group
JOIN followed_user AS followed ON followed.id = event_group.user_id
LEFT JOIN outcome_asset ON outcome_asset.asset_id = event_group.asset_id
ORDER BY first_detect_time, first_event_time, first_ordinal, event_group.id
"""

_ATTEMPTS: Final = """
SELECT copy_attempt.id, seq, scope, followed.label AS user_label, group_id, kind,
       coalesce(copy_attempt.condition_id, outcome_asset.condition_id) AS condition_id, copy_attempt.asset_id, side,
       decision, reason_codes, out_of_order, due_at, decided_at, book_hash, book_fetched_at, best_bid_micros,
       best_ask_micros, mid_price_micros, their_reference_price_micros, limit_price_micros, depth_micros,
       target_notional_micros, filled_share_micros, filled_notional_micros, vwap_price_micros, fee_micros, fee_rate,
       cash_micros, equity_micros, held_share_micros, exposure_total_micros, exposure_market_micros,
       exposure_user_micros, day_start_equity_micros, week_start_equity_micros, peak_equity_micros,
       counterfactual_share_micros, counterfactual_notional_micros, config_version, posted_at, inputs, checks
FROM copy_attempt
JOIN followed_user AS followed ON followed.id = copy_attempt.user_id
LEFT JOIN outcome_asset ON outcome_asset.asset_id = copy_attempt.asset_id
ORDER BY portfolio_id, seq
"""

_FILLS: Final = """
SELECT attempt_id, level, share_micros, price_micros, notional_micros, fee_micros
FROM executable_fill ORDER BY attempt_id, level
"""

_LEDGER: Final = """
SELECT ledger_entry.id, seq, scope, followed.label AS user_label, source.label AS source_user,
       coalesce(ledger_entry.condition_id, outcome_asset.condition_id) AS condition_id, ledger_entry.asset_id,
       entry_type, share_delta_micros, cash_delta_micros, price_micros, ref_id, event_time, created_at, reverses,
       cost_micros, tx_hash, coalesce(entry_place.log_index, ledger_entry.log_index) AS log_index
FROM ledger_entry
LEFT JOIN entry_place USING (ref_id)
LEFT JOIN followed_user AS followed ON followed.id = ledger_entry.user_id
LEFT JOIN followed_user AS source ON source.id = ledger_entry.source_user_id
LEFT JOIN outcome_asset ON outcome_asset.asset_id = ledger_entry.asset_id
ORDER BY seq
"""

_POSITIONS: Final = """
SELECT scope, followed.label AS user_label,
       coalesce(position.condition_id, outcome_asset.condition_id) AS condition_id, position.asset_id, share_micros,
       cost_micros, position.realized_pnl_micros,
       flags || CASE WHEN share_micros <> 0 AND jsonb_exists(marking.value -> 'unmarked', position.asset_id)
                     THEN ARRAY['stale_mark'] ELSE '{}' END AS flags,
       position.updated_at
FROM position
JOIN portfolio ON portfolio.id = position.portfolio_id
LEFT JOIN followed_user AS followed ON followed.id = portfolio.user_id
LEFT JOIN outcome_asset ON outcome_asset.asset_id = position.asset_id
LEFT JOIN system_checkpoint AS marking ON marking.service = 'pricer' AND marking.key = 'marking'
ORDER BY scope, user_label, condition_id, asset_id
"""

_SNAPSHOTS: Final = """
SELECT scope, followed.label AS user_label, at, equity_micros, snapshot.cash_micros, exposure_micros,
       unrealized_pnl_micros, snapshot.realized_pnl_micros, snapshot.deposits_micros, snapshot.fees_micros,
       snapshot.withdrawals_micros
FROM portfolio_snapshot AS snapshot
JOIN portfolio ON portfolio.id = snapshot.portfolio_id
LEFT JOIN followed_user AS followed ON followed.id = portfolio.user_id
ORDER BY at, scope, user_label
"""

_BOOKS: Final = """
SELECT hash, asset_id, fetched_at, bids, asks, timestamp_ms FROM book_snapshot ORDER BY fetched_at, asset_id
"""

_CONFIG: Final = """
SELECT version, scope, followed.label AS user_label, effective_at, values
FROM effective_config LEFT JOIN followed_user AS followed ON followed.id = effective_config.user_id
ORDER BY version
"""

_MARKETS: Final = """
SELECT market.*,
       ARRAY(SELECT asset_id FROM outcome_asset WHERE condition_id = market.condition_id ORDER BY outcome_index)
           AS asset_ids,
       ARRAY(SELECT name FROM outcome_asset WHERE condition_id = market.condition_id ORDER BY outcome_index)
           AS outcomes,
       payouts_micros, resolved_at
FROM market LEFT JOIN market_resolution ON market_resolution.condition_id = market.condition_id
ORDER BY market.condition_id
"""

EXPORTS: Final[Mapping[str, str]] = {
    "events": _EVENTS,
    "sightings": _SIGHTINGS,
    "groups": _GROUPS,
    "attempts": _ATTEMPTS,
    "fills": _FILLS,
    "ledger": _LEDGER,
    "positions": _POSITIONS,
    "snapshots": _SNAPSHOTS,
    "marks": "SELECT asset_id, at, price_micros, source FROM market_price_snapshot ORDER BY at, asset_id",
    "books": _BOOKS,
    "config": _CONFIG,
    "markets": _MARKETS,
    "deadletters": "SELECT * FROM dead_letter ORDER BY last_at, id",
    "audit": "SELECT * FROM audit_log ORDER BY at, id",
}
"""The query of each KIND of SPEC section 14."""


@asynccontextmanager
async def open_rows(engine: AsyncEngine, kind: str) -> AsyncIterator[tuple[Sequence[str], AsyncIterator[Rows]]]:
    """Yield the column names of a KIND and its rows in chunks."""
    async with engine.connect() as connection:
        await connection.execution_options(yield_per=CHUNK_ROWS)
        async with connection.stream(text(EXPORTS[kind])) as result:
            yield tuple(result.keys()), result.partitions(CHUNK_ROWS)
