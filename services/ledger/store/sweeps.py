"""What should be in the books and is not: the messages that bring it there, for sweeps that refill the streams.

Only what is older than 30 s; a dead letter that is open or discarded keeps its subject out. Events are searched from
where the last search found everything posted, less an hour: commits and reversals do not come later than that.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.db.checkpoints import load_checkpoint, save_checkpoint
from libs.common.db.engine import transaction
from libs.common.messages import AttemptDecided, EventDetected, MarketResolved

SERVICE: Final = "ledger"
AGE: Final = timedelta(seconds=30)
REACH_BACK: Final = timedelta(hours=1)
BEGINNING: Final = datetime(2020, 1, 1, tzinfo=UTC)
_KEY: Final = "events-swept"


def _without_letter(subject: str, stream: str) -> str:
    return f"""NOT EXISTS (
    SELECT FROM dead_letter d
    WHERE d.subject = {subject} AND d.stream = '{stream}' AND d.group_name = 'ledger'
      AND d.status IN ('OPEN', 'DISCARDED'))"""


# A fill that a poll told, in the books, and not where its log has it.
_MISPLACED: Final = """e.first_source = 'DATA_API' AND EXISTS (
      SELECT FROM ledger_entry l LEFT JOIN entry_place p ON p.ref_id = l.ref_id
      WHERE l.ref_id = e.id::text AND l.scope = 'SHADOW_USER' AND l.entry_type = 'TRADE_FILL'
        AND coalesce(p.log_index, l.log_index) <> coalesce(e.log_index, e.ordinal))"""


def _missing(incarnation: str, wrong: str = "false") -> str:
    return f"""e.booked AND e.share_micros > 0 AND e.detect_time >= :since AND e.detect_time < :until AND (
    NOT EXISTS (SELECT FROM ledger_entry l WHERE l.ref_id = e.id::text AND l.scope = 'SHADOW_USER')
    OR (e.status = 'REVERSED' AND EXISTS (
      SELECT FROM ledger_entry l WHERE l.ref_id = e.id::text AND l.scope = 'SHADOW_USER' AND NOT EXISTS (
        SELECT FROM ledger_entry r WHERE r.ref_id = l.id::text || ':' || {incarnation})))
    OR ({wrong}))"""  # noqa: S608


_EVENTS: Final = text(f"""
SELECT * FROM (
  SELECT e.id, 'TRADE' AS kind, e.status, e.user_id, NULL AS condition_id, e.asset_id, e.side, e.event_time,
         e.detect_time
  FROM trade_event e WHERE {_missing("e.incarnation", _MISPLACED)}
  UNION ALL
  SELECT e.id, e.kind, e.status, e.user_id, e.condition_id, NULL, NULL, e.event_time, e.detect_time
  FROM activity_event e WHERE e.kind IN ('SPLIT', 'MERGE') AND {_missing("0")}
    AND NOT EXISTS (SELECT FROM waiting_event w WHERE w.event_id = e.id)
  UNION ALL
  SELECT p.id, p.kind, 'CANONICAL', p.user_id, p.condition_id, p.asset_id, NULL, p.event_time, p.detect_time
  FROM position_sync p
  WHERE p.detect_time >= :since AND p.detect_time < :until AND NOT EXISTS (
    SELECT FROM ledger_entry l
    WHERE l.ref_id = p.ref_id AND l.entry_type = p.kind AND l.asset_id = p.asset_id AND l.scope = 'SHADOW_USER')
) m
WHERE {_without_letter("m.id::text", "events.detected")}
ORDER BY m.detect_time, m.event_time, m.id LIMIT :limit
""")  # noqa: S608
_ATTEMPTS: Final = text(f"""
SELECT a.id, a.group_id, a.scope, a.user_id, a.decision, a.decided_at FROM copy_attempt a
WHERE a.posted_at IS NULL AND a.decision = 'EXECUTE' AND a.decided_at < :until
  AND {_without_letter("a.id::text", "attempts.decided")}
ORDER BY a.decided_at, a.portfolio_id, a.seq LIMIT :limit
""")  # noqa: S608
_RESOLUTIONS: Final = text(f"""
WITH held AS MATERIALIZED (
  SELECT DISTINCT o.condition_id FROM position p JOIN outcome_asset o ON o.asset_id = p.asset_id
  WHERE p.share_micros <> 0)
SELECT r.condition_id, r.payouts_micros, r.resolved_at, r.observed_at
FROM held JOIN market_resolution r ON r.condition_id = held.condition_id
WHERE r.observed_at < :until AND {_without_letter("r.condition_id", "markets.resolved")}
ORDER BY r.observed_at, r.condition_id LIMIT :limit
""")  # noqa: S608


class Sweeps:
    """Finds what was missed. Times are given by the caller."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def events(self, now: datetime, limit: int) -> list[EventDetected]:
        """Return what lacks entries, is not where its log stands, or is reversed while its entries stand."""
        until = now - AGE
        async with transaction(self._engine) as connection:
            mark = await load_checkpoint(connection, SERVICE, _KEY)
            since = datetime.fromisoformat(mark["through"]) - REACH_BACK if mark else BEGINNING
            parameters = {"since": since, "until": until, "limit": limit}
            rows = (await connection.execute(_EVENTS, parameters)).all()
            through = min([until, *(row.detect_time for row in rows)])
            await save_checkpoint(connection, SERVICE, _KEY, {"through": through.isoformat(), "missing": len(rows)})
        return [
            EventDetected(
                event_id=row.id,
                kind=row.kind,
                status=row.status,
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

    async def attempts(self, now: datetime, limit: int) -> list[AttemptDecided]:
        """Return executed attempts that are not posted."""
        return [
            AttemptDecided(
                attempt_id=row.id,
                group_id=row.group_id,
                scope=row.scope,
                user_id=row.user_id,
                decision=row.decision,
                occurred_at=row.decided_at,
                observed_at=row.decided_at,
            )
            for row in await self._rows(_ATTEMPTS, now, limit)
        ]

    async def resolutions(self, now: datetime, limit: int) -> list[MarketResolved]:
        """Return resolved conditions in which some portfolio still holds a position."""
        return [
            MarketResolved(
                condition_id=row.condition_id,
                payouts_micros=tuple(row.payouts_micros),
                occurred_at=row.resolved_at or row.observed_at,
                observed_at=row.observed_at,
            )
            for row in await self._rows(_RESOLUTIONS, now, limit)
        ]

    async def _rows(self, query: TextClause, now: datetime, limit: int) -> list[Any]:
        async with transaction(self._engine) as connection:
            return list(await connection.execute(query, {"until": now - AGE, "limit": limit}))
