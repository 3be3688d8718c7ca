"""Average-cost fold of one position's entries (SPEC section 6), in integers.

Adding shares adds their cost. Removing q of Q shares with cost C removes floor(C * q / Q), all of it at q = Q, and
realises what they brought minus that. A short is the same with Q and C negative: its cost is minus its proceeds, and
buying back realises. An entry that crosses zero is two: it closes what is held, then opens the rest; its amount is
shared by shares, rounded down on the closing part. Fees are not in cost, so `realized_pnl_micros` of a position
excludes them; the results of its `episodes` do not.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from libs.common.domain.episodes import NO_EPISODES, Episodes
from libs.common.domain.kinds import EntryType, Scope
from services.ledger.core.entries import Entry

Order = tuple[datetime, bool, str, int]
"""Place of an entry in its position's history: event time, then transaction (without one: last), then log index."""


@dataclass(frozen=True, slots=True)
class Holding:
    """Shares, their cost, what was realised so far, and its episodes; a short has negative shares and cost."""

    share_micros: int = 0
    cost_micros: int = 0
    realized_pnl_micros: int = 0
    episodes: Episodes = NO_EPISODES

    def moved(
        self, share_micros: int, cost_micros: int, realised_micros: int = 0, *, resumes: bool = False
    ) -> "Holding":
        """Return the position with these shares and cost after `realised_micros` more were realised."""
        return Holding(
            share_micros,
            cost_micros,
            self.realized_pnl_micros + realised_micros,
            self.episodes.moved(self.share_micros, share_micros, realised_micros, resumes=resumes),
        )


NOTHING: Final = Holding()


def order_of(event_time: datetime, tx_hash: str | None, log_index: int | None) -> Order:
    """Return the place of an entry in its position's history."""
    return event_time, tx_hash is None, tx_hash or "", -1 if log_index is None else log_index


def post(holding: Holding, entry: Entry) -> Holding:
    """Return `holding` after one entry that `concerns_position`."""
    if entry.entry_type is EntryType.FEE:
        episodes = holding.episodes.charged(holding.share_micros, -entry.cash_delta_micros)
        return replace(holding, episodes=episodes)
    resumes = entry.entry_type is EntryType.SETTLEMENT
    return apply(holding, entry.share_delta_micros, entry.basis_micros, resumes=resumes)


def apply(holding: Holding, share_delta_micros: int, basis_micros: int, *, resumes: bool = False) -> Holding:
    """Return `holding` after one entry; `basis_micros` is what its shares cost (negative: brought).

    One that `resumes` begins no episode: it goes on with the one closed last.
    """
    held, delta = holding.share_micros, share_delta_micros
    if delta == 0:
        return holding.moved(held, holding.cost_micros, -basis_micros)
    if held == 0 or (held > 0) == (delta > 0):
        return holding.moved(held + delta, holding.cost_micros + basis_micros, resumes=resumes)
    if abs(delta) <= abs(held):
        return _reduce(holding, delta, basis_micros)
    magnitude = abs(basis_micros) * abs(held) // abs(delta)
    closing = magnitude if basis_micros >= 0 else -magnitude
    flat = _reduce(holding, -held, closing)
    return flat.moved(held + delta, basis_micros - closing, resumes=resumes)


def _reduce(holding: Holding, delta: int, basis_micros: int) -> Holding:
    held, cost = holding.share_micros, holding.cost_micros
    removed = cost if delta == -held else cost * -delta // held
    return holding.moved(held + delta, cost - removed, -basis_micros - removed)


def moves_position(entry: Entry) -> bool:
    """Tell whether an entry changes a position's shares, cost or realised profit: fees and flows do not."""
    if entry.asset_id is None or entry.entry_type is EntryType.FEE:
        return False
    return bool(entry.share_delta_micros or entry.basis_micros)


def concerns_position(entry: Entry) -> bool:
    """Tell whether an entry belongs to a position's fold: what moves it, and fees, which its episodes pay."""
    return moves_position(entry) or (entry.asset_id is not None and entry.entry_type is EntryType.FEE)


def refold(entries: Iterable[Entry], holding: Holding = NOTHING) -> Holding:
    """Fold all entries of one position (from nothing), in the given order; what was reversed never happened.

    With a `holding` that is the fold of all entries before these; no pair of entry and reversal may be split so.
    """
    history: Sequence[Entry] = tuple(entries)
    gone = {entry.reverses for entry in history if entry.reverses is not None}
    for entry in history:
        if entry.reverses is None and entry.id not in gone and concerns_position(entry):
            holding = post(holding, entry)
    return holding


def in_order(scope: Scope, entries: Sequence[Entry]) -> Sequence[Entry]:
    """Return one position's entries, given as posted, in the order they fold in.

    A shadow's happened when the chain says; an executable's happened when they were posted, because its decisions
    are made and posted in one order.
    """
    if scope is not Scope.SHADOW_USER:
        return entries
    return sorted(entries, key=lambda entry: order_of(entry.event_time, entry.tx_hash, entry.log_index))
