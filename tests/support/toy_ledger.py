"""A toy ledger: the rules of SPEC 6 written a second time, slowly and plainly, to hold the real one against.

It knows facts, not entries: what happened is kept in a dictionary, so that hearing it twice changes nothing, and every
answer is computed from nothing by sorting all that happened and walking through it. It shares no code with the service.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor
from typing import Any

MILLION = 1_000_000


@dataclass(frozen=True)
class ToyMove:
    """Shares that came (positive) or went, and the money paid for them (positive) or got; `when` sorts."""

    when: tuple[Any, ...]
    asset: str
    shares: int
    paid: int
    cash: int


@dataclass
class ToyPosition:
    """Shares, average cost and what was realised."""

    shares: int = 0
    cost: int = 0
    realized: int = 0

    def take(self, shares: int, paid: int) -> None:
        """Apply one move."""
        if self.shares * shares >= 0:
            self.shares += shares
            self.cost += paid
            return
        going = min(abs(shares), abs(self.shares))
        part = paid if going == abs(shares) else int(Fraction(paid * going, abs(shares)))
        exact = Fraction(self.cost * going, abs(self.shares))
        removed = self.cost if going == abs(self.shares) else floor(exact)
        self.realized += -part - removed
        self.cost -= removed
        self.shares += going if shares > 0 else -going
        rest = shares + going if shares < 0 else shares - going
        if rest:
            self.shares, self.cost = rest, paid - part


@dataclass
class ToyLedger:
    """One shadow portfolio."""

    moves: dict[str, list[ToyMove]] = field(default_factory=dict)
    fees: dict[str, int] = field(default_factory=dict)
    reversed: set[str] = field(default_factory=set)

    def trade(self, name: str, when: tuple[object, ...], asset: str, shares: int, notional: int, fee: int) -> None:
        """Hear of a fill; shares and notional are positive for a BUY and negative for a SELL."""
        self.moves[name] = [ToyMove(when, asset, shares, notional, -notional)]
        self.fees[name] = fee

    def pair(self, name: str, when: tuple[object, ...], assets: tuple[str, str], shares: int) -> None:
        """Hear of a split (positive) or merge (negative)."""
        second = int(Fraction(shares, 2))
        self.moves[name] = [
            ToyMove(when, assets[0], shares, shares - second, -shares),
            ToyMove(when, assets[1], shares, second, 0),
        ]

    def reverse(self, name: str) -> None:
        """Hear that something never happened."""
        self.reversed.add(name)

    def standing(self) -> list[ToyMove]:
        """Return what did happen, in order."""
        stand = [move for name, moves in self.moves.items() if name not in self.reversed for move in moves]
        return sorted(stand, key=lambda move: move.when)

    def positions(self) -> dict[str, ToyPosition]:
        """Return every position before settlement."""
        found: dict[str, ToyPosition] = {}
        for move in self.standing():
            found.setdefault(move.asset, ToyPosition()).take(move.shares, move.paid)
        return found

    def cash(self) -> int:
        """Return the cash before settlement."""
        fees = sum(fee for name, fee in self.fees.items() if name not in self.reversed)
        return sum(move.cash for move in self.standing()) - fees

    def fees_paid(self) -> int:
        """Return the fees."""
        return sum(fee for name, fee in self.fees.items() if name not in self.reversed)


def toy_payout(shares: int, payout: int) -> int:
    """Return what a position brings at its payout: less for a long, and no less owed for a short, to the micro."""
    exact = Fraction(shares * payout, MILLION)
    return floor(exact) if shares >= 0 else ceil(exact)
