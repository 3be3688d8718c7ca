"""Minute snapshots against entries: a row is honest if some moment of its minute explains it.

A minute's row holds what the last posting or mark of that minute left, so its cash, flows and fees must be those after
one of the minute's entries, or those the minute began with, its equity cash plus exposure, and realised and unrealised
profit together what equity and flows say. A row that nothing explains is written again as of the minute's end, valued
by the marks of that time.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, Protocol
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.common.domain.kinds import EntryType, Scope
from libs.common.domain.statistics import MINUTE, equity, pnl, realised_pnl
from services.ledger.core.entries import Entry
from services.ledger.core.projection import project
from services.ledger.core.snapshot import Valued, value
from services.ledger.store.rows import entry_of
from services.ledger.store.session import PortfolioDelta
from services.ledger.store.verification import grouped

_PORTFOLIOS: Final = text("SELECT id FROM portfolio WHERE CAST(:scope AS text) IS NULL OR scope = :scope ORDER BY id")
_ROWS: Final = text("""
SELECT portfolio_id, at, equity_micros, cash_micros, exposure_micros, unrealized_pnl_micros, realized_pnl_micros,
       deposits_micros, withdrawals_micros, fees_micros
FROM portfolio_snapshot WHERE portfolio_id = :id AND at >= now() - interval '7 days' ORDER BY at
""")
_ENTRIES: Final = text("""
SELECT e.*, o.entry_type AS undone, k.log_index AS told_index, k.placed_at
FROM ledger_entry e LEFT JOIN ledger_entry o ON o.id = e.reverses LEFT JOIN entry_place k ON k.ref_id = e.ref_id
WHERE e.portfolio_id = :id ORDER BY e.created_at, e.seq
""")
_MARKS: Final = text("""
SELECT k.asset_id, m.price_micros FROM unnest(CAST(:assets AS text[])) AS k (asset_id)
CROSS JOIN LATERAL (SELECT s.price_micros FROM market_price_snapshot s
  WHERE s.asset_id = k.asset_id AND s.at < :until ORDER BY s.at DESC LIMIT 1) m
""")
_REWRITE: Final = text("""
UPDATE portfolio_snapshot SET equity_micros = :equity, cash_micros = :cash, exposure_micros = :exposure,
  unrealized_pnl_micros = :unrealized, realized_pnl_micros = :realized, deposits_micros = :deposits,
  withdrawals_micros = :withdrawals, fees_micros = :fees
WHERE portfolio_id = :portfolio AND at = :at
""")

Sums = tuple[int, int, int, int]
"""Cash, deposits, withdrawals, fees."""


class Counts(Protocol):
    """Where compared snapshots are counted."""

    snapshots: int


async def dishonest_moments(
    connection: AsyncConnection, scope: Scope | None, counts: Counts
) -> AsyncIterator[tuple[UUID, datetime, tuple[str, str, str]]]:
    """Yield portfolio, minute and (what, kept, expected) of each row of the last seven days that nothing explains."""
    for portfolio in (await connection.scalars(_PORTFOLIOS, {"scope": scope})).all():
        rows = (await connection.execute(_ROWS, {"id": portfolio})).all()
        counts.snapshots += len(rows)
        async for row, explained in _explained(connection, portfolio, rows):
            kept = (row.cash_micros, row.deposits_micros, row.withdrawals_micros, row.fees_micros)
            if kept in explained and _adds_up(row):
                continue
            shown = f"{kept} equity {row.equity_micros} realised {row.realized_pnl_micros}"
            expected = f"cash, deposits, withdrawals, fees {explained[-1]}"
            yield portfolio, row.at, (f"snapshot of {row.at:%Y-%m-%d %H:%M}", shown, expected)


def _adds_up(row: Any) -> bool:
    made = pnl(row.equity_micros, row.deposits_micros, row.withdrawals_micros)
    is_whole = bool(row.equity_micros == equity(row.cash_micros, row.exposure_micros))
    return is_whole and bool(row.realized_pnl_micros + row.unrealized_pnl_micros == made)


async def _explained(
    connection: AsyncConnection, portfolio: UUID, rows: Sequence[Any]
) -> AsyncIterator[tuple[Any, list[Sums]]]:
    """Yield each row with every state its minute went through."""
    total = PortfolioDelta()
    states = [_sums(total)]
    waiting = list(reversed(rows))
    async for (entry,) in grouped(connection, _ENTRIES, "seq", id=portfolio):
        while waiting and entry.created_at >= waiting[-1].at + MINUTE:
            yield waiting.pop(), states
            states = states[-1:]
        if not waiting:
            return
        if entry.created_at < waiting[-1].at:
            states = []
        total.add(_undoing(entry))
        states.append(_sums(total))
    while waiting:
        yield waiting.pop(), states
        states = states[-1:]


def _undoing(row: Any) -> Entry:
    entry = entry_of(row)
    if row.undone is None:
        return entry
    return replace(entry, undoes=EntryType(row.undone))


def _sums(total: PortfolioDelta) -> Sums:
    return total.cash, total.deposits, total.withdrawals, total.fees


async def rewrite_moments(connection: AsyncConnection, moments: Mapping[UUID, Sequence[datetime]]) -> None:
    """Write the snapshots of these minutes again, as of each minute's end; the portfolios are locked."""
    for portfolio, minutes in moments.items():
        rows = (await connection.execute(_ENTRIES, {"id": portfolio})).all()
        for minute in minutes:
            until = minute + MINUTE
            posted = [row for row in rows if row.created_at < until]
            total, histories = PortfolioDelta(), defaultdict[str, list[Entry]](list)
            for row in sorted(posted, key=lambda each: each.seq):
                total.add(_undoing(row))
                if row.asset_id is not None:
                    is_placed = row.placed_at is not None and row.placed_at < until
                    entry = entry_of(row)
                    histories[row.asset_id].append(replace(entry, log_index=row.told_index) if is_placed else entry)
            positions = {asset: project(history).holding for asset, history in histories.items()}
            marks = {
                row.asset_id: row.price_micros
                for row in await connection.execute(_MARKS, {"assets": list(positions), "until": until})
            }
            worth = value(
                total.cash,
                [Valued(each.share_micros, each.cost_micros, marks.get(asset)) for asset, each in positions.items()],
            )
            realized = realised_pnl((each.realized_pnl_micros for each in positions.values()), total.fees)
            columns = {
                "portfolio": portfolio,
                "at": minute,
                "equity": worth.equity_micros,
                "cash": total.cash,
                "exposure": worth.exposure_micros,
                "unrealized": worth.unrealized_pnl_micros,
                "realized": realized,
                "deposits": total.deposits,
                "withdrawals": total.withdrawals,
                "fees": total.fees,
            }
            await connection.execute(_REWRITE, columns)
