"""Latest decisions of the global portfolio, and why groups were skipped."""

from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ui.queries.portfolio import Frozen

LATEST: Final = 8
REASON_DAYS: Final = 30
REASON_ATTEMPTS_MAX: Final = 20_000

_LATEST: Final = text("""
SELECT a.id, a.decided_at, a.kind, a.side, a.decision, a.reason_codes, a.target_notional_micros,
       a.filled_notional_micros, g.first_event_time, g.first_detect_time,
       g.usdc_notional_micros AS their_notional_micros, a.their_reference_price_micros, u.id AS user_id, u.label,
       m.question, o.name AS outcome
FROM copy_attempt a
JOIN event_group g ON g.id = a.group_id
JOIN followed_user u ON u.id = a.user_id
LEFT JOIN market m ON m.condition_id = a.condition_id
LEFT JOIN outcome_asset o ON o.asset_id = a.asset_id
WHERE a.scope = 'EXEC_GLOBAL'
ORDER BY a.decided_at DESC
LIMIT :limit
""")
# What a skip cost or saved: the copy that was not made, at the current mark, before fees.
_REASONS: Final = text("""
WITH recent AS (
  SELECT decision, reason_codes[1] AS reason, asset_id, side, counterfactual_share_micros AS shares,
         counterfactual_notional_micros AS notional
  FROM copy_attempt
  WHERE scope = 'EXEC_GLOBAL' AND decided_at >= :since
  ORDER BY decided_at DESC LIMIT :limit
), marks AS (
  SELECT a.asset_id, s.price_micros
  FROM (SELECT DISTINCT asset_id FROM recent WHERE shares > 0) a
  CROSS JOIN LATERAL (
    SELECT price_micros FROM market_price_snapshot p WHERE p.asset_id = a.asset_id ORDER BY p.at DESC LIMIT 1) s
)
SELECT r.decision, r.reason, count(*) AS attempts,
       count(*) FILTER (WHERE r.shares > 0 AND m.price_micros IS NOT NULL) AS valued,
       CAST(coalesce(sum(CASE r.side WHEN 'SELL' THEN 1 ELSE -1 END
         * (r.shares::numeric * m.price_micros / 1000000 - r.notional)) FILTER (WHERE r.shares > 0), 0) AS bigint)
         AS effect_micros
FROM recent r LEFT JOIN marks m ON m.asset_id = r.asset_id
GROUP BY r.decision, r.reason
ORDER BY attempts DESC, r.reason
""")


class DecisionRow(Frozen):
    """One decision and the group it was about."""

    attempt_id: UUID
    seen_at: datetime
    event_time: datetime
    decided_at: datetime
    kind: str
    side: str | None
    decision: str
    reasons: tuple[str, ...]
    user_id: UUID
    user: str
    question: str
    outcome: str
    their_notional_micros: int
    their_price_micros: int | None
    target_micros: int | None
    filled_micros: int


class ReasonRow(Frozen):
    """Skips by first reason. `effect_micros` is what they saved (plus) or cost (minus), known for `valued` of them."""

    reason: str
    skips: int
    valued: int
    effect_micros: int


class Reasons(Frozen):
    """Decisions of the last days, and the skips among them."""

    days: int
    decisions: int
    skips: tuple[ReasonRow, ...]

    @property
    def skipped(self) -> int:
        """How many decisions were skips."""
        return sum(row.skips for row in self.skips)


async def read_latest(connection: AsyncConnection, limit: int = LATEST) -> list[DecisionRow]:
    """Return the newest decisions."""
    return [_decision(row) for row in await connection.execute(_LATEST, {"limit": limit})]


async def read_reasons(connection: AsyncConnection, now: datetime) -> Reasons:
    """Return skips by reason over the last 30 days, most frequent first."""
    parameters = {"since": now - timedelta(days=REASON_DAYS), "limit": REASON_ATTEMPTS_MAX}
    rows = (await connection.execute(_REASONS, parameters)).all()
    skips = tuple(
        ReasonRow(reason=row.reason, skips=row.attempts, valued=row.valued, effect_micros=row.effect_micros)
        for row in rows
        if row.decision == "SKIP" and row.reason is not None
    )
    return Reasons(days=REASON_DAYS, decisions=sum(row.attempts for row in rows), skips=skips)


def _decision(row: Any) -> DecisionRow:
    return DecisionRow(
        attempt_id=row.id,
        seen_at=row.first_detect_time,
        event_time=row.first_event_time,
        decided_at=row.decided_at,
        kind=row.kind,
        side=row.side,
        decision=row.decision,
        reasons=tuple(row.reason_codes),
        user_id=row.user_id,
        user=row.label,
        question=row.question or "Unknown market",
        outcome=row.outcome or "",
        their_notional_micros=row.their_notional_micros,
        their_price_micros=row.their_reference_price_micros,
        target_micros=row.target_notional_micros,
        filled_micros=row.filled_notional_micros,
    )
