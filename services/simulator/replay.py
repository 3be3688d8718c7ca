"""Decide recorded attempts again, from what they stored, and say where the outcome differs (it never should).

The whole row is made anew from the stored inputs, group, configuration and book, and compared with the row as it is:
outcome, checks and fills, the values before the decision, and the inputs themselves. What a decision does not make is
left out: its place in the portfolio (`seq`, `out_of_order`), its own due, and which book was fetched for it when.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import orjson
from pydantic import ValidationError
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.common.db.settings import find_user
from libs.common.domain.book import Book
from libs.common.domain.config import CopyConfig
from libs.common.domain.kinds import Scope
from services.simulator.core.decide import decide
from services.simulator.core.facts import Group
from services.simulator.core.outcome import Outcome
from services.simulator.core.rules import Rules, compile_rules
from services.simulator.records import (
    INPUTS_VERSION,
    Decided,
    attempt_row,
    clock_from,
    fill_rows,
    market_from,
    view_from,
)
from services.simulator.store.recorded import CONFIGURATIONS, COUNTED, RECORDED
from services.simulator.store.rows import book_of, group_of

PAGE: Final = 500
CONFIGURATIONS_MAX: Final = 1_000
"""Compiled configurations kept in memory."""
SCOPES: Final = (Scope.EXEC_GLOBAL, Scope.EXEC_USER)
COMPARED: Final = {
    "id": "attempt_id", "user_id": "attempt_user_id", "kind": "attempt_kind", "condition_id": "attempt_condition_id",
    "asset_id": "attempt_asset_id", "side": "attempt_side",
} | {
    name: name
    for name in (
        "decision", "reason_codes", "decided_at", "best_bid_micros", "best_ask_micros", "mid_price_micros",
        "their_reference_price_micros", "limit_price_micros", "depth_micros", "target_notional_micros",
        "filled_share_micros", "filled_notional_micros", "vwap_price_micros", "fee_micros", "fee_rate", "cash_micros",
        "equity_micros", "held_share_micros", "exposure_total_micros", "exposure_market_micros",
        "exposure_user_micros", "day_start_equity_micros", "week_start_equity_micros", "peak_equity_micros",
        "counterfactual_share_micros", "counterfactual_notional_micros", "inputs", "checks",
    )
}  # fmt: skip
"""Columns of copy_attempt that are made anew, and what RECORDED calls them."""
_UNREADABLE: Final = (KeyError, TypeError, ValueError, ArithmeticError, AttributeError, AssertionError)
"""What stored values that are not what was stored lead to."""

_OF_A_FILL: Final = ("level", "price_micros", "share_micros", "notional_micros", "fee_micros")
_NO_ID: Final = UUID(int=0)

Row = Mapping[str, Any] | RowMapping
"""A row of RECORDED."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A value that came out different when decided again."""

    attempt_id: UUID
    name: str
    recorded: Any
    decided: Any


@dataclass(frozen=True, slots=True)
class Replayed:
    """One attempt decided again.

    `book_is_gone`: it was decided on a book that is no longer kept. `is_older`: it was decided under rules of an
    earlier release (ADR 0018). Neither can be compared.
    """

    attempt_id: UUID
    differences: tuple[Difference, ...]
    book_is_gone: bool
    is_older: bool = False


def decide_again(group: Group, inputs: Mapping[str, Any], scope: Scope, rules: Rules, book: Book | None) -> Outcome:
    """Return the decision that stored inputs lead to."""
    view, market = view_from(inputs["portfolio"]), market_from(inputs["market"])
    return decide(group, view, rules, market, book, clock_from(inputs["clock"], scope))


async def replay(
    connection: AsyncConnection, user: str | None, since: datetime, until: datetime | None = None
) -> AsyncIterator[Replayed]:
    """Yield every attempt since a time, of one user (by label or id) or all, decided again; raises UnknownUserError."""
    user_id = None if user is None else await find_user(connection, user)
    compiled: dict[int, Rules | str] = {}
    for scope in SCOPES:
        after, after_id = since, _NO_ID
        while True:
            parameters = {"scope": scope.value, "user": user_id, "until": until, "after": after, "after_id": after_id}
            rows = (await connection.execute(RECORDED, parameters | {"page": PAGE})).mappings().all()
            await _learn(connection, compiled, {row["config_version"] for row in rows})
            for row in rows:
                yield compare(row, compiled.get(row["config_version"], "it is not there"))
            if len(rows) < PAGE:
                break
            after, after_id = rows[-1]["decided_at"], rows[-1]["attempt_id"]


async def count(connection: AsyncConnection, user: str | None, since: datetime, until: datetime | None) -> int:
    """Return how many attempts `replay` would yield; raises UnknownUserError."""
    parameters = {"user": None if user is None else await find_user(connection, user), "since": since, "until": until}
    return int((await connection.execute(COUNTED, parameters)).scalar_one())


async def _learn(connection: AsyncConnection, compiled: dict[int, Rules | str], versions: set[int]) -> None:
    """Compile the configurations of a page; one that cannot be read says why."""
    if len(compiled) > CONFIGURATIONS_MAX:
        compiled.clear()
    missing = sorted(version for version in versions if version is not None and version not in compiled)
    if not missing:
        return
    for version, values in await connection.execute(CONFIGURATIONS, {"versions": missing}):
        try:
            compiled[version] = compile_rules(CopyConfig.model_validate(values), version)
        except ValidationError as error:
            compiled[version] = f"it is not valid: {error.errors()[0]['msg']}"


def compare(row: Row, rules: Rules | str) -> Replayed:
    """Decide the attempt of one row of RECORDED again; `rules` may be the reason why there are none."""
    identity = row["attempt_id"]

    def differs(name: str, recorded: Any, decided: Any) -> Replayed:
        return Replayed(identity, (Difference(identity, name, recorded, decided),), book_is_gone=False)

    version = row["inputs"].get("version") if isinstance(row["inputs"], Mapping) else None
    if not isinstance(version, int) or version > INPUTS_VERSION:
        return differs("inputs.version", version, INPUTS_VERSION)
    if version < INPUTS_VERSION:
        return Replayed(identity, (), book_is_gone=False, is_older=True)
    if isinstance(rules, str):
        return differs("config_version", row["config_version"], rules)
    if row["book_hash"] is not None and row["hash"] is None:
        return Replayed(identity, (), book_is_gone=True)
    try:
        decided = _decide(row, rules)
    except _UNREADABLE as error:
        return differs("inputs", row["inputs"], f"cannot be decided again: {type(error).__name__}: {error}")
    found = tuple(Difference(identity, name, old, new) for name, old, new in _pairs(row, decided) if old != new)
    return Replayed(identity, found, book_is_gone=False)


def _decide(row: Row, rules: Rules) -> Decided:
    inputs, group, scope = row["inputs"], group_of(row), Scope(row["scope"])
    return Decided(
        group=group,
        view=view_from(inputs["portfolio"]),
        market=market_from(inputs["market"]),
        clock=clock_from(inputs["clock"], scope),
        outcome=decide_again(group, inputs, scope, rules, None if row["hash"] is None else book_of(row)),
        config_version=rules.version,
        portfolio_id=row["portfolio_id"],
        seq=row["seq"],
        out_of_order=row["out_of_order"],
        due_at=row["due_at"],
        effective_due_at=datetime.fromisoformat(inputs["clock"]["effective_due_at"]),
        book_hash=row["book_hash"],
        book_fetched_at=row["book_fetched_at"],
        book_error=inputs["book_error"],
    )


def _pairs(row: Row, decided: Decided) -> Iterator[tuple[str, Any, Any]]:
    """Yield each compared value by name, as recorded and as decided now."""
    again = attempt_row(decided)
    again["fee_rate"] = None if again["fee_rate"] is None else Decimal(again["fee_rate"])
    for name in ("inputs", "checks"):
        again[name] = orjson.loads(orjson.dumps(again[name], default=str))
    for name, column in COMPARED.items():
        yield name, row[column], again[name]
    yield "fills", row["fills"], [[fill[name] for name in _OF_A_FILL] for fill in fill_rows(decided)]
