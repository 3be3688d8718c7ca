"""Decide recorded attempts again, from what they stored, and say where the outcome differs (it never should)."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.common.domain.book import Book
from libs.common.domain.config import CopyConfig
from libs.common.domain.kinds import Scope
from services.simulator.core.decide import decide
from services.simulator.core.facts import Group
from services.simulator.core.outcome import Outcome, check_document
from services.simulator.core.rules import Rules, compile_rules
from services.simulator.records import clock_from, market_from, view_from
from services.simulator.store.rows import book_of, group_of

PAGE: Final = 500
COMPARED: Final = (
    "best_bid_micros", "best_ask_micros", "mid_price_micros", "limit_price_micros", "depth_micros",
    "target_notional_micros", "filled_share_micros", "filled_notional_micros", "vwap_price_micros", "fee_micros",
    "counterfactual_share_micros", "counterfactual_notional_micros",
)  # fmt: skip

_RECORDED: Final = text("""
SELECT g.id, g.kind, g.user_id, g.condition_id, g.asset_id, g.side, g.share_micros, g.usdc_notional_micros,
       g.reference_price_micros, g.first_event_time, g.first_detect_time, g.first_ordinal, g.closed_at,
       a.id AS attempt_id, a.scope, a.decision, a.reason_codes, a.inputs, a.checks, a.config_version, a.book_hash,
       a.best_bid_micros, a.best_ask_micros, a.mid_price_micros, a.limit_price_micros, a.depth_micros,
       a.target_notional_micros, a.filled_share_micros, a.filled_notional_micros, a.vwap_price_micros, a.fee_micros,
       a.counterfactual_share_micros, a.counterfactual_notional_micros,
       e.values AS config, b.timestamp_ms, b.bids, b.asks, b.hash,
       (SELECT coalesce(jsonb_agg(
                 jsonb_build_array(f.level, f.price_micros, f.share_micros, f.notional_micros, f.fee_micros)
                 ORDER BY f.level), '[]')
        FROM executable_fill f WHERE f.attempt_id = a.id) AS fills
FROM copy_attempt a
JOIN event_group g ON g.id = a.group_id
JOIN followed_user u ON u.id = a.user_id
JOIN effective_config e ON e.version = a.config_version
LEFT JOIN book_snapshot b ON b.asset_id = a.asset_id AND b.hash = a.book_hash
WHERE (CAST(:user AS text) IS NULL OR u.label = :user) AND a.decided_at >= :since
  AND (a.decided_at, a.id) > (:after, CAST(:after_id AS uuid))
ORDER BY a.decided_at, a.id LIMIT :page
""")
_NO_ID: Final = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Difference:
    """A value that came out different when decided again."""

    attempt_id: UUID
    name: str
    recorded: Any
    decided: Any


@dataclass(frozen=True, slots=True)
class Replayed:
    """One attempt decided again. `book_is_gone`: it was decided on a book that is no longer kept."""

    attempt_id: UUID
    differences: tuple[Difference, ...]
    book_is_gone: bool


def decide_again(group: Group, inputs: dict[str, Any], scope: Scope, rules: Rules, book: Book | None) -> Outcome:
    """Return the decision that stored inputs lead to."""
    view, market = view_from(inputs["portfolio"]), market_from(inputs["market"])
    return decide(group, view, rules, market, book, clock_from(inputs["clock"], scope))


async def replay(connection: AsyncConnection, user: str | None, since: datetime) -> AsyncIterator[Replayed]:
    """Yield every attempt since a time, of one user (by label) or all, decided again."""
    after, after_id = since, _NO_ID
    compiled: dict[int, Rules] = {}
    while True:
        parameters = {"user": user, "since": since, "after": after, "after_id": after_id, "page": PAGE}
        rows = (await connection.execute(_RECORDED, parameters)).mappings().all()
        for row in rows:
            if row["config_version"] not in compiled:
                compiled[row["config_version"]] = compile_rules(
                    CopyConfig.model_validate(row["config"]), row["config_version"]
                )
            inputs = row["inputs"]
            yield _compare(row, inputs, compiled[row["config_version"]])
            after, after_id = datetime.fromisoformat(inputs["clock"]["decided_at"]), row["attempt_id"]
        if len(rows) < PAGE:
            return


def _compare(row: Any, inputs: dict[str, Any], rules: Rules) -> Replayed:
    if row["book_hash"] is not None and row["hash"] is None:
        return Replayed(row["attempt_id"], (), book_is_gone=True)
    book = None if row["hash"] is None else book_of(row)
    outcome = decide_again(group_of(row), inputs, Scope(row["scope"]), rules, book)
    pairs = [(name, row[name], getattr(outcome, name)) for name in COMPARED]
    pairs.append(("decision", row["decision"], outcome.decision.value))
    pairs.append(("reason_codes", list(row["reason_codes"]), [reason.value for reason in outcome.reasons]))
    fills = [[f.level, f.price_micros, f.share_micros, f.notional_micros, f.fee_micros] for f in outcome.fills]
    pairs.append(("fills", row["fills"], fills))
    checks = orjson.loads(orjson.dumps([check_document(check) for check in outcome.checks]))
    pairs.append(("checks", row["checks"], checks))
    found = [Difference(row["attempt_id"], name, old, new) for name, old, new in pairs if old != new]
    return Replayed(row["attempt_id"], tuple(found), book_is_gone=False)
