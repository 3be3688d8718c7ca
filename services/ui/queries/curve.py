"""Equity over time from snapshots: the global portfolio, and the shadows at our copy share."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal, get_args

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.common.db import figures as sql
from libs.common.domain.statistics import MINUTE, known_at, pnl
from services.ui.queries.people import STEP, Person, steps
from services.ui.queries.portfolio import Frozen, GlobalFigures

Range = Literal["1h", "1d", "7d", "30d", "all"]
RANGES: Final[tuple[Range, ...]] = get_args(Range)
SPANS: Final[dict[Range, timedelta]] = {
    "1h": timedelta(hours=1),
    "1d": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
POINTS_MAX: Final = 480
SHADOW_POINTS: Final = 96

_EQUITY: Final = text("""
SELECT DISTINCT ON (bucket) date_bin(CAST(:every AS interval), at, CAST(:since AS timestamptz)) AS bucket,
       at, equity_micros, deposits_micros, withdrawals_micros
FROM portfolio_snapshot
WHERE portfolio_id = :portfolio AND at >= :since
ORDER BY bucket, at DESC
""")
_BEFORE: Final = text("""
SELECT equity_micros, deposits_micros, withdrawals_micros
FROM portfolio_snapshot WHERE portfolio_id = :portfolio AND at < :since ORDER BY at DESC LIMIT 1
""")
_SHADOWS: Final = text(f"""
SELECT step.n, CAST(round(coalesce(sum(({sql.pnl("s")}) * p.share), 0)) AS bigint) AS pnl
FROM generate_series(0, :points) AS step (n)
CROSS JOIN unnest(CAST(:portfolios AS uuid[]), CAST(:shares AS numeric[])) AS p (id, share)
LEFT JOIN LATERAL {sql.last_snapshot("p.id", STEP)} s ON true
GROUP BY step.n
ORDER BY step.n
""")  # noqa: S608  parts are constants


class Point(Frozen):
    """Equity at a moment; `pnl_micros` leaves out deposits, so a drawdown is never a withdrawal."""

    at: datetime
    equity_micros: int
    pnl_micros: int


class Curve(Frozen):
    """One window of the global curve, and the shadows' beside it (deposits + their PnL at our copy share)."""

    range: Range
    since: datetime
    until: datetime
    deposits_micros: int
    points: tuple[Point, ...]
    shadows: tuple[Point, ...]


def ending_at(curve: Curve, figures: GlobalFigures, at: datetime) -> Curve:
    """Return `curve` with `figures` as its end, so that the newest point and the figure beside it are one number."""
    end = _point(at, figures)
    kept = tuple(point for point in curve.points if point.at < at)
    return curve.model_copy(update={"points": (*kept, end), "until": max(curve.until, at)})


def smallest_range(opened_at: datetime, now: datetime) -> Range:
    """Return the smallest window that holds everything since opening."""
    return next((name for name, span in SPANS.items() if now - opened_at <= span), "all")


async def read_curve(
    connection: AsyncConnection, figures: GlobalFigures, people: Sequence[Person], wanted: Range, now: datetime
) -> Curve:
    """Return the window `wanted`, at most 480 points; it starts at opening when that is later."""
    since = figures.opened_at if wanted == "all" else max(figures.opened_at, now - SPANS[wanted])
    since = min(since, now - MINUTE)
    every = max((now - since) / POINTS_MAX, timedelta(seconds=1))
    parameters = {"portfolio": figures.portfolio_id, "since": since.replace(second=0, microsecond=0), "every": every}
    flows = figures.net_flows_micros
    before = (await connection.execute(_BEFORE, parameters)).one_or_none() if since > figures.opened_at else None
    first = Point(at=since, equity_micros=flows, pnl_micros=0) if before is None else _point(since, before)
    points = [first]
    rows = await connection.execute(_EQUITY, parameters)
    points += (_point(min(max(known_at(row.at), since), now), row) for row in rows)
    shadows = await _shadows(connection, people, since, now, flows)
    return Curve(
        range=wanted, since=since, until=now, deposits_micros=flows, points=tuple(points), shadows=tuple(shadows)
    )


async def _shadows(
    connection: AsyncConnection, people: Sequence[Person], since: datetime, now: datetime, flows: int
) -> list[Point]:
    followed = [person for person in people if person.shadow_id is not None]
    if not followed:
        return []
    points = steps(now - since, SHADOW_POINTS)
    every = (now - since) / points
    parameters = {
        "portfolios": [person.shadow_id for person in followed],
        "shares": [person.copy_pct / 100 for person in followed],
        "since": since,
        "every": every,
        "points": points,
    }
    rows = await connection.execute(_SHADOWS, parameters)
    return [Point(at=since + row.n * every, equity_micros=flows + row.pnl, pnl_micros=row.pnl) for row in rows]


def _point(at: datetime, row: Any) -> Point:
    made = pnl(row.equity_micros, row.deposits_micros, row.withdrawals_micros)
    return Point(at=at, equity_micros=row.equity_micros, pnl_micros=made)
