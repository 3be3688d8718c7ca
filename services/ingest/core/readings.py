"""Readings of positions as they are remembered: what openings are made from outlives the process that read it.

A wallet's holdings are read once a follow. A second reading is no substitute for a lost first one: a conversion in
between moves shares without a fill, and half of the tokens may be opened from the first already.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from services.ingest.core.late import Adjusted, Counted, Told
from services.ingest.core.positions import Held


@dataclass(frozen=True, slots=True)
class Reading:
    """What the exchange said a wallet holds, by token, and what of it is still to be told.

    `number` counts the readings of this follow; `read_at` is when the last ended; `unreadable` is how many of its rows
    nobody could read.
    """

    followed_at: datetime
    read_at: datetime
    number: int
    unreadable: int
    held: Mapping[str, Held]
    pending: Collection[str]

    def still(self) -> dict[str, Held]:
        """Return the pending rows of tokens that nothing happened to since the follow: they need no activity."""
        return {asset: self.held[asset] for asset in self.pending if self.held[asset].as_of < self.followed_at}

    def again(self, unclear: Collection[str], fresh: "Reading") -> "Reading":
        """Return this reading with another taken for what was unclear, or could not be read, at this one.

        What is told stays as it was read. What was not held at a reading without fault came by what is booked.
        """
        new = set(fresh.held) - set(self.held) if self.unreadable else set()
        pending = {asset for asset in unclear if asset in fresh.held} | new
        held = {**self.held, **{asset: fresh.held[asset] for asset in pending}}
        return Reading(self.followed_at, fresh.read_at, self.number + 1, fresh.unreadable, held, sorted(pending))


def reading_document(reading: Reading) -> dict[str, Any]:
    """Return a reading as JSON."""
    return {
        "followed_at": reading.followed_at.isoformat(),
        "read_at": reading.read_at.isoformat(),
        "number": reading.number,
        "unreadable": reading.unreadable,
        "rows": {asset: _row_document(row) for asset, row in reading.held.items()},
        "pending": sorted(reading.pending),
    }


def reading_from(document: Mapping[str, Any]) -> Reading:
    """Return the reading of a `reading_document`."""
    return Reading(
        datetime.fromisoformat(document["followed_at"]),
        datetime.fromisoformat(document["read_at"]),
        document["number"],
        document["unreadable"],
        {asset: _row_from(asset, row) for asset, row in document["rows"].items()},
        document["pending"],
    )


def counted_document(counted: Counted) -> dict[str, Any]:
    """Return what rows count as JSON; `latest` is the time up to which they may count an event."""
    return {
        "followed_at": counted.followed_at.isoformat(),
        "latest": counted.latest().isoformat(),
        "told": {asset: {**_row_document(each.row), "mark": each.mark_micros} for asset, each in counted.told.items()},
        "adjusted": {
            asset: {
                "condition": each.condition_id,
                "as_of": each.as_of.isoformat(),
                "event": str(each.event_id),
                "event_time": each.event_time.isoformat(),
                "tx": each.tx_hash,
            }
            for asset, each in counted.adjusted.items()
        },
    }


def counted_from(document: Mapping[str, Any]) -> Counted:
    """Return the rows of a `counted_document`."""
    return Counted(
        datetime.fromisoformat(document["followed_at"]),
        {asset: Told(_row_from(asset, each), each["mark"]) for asset, each in document["told"].items()},
        {
            asset: Adjusted(
                each["condition"],
                datetime.fromisoformat(each["as_of"]),
                UUID(each["event"]),
                datetime.fromisoformat(each["event_time"]),
                each["tx"],
            )
            for asset, each in document["adjusted"].items()
        },
    )


def _row_document(row: Held) -> dict[str, Any]:
    return {
        "condition": row.condition_id,
        "group": row.group,
        "shares": row.share_micros,
        "price": row.price_micros,
        "as_of": row.as_of.isoformat(),
    }


def _row_from(asset: str, document: Mapping[str, Any]) -> Held:
    return Held(
        asset,
        document["condition"],
        document["group"],
        document["shares"],
        document["price"],
        datetime.fromisoformat(document["as_of"]),
    )
