"""Read tracking gaps from the books: what every followed user did and what copying them did, as posted by a time.

Both sides come from ledger entries, netted of reversals; the decision says why they differ. Assets are worth their last
mark at that time (one that had none yet: its first), or their cost where they were never marked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from libs.common.db.engine import transaction
from libs.common.db.settings import find_user
from libs.common.domain import tracking_gap as gap
from libs.common.domain.kinds import Decision, EntryType, GroupKind
from libs.common.domain.money import MICROS
from libs.common.domain.tracking_gap import Compared, Gap, Parts, Side, Sizing

BEGINNING: Final = datetime(2020, 1, 1, tzinfo=UTC)
CHUNK: Final = 1_000
PER_CENT: Final = 100

_PAIRS: Final = frozenset({GroupKind.SPLIT, GroupKind.MERGE})

_USERS: Final = text("""
SELECT u.id, u.label, shadow.id AS shadow_id, exec.id AS exec_id,
       (SELECT c.values ->> 'copy_pct' FROM effective_config c WHERE c.user_id = u.id OR c.user_id IS NULL
        ORDER BY c.user_id IS NULL, c.version DESC LIMIT 1) AS copy_pct
FROM followed_user u
JOIN portfolio shadow ON shadow.scope = 'SHADOW_USER' AND shadow.user_id = u.id
JOIN portfolio exec ON exec.scope = 'EXEC_USER' AND exec.user_id = u.id
WHERE CAST(:user AS uuid) IS NULL OR u.id = :user
ORDER BY u.followed_at, u.id
""")

_POSTED: Final = """
posted AS MATERIALIZED (
  SELECT e.portfolio_id, e.entry_type, e.asset_id, e.share_delta_micros AS shares, e.cash_delta_micros AS cash,
         CASE WHEN e.entry_type = 'FEE' THEN 0 ELSE coalesce(e.cost_micros, -e.cash_delta_micros) END AS amount,
         CASE WHEN e.entry_type = 'FEE' THEN -e.cash_delta_micros ELSE 0 END AS fee,
         CASE WHEN e.entry_type IN ('TRADE_FILL', 'FEE', 'SPLIT', 'MERGE') THEN CAST(e.ref_id AS uuid) END AS fact
  FROM ledger_entry e
  WHERE e.portfolio_id IN (:shadow, :exec) AND e.created_at <= :at AND e.reverses IS NULL
    AND NOT EXISTS (SELECT FROM ledger_entry r WHERE r.reverses = e.id AND r.created_at <= :at)
), marks AS MATERIALIZED (
  SELECT held.asset_id, coalesce(
    (SELECT m.price_micros FROM market_price_snapshot m WHERE m.asset_id = held.asset_id AND m.at <= :at
     ORDER BY m.at DESC LIMIT 1),
    (SELECT m.price_micros FROM market_price_snapshot m WHERE m.asset_id = held.asset_id AND m.at > :at
     ORDER BY m.at LIMIT 1)) AS price_micros
  FROM (SELECT DISTINCT asset_id FROM posted WHERE asset_id IS NOT NULL) held
)"""

_RESULTS: Final = text(f"""
WITH {_POSTED}, worth AS (
  SELECT p.portfolio_id, p.asset_id, sum(p.shares) AS shares FROM posted p WHERE p.asset_id IS NOT NULL GROUP BY 1, 2
)
SELECT f.id,
  coalesce((SELECT sum(p.cash) FROM posted p
            WHERE p.portfolio_id = f.id AND p.entry_type NOT IN ('DEPOSIT', 'WITHDRAWAL')), 0)
  - coalesce((SELECT sum(p.amount) FROM posted p WHERE p.portfolio_id = f.id AND p.entry_type = 'OPENING'), 0)
  + coalesce((SELECT sum(CASE WHEN m.price_micros IS NULL THEN coalesce(o.cost_micros, 0)
                              ELSE floor(w.shares * m.price_micros / 1000000) END)
              FROM worth w JOIN marks m ON m.asset_id = w.asset_id
              LEFT JOIN position o ON o.portfolio_id = w.portfolio_id AND o.asset_id = w.asset_id
              WHERE w.portfolio_id = f.id AND w.shares <> 0), 0) AS pnl
FROM portfolio f WHERE f.id IN (:shadow, :exec)
""")  # noqa: S608  parts are constants  # fmt: skip

_ROWS: Final = text(f"""
WITH {_POSTED}, theirs AS (
  SELECT g.group_id, CASE WHEN g.group_id IS NULL THEN p.entry_type END AS entry_type,
         CASE WHEN g.group_id IS NULL THEN coalesce(t.incarnation > 0, false) END AS mined_again,
         p.asset_id, sum(p.shares) AS shares, sum(p.amount) AS amount, sum(p.fee) AS fee
  FROM posted p
  LEFT JOIN event_group_member g ON g.event_id = p.fact
  LEFT JOIN trade_event t ON t.id = p.fact
  WHERE p.portfolio_id = :shadow AND p.entry_type IN ('TRADE_FILL', 'FEE', 'SPLIT', 'MERGE', 'OPENING', 'ADJUSTMENT')
  GROUP BY 1, 2, 3, 4
), ours AS (
  SELECT a.group_id, p.asset_id, sum(p.shares) AS shares, sum(p.amount) AS amount, sum(p.fee) AS fee
  FROM posted p JOIN copy_attempt a ON a.id = p.fact
  WHERE p.portfolio_id = :exec
  GROUP BY 1, 2
)
SELECT b.*, m.price_micros AS mark_micros, held.cost_micros AS held_cost, held.share_micros AS held_shares,
       a.kind, a.decision, a.reason_codes, a.mid_price_micros,
       a.target_notional_micros, c.values ->> 'copy_pct' AS copy_pct,
       (SELECT s FROM jsonb_array_elements(a.checks) s WHERE s ->> 'phase' = 'size' AND s ->> 'check' = 'minimum')
         AS minimum
FROM (
  SELECT coalesce(t.group_id, o.group_id) AS group_id, coalesce(t.asset_id, o.asset_id) AS asset_id,
         t.entry_type, t.mined_again, coalesce(t.shares, 0) AS shares, coalesce(t.amount, 0) AS amount,
         coalesce(t.fee, 0) AS fee, o.shares AS our_shares, coalesce(o.amount, 0) AS our_amount,
         coalesce(o.fee, 0) AS our_fee
  FROM theirs t FULL JOIN ours o ON o.group_id = t.group_id AND o.asset_id = t.asset_id
) b
LEFT JOIN marks m ON m.asset_id = b.asset_id
LEFT JOIN position held ON held.portfolio_id = :shadow AND held.asset_id = b.asset_id AND held.share_micros <> 0
LEFT JOIN copy_attempt a ON a.scope = 'EXEC_USER' AND a.group_id = b.group_id AND a.decided_at <= :at
LEFT JOIN effective_config c ON c.version = a.config_version
""")  # noqa: S608  parts are constants


@dataclass(frozen=True, slots=True)
class UserGap:
    """The tracking gap of one user, measured at the copy share in force now."""

    user_id: UUID
    label: str
    copy_pct: Decimal
    since: datetime | None
    until: datetime
    shadow_pnl_micros: int
    gap: Gap

    def document(self) -> dict[str, Any]:
        """Return it as JSON shows it: `gap_micros` = `ours_micros` - `theirs_micros` = the sum of all parts.

        `theirs_micros` is the shadow's PnL at `copy_pct`; `size_micros` is by cause; `since` is null for all time.
        """
        return {
            "user": self.label,
            "since": self.since.isoformat() if self.since else None,
            "until": self.until.isoformat(),
            "copy_pct": str(self.copy_pct),
            "shadow_pnl_micros": self.shadow_pnl_micros,
            "theirs_micros": self.gap.theirs_micros,
            "ours_micros": self.gap.ours_micros,
            "gap_micros": self.gap.gap_micros,
            "size_micros": dict(self.gap.size_micros),
            "drift_micros": self.gap.drift_micros,
            "spread_and_depth_micros": self.gap.spread_and_depth_micros,
            "fees_micros": self.gap.fees_micros,
            "openings_micros": self.gap.openings_micros,
            "residual_micros": self.gap.residual_micros,
        }


async def read_gaps(
    engine: AsyncEngine, until: datetime, since: datetime | None = None, user: str | None = None
) -> list[UserGap]:
    """Return the gap of each user (or of `user`, by label or id) at `until`, or what it grew by since `since`.

    One consistent view; who has no portfolios yet is left out. Raises UnknownUserError.
    """
    async with transaction(engine) as connection:
        await connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
        wanted = None if user is None else await find_user(connection, user)
        users = (await connection.execute(_USERS, {"user": wanted})).all()
        return [await _gap_of(connection, row, since, until) for row in users]


async def _gap_of(connection: AsyncConnection, row: Any, since: datetime | None, until: datetime) -> UserGap:
    copy_pct = Decimal(row.copy_pct or 1)
    share = Fraction(copy_pct) / PER_CENT
    parts, ours, theirs = await _measure(connection, row, share, until)
    if since is not None:
        before, ours_before, theirs_before = await _measure(connection, row, share, since)
        parts, ours, theirs = parts.minus(before), ours - ours_before, theirs - theirs_before
    found = gap.rounded(parts, ours, share * theirs)
    return UserGap(row.id, row.label, copy_pct, since, until, theirs, found)


async def _measure(connection: AsyncConnection, row: Any, share: Fraction, at: datetime) -> tuple[Parts, int, int]:
    """Return the parts of the gap at a time, and the two results it is the difference of."""
    parameters = {"shadow": row.shadow_id, "exec": row.exec_id, "at": at}
    results = {each.id: int(each.pnl) for each in await connection.execute(_RESULTS, parameters)}
    parts = Parts()
    rows = await connection.stream(_ROWS.execution_options(yield_per=CHUNK), parameters)
    async for each in rows:
        gap.add(parts, _compared(each), share)
    return parts, results[row.exec_id], results[row.shadow_id]


def _compared(row: Any) -> Compared:
    theirs = Side(int(row.shares), int(row.amount), int(row.fee))
    ours = Side(int(row.our_shares or 0), int(row.our_amount), int(row.our_fee))
    cause, sizing = _why(row)
    return Compared(theirs, ours, _worth(row), row.mid_price_micros, cause, sizing, row.entry_type == EntryType.OPENING)


def _worth(row: Any) -> Fraction | int | None:
    """Return the mark; of an asset that was never marked their average cost, as the books value it."""
    if row.mark_micros is None and row.held_shares:
        return Fraction(row.held_cost * MICROS, row.held_shares)
    return None if row.mark_micros is None else int(row.mark_micros)


def _why(row: Any) -> tuple[str | None, Sizing | None]:
    """Return what made our size differ."""
    if row.entry_type == EntryType.ADJUSTMENT:
        return gap.CONVERSION, None
    if row.mined_again:
        return gap.MINED_AGAIN, None
    if row.decision is None:
        return gap.UNDECIDED, None
    then = Fraction(Decimal(row.copy_pct)) / PER_CENT
    if row.decision == Decision.SKIP:
        return row.reason_codes[0], Sizing(then)
    if row.our_shares is None:
        return gap.UNDECIDED, Sizing(then)
    clamped = _clamped(row.minimum)
    part = Fraction(1, 2) if row.kind in _PAIRS else Fraction(1)
    return None, Sizing(then, None if clamped is None else clamped * part, row.target_notional_micros * part)


def _clamped(minimum: Mapping[str, Any] | None) -> int | None:
    """Return their notional at our share after minimum and maximum, from the decision's own check; None: unclamped."""
    if minimum is None:
        return None
    numbers = minimum["value"]
    if "maximum" not in numbers:
        return int(numbers["copied"])
    return min(max(int(numbers["copied"]), int(minimum["bound"])), int(numbers["maximum"]))
