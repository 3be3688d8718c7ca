"""Settlement of positions whose condition has final payouts.

A position settles once under the condition's id. A posting that comes later and reopens it settles again, under the
condition and the reopening entry.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.ledger.core.entries import Entry, Owner, Posting, settlement


@dataclass(frozen=True, slots=True)
class Payout:
    """What one asset of a resolved condition pays per share, and since when."""

    condition_id: str
    payout_micros: int
    resolved_at: datetime


def settle(
    owner: Owner,
    asset_id: str,
    share_micros: int,
    payout: Payout,
    *,
    last_event_time: datetime | None,
    reopened_by: UUID | None,
) -> Entry:
    """Return the SETTLEMENT of an open position.

    It happens at the resolution, but never before what it settles (`last_event_time`). `reopened_by` is the entry that
    reopened the position after it was settled, None the first time.
    """
    ref = payout.condition_id if reopened_by is None else f"{payout.condition_id}:{reopened_by}"
    at = payout.resolved_at if last_event_time is None else max(payout.resolved_at, last_event_time)
    posting = Posting(owner=owner, ref_id=ref, event_time=at, condition_id=payout.condition_id)
    return settlement(posting, asset_id, share_micros=share_micros, payout_micros=payout.payout_micros)
