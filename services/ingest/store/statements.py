"""The statements of ingest's store: one array a column, so that a batch of any size is the same prepared statement."""

from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, Integer, LargeBinary, Text, TextClause, any_, bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.types import TypeEngine

from libs.common.db.tables.events import ActivityEvent, TradeEvent
from libs.common.db.tables.users import FollowedUserProxyWallet

_FILL: Final = TradeEvent.__table__  # type: ignore[attr-defined]
_FACT: Final = ActivityEvent.__table__  # type: ignore[attr-defined]
_WALLET: Final = FollowedUserProxyWallet.__table__  # type: ignore[attr-defined]

_UUID: Final = PG_UUID()
_TEXT: Final = Text()
_BIG: Final = BigInteger()
_INT: Final = Integer()
_TIME: Final = TIMESTAMP(timezone=True)


def _with_arrays(sql: str, **types: TypeEngine[Any]) -> TextClause:
    return text(sql).bindparams(*(bindparam(name, type_=ARRAY(type_)) for name, type_ in types.items()))


LOCK: Final = _with_arrays(
    """
    SELECT CASE WHEN shared THEN pg_advisory_xact_lock_shared(key) ELSE pg_advisory_xact_lock(key) END
    FROM unnest(:keys, :shared) WITH ORDINALITY AS l (key, shared, place) ORDER BY place
    """,
    keys=_BIG,
    shared=Boolean(),
)
"""Take locks in the order given. Statements that follow see what their last holders committed; this one does not."""

_TXS: Final = any_(bindparam("txs", type_=ARRAY(Text)))

KNOWN_FILLS: Final = select(*(column for column in _FILL.c if column.name != "seq")).where(_FILL.c.tx_hash == _TXS)

_FACT_KEY: Final = (
    _FACT.c.tx_hash,
    _FACT.c.wallet,
    _FACT.c.type,
    _FACT.c.condition_id,
    _FACT.c.asset_id,
    _FACT.c.side,
    _FACT.c.share_micros,
    _FACT.c.usdc_micros,
)
KNOWN_FACTS: Final = select(*_FACT_KEY, _FACT.c.detect_time).where(_FACT.c.tx_hash == _TXS).order_by(_FACT.c.ordinal)

FOLLOWS: Final = select(_WALLET.c.wallet, _WALLET.c.user_id, _WALLET.c.followed_at).where(
    _WALLET.c.unfollowed_at.is_(None)
)

_SIGHTS: Final[dict[str, TypeEngine[Any]]] = {
    "sight_ids": _UUID,
    "sight_sources": _TEXT,
    "sight_times": _TIME,
    "sight_shares": _BIG,
    "sight_amounts": _BIG,
    "payloads": LargeBinary(),
}
_SIGHTS_IN: Final = """
    INSERT INTO event_sighting (event_id, source, seen_at, share_micros, usdc_micros, payload)
    SELECT event_id, source, seen_at, share_micros, usdc_micros, payload
    FROM unnest(:sight_ids, :sight_sources, :sight_times, :sight_shares, :sight_amounts, :payloads)
      AS s (event_id, source, seen_at, share_micros, usdc_micros, payload)
    ON CONFLICT DO NOTHING
    """
_COUNTED_OUT: Final = """
    RETURNING id, wallet, (
      SELECT value FROM system_checkpoint WHERE service = 'ingest' AND key = 'counted:' || t.wallet
        AND (value ->> 'latest')::timestamptz >= t.event_time) AS counted
    """

INSERT_SIGHTS: Final = _with_arrays(_SIGHTS_IN, **_SIGHTS)


def _news(insert: str, **types: TypeEngine[Any]) -> TextClause:
    """Return an insert of new events that writes their sights, too, and tells what openings count of their wallets.

    `counted` is NULL where that is all older than the event. With one statement for it a log is announced sooner.
    """
    return _with_arrays(f"WITH seen AS ({_SIGHTS_IN}) {insert} {_COUNTED_OUT}", **_SIGHTS, **types)


INSERT_FILLS: Final = _news(
    """
    INSERT INTO trade_event AS t (id, user_id, wallet, asset_id, side, share_micros, price_micros, usdc_notional_micros,
      fee_micros, tx_hash, ordinal, incarnation, role, log_index, block_number, block_hash, event_time, detect_time,
      first_source, status, booked, mismatch)
    SELECT id, user_id, wallet, asset_id, side, share_micros, price_micros, usdc_notional_micros,
      fee_micros, tx_hash, ordinal, incarnation, role, log_index, block_number, block_hash, event_time, detect_time,
      first_source, status, booked, CAST(mismatch AS jsonb)
    FROM unnest(:ids, :users, :wallets, :assets, :sides, :shares, :prices, :notionals, :fees, :txs, :ordinals,
      :incarnations, :roles, :log_indexes, :block_numbers, :block_hashes, :event_times, :detect_times, :first_sources,
      :statuses, :booked, :mismatches)
      AS f (id, user_id, wallet, asset_id, side, share_micros, price_micros, usdc_notional_micros, fee_micros, tx_hash,
      ordinal, incarnation, role, log_index, block_number, block_hash, event_time, detect_time, first_source, status,
      booked, mismatch)
    ON CONFLICT DO NOTHING
    """,
    ids=_UUID,
    users=_UUID,
    wallets=_TEXT,
    assets=_TEXT,
    sides=_TEXT,
    shares=_BIG,
    prices=_BIG,
    notionals=_BIG,
    fees=_BIG,
    txs=_TEXT,
    ordinals=_INT,
    incarnations=_INT,
    roles=_TEXT,
    log_indexes=_INT,
    block_numbers=_BIG,
    block_hashes=_TEXT,
    event_times=_TIME,
    detect_times=_TIME,
    first_sources=_TEXT,
    statuses=_TEXT,
    booked=Boolean(),
    mismatches=_TEXT,
)

RELEASE_INDEXES: Final = _with_arrays("UPDATE trade_event SET log_index = NULL WHERE id = ANY(:ids)", ids=_UUID)

CHANGE_FILLS: Final = _with_arrays(
    """
    UPDATE trade_event AS t
    SET role = c.role, log_index = c.log_index, block_number = c.block_number, block_hash = c.block_hash,
      usdc_notional_micros = c.usdc_notional_micros, fee_micros = c.fee_micros, price_micros = c.price_micros,
      status = c.status, mismatch = CAST(c.mismatch AS jsonb)
    FROM unnest(:ids, :roles, :log_indexes, :block_numbers, :block_hashes, :notionals, :fees, :prices, :statuses,
      :mismatches)
      AS c (id, role, log_index, block_number, block_hash, usdc_notional_micros, fee_micros, price_micros, status,
      mismatch)
    WHERE t.id = c.id
    """,
    ids=_UUID,
    roles=_TEXT,
    log_indexes=_INT,
    block_numbers=_BIG,
    block_hashes=_TEXT,
    notionals=_BIG,
    fees=_BIG,
    prices=_BIG,
    statuses=_TEXT,
    mismatches=_TEXT,
)

INSERT_FACTS: Final = _news(
    """
    INSERT INTO activity_event AS t (id, user_id, wallet, type, kind, condition_id, asset_id, side, share_micros,
      usdc_micros, tx_hash, ordinal, event_time, detect_time, status, booked)
    SELECT id, user_id, wallet, type, kind, condition_id, asset_id, side, share_micros,
      usdc_micros, tx_hash, ordinal, event_time, detect_time, 'CANONICAL', booked
    FROM unnest(:ids, :users, :wallets, :types, :kinds, :conditions, :assets, :sides, :shares, :amounts, :txs,
      :ordinals, :event_times, :detect_times, :booked)
      AS a (id, user_id, wallet, type, kind, condition_id, asset_id, side, share_micros, usdc_micros, tx_hash, ordinal,
      event_time, detect_time, booked)
    ON CONFLICT DO NOTHING
    """,
    ids=_UUID,
    users=_UUID,
    wallets=_TEXT,
    types=_TEXT,
    kinds=_TEXT,
    conditions=_TEXT,
    assets=_TEXT,
    sides=_TEXT,
    shares=_BIG,
    amounts=_BIG,
    txs=_TEXT,
    ordinals=_INT,
    event_times=_TIME,
    detect_times=_TIME,
    booked=Boolean(),
)

DROP_PAYLOADS: Final = text(
    """
    UPDATE event_sighting SET payload = NULL
    WHERE (event_id, source) IN (
      SELECT event_id, source FROM event_sighting WHERE payload IS NOT NULL AND seen_at < :before
      ORDER BY seen_at LIMIT :limit FOR UPDATE SKIP LOCKED)
    """
)

MOVE_SIGHT: Final = text(
    """
    WITH moved AS (
      DELETE FROM event_sighting WHERE event_id = :event_id AND source = :source AND usdc_micros = :cash_micros
      RETURNING source, seen_at, share_micros, usdc_micros, payload)
    INSERT INTO event_sighting (event_id, source, seen_at, share_micros, usdc_micros, payload)
    SELECT CAST(:to AS uuid), source, seen_at, share_micros, usdc_micros, payload FROM moved
    ON CONFLICT DO NOTHING
    """
)
"""A sight of a fill whose own is kept already is one seen again, which is not kept."""
