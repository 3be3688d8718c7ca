"""Decisions as Postgres would give them back: through JSON and its number types, for replay and explanation."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson

from libs.common.domain.config import CopyConfig, document, merge
from libs.common.domain.identity import attempt_id
from libs.common.domain.kinds import GroupKind
from services.simulator.core.rules import Rules, compile_rules
from services.simulator.records import Decided, attempt_row, fill_rows
from services.simulator.store.driver import json_text
from tests.support.decisions import Scene

PORTFOLIO = UUID(int=99)
VERSION = 3


def decided_of(scene: Scene) -> Decided:
    """Return the decision on a scene as the simulator would write it."""
    book = scene.book if scene.group.kind is GroupKind.TRADE else None
    at = scene.clock.decided_at
    return Decided(
        group=scene.group,
        view=scene.view,
        market=scene.market,
        clock=scene.clock,
        outcome=replace(scene, book=book).decide(),
        config_version=VERSION,
        portfolio_id=PORTFOLIO,
        seq=1,
        out_of_order=False,
        due_at=at - timedelta(milliseconds=7),
        effective_due_at=at - timedelta(milliseconds=5),
        book_hash=book.hash if book else None,
        book_fetched_at=at - timedelta(milliseconds=3) if book else None,
        book_error=None,
    )


def attempt_of(decided: Decided) -> dict[str, Any]:
    """Return the row of copy_attempt as it comes back from Postgres."""
    row = attempt_row(decided)
    stored = orjson.loads(json_text(row))
    found = {name: stored[name] for name in row}
    for name in ("due_at", "decided_at", "book_fetched_at"):
        found[name] = None if stored[name] is None else datetime.fromisoformat(stored[name])
    for name in ("id", "portfolio_id", "user_id", "group_id"):
        found[name] = UUID(stored[name])
    found["fee_rate"] = None if stored["fee_rate"] is None else Decimal(stored["fee_rate"])
    return found


def recorded_of(scene: Scene) -> dict[str, Any]:
    """Return the row of RECORDED of the decision on a scene."""
    decided = decided_of(scene)
    attempt, group = attempt_of(decided), asdict(scene.group)
    book = None if decided.book_hash is None else scene.book
    fills = [
        [fill["level"], fill["price_micros"], fill["share_micros"], fill["notional_micros"], fill["fee_micros"]]
        for fill in orjson.loads(json_text(fill_rows(decided)))
    ]
    return {
        **attempt,
        **{f"attempt_{name}": attempt[name] for name in ("user_id", "kind", "condition_id", "asset_id", "side")},
        **group,
        "kind": group["kind"].value,
        "side": group["side"].value if group["side"] else None,
        "usdc_notional_micros": group["notional_micros"],
        "reference_price_micros": group["reference_micros"],
        "attempt_id": attempt_id(scene.clock.scope, scene.group.id),
        "hash": book.hash if book else None,
        "timestamp_ms": book.timestamp_ms if book else None,
        "bids": _levels(book.bids) if book else None,
        "asks": _levels(book.asks) if book else None,
        "fills": fills,
    }


def stored_rules(config: Mapping[str, Any]) -> Rules:
    """Return a configuration after its own way through JSON."""
    values = orjson.loads(orjson.dumps(document(merge(config))))
    return compile_rules(CopyConfig.model_validate(values), VERSION)


def _levels(levels: Any) -> Any:
    return orjson.loads(orjson.dumps([[each.price_micros, each.share_micros] for each in levels]))
