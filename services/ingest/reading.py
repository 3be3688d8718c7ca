"""From what the upstream clients decoded to sightings of a followed wallet: whose it is, and whether it is booked."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Final
from uuid import UUID

from libs.common.domain.kinds import EventKind, Side
from libs.common.upstream.activity import ActivityRow, UnreadableRow
from libs.common.upstream.chain import ChainFill
from libs.common.upstream.fields import FieldError
from libs.common.upstream.samples import written
from services.ingest.core.sightings import (
    FactKey,
    FactSighting,
    FillKey,
    LogSighting,
    RowSighting,
    kind_of,
)

FUTURE_SECONDS_MAX: Final = 300
"""No clock of ours is that far behind: what lies further ahead is no time. Where ours is after all, what it refused is
read again by the polls that follow."""


@dataclass(frozen=True, slots=True)
class Follow:
    """A followed wallet: whose it is and from when on it counts."""

    wallet: str
    user_id: UUID
    followed_at: datetime


def refuse_future(timestamp: int, field: str, seen_at: datetime) -> None:
    """Raise ValueError for a time further ahead of `seen_at` than clocks differ."""
    if timestamp > seen_at.timestamp() + FUTURE_SECONDS_MAX:
        raise FieldError("time", field, f"not after {seen_at:%Y-%m-%d %H:%M} and 5 minutes", timestamp)


def read_fill(fill: ChainFill, timestamp: int, follow: Follow, seen_at: datetime) -> LogSighting:
    """Return the sighting of a log; `timestamp` is its block's, in epoch seconds."""
    event_time = datetime.fromtimestamp(timestamp, UTC)
    return LogSighting(
        key=FillKey(fill.tx_hash, fill.wallet, fill.asset_id, fill.side, fill.share_micros),
        user_id=follow.user_id,
        booked=event_time >= follow.followed_at,
        notional_micros=fill.notional_micros,
        fee_micros=fill.fee_micros,
        price_micros=fill.price_micros,
        role=fill.role,
        log_index=fill.log_index,
        block_number=fill.block_number,
        block_hash=fill.block_hash,
        event_time=event_time,
        seen_at=seen_at,
        removed=fill.removed,
        wire=fill.wire,
    )


def read_listing(
    rows: Iterable[ActivityRow], unreadable: Iterable[UnreadableRow], follow: Follow, seen_at: datetime
) -> tuple[list[RowSighting], list[FactSighting]]:
    """Return the fills and the other rows of a listing.

    Rows are read one after the other, and each is seen a microsecond after the one before: what is grouped and decided
    in the order of its detection has one order, which no log index that is learned later can change.
    """
    fills: list[RowSighting] = []
    facts: list[FactSighting] = []
    for place, row in enumerate(rows):
        seen = seen_at + timedelta(microseconds=place)
        try:
            refuse_future(row.timestamp, "timestamp", seen)
        except ValueError as error:
            facts.append(_read_unreadable(UnreadableRow(row.wire, str(error)), follow, seen))
            continue
        kind = kind_of(row.type, is_combo=row.is_combo, is_odd=row.odd is not None)
        if kind is EventKind.TRADE:
            fills.append(_read_row(row, follow, seen))
        else:
            facts.append(_read_fact(row, kind, follow, seen))
    facts.extend(_read_unreadable(row, follow, seen_at) for row in unreadable)
    return fills, facts


def _read_row(row: ActivityRow, follow: Follow, seen_at: datetime) -> RowSighting:
    event_time = datetime.fromtimestamp(row.timestamp, UTC)
    side, fee = Side(row.side), row.fee_micros
    return RowSighting(
        key=FillKey(row.tx_hash, row.wallet, row.asset_id, side, row.share_micros),
        user_id=follow.user_id,
        booked=event_time >= follow.followed_at,
        # The cash is what the API reports exactly; the notional is what is left of it.
        notional_micros=row.cash_micros - fee if side is Side.BUY else row.cash_micros + fee,
        fee_micros=fee,
        price_micros=row.price_micros,
        event_time=event_time,
        seen_at=seen_at,
        wire=row.wire,
    )


def _read_fact(row: ActivityRow, kind: EventKind, follow: Follow, seen_at: datetime) -> FactSighting:
    event_time = datetime.fromtimestamp(row.timestamp, UTC)
    # A split or merge of nothing, or of no condition, is kept but there is nothing in it to book or copy.
    empty = kind in (EventKind.SPLIT, EventKind.MERGE) and not (row.share_micros and row.condition_id)
    return FactSighting(
        key=FactKey(
            row.tx_hash,
            row.wallet,
            row.type,
            row.condition_id,
            row.asset_id,
            row.side,
            row.share_micros,
            row.cash_micros,
        ),
        user_id=follow.user_id,
        kind=kind,
        booked=event_time >= follow.followed_at and not empty,
        event_time=event_time,
        seen_at=seen_at,
        wire=row.wire,
        ignored=("odd_row", f"{row.type} row: expected a condition and a size") if empty else _why_ignored(row, kind),
    )


def _why_ignored(row: ActivityRow, kind: EventKind) -> tuple[str, str] | None:
    if row.odd is not None:
        return "odd_row", row.odd
    if kind is EventKind.OTHER:
        return "unknown_type", f"activity row: expected a `type` we know, got {row.type!r}"
    return None


def _read_unreadable(row: UnreadableRow, follow: Follow, seen_at: datetime) -> FactSighting:
    digest = blake2b(written(row.wire), digest_size=24).hexdigest()
    return FactSighting(
        key=FactKey(f"unreadable:{digest}", follow.wallet, "UNREADABLE", "", "", "", 0, 0),
        user_id=follow.user_id,
        kind=EventKind.OTHER,
        booked=False,
        event_time=seen_at,
        seen_at=seen_at,
        wire={"reason": row.reason, "row": row.wire},
        ignored=("unreadable_row", row.reason),
    )
