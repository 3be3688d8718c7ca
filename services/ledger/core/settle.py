"""Settlement of positions whose condition has final payouts, and whose shares they were in EXEC_GLOBAL.

A position settles once under the condition's id. A posting that comes later and reopens it settles again, under the
condition and the reopening entry.
"""

from collections.abc import Mapping, Sequence
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


def attribute(
    sources: Mapping[UUID, int], share_delta_micros: int, source: UUID | None, followed: Sequence[UUID]
) -> dict[UUID, int]:
    """Return the open shares by source user of an EXEC_GLOBAL position after one entry.

    Shares gained belong to `source`. Shares lost leave every source pro rata to what it has open; the micros that
    rounding leaves over go by largest remainder, ties to who was `followed` first.
    """
    open_shares = {user: shares for user, shares in sources.items() if shares}
    total = sum(open_shares.values())
    if share_delta_micros >= 0 or total <= 0:
        if source is not None:
            open_shares[source] = open_shares.get(source, 0) + share_delta_micros
        return {user: shares for user, shares in open_shares.items() if shares}
    lost = min(-share_delta_micros, total)
    parts = {user: divmod(shares * lost, total) for user, shares in open_shares.items()}
    rank = {user: place for place, user in enumerate(followed)}
    by_remainder = sorted(parts, key=lambda user: (-parts[user][1], rank.get(user, len(rank)), user))
    left_over = lost - sum(whole for whole, _ in parts.values())
    for place, user in enumerate(by_remainder):
        open_shares[user] -= parts[user][0] + (1 if place < left_over else 0)
    return {user: shares for user, shares in open_shares.items() if shares}
