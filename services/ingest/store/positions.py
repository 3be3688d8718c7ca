"""Position syncs in Postgres: which wallets need one, what the books know beside a reading, and the rows themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from libs.common.db.checkpoints import load_checkpoint, save_checkpoint
from libs.common.db.engine import transaction
from services.ingest.core.late import Adjusted, Told, adjusted_by
from services.ingest.core.positions import (
    NOTHING,
    READINGS_MAX,
    Conversion,
    Held,
    Owner,
    Sync,
    adjustments,
    is_absorbed,
    mark_of,
    openings,
    unmarkable,
)
from services.ingest.core.positions import unsettled_in as unsettled_tokens
from services.ingest.core.readings import Reading
from services.ingest.store import counted
from services.ingest.store.counted import SERVICE
from services.ingest.store.known import known_of

CONVERSIONS_MAX: Final = 200
HOPE: Final = timedelta(minutes=30)
"""For so long after its first sight a conversion is re-synced that nobody can attach: a row may show where it belongs.

After that it waits for its market to be known."""

_ATTACHABLE: Final = """(e.asset_id <> '' OR e.detect_time > :hopeful
               OR EXISTS (SELECT FROM outcome_asset l WHERE l.condition_id = e.condition_id))"""

_DUE: Final = text(f"""
SELECT w.wallet, w.user_id, w.followed_at, u.followed_at AS user_followed_at,
       w.wallet = u.profile_wallet AND w.followed_at = u.followed_at AS first,
       o.value IS NULL AS opening,
       (SELECT min(e.event_time) FROM activity_event e
        WHERE e.wallet = w.wallet AND e.kind = 'CONVERSION' AND e.booked AND e.event_time < :settled
          AND {_ATTACHABLE} AND NOT EXISTS (SELECT FROM position_sync s WHERE s.event_id = e.id)) AS converted_at
FROM followed_user_proxy_wallet w
JOIN followed_user u ON u.id = w.user_id
LEFT JOIN system_checkpoint o ON o.service = 'ingest' AND o.key = 'opening:' || w.wallet
  AND (o.value ->> 'followed_at')::timestamptz = w.followed_at
WHERE w.unfollowed_at IS NULL
""")  # noqa: S608  a text of ours

_CURRENT: Final = text(
    "SELECT 1 FROM followed_user_proxy_wallet WHERE wallet = :wallet AND followed_at = :followed_at "
    "AND unfollowed_at IS NULL"
)

_OPENING: Final = text("""
SELECT 1 FROM followed_user_proxy_wallet w
WHERE w.wallet = :wallet AND w.followed_at = :followed_at AND w.unfollowed_at IS NULL AND NOT EXISTS (
  SELECT FROM system_checkpoint o WHERE o.service = 'ingest' AND o.key = 'opening:' || w.wallet
    AND (o.value ->> 'followed_at')::timestamptz = w.followed_at)
""")

_CONVERSIONS: Final = text(f"""
SELECT id, condition_id, asset_id, usdc_micros, tx_hash, event_time FROM activity_event e
WHERE wallet = :wallet AND kind = 'CONVERSION' AND booked AND event_time <= :until
  AND {_ATTACHABLE} AND NOT EXISTS (SELECT FROM position_sync s WHERE s.event_id = e.id)
ORDER BY event_time, tx_hash, ordinal, id LIMIT :limit
""")  # noqa: S608  a text of ours

_LEGS: Final = text("SELECT asset_id FROM outcome_asset WHERE condition_id = :condition ORDER BY outcome_index")

_INSERT: Final = text("""
INSERT INTO position_sync (
  id, kind, user_id, wallet, condition_id, asset_id, share_delta_micros, cash_delta_micros, price_micros, event_id,
  ref_id, tx_hash, as_of, event_time, detect_time)
VALUES (
  :id, :kind, :user_id, :wallet, :condition_id, :asset_id, :share_delta_micros, :cash_delta_micros, :price_micros,
  :event_id, :ref_id, :tx_hash, :as_of, :event_time, :detect_time)
ON CONFLICT DO NOTHING
""")

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Due:
    """A wallet that needs its opening, or a re-sync after conversions (the first of them at `converted_at`).

    `closed_since` is how far back positions given up since may matter.
    """

    owner: Owner
    opening: bool
    converted_at: datetime | None
    closed_since: datetime


def opening_key(wallet: str) -> str:
    """Return the checkpoint key of a wallet's opening, once complete.

    Its value is {"followed_at": iso, "read_at": iso, "left_out": tokens that nobody had a mark of}.
    """
    return f"opening:{wallet}"


class PositionStore:
    """Writes PositionSync, each wallet's in turn."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def due(self, settled: datetime) -> list[Due]:
        """Return the followed wallets without an opening, or with conversions from before `settled` to re-sync."""
        async with transaction(self._engine) as connection:
            rows = (await connection.execute(_DUE, {"settled": settled, "hopeful": settled - HOPE})).all()
        return [
            Due(
                Owner(row.user_id, row.wallet, row.followed_at, row.first),
                row.opening,
                row.converted_at,
                min(row.followed_at, row.user_followed_at),
            )
            for row in rows
            if row.opening or row.converted_at
        ]

    async def reading(self, owner: Owner) -> Reading | None:
        """Return the reading that this follow's openings are made from, once one was taken, by whomever."""
        async with transaction(self._engine) as connection:
            return await counted.load_reading(connection, owner)

    async def keep_reading(self, owner: Owner, reading: Reading) -> Reading:
        """Keep a reading, before anything is concluded from it; returns what counts: another one of this number is."""
        async with transaction(self._engine) as connection:
            await counted.take_turn(connection, owner.wallet)
            kept = await counted.load_reading(connection, owner)
            if kept is not None and kept.number >= reading.number:
                return kept
            if await self._is(_OPENING, connection, owner):
                await counted.save_reading(connection, owner.wallet, reading)
        return reading

    async def record_openings(
        self, owner: Owner, held: Mapping[str, Held], reading: Reading, *, complete: bool, last: bool, now: datetime
    ) -> tuple[list[Sync], list[str]]:
        """Record the openings of these rows of a reading; return them and the tokens that cannot be told yet.

        `complete` says that activity is complete up to every row, `last` that this follow needs no further reading:
        with nothing unclear the wallet's opening is done then, from the third reading on also where marks are all that
        is missing: those tokens are left out. Nothing is recorded once that is so, by whomever.
        """
        async with transaction(self._engine) as connection:
            await counted.take_turn(connection, owner.wallet)
            if not await self._is(_OPENING, connection, owner):
                return [], []
            known = await known_of(connection, owner, held, now)
            made, unclear = openings(owner, held, known, readings=reading.number)
            await insert_syncs(connection, made, now)
            if complete:
                told = {
                    asset: Told(row, mark_of(row, known.get(asset, NOTHING)))
                    for asset, row in held.items()
                    if asset not in unclear and row.as_of >= owner.followed_at
                }
                await counted.count(connection, owner, told, {})
            left_out = unmarkable(unclear, held, known) if reading.number >= READINGS_MAX else []
            if last and unclear == left_out:
                value = {"followed_at": owner.followed_at.isoformat(), "read_at": reading.read_at.isoformat()}
                await save_checkpoint(connection, SERVICE, opening_key(owner.wallet), value | {"left_out": left_out})
                await counted.forget_reading(connection, owner.wallet)
                unclear = []
                if left_out:
                    _log.warning("opening_left_out", wallet=owner.wallet, tokens=left_out[:10], count=len(left_out))
        return made, unclear

    async def record_adjustments(
        self, owner: Owner, held: Mapping[str, Held], *, until: datetime, now: datetime
    ) -> list[Sync]:
        """Record what conversions up to `until` changed, oldest first; activity is complete up to every row."""
        made: list[Sync] = []
        async with transaction(self._engine) as connection:
            await counted.take_turn(connection, owner.wallet)
            if not await self._is(_CURRENT, connection, owner):
                return []
            parameters = {"wallet": owner.wallet, "until": until, "limit": CONVERSIONS_MAX, "hopeful": now - HOPE}
            found = [_conversion(row) for row in await connection.execute(_CONVERSIONS, parameters)]
            latest = (await counted.load_counted(connection, owner)).groups()
            adjusted: dict[str, Adjusted] = {}
            left_out = await self._left_out(connection, owner)
            for each in found:
                known = await known_of(connection, owner, held, now, left_out)
                if unsettled_tokens(each, held, known):
                    break
                legs = await self._legs(connection, each)
                syncs = adjustments(owner, each, held, known, legs, counted=is_absorbed(each, held, latest))
                await insert_syncs(connection, syncs, now)
                adjusted |= adjusted_by(each, held, known) if syncs else {}
                made += syncs
            await counted.count(connection, owner, {}, adjusted)
        return made

    async def _is(self, asked: TextClause, connection: AsyncConnection, owner: Owner) -> bool:
        parameters = {"wallet": owner.wallet, "followed_at": owner.followed_at}
        return bool(await connection.scalar(asked, parameters))

    async def _left_out(self, connection: AsyncConnection, owner: Owner) -> list[str]:
        opening = await load_checkpoint(connection, SERVICE, opening_key(owner.wallet)) or {}
        return list(opening.get("left_out", ())) if opening.get("followed_at") == owner.followed_at.isoformat() else []

    async def _legs(self, connection: AsyncConnection, conversion: Conversion) -> Sequence[str]:
        return list(await connection.scalars(_LEGS, {"condition": conversion.condition_id}))


async def insert_syncs(connection: AsyncConnection, syncs: Sequence[Sync], now: datetime) -> None:
    """Write syncs in the caller's transaction; those already there stay as they are."""
    if syncs:
        names = Sync.__dataclass_fields__
        rows = [{name: getattr(sync, name) for name in names} | {"detect_time": now} for sync in syncs]
        await connection.execute(_INSERT, rows)


def _conversion(row: Any) -> Conversion:
    return Conversion(row.id, row.condition_id, row.asset_id, row.usdc_micros, row.tx_hash, row.event_time)
