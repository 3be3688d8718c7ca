"""A toy of all the books: SPEC 6 and 7 written a second time, to hold every portfolio of the real ones against.

A portfolio is the list of what was posted in it, each thing once whatever was heard how often; every answer is worked
out from that list when somebody asks. Like `toy_ledger`, whose positions it uses, it shares no code with the services.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import floor
from typing import Any

from tests.support.toy_ledger import MILLION, ToyMove, ToyPosition, toy_payout

When = tuple[Any, ...]
"""Event time, whether there is no transaction, the transaction, the log index or ordinal."""


@dataclass(frozen=True)
class Happened:
    """One thing in one portfolio: shares that moved, and money beside them; `source` is whom a copy was made from."""

    moves: tuple[ToyMove, ...] = ()
    fee: int = 0
    deposit: int = 0
    withdrawn: int = 0
    source: str = ""


def traded(when: When, asset: str, shares: int, notional: int, fee: int, source: str = "") -> Happened:
    """Return a fill; shares and notional are negative for a SELL."""
    return Happened((ToyMove(when, asset, shares, notional, -notional),), fee, source=source)


def paired(when: When, assets: tuple[str, str], shares: int, source: str = "") -> Happened:
    """Return a split (positive) or merge (negative): half the money a leg, odd micro and cash at outcome 0."""
    half = int(Fraction(shares, 2))
    legs = ToyMove(when, assets[0], shares, shares - half, -shares), ToyMove(when, assets[1], shares, half, 0)
    return Happened(legs, source=source)


def opened(when: When, asset: str, shares: int, mark: int) -> Happened:
    """Return shares held at the follow: no cash, and their worth counts as a deposit."""
    worth = floor(Fraction(shares * mark, MILLION))
    return Happened((ToyMove(when, asset, shares, worth, 0),), deposit=worth)


def flowed(amount: int) -> Happened:
    """Return a deposit, or a withdrawal (negative)."""
    return Happened((), deposit=max(amount, 0), withdrawn=max(-amount, 0))


@dataclass
class ToyPortfolio:
    """One portfolio. A shadow's things happened when the chain says, an executable's when they were posted."""

    by_time: bool
    posted: dict[str, Happened] = field(default_factory=dict)
    taken_back: set[str] = field(default_factory=set)

    def post(self, name: str, what: Happened) -> None:
        """Post something once."""
        self.posted.setdefault(name, what)

    def place(self, name: str, when: When) -> None:
        """Learn where something that is posted stands; its amounts stay."""
        what = self.posted[name]
        self.posted[name] = replace(what, moves=tuple(replace(move, when=when) for move in what.moves))

    def standing(self) -> list[Happened]:
        """Return what was posted and not taken back."""
        return [what for name, what in self.posted.items() if name not in self.taken_back]

    def assets(self) -> set[str]:
        """Return every token that ever moved."""
        return {move.asset for what in self.posted.values() for move in what.moves}

    def position(self, asset: str) -> ToyPosition:
        """Walk through one token's moves."""
        moves = [move for what in self.standing() for move in what.moves if move.asset == asset]
        position = ToyPosition()
        for move in sorted(moves, key=lambda move: move.when) if self.by_time else moves:
            position.take(move.shares, move.paid)
        return position

    def cash(self) -> int:
        """Return the cash; an opening brought none."""
        stand = self.standing()
        flows = sum(what.deposit - what.withdrawn for what in stand if not what.moves)
        return flows + sum(move.cash for what in stand for move in what.moves) - self.fees()

    def fees(self) -> int:
        """Return the fees paid."""
        return sum(what.fee for what in self.standing())

    def settle(self, asset: str, payout: int, resolved_at: Any) -> None:
        """Pay out what is open of a token: at the resolution, but not before the last thing it pays for."""
        shares = self.position(asset).shares
        if shares:
            brought = toy_payout(shares, payout)
            moves = [move for what in self.posted.values() for move in what.moves if move.asset == asset]
            at = max(resolved_at, *(move.when[0] for move in moves))
            move = ToyMove((at, True, "", -1), asset, -shares, -brought, brought)
            self.post(f"settlement {len(self.posted)}", Happened((move,)))

    def sources(self, asset: str, followed: list[str]) -> dict[str, int]:
        """Return whose the open shares of a token are: bought for one, gone from all pro rata."""
        held: Counter[str] = Counter()
        for what in self.standing():
            for move in what.moves:
                if move.asset != asset:
                    continue
                if move.shares > 0:
                    held[what.source] += move.shares
                    continue
                exact = {user: Fraction(each * -move.shares, held.total()) for user, each in held.items() if each}
                whole = {user: floor(share) for user, share in exact.items()}
                by_remainder = sorted(exact, key=lambda user: (whole[user] - exact[user], followed.index(user)))
                for user in by_remainder[: -move.shares - sum(whole.values())]:
                    whole[user] += 1
                held.subtract(whole)
        return {user: shares for user, shares in held.items() if shares}


@dataclass(frozen=True)
class Standing:
    """What a portfolio comes to."""

    cash: int
    deposits: int
    withdrawals: int
    fees: int
    realized: int
    exposure: int
    unrealized: int


class ToyBooks:
    """Every portfolio by name, the payouts that are final, and the latest marks."""

    def __init__(self) -> None:
        self.portfolios: dict[tuple[str, str | None], ToyPortfolio] = {}
        self.payouts: dict[str, tuple[int, Any]] = {}
        """Per token what a share pays, and since when."""
        self.marks: dict[str, int] = {}

    def open(self, scope: str, user: str | None, bankroll: int) -> ToyPortfolio:
        """Open a portfolio with a bankroll."""
        portfolio = self.portfolios[scope, user] = ToyPortfolio(by_time=scope == "SHADOW_USER")
        portfolio.post("bankroll", flowed(bankroll))
        return portfolio

    def settle_all(self) -> None:
        """Settle what is open of every resolved token, in every portfolio."""
        for portfolio in self.portfolios.values():
            for asset in sorted(portfolio.assets() & self.payouts.keys()):
                portfolio.settle(asset, *self.payouts[asset])

    def standing(self, portfolio: ToyPortfolio) -> Standing:
        """Return what a portfolio comes to at the latest marks; what was never marked is worth its cost."""
        positions = {asset: portfolio.position(asset) for asset in portfolio.assets()}
        exposure = sum(
            floor(Fraction(each.shares * self.marks[asset], MILLION)) if asset in self.marks else each.cost
            for asset, each in positions.items()
        )
        fees = portfolio.fees()
        return Standing(
            cash=portfolio.cash(),
            deposits=sum(what.deposit for what in portfolio.standing()),
            withdrawals=sum(what.withdrawn for what in portfolio.standing()),
            fees=fees,
            realized=sum(each.realized for each in positions.values()) - fees,
            exposure=exposure,
            unrealized=exposure - sum(each.cost for each in positions.values()),
        )
