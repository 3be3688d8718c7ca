"""Followed users: what they made at our copy share, and what copying each of them made."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.common.db import figures
from libs.common.domain.config import CopyConfig, merge
from libs.common.domain.statistics import MINUTE
from services.ui.queries.portfolio import Frozen

TREND_POINTS: Final = 28
TREND_DAYS: Final = 30
STEP: Final = """CAST(:since AS timestamptz) + step.n * CAST(:every AS interval)
    - CASE WHEN step.n = :points THEN interval '0' ELSE interval '1 minute' END"""
"""Until which row a step of a curve has seen: a minute's row is `known_at` its end, the newest one at once."""

_USERS: Final = text(f"""
SELECT u.id, u.label, u.unfollowed_at,
       CASE WHEN f.value @> '{{"disabled": true}}' THEN false WHEN f.value @> '{{"disabled": false}}' THEN true
            ELSE u.enabled END AS enabled, u.followed_at,
       shadow.id AS shadow_id, shadow.pnl AS shadow_pnl, exec.id AS exec_id, exec.pnl AS exec_pnl,
       coalesce(exec.fees_micros, 0) AS exec_fees
FROM followed_user u
LEFT JOIN control_flag f ON f.key = 'user_disabled:' || CAST(u.id AS text)
LEFT JOIN LATERAL (
  SELECT p.id, {figures.pnl("s")} AS pnl FROM portfolio p
  LEFT JOIN LATERAL {figures.last_snapshot("p.id")} s ON true
  WHERE p.scope = 'SHADOW_USER' AND p.user_id = u.id) shadow ON true
LEFT JOIN LATERAL (
  SELECT p.id, p.fees_micros, {figures.pnl("s")} AS pnl FROM portfolio p
  LEFT JOIN LATERAL {figures.last_snapshot("p.id")} s ON true
  WHERE p.scope = 'EXEC_USER' AND p.user_id = u.id) exec ON true
ORDER BY u.followed_at, u.id
LIMIT 1000
""")  # noqa: S608  parts are constants
_CONFIGS: Final = text("""
SELECT DISTINCT ON (scope, user_id) scope, user_id, values FROM effective_config
ORDER BY scope, user_id, version DESC
""")
_TRENDS: Final = text(f"""
SELECT p.id, {figures.pnl("s")} AS pnl
FROM unnest(CAST(:portfolios AS uuid[])) AS p (id)
CROSS JOIN generate_series(0, :points) AS step (n)
LEFT JOIN LATERAL {figures.last_snapshot("p.id", STEP)} s ON true
ORDER BY p.id, step.n
""")  # noqa: S608  parts are constants


class Person(Frozen):
    """One user: theirs is the shadow's PnL at our copy share, ours the executable one's."""

    user_id: UUID
    label: str
    is_followed: bool
    is_copied: bool
    followed_at: datetime
    shadow_id: UUID | None
    exec_id: UUID | None
    copy_pct: Decimal
    shadow_micros: int
    theirs_micros: int
    ours_micros: int
    fees_micros: int
    shadow_trend: tuple[int, ...] = ()
    exec_trend: tuple[int, ...] = ()


class Configs(Frozen):
    """Configurations in force: the global one, and those of users that have their own."""

    everyone: CopyConfig
    own: dict[UUID, CopyConfig]

    def of(self, user: UUID) -> CopyConfig:
        """Return a user's configuration."""
        return self.own.get(user, self.everyone)


def steps(span: timedelta, most: int) -> int:
    """Return into how many steps to divide a window: no finer than a minute, at most `most`."""
    return max(1, min(most, span // MINUTE))


def scaled(micros: int, copy_pct: Decimal) -> int:
    """Return `copy_pct` per cent of an amount, to the nearest micro."""
    return int((Decimal(micros) * copy_pct / 100).to_integral_value(ROUND_HALF_EVEN))


async def read_configs(connection: AsyncConnection) -> Configs:
    """Return the merged configurations the simulator works by; none yet: the defaults."""
    everyone, own = CopyConfig(), {}
    for row in await connection.execute(_CONFIGS):
        if row.user_id is None:
            everyone = merge(row.values)
        else:
            own[row.user_id] = merge(row.values)
    return Configs(everyone=everyone, own=own)


async def read_people(connection: AsyncConnection, configs: Configs) -> list[Person]:
    """Return every user ever followed, in the order of following, with the newest snapshots' results."""
    return [
        Person(
            user_id=row.id,
            label=row.label,
            is_followed=row.unfollowed_at is None,
            is_copied=row.enabled and row.unfollowed_at is None,
            followed_at=row.followed_at,
            shadow_id=row.shadow_id,
            exec_id=row.exec_id,
            copy_pct=configs.of(row.id).copy_pct,
            shadow_micros=row.shadow_pnl or 0,
            theirs_micros=scaled(row.shadow_pnl or 0, configs.of(row.id).copy_pct),
            ours_micros=row.exec_pnl or 0,
            fees_micros=row.exec_fees,
        )
        for row in await connection.execute(_USERS)
    ]


async def with_trends(connection: AsyncConnection, people: Sequence[Person], now: datetime) -> list[Person]:
    """Return `people` with their curves since the follow, at most 30 days back, for sparklines."""
    if not people:
        return []
    since = max(now - timedelta(days=TREND_DAYS), min(person.followed_at for person in people))
    points = steps(now - since, TREND_POINTS)
    ids = [each for person in people for each in (person.shadow_id, person.exec_id) if each is not None]
    parameters = {
        "portfolios": ids,
        "points": points,
        "since": since,
        "every": (now - since) / points,
    }
    curves: dict[UUID, list[int]] = {each: [] for each in ids}
    for row in await connection.execute(_TRENDS, parameters):
        curves[row.id].append(row.pnl or 0)
    return [
        person.model_copy(
            update={
                "shadow_trend": tuple(
                    scaled(pnl, person.copy_pct) for pnl in (curves[person.shadow_id] if person.shadow_id else ())
                ),
                "exec_trend": tuple(curves[person.exec_id]) if person.exec_id else (),
            }
        )
        for person in people
    ]
