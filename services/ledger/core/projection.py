"""What entries add up to, from nothing: the second way to a position and to whose shares it is, for `rebuild`."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from libs.common.domain.kinds import EntryType, Scope
from libs.common.domain.statistics import attribute
from services.ledger.core.entries import Entry
from services.ledger.core.fold import Holding, in_order, moves_position, order_of, refold
from services.ledger.core.standing import Folded


@dataclass(frozen=True, slots=True)
class Projected:
    """A position as its entries have it; `folded` is of the latest of them, None where none moved it."""

    holding: Holding
    condition_id: str | None
    folded: Folded | None


def project(history: Sequence[Entry]) -> Projected:
    """Return the position that the entries of one place, as posted, add up to."""
    if not history:
        return Projected(Holding(), None, None)
    fees = {entry.id for entry in history if entry.entry_type is EntryType.FEE}
    moving = [entry for entry in history if moves_position(entry) and entry.reverses not in fees]
    places = [(entry.event_time, entry.tx_hash) for entry in moving]
    conditions = [entry.condition_id for entry in moving if entry.condition_id is not None]
    return Projected(
        refold(in_order(history[0].owner.scope, history)),
        conditions[-1] if conditions else None,
        max(places, key=lambda place: order_of(place[0], place[1], None)) if places else None,
    )


def sources(history: Sequence[Entry], followed: Sequence[UUID]) -> dict[UUID, int]:
    """Return the open shares by source user that the entries of one asset in EXEC_GLOBAL, as posted, add up to."""
    found: dict[UUID, int] = {}
    rank = {user: place for place, user in enumerate(followed)}
    for entry in history:
        if entry.owner.scope is Scope.EXEC_GLOBAL and entry.share_delta_micros:
            found = attribute(found, entry.share_delta_micros, entry.source_user_id, rank)
    return found
