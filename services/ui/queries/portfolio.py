"""The global portfolio: what it made, how far from its peak it is, what it holds, how much of its limits is used."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

POSITIONS_MAX: Final = 2_000
CLOSED_POSITIONS_MAX: Final = 1_000

_FIGURES: Final = text("""
SELECT p.id, p.opened_at, p.fees_micros, reset.value AS reset_value,
       p.drawdown_tripped AND reset.value IS NULL AS drawdown_tripped, p.peak_equity_micros,
       coalesce(s.equity_micros, p.cash_micros) AS equity_micros, coalesce(s.exposure_micros, 0) AS exposure_micros,
       coalesce(s.deposits_micros, p.deposits_micros) AS deposits_micros,
       coalesce(s.withdrawals_micros, p.withdrawals_micros) AS withdrawals_micros, s.at AS snapshot_at,
       day.pnl AS day_pnl, week.pnl AS week_pnl, monday.pnl AS monday_pnl,
       CAST(last.inputs #>> '{portfolio,net_flows_micros}' AS bigint) AS last_flows_micros,
       (SELECT max(h.equity_micros - h.deposits_micros + h.withdrawals_micros) FROM portfolio_snapshot h
        WHERE h.portfolio_id = p.id
          AND h.at >= date_trunc('minute', greatest(last.decided_at, reset.at, p.opened_at))) AS peak_pnl
FROM portfolio p
LEFT JOIN copy_attempt last ON last.portfolio_id = p.id AND last.seq = p.decision_seq
LEFT JOIN LATERAL (SELECT f.value, f.updated_at AS at FROM control_flag f
  WHERE f.key = 'breaker_reset:' || CAST(p.id AS text) AND f.updated_at IS DISTINCT FROM p.drawdown_reset_at
) reset ON true
LEFT JOIN LATERAL (SELECT * FROM portfolio_snapshot h WHERE h.portfolio_id = p.id ORDER BY h.at DESC LIMIT 1) s ON true
LEFT JOIN LATERAL (SELECT h.equity_micros - h.deposits_micros + h.withdrawals_micros AS pnl FROM portfolio_snapshot h
  WHERE h.portfolio_id = p.id AND h.at <= :day ORDER BY h.at DESC LIMIT 1) day ON true
LEFT JOIN LATERAL (SELECT h.equity_micros - h.deposits_micros + h.withdrawals_micros AS pnl FROM portfolio_snapshot h
  WHERE h.portfolio_id = p.id AND h.at <= :week ORDER BY h.at DESC LIMIT 1) week ON true
LEFT JOIN LATERAL (SELECT h.equity_micros - h.deposits_micros + h.withdrawals_micros AS pnl FROM portfolio_snapshot h
  WHERE h.portfolio_id = p.id AND h.at <= :monday ORDER BY h.at DESC LIMIT 1) monday ON true
WHERE p.scope = 'EXEC_GLOBAL'
""")
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
_LARGEST_USER: Final = text("""
SELECT u.label, CAST(sum(floor(s.share_micros::numeric * coalesce(mark.price_micros, 0) / 1000000)) AS bigint) AS value
FROM position_source s
JOIN followed_user u ON u.id = s.source_user_id
LEFT JOIN LATERAL (
  SELECT price_micros FROM market_price_snapshot p WHERE p.asset_id = s.asset_id ORDER BY p.at DESC LIMIT 1
) mark ON true
WHERE s.share_micros > 0
GROUP BY u.label
ORDER BY value DESC, u.label
LIMIT 1
""")
# From flat to flat all cost is removed again, so an episode's realised result is the sum of its cash. A posting's fee
# bears its reference and belongs to its episode even when the fill left the position flat.
_EPISODES: Final = text("""
WITH recent AS (
  SELECT asset_id FROM position WHERE portfolio_id = :portfolio ORDER BY updated_at DESC LIMIT :limit
), postings AS (
  SELECT e.asset_id, e.ref_id, min(e.event_time) AS at, min(e.seq) AS seq, sum(e.share_delta_micros) AS shares,
         sum(CASE WHEN e.entry_type IN ('SPLIT', 'MERGE') AND e.cost_micros IS NOT NULL THEN -e.cost_micros
                  ELSE e.cash_delta_micros END) AS cash
  FROM recent JOIN ledger_entry e ON e.portfolio_id = :portfolio AND e.asset_id = recent.asset_id
  GROUP BY e.asset_id, e.ref_id
), running AS (
  SELECT *, sum(shares) OVER (PARTITION BY asset_id ORDER BY at, seq) AS held FROM postings
), numbered AS (
  SELECT *, count(*) FILTER (WHERE held = 0) OVER (PARTITION BY asset_id ORDER BY at, seq) - (held = 0)::int AS episode
  FROM running
), episodes AS (
  SELECT asset_id, episode, sum(cash) AS result, bool_or(held = 0) AS closed FROM numbered GROUP BY asset_id, episode
)
SELECT count(*) FILTER (WHERE closed) AS closed, count(*) FILTER (WHERE closed AND result > 0) AS won FROM episodes
""")


class Frozen(BaseModel):
    """What every read model is: a value. Amounts are integer micros."""

    model_config = ConfigDict(frozen=True)


class GlobalFigures(Frozen):
    """The global portfolio now and against earlier moments; a part that has no earlier moment counts from opening."""

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
    peak_equity_micros: int
    drawdown_tripped: bool

    @property
    def drawdown_micros(self) -> int:
        """How far equity is below its peak."""
        return max(0, self.peak_equity_micros - self.equity_micros)


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
    """Episodes from flat to flat per asset: how many closed, how many of them with a result above zero."""

    closed: int
    won: int


async def read_figures(connection: AsyncConnection, now: datetime) -> GlobalFigures | None:
    """Return the global portfolio's figures, or None before it is opened."""
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    moments = {"day": day, "week": now - timedelta(days=7), "monday": day - timedelta(days=day.weekday())}
    row = (await connection.execute(_FIGURES, moments)).one_or_none()
    if row is None:
        return None
    flows = row.deposits_micros - row.withdrawals_micros
    pnl = row.equity_micros - flows
    peaks = [row.equity_micros]
    if row.reset_value is not None:  # it counts from the next decision on
        peaks.append(flows + reset_pnl(row.reset_value, pnl))
    elif row.peak_equity_micros is not None:
        peaks.append(row.peak_equity_micros + flows - (row.last_flows_micros or flows))
    if row.peak_pnl is not None:
        peaks.append(row.peak_pnl + flows)
    return GlobalFigures(
        portfolio_id=row.id,
        opened_at=row.opened_at,
        snapshot_at=row.snapshot_at,
        equity_micros=row.equity_micros,
        exposure_micros=row.exposure_micros,
        deposits_micros=row.deposits_micros,
        withdrawals_micros=row.withdrawals_micros,
        fees_micros=row.fees_micros,
        pnl_micros=pnl,
        today_micros=pnl - (row.day_pnl or 0),
        seven_days_micros=pnl - (row.week_pnl or 0),
        this_week_micros=pnl - (row.monday_pnl or 0),
        peak_equity_micros=max(peaks),
        drawdown_tripped=row.drawdown_tripped,
    )


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
    row = (await connection.execute(_LARGEST_USER)).one_or_none()
    return None if row is None else (row.label, row.value)


async def read_win_rate(connection: AsyncConnection, portfolio: UUID) -> WinRate:
    """Return how the closed episodes of the last positions touched ended."""
    parameters = {"portfolio": portfolio, "limit": CLOSED_POSITIONS_MAX}
    row = (await connection.execute(_EPISODES, parameters)).one()
    return WinRate(closed=row.closed, won=row.won)


def reset_pnl(value: Mapping[str, Any], otherwise: int) -> int:
    """Return what a portfolio had made when its breaker was reset."""
    equity, flows = value.get("equity_micros"), value.get("net_flows_micros")
    return equity - flows if isinstance(equity, int) and isinstance(flows, int) else otherwise


def _holding(row: Any) -> Holding:
    price = row.price_micros
    # No mark yet: at cost, as the ledger's snapshots have it.
    value = row.cost_micros if price is None else row.share_micros * price // 1_000_000
    return Holding(
        asset_id=row.asset_id,
        condition_id=row.condition_id,
        question=row.question or "Unknown market",
        outcome=row.outcome or "",
        share_micros=row.share_micros,
        price_micros=price,
        marked_at=row.marked_at,
        value_micros=value if row.share_micros else 0,
        is_stale=row.is_stale,
        pnl_micros=row.realized_pnl_micros + (value - row.cost_micros if row.share_micros else 0),
    )
