"""Find attempts by what a person has at hand, and read the rows they are explained from; any role may."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import RowMapping, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.common.db.skips import read_counterfactuals
from libs.common.domain.errors import Rejected
from libs.common.domain.explaining import Recorded, explain
from libs.common.domain.explanation import Explanation
from libs.common.domain.skips import Counterfactual

PREFIX_MIN: Final = 8
"""Half of these say the hour."""
CANDIDATES_MAX: Final = 20
EXPLAINED_MAX: Final = 20
"""Attempts explained at once; a transaction of more is listed."""
_HEX_DIGITS: Final = 32
_TX: Final = re.compile(r"0x[0-9a-f]{64}")
_PREFIX: Final = re.compile(f"[0-9a-f]{{{PREFIX_MIN},{_HEX_DIGITS}}}")

_IDS: Final = bindparam("ids", type_=ARRAY(PG_UUID))
_CANDIDATE: Final = """
SELECT a.id, a.group_id, a.scope, u.label AS user, a.decision, a.reason_codes, a.decided_at, a.kind, a.side
FROM copy_attempt a JOIN followed_user u ON u.id = a.user_id
"""
_BY_ATTEMPT: Final = text(f"{_CANDIDATE} WHERE a.id BETWEEN :low AND :high ORDER BY a.decided_at DESC LIMIT :limit")
_BY_GROUPS: Final = text(f"{_CANDIDATE} WHERE a.group_id = ANY(:ids) ORDER BY a.decided_at, a.scope DESC").bindparams(
    _IDS
)
_GROUPS: Final = text("SELECT id, closed_at FROM event_group WHERE id BETWEEN :low AND :high ORDER BY id LIMIT :limit")
_GROUPS_OF_TX: Final = text("""
SELECT DISTINCT m.group_id AS id FROM event_group_member m WHERE m.event_id IN (
  SELECT id FROM trade_event WHERE tx_hash = :tx UNION ALL SELECT id FROM activity_event WHERE tx_hash = :tx)
""")

_ATTEMPTS: Final = text("SELECT * FROM copy_attempt WHERE id = ANY(:ids) ORDER BY decided_at, scope DESC").bindparams(
    _IDS
)
_AROUND: Final = text("""
SELECT u.label AS user, m.question, o.name AS outcome, row_to_json(g) AS group,
       b.hash, b.timestamp_ms, b.bids, b.asks,
       jsonb_build_object('version', e.version, 'scope', e.scope, 'effective_at', e.effective_at, 'values', e.values)
         AS config,
       (SELECT jsonb_build_object('version', x.version, 'values', x.values) FROM effective_config x
        WHERE x.scope = 'GLOBAL' AND (x.effective_at <= a.decided_at OR x.version = a.config_version)
        ORDER BY x.version DESC LIMIT 1) AS global_config,
       (SELECT jsonb_agg(to_jsonb(f) - 'attempt_id' ORDER BY f.level) FROM executable_fill f WHERE f.attempt_id = a.id)
         AS fills,
       (SELECT jsonb_agg(jsonb_build_object(
          'event_id', k.event_id, 'tx_hash', coalesce(t.tx_hash, v.tx_hash),
          'share_micros', coalesce(t.share_micros, v.share_micros),
          'notional_micros', coalesce(t.usdc_notional_micros, v.usdc_micros),
          'event_time', coalesce(t.event_time, v.event_time), 'detect_time', coalesce(t.detect_time, v.detect_time),
          'first_source', coalesce(t.first_source, CASE WHEN v.id IS NULL THEN NULL ELSE 'DATA_API' END))
          ORDER BY k.position)
        FROM event_group_member k LEFT JOIN trade_event t ON t.id = k.event_id
        LEFT JOIN activity_event v ON v.id = k.event_id
        WHERE k.group_id = g.id) AS members
FROM copy_attempt a
JOIN event_group g ON g.id = a.group_id
JOIN followed_user u ON u.id = a.user_id
LEFT JOIN effective_config e ON e.version = a.config_version
LEFT JOIN outcome_asset o ON o.asset_id = a.asset_id
LEFT JOIN market m ON m.condition_id = coalesce(a.condition_id, o.condition_id)
LEFT JOIN book_snapshot b ON b.asset_id = a.asset_id AND b.hash = a.book_hash
WHERE a.id = :id
""")
_GROUP_TIMES: Final = ("first_event_time", "first_detect_time", "closed_at")


@dataclass(frozen=True, slots=True)
class Candidate:
    """An attempt that a name may mean."""

    id: UUID
    group_id: UUID
    scope: str
    user: str
    decision: str
    reasons: tuple[str, ...]
    decided_at: datetime
    kind: str
    side: str | None


class AmbiguousError(Rejected):
    """A name means several things; `candidates` are those attempts, at most CANDIDATES_MAX."""

    def __init__(self, name: str, candidates: Sequence[Candidate]) -> None:
        super().__init__(f"{name!r} means more than one attempt: give more of its id")
        self.candidates = tuple(candidates)


async def read_explanations(connection: AsyncConnection, name: str) -> list[Explanation]:
    """Return the explanations of what `name` means: one attempt, a group in both scopes, or those of a transaction.

    `name` is an id or the first 8 or more digits of one, or a transaction's hash. Raises AmbiguousError where a prefix
    means several, Rejected where it means nothing.
    """
    found = await _find(connection, name)
    if len(found) > EXPLAINED_MAX:
        raise AmbiguousError(name, found[:CANDIDATES_MAX])
    ids = [each.id for each in found]
    attempts = (await connection.execute(_ATTEMPTS, {"ids": ids})).mappings().all()
    counterfactuals = await read_counterfactuals(connection, ids)
    return [
        explain(_recorded(attempt, (await connection.execute(_AROUND, {"id": attempt["id"]})).mappings().one(),
                          counterfactuals.get(UUID(str(attempt["id"])))))
        for attempt in attempts
    ]  # fmt: skip


def _recorded(attempt: RowMapping, row: RowMapping, counterfactual: Counterfactual | None) -> Recorded:
    group = dict(row["group"])
    for name in _GROUP_TIMES:
        group[name] = datetime.fromisoformat(group[name])
    return Recorded(
        attempt=dict(attempt),
        group=group,
        user=row["user"],
        question=row["question"],
        outcome=row["outcome"],
        members=row["members"] or (),
        fills=row["fills"] or (),
        book=None if row["hash"] is None else dict(row),
        config=row["config"] if row["config"]["version"] is not None else None,
        global_config=row["global_config"],
        counterfactual=counterfactual,
    )


async def _find(connection: AsyncConnection, name: str) -> list[Candidate]:
    given = name.strip().lower()
    if _TX.fullmatch(given):
        groups = [row.id for row in await connection.execute(_GROUPS_OF_TX, {"tx": given})]
        if not groups:
            raise Rejected(f"no group has a trade of transaction {given}")
        return await _of_groups(connection, groups, name)
    digits = given.replace("-", "")
    if not _PREFIX.fullmatch(digits):
        raise Rejected(
            f"expected an attempt's or a group's id, at least its first {PREFIX_MIN} digits, or a transaction's hash "
            f"(0x and 64 digits), got {name!r}"
        )
    low, high = UUID(digits.ljust(_HEX_DIGITS, "0")), UUID(digits.ljust(_HEX_DIGITS, "f"))
    between = {"low": low, "high": high, "limit": CANDIDATES_MAX}
    attempts = [_candidate(row) for row in (await connection.execute(_BY_ATTEMPT, between)).mappings()]
    groups = [row.id for row in await connection.execute(_GROUPS, between)]
    if len(attempts) + len(groups) > 1:
        own = await _candidates_of(connection, groups)
        raise AmbiguousError(name, (attempts + own)[:CANDIDATES_MAX])
    if groups:
        return await _of_groups(connection, groups, name)
    if not attempts:
        raise Rejected(f"no attempt and no group has an id that starts with {name!r}")
    return attempts


async def _of_groups(connection: AsyncConnection, groups: Sequence[UUID], name: str) -> list[Candidate]:
    found = await _candidates_of(connection, groups)
    if not found:
        raise Rejected(f"{name!r} is a group that is not decided yet")
    return found


async def _candidates_of(connection: AsyncConnection, groups: Sequence[UUID]) -> list[Candidate]:
    return [_candidate(row) for row in (await connection.execute(_BY_GROUPS, {"ids": groups})).mappings()]


def _candidate(row: RowMapping) -> Candidate:
    values = {name: value for name, value in row.items() if name != "reason_codes"}
    return Candidate(**values, reasons=tuple(row["reason_codes"]))
