"""Ledger entries from facts: what a fill, split, merge, attempt, flow, opening or reversal posts (SPEC section 6).

An entry's id is a function of its key (scope, user, ref, type, asset), so the same fact always makes the same entries.
`cost_micros` is what the shares of an entry cost (negative: what they brought) where that is not its cash: the legs of
a SPLIT or MERGE, an OPENING. Everywhere else it is None and the cash says it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final
from uuid import UUID

from libs.common.domain.identity import identify
from libs.common.domain.kinds import EntryType, GroupKind, Scope, Side
from libs.common.domain.money import MICROS, notional_floor, price_ceil, price_floor

BANKROLL_REF: Final = "bankroll"
"""Ref of the DEPOSIT that opens an executable portfolio."""
BANKROLL_DEFAULT_MICROS: Final = 10_000 * MICROS
LEGS: Final = 2
"""Outcomes of a condition that executables copy; a split of one USDC gives one share of each."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose portfolio; EXEC_GLOBAL belongs to nobody."""

    scope: Scope
    user_id: UUID | None

    @property
    def portfolio_id(self) -> UUID:
        """Return the id of the one portfolio of this owner."""
        return portfolio_id(self.scope, self.user_id)


@dataclass(frozen=True, slots=True)
class Entry:
    """One posting. Deltas are signed from the portfolio's point of view."""

    id: UUID
    portfolio_id: UUID
    owner: Owner
    source_user_id: UUID | None
    condition_id: str | None
    asset_id: str | None
    entry_type: EntryType
    share_delta_micros: int
    cash_delta_micros: int
    cost_micros: int | None
    price_micros: int | None
    ref_id: str
    event_time: datetime
    tx_hash: str | None = None
    log_index: int | None = None
    reverses: UUID | None = None
    undoes: EntryType | None = None
    """Type of the entry a REVERSAL takes back."""

    @property
    def basis_micros(self) -> int:
        """Return what the shares cost (positive) or brought (negative)."""
        return -self.cash_delta_micros if self.cost_micros is None else self.cost_micros


@dataclass(frozen=True, slots=True)
class Posting:
    """Where and when a fact is posted: everything its entries have in common."""

    owner: Owner
    ref_id: str
    event_time: datetime
    condition_id: str | None = None
    source_user_id: UUID | None = None
    tx_hash: str | None = None
    log_index: int | None = None


@lru_cache(maxsize=4096)
def portfolio_id(scope: Scope, user_id: UUID | None) -> UUID:
    """Return the id of a portfolio."""
    return identify("portfolio", scope, user_id or "")


def entry_id(owner: Owner, ref_id: str, entry_type: EntryType, asset_id: str | None) -> UUID:
    """Return the id of the entry with this key."""
    return identify("entry", owner.scope, owner.user_id or "", ref_id, entry_type, asset_id or "")


def _entry(
    posting: Posting,
    entry_type: EntryType,
    asset_id: str | None,
    *,
    shares: int = 0,
    cash: int = 0,
    cost: int | None = None,
    price: int | None = None,
    undone: Entry | None = None,
) -> Entry:
    owner = posting.owner
    return Entry(
        id=entry_id(owner, posting.ref_id, entry_type, asset_id),
        portfolio_id=owner.portfolio_id,
        owner=owner,
        source_user_id=posting.source_user_id,
        condition_id=posting.condition_id,
        asset_id=asset_id,
        entry_type=entry_type,
        share_delta_micros=shares,
        cash_delta_micros=cash,
        cost_micros=cost,
        price_micros=price,
        ref_id=posting.ref_id,
        event_time=posting.event_time,
        tx_hash=posting.tx_hash,
        log_index=posting.log_index,
        reverses=undone.id if undone else None,
        undoes=undone.entry_type if undone else None,
    )


def trade(
    posting: Posting, asset_id: str, side: Side, *, share_micros: int, notional_micros: int, fee_micros: int
) -> tuple[Entry, ...]:
    """Return a TRADE_FILL and, where a fee was paid, a FEE. The price is the average, up for BUY and down for SELL."""
    if share_micros <= 0:
        return ()
    if side is Side.BUY:
        price, sign = price_ceil(notional_micros, share_micros), 1
    else:
        price, sign = price_floor(notional_micros, share_micros), -1
    fill = _entry(
        posting, EntryType.TRADE_FILL, asset_id, shares=sign * share_micros, cash=-sign * notional_micros, price=price
    )
    if not fee_micros:
        return (fill,)
    return fill, _entry(posting, EntryType.FEE, asset_id, cash=-fee_micros)


def pair(posting: Posting, kind: GroupKind, legs: Sequence[str], *, share_micros: int) -> tuple[Entry, ...]:
    """Return the two legs of a SPLIT or MERGE of `share_micros` pairs; `legs` are the assets by outcome index.

    Cash moves on the outcome-0 entry; each leg costs or brings an equal part, odd micros fall to outcome 0. A followed
    user's condition may have more outcomes than the LEGS that executables copy.
    """
    if len(legs) < LEGS:
        raise ValueError(f"ref {posting.ref_id}: expected {LEGS} legs or more, got {len(legs)}")
    if share_micros <= 0:
        return ()
    sign = 1 if kind is GroupKind.SPLIT else -1
    part, price = share_micros // len(legs), MICROS // len(legs)
    entry_type, shares = EntryType(kind), sign * share_micros
    first = sign * (share_micros - part * (len(legs) - 1))
    return (
        _entry(posting, entry_type, legs[0], shares=shares, cash=-shares, cost=first, price=price),
        *(_entry(posting, entry_type, leg, shares=shares, cost=sign * part, price=price) for leg in legs[1:]),
    )


def deposit(posting: Posting, amount_micros: int) -> Entry:
    """Return a DEPOSIT of `amount_micros`."""
    return _entry(posting, EntryType.DEPOSIT, None, cash=amount_micros)


def withdrawal(posting: Posting, amount_micros: int) -> Entry:
    """Return a WITHDRAWAL of `amount_micros`."""
    return _entry(posting, EntryType.WITHDRAWAL, None, cash=-amount_micros)


def opening(posting: Posting, asset_id: str, *, share_micros: int, mark_micros: int) -> Entry:
    """Return the OPENING of shares held at the follow; they cost shares * mark, which counts as a deposit."""
    cost = notional_floor(mark_micros, share_micros)
    return _entry(posting, EntryType.OPENING, asset_id, shares=share_micros, cost=cost, price=mark_micros)


def adjustment(posting: Posting, asset_id: str, *, share_delta_micros: int, cash_delta_micros: int) -> Entry:
    """Return an ADJUSTMENT that brings a shadow position to what the exchange reports after a conversion."""
    return _entry(posting, EntryType.ADJUSTMENT, asset_id, shares=share_delta_micros, cash=cash_delta_micros)


def settlement(posting: Posting, asset_id: str, *, share_micros: int, payout_micros: int) -> Entry:
    """Return the SETTLEMENT of a whole position: floor(shares * payout) for a long, ceil for a short."""
    cash = share_micros * payout_micros // MICROS if share_micros >= 0 else -(-share_micros * payout_micros // MICROS)
    return _entry(posting, EntryType.SETTLEMENT, asset_id, shares=-share_micros, cash=cash, price=payout_micros)


def reversal(entry: Entry, incarnation: int) -> Entry:
    """Return the REVERSAL that takes `entry`, of this incarnation of its fill, back."""
    posting = Posting(
        owner=entry.owner,
        ref_id=f"{entry.id}:{incarnation}",
        event_time=entry.event_time,
        condition_id=entry.condition_id,
        source_user_id=entry.source_user_id,
        tx_hash=entry.tx_hash,
        log_index=entry.log_index,
    )
    return _entry(
        posting,
        EntryType.REVERSAL,
        entry.asset_id,
        shares=-entry.share_delta_micros,
        cash=-entry.cash_delta_micros,
        cost=None if entry.cost_micros is None else -entry.cost_micros,
        price=entry.price_micros,
        undone=entry,
    )
