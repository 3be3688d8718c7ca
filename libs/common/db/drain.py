"""Is everything seen also done? What `up --exit-when-drained` asks at the end of a tape.

A poll counts when it covers the time after the end (`through`), a round of the pricer when it carries a later time than
that and than the last market that was learned.

Work that ended in a dead letter is not waited for: it is counted apart, and somebody has to look at it.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from libs.common.db.engine import transaction

_LEARNED: Final = """(
                SELECT (l.value->>'at')::timestamptz FROM system_checkpoint l
                WHERE l.service = 'ingest' AND l.key = 'markets:learned')"""
_BACKLOG: Final = {
    "events without a group": """
        SELECT count(*) FROM (
            SELECT id FROM trade_event WHERE booked AND status = 'CANONICAL' AND incarnation = 0
            UNION ALL
            SELECT id FROM activity_event WHERE booked AND status = 'CANONICAL' AND kind IN ('SPLIT', 'MERGE')
        ) e
        WHERE NOT EXISTS (SELECT 1 FROM event_group_member m WHERE m.event_id = e.id)
          AND NOT EXISTS (SELECT 1 FROM dead_letter d WHERE d.status <> 'REPLAYED' AND d.subject = e.id::text)""",
    "fills without shadow entries": """
        SELECT count(*) FROM trade_event e
        WHERE booked AND share_micros > 0
          AND NOT EXISTS (SELECT 1 FROM ledger_entry l WHERE l.ref_id = e.id::text AND l.scope = 'SHADOW_USER')
          AND NOT EXISTS (SELECT 1 FROM dead_letter d WHERE d.status <> 'REPLAYED' AND d.subject = e.id::text)""",
    "reversed fills whose shadow entries stand": """
        SELECT count(*) FROM trade_event e JOIN ledger_entry l ON l.ref_id = e.id::text AND l.scope = 'SHADOW_USER'
        WHERE e.booked AND e.status = 'REVERSED'
          AND NOT EXISTS (SELECT 1 FROM ledger_entry r WHERE r.ref_id = l.id::text || ':' || e.incarnation)
          AND NOT EXISTS (SELECT 1 FROM dead_letter d WHERE d.status <> 'REPLAYED' AND d.subject = e.id::text)""",
    "splits and merges without shadow entries": """
        SELECT count(*) FROM activity_event e
        WHERE booked AND kind IN ('SPLIT', 'MERGE') AND share_micros > 0
          AND NOT EXISTS (SELECT 1 FROM ledger_entry l WHERE l.ref_id = e.id::text AND l.scope = 'SHADOW_USER')
          AND NOT EXISTS (
            SELECT 1 FROM waiting_event w WHERE w.event_id = e.id
              AND (SELECT count(*) FROM outcome_asset o WHERE o.condition_id = w.condition_id) < 2)
          AND NOT EXISTS (SELECT 1 FROM dead_letter d WHERE d.status <> 'REPLAYED' AND d.subject = e.id::text)""",
    "wallets whose opening positions are not told yet": """
        SELECT count(*) FROM followed_user_proxy_wallet w
        WHERE w.unfollowed_at IS NULL AND NOT EXISTS (
            SELECT 1 FROM system_checkpoint c
            WHERE c.service = 'ingest' AND c.key = 'opening:' || w.wallet
              AND (c.value->>'followed_at')::timestamptz = w.followed_at)""",
    "conversions without a re-sync": """
        SELECT count(*) FROM activity_event e JOIN followed_user_proxy_wallet w USING (wallet)
        WHERE e.booked AND e.kind = 'CONVERSION' AND w.unfollowed_at IS NULL
          AND EXISTS (SELECT 1 FROM outcome_asset o WHERE o.condition_id = e.condition_id)
          AND NOT EXISTS (SELECT 1 FROM position_sync s WHERE s.event_id = e.id)""",
    "openings and adjustments without shadow entries": """
        SELECT count(*) FROM position_sync s
        WHERE NOT EXISTS (SELECT 1 FROM ledger_entry l WHERE l.ref_id = s.ref_id AND l.entry_type = s.kind
                            AND l.asset_id = s.asset_id AND l.scope = 'SHADOW_USER')
          AND NOT EXISTS (SELECT 1 FROM dead_letter d WHERE d.status <> 'REPLAYED' AND d.subject = s.id::text)""",
    "groups without a decision": """
        SELECT count(*) FROM event_group g CROSS JOIN (VALUES ('EXEC_USER'), ('EXEC_GLOBAL')) s(scope)
        WHERE NOT EXISTS (SELECT 1 FROM copy_attempt a WHERE a.group_id = g.id AND a.scope = s.scope)
          AND NOT EXISTS (SELECT 1 FROM dead_letter d WHERE d.status <> 'REPLAYED' AND d.subject = g.id::text)""",
    "decisions without entries": """
        SELECT count(*) FROM copy_attempt a WHERE posted_at IS NULL AND decision = 'EXECUTE'
          AND NOT EXISTS (SELECT 1 FROM dead_letter d WHERE d.status <> 'REPLAYED' AND d.subject = a.id::text)""",
    "resolved positions without a settlement": """
        SELECT count(*) FROM position p JOIN outcome_asset o USING (asset_id)
        JOIN market_resolution r ON r.condition_id = o.condition_id
        WHERE p.share_micros <> 0
          AND NOT EXISTS (SELECT 1 FROM dead_letter d WHERE d.status <> 'REPLAYED' AND d.subject = r.condition_id)""",
    "wallets without a complete poll": """
        SELECT count(*) FROM followed_user_proxy_wallet w
        WHERE w.unfollowed_at IS NULL AND NOT EXISTS (
            SELECT 1 FROM system_checkpoint c
            WHERE c.service = 'ingest' AND c.key = 'poll:' || w.wallet
              AND to_timestamp((c.value->>'through')::bigint) > :since)""",
    "an answer about markets that are unknown": """
        SELECT count(DISTINCT e.name) FROM (
            SELECT asset_id AS name, detect_time FROM trade_event t
            WHERE booked AND NOT EXISTS (SELECT 1 FROM outcome_asset o WHERE o.asset_id = t.asset_id)
            UNION ALL
            SELECT condition_id, detect_time FROM activity_event a
            WHERE booked AND kind IN ('SPLIT', 'MERGE', 'CONVERSION') AND condition_id <> ''
              AND (SELECT count(*) FROM outcome_asset o WHERE o.condition_id = a.condition_id) < 2
        ) e
        WHERE NOT EXISTS (
            SELECT 1 FROM system_checkpoint c
            WHERE c.service = 'ingest' AND c.key = 'markets:asked'
              AND (c.value->>'at')::timestamptz > greatest(:since, e.detect_time))""",
    "a resolution check of what is held": f"""
        SELECT CASE WHEN EXISTS (SELECT 1 FROM position WHERE share_micros <> 0) AND NOT EXISTS (
            SELECT 1 FROM system_checkpoint c
            WHERE c.service = 'pricer' AND c.key = 'resolutions'
              AND (c.value->>'completed_at')::timestamptz > greatest(:since, {_LEARNED})
        ) THEN 1 ELSE 0 END""",  # noqa: S608  a text of ours
    "a marking of what is held": f"""
        SELECT CASE WHEN EXISTS (SELECT 1 FROM position WHERE share_micros <> 0) AND NOT EXISTS (
            SELECT 1 FROM system_checkpoint c
            WHERE c.service = 'pricer' AND c.key = 'marking'
              AND (c.value->>'completed_at')::timestamptz > greatest(:since, {_LEARNED})
        ) THEN 1 ELSE 0 END""",  # noqa: S608  a text of ours
}


_NEVER_POLLED: Final = text("""
    SELECT count(*) FROM followed_user_proxy_wallet w
    WHERE w.unfollowed_at IS NULL AND NOT EXISTS (
        SELECT 1 FROM system_checkpoint c WHERE c.service = 'ingest' AND c.key = 'poll:' || w.wallet)
""")


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is not done yet, by name, without zeros; and how many dead letters are open."""

    waiting: dict[str, int]
    dead_letters_open: int

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left to wait for."""
        return not self.waiting


async def backlog(engine: AsyncEngine, since: datetime) -> Backlog:
    """Return what is left to do; polls, checks and markings count only when they began after `since`.

    Raises Unavailable when the database is away.
    """
    async with transaction(engine) as connection:
        counts = {name: await _count(connection, query, since) for name, query in _BACKLOG.items()}
        dead = await connection.scalar(text("SELECT count(*) FROM dead_letter WHERE status = 'OPEN'"))
    return Backlog({name: count for name, count in counts.items() if count}, int(dead or 0))


async def wallets_never_polled(engine: AsyncEngine) -> int:
    """Return how many followed wallets have not had their first complete poll; raises Unavailable."""
    async with transaction(engine) as connection:
        return int((await connection.execute(_NEVER_POLLED)).scalar_one())


async def database_now(engine: AsyncEngine) -> datetime:
    """Return the database's clock, by which checkpoints of all processes can be compared."""
    async with transaction(engine) as connection:
        now: datetime = (await connection.execute(text("SELECT clock_timestamp()"))).scalar_one()
    return now


async def _count(connection: AsyncConnection, query: str, since: datetime) -> int:
    result = await connection.execute(text(query), {"since": since} if ":since" in query else {})
    return int(result.scalar_one())
