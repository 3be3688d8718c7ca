"""The grouper's Postgres: ungrouped events in, closed groups out, under a lock per key."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Final
from uuid import UUID

from sqlalchemy import BigInteger, Text, bindparam, insert, text
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from libs.common.db.engine import transaction
from libs.common.db.tables.groups import EventGroup, EventGroupMember
from libs.common.domain.kinds import GroupKind
from libs.common.messages import EventDetected, GroupClosed
from services.grouper.core import Candidate, Group, Key, assign, due

_GROUPS: Final = EventGroup.__table__  # type: ignore[attr-defined]
_MEMBERS: Final = EventGroupMember.__table__  # type: ignore[attr-defined]

_LOCK: Final = text("SELECT pg_advisory_xact_lock(key) FROM unnest(:keys) AS key").bindparams(
    bindparam("keys", type_=ARRAY(BigInteger))
)

_KNOWN: Final = text(
    """
    SELECT id FROM trade_event WHERE id = ANY(:ids)
    UNION ALL SELECT id FROM activity_event WHERE id = ANY(:ids)
    UNION ALL SELECT id FROM position_sync WHERE id = ANY(:ids)
    """
).bindparams(bindparam("ids", type_=ARRAY(PG_UUID)))

_CONDITIONS: Final = text("SELECT asset_id, condition_id FROM outcome_asset WHERE asset_id = ANY(:assets)").bindparams(
    bindparam("assets", type_=ARRAY(Text))
)

_KEYS: Final = "unnest(:users, :subjects, :sides, :since) AS k (user_id, subject, side, since)"
_KEY_TYPES: Final = (
    bindparam("users", type_=ARRAY(PG_UUID)),
    bindparam("subjects", type_=ARRAY(Text)),
    bindparam("sides", type_=ARRAY(Text)),
    bindparam("since", type_=ARRAY(TIMESTAMP(timezone=True))),
)
_UNGROUPED_TRADES: Final = text(
    f"""
    SELECT 'TRADE' AS kind, e.user_id, e.asset_id AS subject, e.side AS side, e.id, e.detect_time, e.event_time,
           e.tx_hash, coalesce(e.log_index, e.ordinal) AS ordinal, e.share_micros, e.usdc_notional_micros
    FROM {_KEYS}
    JOIN trade_event e ON (e.user_id, e.asset_id, e.side) = (k.user_id, k.subject, k.side) AND e.detect_time >= k.since
    WHERE e.booked AND e.status = 'CANONICAL' AND e.incarnation = 0
      AND NOT EXISTS (SELECT FROM event_group_member m WHERE m.event_id = e.id)
    """  # noqa: S608  a constant, not input
).bindparams(*_KEY_TYPES)
_UNGROUPED_ACTIVITY: Final = text(
    f"""
    SELECT e.kind, e.user_id, e.condition_id AS subject, '' AS side, e.id, e.detect_time, e.event_time,
           e.tx_hash, e.ordinal, e.share_micros, e.usdc_micros AS usdc_notional_micros
    FROM {_KEYS}
    JOIN activity_event e
      ON (e.user_id, e.condition_id, e.kind) = (k.user_id, k.subject, k.side) AND e.detect_time >= k.since
    WHERE e.booked AND e.status = 'CANONICAL'
      AND NOT EXISTS (SELECT FROM event_group_member m WHERE m.event_id = e.id)
    """  # noqa: S608  a constant, not input
).bindparams(*_KEY_TYPES)

_STRAGGLERS: Final = text(
    """
    SELECT id, kind, user_id, condition_id, asset_id, side, event_time, detect_time FROM (
      SELECT id, 'TRADE' AS kind, user_id, NULL AS condition_id, asset_id, side, event_time, detect_time, seq
      FROM trade_event WHERE booked AND status = 'CANONICAL' AND incarnation = 0
      UNION ALL
      SELECT id, kind, user_id, condition_id, NULL, NULL, event_time, detect_time, seq
      FROM activity_event WHERE booked AND status = 'CANONICAL' AND kind IN ('SPLIT', 'MERGE')
    ) e
    WHERE e.detect_time < :before AND e.detect_time >= :since
      AND NOT EXISTS (SELECT FROM event_group_member m WHERE m.event_id = e.id)
      AND NOT EXISTS (SELECT FROM dead_letter d WHERE d.subject = e.id::text AND d.stream = 'events.detected'
                      AND d.group_name = 'grouper' AND d.status IN ('OPEN', 'DISCARDED'))
    ORDER BY e.detect_time, e.seq LIMIT :limit
    """
)


def _lock_number(key: Key) -> int:
    digest = blake2b(f"{key.kind}|{key.user_id}|{key.subject}|{key.side}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


class GroupStore:
    """Reads events, writes groups."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def known(self, event_ids: Sequence[UUID]) -> set[UUID]:
        """Return those of `event_ids` that Postgres knows as events."""
        async with transaction(self._engine) as connection:
            return set(await connection.scalars(_KNOWN, {"ids": list(event_ids)}))

    async def close(self, keys: Mapping[Key, datetime], now: datetime, window: timedelta) -> list[GroupClosed]:
        """Close the groups of `keys` that are due at `now`; each key comes with the earliest detection to look at.

        Commits before it returns; returns what was closed, to be announced.
        """
        async with transaction(self._engine) as connection:
            # Sorted, so that two groupers that close the same keys cannot wait for each other.
            await connection.execute(_LOCK, {"keys": sorted(_lock_number(key) for key in keys)})
            candidates = await self._ungrouped(connection, keys)
            closing = [
                group for key, events in candidates.items() for group in due(assign(key, events, window), now, window)
            ]
            if closing:
                conditions = await self._conditions(connection, closing)
                await connection.execute(
                    insert(_GROUPS), [_group_row(g, conditions.get(g.key.subject), now) for g in closing]
                )
                await connection.execute(insert(_MEMBERS), [row for group in closing for row in _member_rows(group)])
        return [_closed(group, now) for group in closing]

    async def stragglers(self, since: datetime, before: datetime, limit: int) -> list[EventDetected]:
        """Return up to `limit` events detected in [since, before) that are in no group and not given up on."""
        async with transaction(self._engine) as connection:
            rows = await connection.execute(_STRAGGLERS, {"since": since, "before": before, "limit": limit})
            return [
                EventDetected(
                    event_id=row.id,
                    kind=row.kind,
                    booked=True,
                    user_id=row.user_id,
                    condition_id=row.condition_id,
                    asset_id=row.asset_id,
                    side=row.side,
                    occurred_at=row.event_time,
                    observed_at=row.detect_time,
                )
                for row in rows
            ]

    async def _ungrouped(self, connection: AsyncConnection, keys: Mapping[Key, datetime]) -> dict[Key, list[Candidate]]:
        found: dict[Key, list[Candidate]] = {}
        trades = {key: since for key, since in keys.items() if key.kind is GroupKind.TRADE}
        others = {key: since for key, since in keys.items() if key.kind is not GroupKind.TRADE}
        for query, wanted in ((_UNGROUPED_TRADES, trades), (_UNGROUPED_ACTIVITY, others)):
            if not wanted:
                continue
            parameters = {
                "users": [key.user_id for key in wanted],
                "subjects": [key.subject for key in wanted],
                "sides": [key.side or key.kind for key in wanted],
                "since": list(wanted.values()),
            }
            for row in await connection.execute(query, parameters):
                key = Key(GroupKind(row.kind), row.user_id, row.subject, row.side)
                found.setdefault(key, []).append(
                    Candidate(
                        event_id=row.id,
                        detect_time=row.detect_time,
                        event_time=row.event_time,
                        tx_hash=row.tx_hash,
                        ordinal=row.ordinal,
                        share_micros=row.share_micros,
                        usdc_notional_micros=row.usdc_notional_micros,
                    )
                )
        return found

    async def _conditions(self, connection: AsyncConnection, groups: Sequence[Group]) -> dict[str, str]:
        assets = {group.key.subject for group in groups if group.key.kind is GroupKind.TRADE}
        query = text("SELECT asset_id, condition_id FROM outcome_asset WHERE asset_id = ANY(:assets)")
        rows = await connection.execute(
            query.bindparams(bindparam("assets", type_=ARRAY(Text))), {"assets": list(assets)}
        )
        return {row.asset_id: row.condition_id for row in rows}


def _group_row(group: Group, condition_id: str | None, now: datetime) -> dict[str, object]:
    trade = group.key.kind is GroupKind.TRADE
    return {
        "id": group.id,
        "kind": group.key.kind,
        "user_id": group.key.user_id,
        "condition_id": condition_id if trade else group.key.subject,
        "asset_id": group.key.subject if trade else None,
        "side": group.key.side if trade else None,
        "share_micros": group.share_micros,
        "usdc_notional_micros": group.usdc_notional_micros,
        "reference_price_micros": group.reference_price_micros,
        "first_event_time": group.first.event_time,
        "first_detect_time": group.first.detect_time,
        "first_ordinal": group.first.ordinal,
        "closed_at": now,
    }


def _member_rows(group: Group) -> list[dict[str, object]]:
    return [
        {"event_id": member.event_id, "group_id": group.id, "position": position}
        for position, member in enumerate(group.members)
    ]


def _closed(group: Group, now: datetime) -> GroupClosed:
    return GroupClosed(
        group_id=group.id,
        kind=group.key.kind,
        user_id=group.key.user_id,
        occurred_at=group.first.event_time,
        observed_at=now,
    )
