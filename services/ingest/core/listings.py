"""What listings showed before: a transaction shown again with the same rows needs no second look."""

from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from typing import Final

from services.ingest.core.sightings import FactSighting, RowSighting

TRANSACTIONS_MAX: Final = 50_000

Place = tuple[str, str]
"""Wallet and transaction."""


class ShownTransactions:
    """Remembers the rows of the last recorded listing of each (wallet, transaction); forgets the oldest."""

    def __init__(self, limit: int = TRANSACTIONS_MAX) -> None:
        self._limit = limit
        self._shown: OrderedDict[Place, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._shown)

    def signatures(self, rows: Sequence[RowSighting], facts: Sequence[FactSighting]) -> dict[Place, int]:
        """Return a signature of what a listing shows of each transaction, whatever the order of its rows."""
        parts: defaultdict[Place, list[int]] = defaultdict(list)
        for row in rows:
            parts[row.key.wallet, row.key.tx_hash].append(hash((row.key, row.cash_micros, row.event_time)))
        for fact in facts:
            parts[fact.key.wallet, fact.key.tx_hash].append(hash(fact.key))
        return {place: hash(tuple(sorted(hashes))) for place, hashes in parts.items()}

    def news(self, signatures: dict[Place, int]) -> set[Place]:
        """Return the transactions that were not shown like this before."""
        return {place for place, signature in signatures.items() if self._shown.get(place) != signature}

    def keep(self, place: Place, signature: int) -> None:
        """Remember how a transaction was shown when it was recorded."""
        self._shown[place] = signature
        self._shown.move_to_end(place)
        while len(self._shown) > self._limit:
            self._shown.popitem(last=False)

    def forget(self, place: Place) -> None:
        """Look at a transaction afresh when it is next shown."""
        self._shown.pop(place, None)
