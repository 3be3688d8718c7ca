"""A position as the projection keeps it, and how late entries are taken in without reading all it ever was.

A shadow's entries are folded in the order of the chain and do not always come in it. So a position keeps a base: the
holding before some moment in the past. What comes late, but not before the base, is folded from there; only what comes
earlier still has the whole history folded again. The base follows in two ways, both exact: where trading paused for
longer than entries come late, it is simply what was held in the pause; else it moves when something is folded again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from libs.common.domain.kinds import Scope
from services.ledger.core.entries import Entry
from services.ledger.core.fold import NOTHING, Holding, in_order, moves_position, order_of, post, refold

LATE: Final = timedelta(minutes=2)
"""How late entries usually come at most: as far as every poll reaches back."""
EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT: Final = timedelta(microseconds=1)

Folded = tuple[datetime, str | None]
"""Event time and transaction of an entry."""


@dataclass(frozen=True, slots=True)
class Base:
    """What all entries that happened before a moment fold to."""

    before: datetime
    holding: Holding


@dataclass(slots=True)
class Standing:
    """A position as the projection has it; `folded` is the event time and transaction of the latest entry in it."""

    holding: Holding
    condition_id: str | None
    folded: Folded | None
    base: Base | None = None

    def since_when(self, entries: Sequence[Entry]) -> datetime | None:
        """Return from when on the history is needed to take in new entries (in order); None: they can just be added.

        They cannot when one precedes what is folded, is of the same transaction, or takes something back. Executables
        are posted in their order.
        """
        if not self._is_late(entries[0]) and all(entry.reverses is None for entry in entries):
            return None
        return self.since(min(entry.event_time for entry in entries))

    def since(self, moment: datetime) -> datetime:
        """Return from when on the history is needed to fold again what happened at `moment` and later."""
        return EVER if self.base is None or moment < self.base.before else self.base.before

    def _is_late(self, entry: Entry) -> bool:
        if self.folded is None or entry.owner.scope is not Scope.SHADOW_USER:
            return False
        place, latest = _transaction(entry.event_time, entry.tx_hash), _transaction(*self.folded)
        return place < latest or (place == latest and entry.tx_hash is not None)

    def add(self, entries: Sequence[Entry]) -> None:
        """Take in entries (in order) that follow all there is."""
        for entry in entries:
            if self.folded is not None and entry.owner.scope is Scope.SHADOW_USER:
                last = self.folded[0]
                if entry.event_time - last >= LATE:
                    self.base = Base(last + _INSTANT, self.holding)
            self.holding = post(self.holding, entry)
            self._reach(entry)

    def fold_again(self, entries: Sequence[Entry], history: Sequence[Entry]) -> None:
        """Take in entries given the history, they included (both in order), since `since_when`."""
        since, start = EVER, NOTHING
        if self.base is not None and history[0].event_time >= self.base.before:
            since, start = self.base.before, self.base.holding
        earliest = min(entry.event_time for entry in entries)
        moment = max(since, min(earliest, max(entry.event_time for entry in history) - LATE))
        before = [entry for entry in history if entry.event_time < moment]
        held = refold(before, start)
        self.holding = refold(history[len(before) :], held)
        if entries[0].owner.scope is Scope.SHADOW_USER:
            self.base = Base(moment, held)
        for entry in entries:
            self._reach(entry)

    def _reach(self, entry: Entry) -> None:
        if not moves_position(entry):
            return
        at = (entry.event_time, entry.tx_hash)
        if self.folded is None or _transaction(*at) >= _transaction(*self.folded):
            self.folded = at
        self.condition_id = entry.condition_id or self.condition_id


def _transaction(event_time: datetime, tx_hash: str | None) -> tuple[datetime, bool, str]:
    return order_of(event_time, tx_hash, None)[:3]


def is_honest(base: Base | None, history: Sequence[Entry]) -> bool:
    """Tell whether a base is what all the entries (as posted) that happened before it fold to."""
    if base is None:
        return True
    before = [entry for entry in history if entry.event_time < base.before]
    return base.holding == (refold(in_order(before[0].owner.scope, before)) if before else NOTHING)
