"""How events become the column arrays of the statements."""

import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import orjson

from libs.common.upstream.samples import written
from services.ingest.core.activity import Fact
from services.ingest.core.fills import Fill, FillSight

_COMPRESSION: Final = 1
"""Payloads are a kilobyte; a higher level costs more time than it saves space."""


def columns(items: Iterable[Any], getters: Mapping[str, Callable[[Any], Any]]) -> dict[str, list[Any]]:
    """Turn rows into one array a column."""
    listed = list(items)
    return {name: [get(item) for item in listed] for name, get in getters.items()}


def packed(wire: Any) -> bytes:
    """Return a wire object as compressed JSON, every number as it was parsed."""
    return zlib.compress(written(wire), _COMPRESSION)


def _document(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


CREATED: Final[Mapping[str, Callable[[Fill], Any]]] = {
    "ids": lambda fill: fill.id,
    "users": lambda fill: fill.user_id,
    "wallets": lambda fill: fill.key.wallet,
    "assets": lambda fill: fill.key.asset_id,
    "sides": lambda fill: fill.key.side.value,
    "shares": lambda fill: fill.key.share_micros,
    "prices": lambda fill: fill.price_micros,
    "notionals": lambda fill: fill.notional_micros,
    "fees": lambda fill: fill.fee_micros,
    "txs": lambda fill: fill.key.tx_hash,
    "ordinals": lambda fill: fill.ordinal,
    "incarnations": lambda fill: fill.incarnation,
    "roles": lambda fill: fill.role.value if fill.role else None,
    "log_indexes": lambda fill: fill.log_index,
    "block_numbers": lambda fill: fill.block_number,
    "block_hashes": lambda fill: fill.block_hash,
    "event_times": lambda fill: fill.event_time,
    "detect_times": lambda fill: fill.detect_time,
    "first_sources": lambda fill: fill.first_source.value,
    "statuses": lambda fill: fill.status.value,
    "booked": lambda fill: fill.booked,
    "mismatches": lambda fill: _document(fill.mismatch),
}
"""A new fill."""
CHANGED: Final[Mapping[str, Callable[[Fill], Any]]] = {
    name: CREATED[name]
    for name in (
        "ids",
        "roles",
        "log_indexes",
        "block_numbers",
        "block_hashes",
        "notionals",
        "fees",
        "prices",
        "statuses",
        "mismatches",
    )
}
"""What may change of a recorded fill."""
FACT: Final[Mapping[str, Callable[[Fact], Any]]] = {
    "ids": lambda fact: fact.id,
    "users": lambda fact: fact.sighting.user_id,
    "wallets": lambda fact: fact.sighting.key.wallet,
    "types": lambda fact: fact.sighting.key.type,
    "kinds": lambda fact: fact.sighting.kind.value,
    "conditions": lambda fact: fact.sighting.key.condition_id,
    "assets": lambda fact: fact.sighting.key.asset_id,
    "sides": lambda fact: fact.sighting.key.side,
    "shares": lambda fact: fact.sighting.key.share_micros,
    "amounts": lambda fact: fact.sighting.key.usdc_micros,
    "txs": lambda fact: fact.sighting.key.tx_hash,
    "ordinals": lambda fact: fact.ordinal,
    "event_times": lambda fact: fact.sighting.event_time,
    "detect_times": lambda fact: fact.detect_time,
    "booked": lambda fact: fact.sighting.booked,
}
"""A new event that is no fill."""
SIGHT: Final[Mapping[str, Callable[[FillSight], Any]]] = {
    "sight_ids": lambda sight: sight.event_id,
    "sight_sources": lambda sight: sight.source.value,
    "sight_times": lambda sight: sight.seen_at,
    "sight_shares": lambda sight: sight.share_micros,
    "sight_amounts": lambda sight: sight.cash_micros,
    "payloads": lambda sight: packed(sight.wire),
}
"""One source's first sight of an event."""
