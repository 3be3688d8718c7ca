"""Read what skips saved or cost, for `shadowbook skips`, `/api/skips` and explanations; any role may."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.common.db.settings import find_user
from libs.common.domain.kinds import Scope
from libs.common.domain.skips import Counterfactual, ReasonSum, ScopeSkips, Skips, SkipSum

SCOPES: Final = (Scope.EXEC_GLOBAL, Scope.EXEC_USER)

# The fee is not stored with a skip, but what it follows from is: rate and exponent as the decision saw them. Exponent 1
# is exact; for another the power is, but for a rounding far below the ten micros that a fee is floored to.
_VALUED: Final = """
WITH skipped AS (
  SELECT a.id, a.scope, a.side, a.asset_id, a.reason_codes, a.counterfactual_share_micros IS NOT NULL AS has_book,
         CAST(a.counterfactual_share_micros AS numeric) AS s, CAST(a.counterfactual_notional_micros AS numeric) AS n,
         coalesce(a.fee_rate, m.fee_rate) AS rate,
         coalesce(CAST(a.inputs #>> '{{market,fee_exponent}}' AS numeric), m.fee_exponent) AS exponent
  FROM copy_attempt a
  LEFT JOIN outcome_asset o ON o.asset_id = a.asset_id
  LEFT JOIN market m ON m.condition_id = o.condition_id
  WHERE a.decision = 'SKIP' AND {where}
), marks AS (
  SELECT k.asset_id,
         coalesce(r.payouts_micros[o.outcome_index + 1], last.price_micros) AS price,
         CASE WHEN r.condition_id IS NULL THEN last.at ELSE coalesce(r.resolved_at, r.observed_at) END AS at,
         CASE WHEN r.condition_id IS NULL THEN last.source ELSE 'PAYOUT' END AS source
  FROM (SELECT DISTINCT asset_id FROM skipped WHERE s > 0) k
  LEFT JOIN outcome_asset o ON o.asset_id = k.asset_id
  LEFT JOIN market_resolution r
    ON r.condition_id = o.condition_id AND r.payouts_micros[o.outcome_index + 1] IS NOT NULL
  LEFT JOIN LATERAL (
    SELECT p.price_micros, p.at, p.source FROM market_price_snapshot p WHERE p.asset_id = k.asset_id
    ORDER BY p.at DESC LIMIT 1) last ON true
), charged AS (
  SELECT skipped.*, marks.price, marks.at, marks.source, div(s * marks.price, 1000000) AS worth,
         CASE WHEN s <= 0 THEN 0
              WHEN rate IS NULL OR exponent IS NULL THEN NULL
              WHEN rate = 0 OR n <= 0 OR n >= s THEN 0
              WHEN exponent = 1 THEN div(rate * n * (s - n), s * 10) * 10
              ELSE floor(round(rate * s * power(n * (s - n) / (s * s), exponent), 6) / 10) * 10
         END AS fee
  FROM skipped LEFT JOIN marks ON marks.asset_id = skipped.asset_id
), valued AS (
  SELECT charged.*,
         CASE WHEN s <= 0 THEN 0 WHEN side = 'SELL' THEN n - fee - worth ELSE worth - n - fee END AS pnl
  FROM charged
)
"""

_SUMS: Final = """
count(*) AS skips, count(*) FILTER (WHERE NOT has_book) AS no_book, count(*) FILTER (WHERE has_book) AS with_book,
count(*) FILTER (WHERE has_book AND pnl IS NULL) AS unmarked,
CAST(coalesce(sum(n), 0) AS bigint) AS notional_micros,
CAST(coalesce(sum(fee) FILTER (WHERE pnl IS NOT NULL), 0) AS bigint) AS fee_micros,
CAST(coalesce(sum(pnl), 0) AS bigint) AS pnl_micros
"""

_CHOSEN: Final = """
a.scope = ANY(:scopes) AND (CAST(:since AS timestamptz) IS NULL OR a.decided_at >= :since)
AND (CAST(:user AS uuid) IS NULL OR a.user_id = :user)
"""
_REPORT: Final = text(f"""
{_VALUED.format(where=_CHOSEN)}
SELECT scope, NULL AS reason, {_SUMS} FROM valued GROUP BY scope
UNION ALL
SELECT scope, reason, {_SUMS} FROM valued CROSS JOIN LATERAL unnest(reason_codes) AS reason GROUP BY scope, reason
ORDER BY scope, skips DESC, reason
""")  # noqa: S608  parts are constants
_DECISIONS: Final = text(f"""
SELECT a.scope, count(*) AS decisions FROM copy_attempt a WHERE {_CHOSEN} GROUP BY a.scope
""")  # noqa: S608  parts are constants
_ONE_BY_ONE: Final = text(f"""
{_VALUED.format(where="a.id = ANY(:ids) AND a.counterfactual_share_micros IS NOT NULL")}
SELECT id, CAST(s AS bigint) AS share_micros, CAST(n AS bigint) AS notional_micros, CAST(fee AS bigint) AS fee_micros,
       CAST(price AS bigint) AS mark_micros, at AS marked_at, source AS mark_source, CAST(pnl AS bigint) AS pnl_micros
FROM valued
""").bindparams(bindparam("ids", type_=ARRAY(PG_UUID)))  # noqa: S608  parts are constants


async def read_skips(
    connection: AsyncConnection, *, user: str | None = None, since: datetime | None = None, scope: Scope | None = None
) -> Skips:
    """Return what skips saved or cost, by reason; raises UnknownUserError for a user who was never followed."""
    user_id = None if user is None else await find_user(connection, user)
    scopes = SCOPES if scope is None else (scope,)
    chosen = {"scopes": [each.value for each in scopes], "since": since, "user": user_id}
    decisions = {row.scope: row.decisions for row in await connection.execute(_DECISIONS, chosen)}
    rows = (await connection.execute(_REPORT, chosen)).mappings().all()
    found = tuple(_scope(each.value, decisions.get(each.value, 0), rows) for each in scopes)
    return Skips(since=since, user=user, scopes=found)


def _scope(scope: str, decisions: int, rows: Sequence[Any]) -> ScopeSkips:
    own = [{name: value for name, value in row.items() if name != "scope"} for row in rows if row["scope"] == scope]
    totals = [{name: value for name, value in row.items() if name != "reason"} for row in own if row["reason"] is None]
    nothing = dict.fromkeys(SkipSum.model_fields, 0)
    reasons = tuple(ReasonSum.model_validate(row) for row in own if row["reason"] is not None)
    total = SkipSum.model_validate(totals[0] if totals else nothing)
    return ScopeSkips(scope=scope, decisions=decisions, total=total, reasons=reasons)


async def read_counterfactuals(connection: AsyncConnection, attempt_ids: Sequence[UUID]) -> dict[UUID, Counterfactual]:
    """Return those of the attempts that are skips with a book, with what they would be worth now."""
    found = {}
    for row in (await connection.execute(_ONE_BY_ONE, {"ids": list(attempt_ids)})).mappings():
        values = {name: value for name, value in row.items() if name != "id"}
        found[UUID(str(row["id"]))] = Counterfactual.model_validate(values)
    return found
