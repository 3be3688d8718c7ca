"""Reads and writes of settlement: which open positions a resolution ends, and under which ref."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import text

from libs.common.domain.kinds import Scope
from services.ledger.core.entries import Entry, Owner
from services.ledger.core.settle import Payout, settle
from services.ledger.store.session import Session

_KNOWN: Final = text("""
SELECT r.condition_id, cardinality(r.payouts_micros) AS payouts, coalesce(max(o.outcome_index) + 1, 0) AS outcomes
FROM market_resolution r LEFT JOIN outcome_asset o ON o.condition_id = r.condition_id
WHERE r.condition_id = ANY(:conditions)
GROUP BY r.condition_id, r.payouts_micros
""")

_OPEN: Final = text("""
SELECT f.scope, f.user_id, p.portfolio_id, p.asset_id, p.share_micros, p.folded_event_time, r.condition_id,
       r.payouts_micros[o.outcome_index + 1] AS payout_micros, coalesce(r.resolved_at, r.observed_at) AS resolved_at
FROM market_resolution r
JOIN outcome_asset o ON o.condition_id = r.condition_id
JOIN position p ON p.asset_id = o.asset_id AND p.share_micros <> 0
JOIN portfolio f ON f.id = p.portfolio_id
WHERE r.condition_id = ANY(:conditions)
ORDER BY p.portfolio_id, r.condition_id, o.outcome_index
""")

_SETTLED: Final = text("""
SELECT portfolio_id, asset_id FROM ledger_entry WHERE ref_id = ANY(:conditions) AND entry_type = 'SETTLEMENT'
""")

_LAST: Final = text("""
SELECT DISTINCT ON (e.portfolio_id, e.asset_id) e.portfolio_id, e.asset_id, e.id
FROM unnest(CAST(:portfolios AS uuid[]), CAST(:assets AS text[])) AS k (portfolio_id, asset_id)
JOIN ledger_entry e ON e.portfolio_id = k.portfolio_id AND e.asset_id = k.asset_id AND e.share_delta_micros <> 0
ORDER BY e.portfolio_id, e.asset_id, e.seq DESC
""")


async def check_conditions(session: Session, conditions: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return which conditions can be settled, and one line for each that contradicts what is known.

    One whose outcomes nobody knows has no position to settle: once they are known, the sweep finds what is held in it.
    """
    rows = {row.condition_id: row for row in await session.connection.execute(_KNOWN, {"conditions": list(conditions)})}
    fit, wrong = [], []
    for condition in conditions:
        row = rows.get(condition)
        if row is None:
            wrong.append(f"condition {condition}: expected a resolution that the pricer committed, found none")
        elif row.outcomes and row.outcomes != row.payouts:
            wrong.append(f"condition {condition}: expected a payout for {row.outcomes} outcomes, got {row.payouts}")
        elif row.outcomes:
            fit.append(condition)
    return fit, wrong


async def settlements(session: Session, conditions: Sequence[str]) -> list[Entry]:
    """Return the SETTLEMENT of every open position in resolved conditions; all portfolios are locked."""
    rows = (await session.connection.execute(_OPEN, {"conditions": list(conditions)})).all()
    if not rows:
        return []
    owners = {row.portfolio_id: Owner(Scope(row.scope), row.user_id) for row in rows}
    before = await session.connection.execute(_SETTLED, {"conditions": list(conditions)})
    settled = {(row.portfolio_id, row.asset_id) for row in before}
    again = [place for row in rows if (place := (row.portfolio_id, row.asset_id)) in settled]
    reopened: dict[tuple[UUID, str], UUID] = {}
    if again:
        parameters = {"portfolios": [portfolio for portfolio, _ in again], "assets": [asset for _, asset in again]}
        for row in await session.connection.execute(_LAST, parameters):
            reopened[row.portfolio_id, row.asset_id] = row.id
    return [
        settle(
            owners[row.portfolio_id],
            row.asset_id,
            row.share_micros,
            Payout(row.condition_id, row.payout_micros, row.resolved_at),
            last_event_time=row.folded_event_time,
            reopened_by=reopened.get((row.portfolio_id, row.asset_id)),
        )
        for row in rows
    ]
