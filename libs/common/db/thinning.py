"""Thin out minute rows nightly (SPEC 7): minutes for 7 days, a row per 15 minutes to 90 days, then one per hour.

The last row of each bucket stays, as it is, so a value read later was really there at its time; buckets without a row
stay empty. Rows go in small transactions that lock nothing but themselves, so nobody waits; doing it again, or in two
processes at once, changes nothing.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.db.checkpoints import load_checkpoint, save_checkpoint
from libs.common.db.engine import transaction
from libs.common.domain.errors import Unavailable

KEY: Final = "thinning"
NIGHT: Final = time(3, 0, tzinfo=UTC)
KEYS_MAX: Final = 50
ROWS_MAX: Final = 5_000
PAUSE_SECONDS: Final = 0.1
LOOK_SECONDS: Final = 600.0
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Tier:
    """Rows older than `age` are kept one per `step`."""

    age: timedelta
    step: timedelta


TIERS: Final = (Tier(timedelta(days=7), timedelta(minutes=15)), Tier(timedelta(days=90), timedelta(hours=1)))


@dataclass(frozen=True, slots=True)
class Series:
    """A table of rows by key and minute. `spared` is SQL for the time of a row of key `k.key` that must stay."""

    table: str
    key: str
    spared: str = "CAST(NULL AS timestamptz)"


def boundary(now: datetime, tier: Tier) -> datetime:
    """Return the end of the last bucket that is wholly older than the tier's age."""
    return now - tier.age - (now - tier.age - _EPOCH) % tier.step


def last_night(now: datetime) -> datetime:
    """Return when the newest night's work was due."""
    today = datetime.combine(now.date(), NIGHT)
    return today if today <= now else today - timedelta(days=1)


class Thinning:
    """Thins one series for one service, once a night."""

    def __init__(self, engine: AsyncEngine, service: str, series: Series, now: Callable[[], datetime]) -> None:
        self._engine, self._service, self._series, self._now = engine, service, series, now
        self._keys = text(f"""
            SELECT DISTINCT {series.key} AS key FROM {series.table} WHERE {series.key} > :after ORDER BY 1 LIMIT :limit
        """)  # noqa: S608  names of ours
        self._first = text(f"""
            SELECT DISTINCT {series.key} AS key FROM {series.table} ORDER BY 1 LIMIT :limit
        """)  # noqa: S608  names of ours
        self._delete = text(f"""
            WITH doomed AS MATERIALIZED (
              SELECT s.{series.key} AS key, s.at
              FROM unnest(CAST(:keys AS {"uuid" if series.key == "portfolio_id" else "text"}[])) AS k (key)
              CROSS JOIN LATERAL (SELECT {series.spared} AS at) spared
              CROSS JOIN LATERAL (
                SELECT r.*, lead(r.at) OVER (ORDER BY r.at) AS following FROM {series.table} r
                WHERE r.{series.key} = k.key AND r.at >= :since AND r.at < :until) s
              WHERE date_bin(:step, s.at, :epoch) = date_bin(:step, s.following, :epoch)
                AND s.at IS DISTINCT FROM spared.at
              ORDER BY 1, 2 LIMIT :limit)
            DELETE FROM {series.table} t USING doomed d WHERE t.{series.key} = d.key AND t.at = d.at
        """)  # noqa: S608  names of ours

    async def run(self) -> None:
        """Thin every night, for ever; an outage only delays it."""
        while True:
            try:
                await self.look()
            except Unavailable as error:
                _log.warning("thinning_waits", table=self._series.table, error=str(error)[:200])
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Thin if that is due."""
        if await self.is_due():
            await self.thin()

    async def is_due(self) -> bool:
        """Tell whether the newest night's work is still to be done."""
        async with transaction(self._engine) as connection:
            done = await load_checkpoint(connection, self._service, KEY)
        return done is None or datetime.fromisoformat(done["began_at"]) < last_night(self._now())

    async def thin(self) -> int:
        """Thin what grew old since the last time; return how many rows went."""
        now = self._now()
        async with transaction(self._engine) as connection:
            done = await load_checkpoint(connection, self._service, KEY)
        gone = 0
        for tier in TIERS:
            since = _EPOCH if done is None else boundary(datetime.fromisoformat(done["began_at"]), tier)
            gone += await self._thin(tier, since, boundary(now, tier))
        async with transaction(self._engine) as connection:
            await save_checkpoint(connection, self._service, KEY, {"began_at": now.isoformat(), "rows": gone})
        _log.info("rows_thinned", table=self._series.table, rows=gone)
        return gone

    async def _thin(self, tier: Tier, since: datetime, until: datetime) -> int:
        gone = 0
        keys = await self._next_keys(None)
        while keys:
            parameters = {
                "keys": keys, "since": since, "until": until, "step": tier.step, "epoch": _EPOCH, "limit": ROWS_MAX,
            }  # fmt: skip
            async with transaction(self._engine) as connection:
                deleted = (await connection.execute(self._delete, parameters)).rowcount
            gone += deleted
            if deleted < ROWS_MAX:
                keys = await self._next_keys(keys[-1])
            if deleted:
                await asyncio.sleep(PAUSE_SECONDS)
        return gone

    async def _next_keys(self, after: Any) -> Sequence[Any]:
        async with transaction(self._engine) as connection:
            if after is None:
                return list(await connection.scalars(self._first, {"limit": KEYS_MAX}))
            return list(await connection.scalars(self._keys, {"after": after, "limit": KEYS_MAX}))
