"""The global portfolio: what it made, how far from its peak it is, what it holds, how much of its limits is used."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.common.db import figures
from libs.common.domain import statistics
from libs.common.domain.statistics import Held, Loss, Start

POSITIONS_MAX: Final = 2_000

_FIGURES: Final = text(f"""
SELECT p.id, p.opened_at, p.fees_micros, reset.value AS reset_value,
       p.drawdown_tripped AND reset.value IS NULL AS drawdown_tripped, p.peak_equity_micros,
       coalesce(s.equity_micros, p.cash_micros) AS equity_micros, coalesce(s.exposure_micros, 0) AS exposure_micros,
       coalesce(s.deposits_micros, p.deposits_micros) AS deposits_micros,
       coalesce(s.withdrawals_micros, p.withdrawals_micros) AS withdrawals_micros, s.at AS snapshot_at,
       day.equity_micros AS day_micros, {figures.net_flows("day")} AS day_flows_micros,
       monday.equity_micros AS monday_micros, {figures.net_flows("monday")} AS monday_flows_micros,
       week.equity_micros AS week_micros, {figures.net_flows("week")} AS week_flows_micros,
       CAST(last.inputs #>> '{{portfolio,net_flows_micros}}' AS bigint) AS last_flows_micros,
       (SELECT max({figures.pnl("h")}) FROM portfolio_snapshot h
        WHERE h.portfolio_id = p.id
          AND h.at >= date_trunc('minute', greatest(last.decided_at, reset.at, p.opened_at))) AS peak_pnl
FROM portfolio p
LEFT JOIN copy_attempt last ON last.portfolio_id = p.id AND last.seq = p.decision_seq
LEFT JOIN LATERAL (SELECT f.value, f.updated_at AS at FROM control_flag f
  WHERE f.key = 'breaker_reset:' || CAST(p.id AS text) AND f.updated_at IS DISTINCT FROM p.drawdown_reset_at
) reset ON true
LEFT JOIN LATERAL {figures.last_snapshot("p.id")} s ON true
LEFT JOIN LATERAL {figures.last_snapshot("p.id", ":day")} day ON true
LEFT JOIN LATERAL {figures.last_snapshot("p.id", ":monday")} monday ON true
LEFT JOIN LATERAL {figures.last_snapshot("p.id", ":week")} week ON true
WHERE p.scope = 'EXEC_GLOBAL'
""")  # noqa: S608  parts are constants
_HELD: Final = text("""
SELECT p.asset_id, coalesce(p.condition_id, o.condition_id) AS condition_id, p.share_micros, p.cost_micros,
       p.realized_pnl_micros, m.question, o.name AS outcome,
       mark.price_micros, mark.at AS marked_at,
       mark.at IS NULL OR coalesce(jsonb_exists(marking.value -> 'unmarked', p.asset_id), false) AS is_stale
FROM position p
LEFT JOIN system_checkpoint marking ON marking.service = 'pricer' AND marking.key = 'marking'
LEFT JOIN outcome_asset o ON o.asset_id = p.asset_id
LEFT JOIN market m ON m.condition_id = coalesce(p.condition_id, o.condition_id)
LEFT JOIN LATERAL (
  SELECT price_micros, at FROM market_price_snapshot s WHERE s.asset_id = p.asset_id ORDER BY s.at DESC LIMIT 1
) mark ON true
WHERE p.portfolio_id = :portfolio AND p.share_micros <> 0
LIMIT :limit
""")
_CLOSED: Final = text("""
SELECT p.asset_id, coalesce(p.condition_id, o.condition_id) AS condition_id, p.share_micros, p.cost_micros,
       p.realized_pnl_micros, m.question, o.name AS outcome,
       CAST(NULL AS integer) AS price_micros, CAST(NULL AS timestamptz) AS marked_at,
       false AS is_stale
FROM position p
LEFT JOIN outcome_asset o ON o.asset_id = p.asset_id
LEFT JOIN market m ON m.condition_id = coalesce(p.condition_id, o.condition_id)
WHERE p.portfolio_id = :portfolio AND p.share_micros = 0
ORDER BY p.updated_at DESC
LIMIT :limit
""")
_SOURCES: Final = text("""
SELECT u.label, s.asset_id, s.source_user_id, s.share_micros AS source_micros, p.share_micros, p.cost_micros,
       mark.price_micros
FROM portfolio f
JOIN position p ON p.portfolio_id = f.id AND p.share_micros <> 0
JOIN position_source s ON s.asset_id = p.asset_id AND s.share_micros > 0
JOIN followed_user u ON u.id = s.source_user_id
LEFT JOIN LATERAL (
  SELECT price_micros FROM market_price_snapshot m WHERE m.asset_id = s.asset_id ORDER BY m.at DESC LIMIT 1
) mark ON true
WHERE f.scope = 'EXEC_GLOBAL'
""")
_EPISODES: Final = text("""
SELECT CAST(coalesce(sum(episodes_closed), 0) AS bigint) AS closed,
       CAST(coalesce(sum(episodes_won), 0) AS bigint) AS won
FROM position WHERE portfolio_id = :portfolio
""")


class Frozen(BaseModel):
    """What every read model is: a value. Amounts are integer micros."""

    model_config = ConfigDict(frozen=True)


class GlobalFigures(Frozen):
    """The global portfolio now and against earlier moments, by `libs.common.domain.statistics`.

    What has no snapshot at its start counts from the first deposit. `*_base_micros` is a start moved by flows since:
    what a loss is measured against.
    """

    portfolio_id: UUID
    opened_at: datetime
    snapshot_at: datetime | None
    equity_micros: int
    exposure_micros: int
    deposits_micros: int
    withdrawals_micros: int
    fees_micros: int
    pnl_micros: int
    today_micros: int
    seven_days_micros: int
    this_week_micros: int
    today_base_micros: int
    this_week_base_micros: int
    peak_equity_micros: int
    drawdown_tripped: bool

    @property
    def net_flows_micros(self) -> int:
        """What was put in and not taken out."""
        return statistics.net_flows(self.deposits_micros, self.withdrawals_micros)

    @property
    def drawdown(self) -> Loss | None:
        """How far equity is below its peak."""
        return statistics.drawdown(self.peak_equity_micros, self.equity_micros)


class Holding(Frozen):
    """One position with its mark; PnL is realised + unrealised, before fees.

    `is_stale`: no price is to be had of it, so it stands at its last mark, of `marked_at`, or at cost without one.
    """

    asset_id: str
    condition_id: str | None
    question: str
    outcome: str
    share_micros: int
    price_micros: int | None
    marked_at: datetime | None
    value_micros: int
    pnl_micros: int
    is_stale: bool = False


class WinRate(Frozen):
    """Episodes from flat to flat per asset, of all time: how many closed, how many with a result above zero."""

    closed: int
    won: int


async def read_figures(connection: AsyncConnection, now: datetime) -> GlobalFigures | None:
    """Return the global portfolio's figures, or None before it is opened."""
    moments = {
        "day": statistics.start_of_day(now),
        "monday": statistics.start_of_week(now),
        "week": now - statistics.SEVEN_DAYS,
    }
    row = (await connection.execute(_FIGURES, moments)).one_or_none()
    if row is None:
        return None
    equity, flows = row.equity_micros, statistics.net_flows(row.deposits_micros, row.withdrawals_micros)
    # The first deposit moved by the flows since is all that was put in by now, whatever the first deposit was.
    day, monday, week = (
        statistics.start_of(then, flows_then, flows, flows)
        for then, flows_then in (
            (row.day_micros, row.day_flows_micros),
            (row.monday_micros, row.monday_flows_micros),
            (row.week_micros, row.week_flows_micros),
        )
    )
    kept: tuple[int, int] | None = None
    if row.reset_value is not None:  # it counts from the next decision on
        kept = _reset(row.reset_value, equity, flows)
    elif row.peak_equity_micros is not None:
        kept = (row.peak_equity_micros, flows if row.last_flows_micros is None else row.last_flows_micros)
    return GlobalFigures(
        portfolio_id=row.id,
        opened_at=row.opened_at,
        snapshot_at=row.snapshot_at,
        equity_micros=equity,
        exposure_micros=row.exposure_micros,
        deposits_micros=row.deposits_micros,
        withdrawals_micros=row.withdrawals_micros,
        fees_micros=row.fees_micros,
        pnl_micros=statistics.pnl(equity, row.deposits_micros, row.withdrawals_micros),
        today_micros=_since(day, equity),
        seven_days_micros=_since(week, equity),
        this_week_micros=_since(monday, equity),
        today_base_micros=day.moved_micros or 0,
        this_week_base_micros=monday.moved_micros or 0,
        peak_equity_micros=statistics.peak_with(statistics.peak_before(kept, row.peak_pnl, flows), equity),
        drawdown_tripped=row.drawdown_tripped,
    )


def _since(start: Start, equity: int) -> int:
    return statistics.pnl_since(start, equity) or 0


async def read_holdings(connection: AsyncConnection, portfolio: UUID) -> list[Holding]:
    """Return open positions, largest value first."""
    rows = await connection.execute(_HELD, {"portfolio": portfolio, "limit": POSITIONS_MAX})
    return sorted((_holding(row) for row in rows), key=lambda each: (-each.value_micros, each.asset_id))


async def read_closed(connection: AsyncConnection, portfolio: UUID, limit: int) -> list[Holding]:
    """Return the positions closed last."""
    rows = await connection.execute(_CLOSED, {"portfolio": portfolio, "limit": limit})
    return [_holding(row) for row in rows]


async def read_largest_user(connection: AsyncConnection) -> tuple[str, int] | None:
    """Return whose fills led to the largest part of what the global portfolio holds, and its value."""
    labels: dict[UUID, str] = {}
    sources: defaultdict[str, dict[UUID, int]] = defaultdict(dict)
    held: dict[str, Held] = {}
    for row in await connection.execute(_SOURCES):
        labels[row.source_user_id] = row.label
        sources[row.asset_id][row.source_user_id] = row.source_micros
        held[row.asset_id] = Held(row.share_micros, row.cost_micros, row.price_micros, sources[row.asset_id])
    values = statistics.exposure_by_user(held.values())
    largest = min(values, key=lambda user: (-values[user], labels[user]), default=None)
    return None if largest is None else (labels[largest], values[largest])


async def read_win_rate(connection: AsyncConnection, portfolio: UUID) -> WinRate:
    """Return how all closed episodes of a portfolio ended; the ledger counts them as it posts."""
    row = (await connection.execute(_EPISODES, {"portfolio": portfolio})).one()
    return WinRate(closed=row.closed, won=row.won)


def _reset(value: Mapping[str, Any], equity: int, flows: int) -> tuple[int, int]:
    """Return equity and net flows when the breaker was reset; now's where a row written by hand does not say."""
    then, flows_then = value.get("equity_micros"), value.get("net_flows_micros")
    return (then, flows_then) if isinstance(then, int) and isinstance(flows_then, int) else (equity, flows)


def _holding(row: Any) -> Holding:
    price = row.price_micros
    value = statistics.position_value(row.share_micros, row.cost_micros, price) if row.share_micros else 0
    unrealised = statistics.unrealised_pnl(value, row.cost_micros) if row.share_micros else 0
    return Holding(
        asset_id=row.asset_id,
        condition_id=row.condition_id,
        question=row.question or "Unknown market",
        outcome=row.outcome or "",
        share_micros=row.share_micros,
        price_micros=price,
        marked_at=row.marked_at,
        value_micros=value,
        is_stale=row.is_stale,
        pnl_micros=row.realized_pnl_micros + unrealised,
    )
