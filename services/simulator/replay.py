"""Decide recorded attempts again, from what they stored, and say where the outcome differs (it never should)."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.common.domain.book import Book
from libs.common.domain.config import CopyConfig
from libs.common.domain.kinds import Scope
from services.simulator.core.decide import decide
from services.simulator.core.facts import Group
from services.simulator.core.outcome import Outcome, check_document
from services.simulator.core.rules import Rules, compile_rules
from services.simulator.records import clock_from, market_from, view_from
from services.simulator.store.recorded import RECORDED
from services.simulator.store.rows import book_of, group_of

PAGE: Final = 500
COMPARED: Final = (
    "best_bid_micros", "best_ask_micros", "mid_price_micros", "limit_price_micros", "depth_micros",
    "target_notional_micros", "filled_share_micros", "filled_notional_micros", "vwap_price_micros", "fee_micros",
    "counterfactual_share_micros", "counterfactual_notional_micros",
)  # fmt: skip

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
        rows = (await connection.execute(RECORDED, parameters)).mappings().all()
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
