"""How the episodes of the global portfolio ended, from flat to flat per asset; read once, then only what is new.

From flat to flat all cost is removed again, so an episode's realised result is the sum of its cash. A posting's fee
bears its reference and belongs to its episode even when the fill left the position flat.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ui.queries.portfolio import WinRate

PAGE: Final = 20_000

# Entries of one portfolio are numbered under its lock, so none appears later with a lower number.
_NEW: Final = text("""
SELECT seq, asset_id, ref_id, share_delta_micros AS shares,
       CASE WHEN entry_type IN ('SPLIT', 'MERGE') AND cost_micros IS NOT NULL THEN -cost_micros
            ELSE cash_delta_micros END AS cash
FROM ledger_entry WHERE portfolio_id = :portfolio AND asset_id IS NOT NULL AND seq > :seen ORDER BY seq LIMIT :limit
""")


@dataclass(slots=True)
class _Episode:
    """What an asset's episode under way holds and brought so far, and what the posting that ended the last one was."""

    shares: int = 0
    cash: int = 0
    ended_by: str | None = None
    ended_with: int = 0


class Episodes:
    """Follows the entries of the global portfolio; a new process reads all of them once, in pages."""

    def __init__(self) -> None:
        self._seen = 0
        self._assets: dict[str, _Episode] = {}
        self.closed = 0
        self.won = 0

    async def read(self, connection: AsyncConnection, portfolio: UUID) -> WinRate:
        """Return how the episodes that ended so far ended. Cut short, it goes on the next time where it was."""
        while True:
            parameters = {"portfolio": portfolio, "seen": self._seen, "limit": PAGE}
            rows = (await connection.execute(_NEW, parameters)).all()
            self.take(rows)
            if len(rows) < PAGE:
                return WinRate(closed=self.closed, won=self.won)

    def take(self, rows: Sequence[Any]) -> None:
        """Count further entries, in their order."""
        for row in rows:
            self._take(self._assets.setdefault(row.asset_id, _Episode()), row.ref_id, row.shares, row.cash)
            self._seen = row.seq

    def _take(self, episode: _Episode, ref_id: str, shares: int, cash: int) -> None:
        if not shares and not episode.shares and episode.ended_by == ref_id:
            self.won += (episode.ended_with + cash > 0) - (episode.ended_with > 0)
            episode.ended_with += cash
            return
        episode.shares += shares
        episode.cash += cash
        if shares and not episode.shares:
            self.closed += 1
            self.won += episode.cash > 0
            episode.ended_by, episode.ended_with = ref_id, episode.cash
            episode.cash = 0
