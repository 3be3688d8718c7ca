"""SPEC 6 and 7: every portfolio recomputed from exported events, attempts and marks equals what the run has of it.

Bankroll, openings and payouts are the tape's, deposits and withdrawals the audit's. Two things nothing else tells, and
the ledger is asked: how a conversion's cash lies on its legs, and into which parts a settlement fell, because each part
is rounded by itself and which there are depends on what was seen when. The parts must add up to what is held, or the
position does not end at zero here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import groupby, permutations
from math import floor
from typing import Any, Final

from tests.oracle.holdings import attempts_in_order
from tests.oracle.ledger import bankroll_of, entries, flows, portfolio
from tests.oracle.run import Row, Run, Violation
from tests.oracle.shadow import payout_of, settled_cash
from tests.oracle.tape import MICROS, Tape

CHECK: Final = "portfolios"
SHADOW: Final = "SHADOW_USER"
TIED_MAX: Final = 5
"""Moves of one place in the order of which every order is tried; of more, only that in which they were seen."""

Owner = tuple[str, str | None]
Place = tuple[Any, ...]
FIRST: Final[Place] = (0, "", -1)


@dataclass(frozen=True)
class Held:
    """One token of one portfolio: shares, what they cost at average (a short: minus what it brought), realised PnL."""

    shares: int = 0
    cost: int = 0
    realized: int = 0

    def after(self, shares: int, paid: int) -> "Held":
        """Return it after shares came (negative: went) for what was paid (negative: what they brought)."""
        if shares == 0:
            return Held(self.shares, self.cost, self.realized - paid)
        if self.shares * shares >= 0:
            return Held(self.shares + shares, self.cost + paid, self.realized)
        if abs(shares) <= abs(self.shares):
            removed = self.cost if shares == -self.shares else floor(Fraction(self.cost * -shares, self.shares))
            return Held(self.shares + shares, self.cost - removed, self.realized - paid - removed)
        closing = int(Fraction(paid * self.shares, -shares))  # toward zero; what is left opens the other side
        return self.after(-self.shares, closing).after(shares + self.shares, paid - closing)


@dataclass(frozen=True)
class Move:
    """Shares of a token that came or went, for what, and their place in the history of the token."""

    place: Place
    asset: str
    shares: int
    paid: int


def ends(moves: list[Move]) -> list[Held]:
    """Return what a token's history may come to: moves of one place have no order that SPEC 6 knows."""
    states = [Held()]
    for _, tied in groupby(sorted(moves, key=lambda move: move.place), key=lambda move: move.place):
        steps = [(move.shares, move.paid) for move in tied]
        ways = dict.fromkeys(permutations(steps)) if len(steps) <= TIED_MAX else [tuple(steps)]
        states = list(dict.fromkeys(_walked(state, way) for state in states for way in ways))
    return states


def _walked(state: Held, steps: tuple[tuple[int, int], ...]) -> Held:
    for shares, paid in steps:
        state = state.after(shares, paid)
    return state


@dataclass
class Recomputed:
    """One portfolio from nothing."""

    cash: int = 0
    deposits: int = 0
    withdrawals: int = 0
    fees: int = 0
    moves: dict[str, list[Move]] = field(default_factory=dict)

    def move(self, place: Place, asset: str, shares: int, paid: int, cash: int) -> None:
        """Book shares that came for what was paid; the cash is another where a split pays for two legs at once."""
        self.moves.setdefault(asset, []).append(Move(place, asset, shares, paid))
        self.cash += cash

    def trade(self, place: Place, row: Row, shares: int, notional: int) -> None:
        """Book a fill, and its fee, which is in no cost."""
        sign = 1 if row["side"] == "BUY" else -1
        self.move(place, row["asset_id"], sign * shares, sign * notional, -sign * notional - row["fee_micros"])
        self.fees += row["fee_micros"]

    def pairs(self, place: Place, kind: str, assets: tuple[str, ...], count: int) -> None:
        """Book a split or merge: each leg costs or brings an equal part, odd micros fall to outcome 0."""
        sign, part = (1 if kind == "SPLIT" else -1), count // len(assets)
        for index, asset in enumerate(assets):
            paid = part if index else count - part * (len(assets) - 1)
            self.move(place, asset, sign * count, sign * paid, 0 if index else -sign * count)

    def flow(self, amount: int) -> None:
        """Book money that a person put in, or (negative) took out."""
        self.cash += amount
        self.deposits += max(amount, 0)
        self.withdrawals += max(-amount, 0)

    def settle(self, tape: Tape, run: Run, owner: Owner) -> None:
        """Pay out what resolved, in the parts it was paid out in; whatever came when, it ends at zero."""
        gone = {row["reverses"] for row in run["ledger"]}
        for number, row in enumerate(entries(run)):
            payout = payout_of(tape, row["asset_id"]) if row["entry_type"] == "SETTLEMENT" else None
            if payout is not None and portfolio(row) == owner and row["id"] not in gone:
                shares = -row["share_delta_micros"]
                brought = settled_cash(shares, payout)
                self.move((LAST, "", number), row["asset_id"], -shares, -brought, brought)


LAST: Final = 10**18
"""Later than any event; the order of what ends at zero does not matter to where it ends."""


def _place(event: Row) -> Place:
    log = event["log_index"]
    return event["event_time"], event["tx_hash"], event.get("ordinal") or 0 if log is None else log


def _shadow(tape: Tape, run: Run, label: str) -> Recomputed:
    found = Recomputed()
    for (owner, asset), shares in tape.openings.items():
        if owner == label:
            cost = tape.opening_costs[owner, asset]
            found.move(FIRST, asset, shares, cost, 0)
            found.deposits += cost
    for row in run["events"]:
        if row["user_label"] != label or row["status"] != "CANONICAL" or not row.get("booked", True):
            continue
        market = tape.markets.get(row["condition_id"])
        if row["kind"] == "TRADE" and row["share_micros"]:
            found.trade(_place(row), row, row["share_micros"], row["usdc_notional_micros"])
        elif row["kind"] in {"SPLIT", "MERGE"} and row["share_micros"] and market:
            found.pairs(_place(row), row["kind"], market.assets, row["share_micros"])
    conversions = {row["id"]: row for row in run["events"] if row["kind"] == "CONVERSION"}
    for row in run["ledger"]:
        if row["entry_type"] == "ADJUSTMENT" and row["user_label"] == label and row["ref_id"] in conversions:
            cash = row["cash_delta_micros"]
            found.move(_place(conversions[row["ref_id"]]), row["asset_id"], row["share_delta_micros"], -cash, cash)
    return found


def _executable(tape: Tape, run: Run, owner: Owner) -> Recomputed:
    found = Recomputed()
    found.flow(bankroll_of(tape))
    for amount in flows(run, owner):
        found.flow(amount)
    for number, attempt in enumerate(attempts_in_order(run).get(owner, [])):
        if attempt["decision"] != "EXECUTE":
            continue
        place, shares = (0, "", number), attempt["filled_share_micros"]
        if attempt["kind"] == "TRADE":
            found.trade(place, attempt, shares, attempt["filled_notional_micros"])
        else:
            found.pairs(place, attempt["kind"], tape.markets[attempt["condition_id"]].assets, shares)
    return found


def recomputed(tape: Tape, run: Run) -> dict[Owner, Recomputed]:
    """Return every portfolio there must be: each followed user's two, and the global one."""
    labels = sorted({*tape.labels.values(), *(row["user_label"] for row in run["ledger"] if row["user_label"])})
    found: dict[Owner, Recomputed] = {(SHADOW, label): _shadow(tape, run, label) for label in labels}
    for owner in (*(("EXEC_USER", label) for label in labels), ("EXEC_GLOBAL", None)):
        found[owner] = _executable(tape, run, owner)
    for owner, each in found.items():
        each.settle(tape, run, owner)
    return found


def _kept(run: Run) -> dict[tuple[Owner, str], Held]:
    names = ("share_micros", "cost_micros", "realized_pnl_micros")
    return {(portfolio(row), row["asset_id"]): Held(*(row[name] for name in names)) for row in run["positions"]}


def check_positions(tape: Tape, run: Run) -> Iterator[Violation]:
    """Compare shares, cost and realised PnL of every position of every portfolio."""
    kept = _kept(run)
    wanted = {
        (owner, asset): ends(moves)
        for owner, each in recomputed(tape, run).items()
        for asset, moves in each.moves.items()
    }
    for place in sorted(kept.keys() | wanted.keys(), key=str):
        given, expected = kept.get(place, Held()), wanted.get(place, [Held()])
        if given not in expected:
            yield Violation(CHECK, f"position {place}", f"{given}, events and attempts give {expected[0]}")


def check_newest_snapshots(tape: Tape, run: Run) -> Iterator[Violation]:
    """Compare the newest snapshot of every portfolio, its positions worth their latest marks, in every column."""
    kept, newest, marks = _kept(run), dict[Owner, Row](), dict[str, int]()
    for row in sorted(run["snapshots"], key=lambda row: int(row["at"])):
        newest[portfolio(row)] = row
    for row in sorted(run["marks"], key=lambda row: int(row["at"])):
        marks[row["asset_id"]] = row["price_micros"]
    for owner, each in recomputed(tape, run).items():
        held: dict[str, Held] = {}
        for asset, moves in each.moves.items():
            possible = ends(moves)
            told = kept.get((owner, asset), Held())
            held[asset] = told if told in possible else possible[0]
        exposure = sum(
            floor(Fraction(one.shares * marks[asset], MICROS)) if asset in marks else one.cost
            for asset, one in held.items()
        )
        expected = {
            "cash_micros": each.cash,
            "exposure_micros": exposure,
            "equity_micros": each.cash + exposure,
            "unrealized_pnl_micros": exposure - sum(one.cost for one in held.values()),
            "realized_pnl_micros": sum(one.realized for one in held.values()) - each.fees,
            "deposits_micros": each.deposits,
            "withdrawals_micros": each.withdrawals,
            "fees_micros": each.fees,
        }
        row = newest.get(owner, {})
        for name, value in expected.items():
            if row.get(name, 0) != value:  # who never traded has no snapshot, and nothing
                message = f"the newest snapshot has {name} {row.get(name)}, events, attempts and marks give {value}"
                yield Violation(CHECK, f"portfolio {owner}", message)


def check_snapshots_add_up(_tape: Tape, run: Run) -> Iterator[Violation]:
    """PnL by equity and flows is PnL by realised and unrealised, in every snapshot."""
    for row in run["snapshots"]:
        by_flows = row["equity_micros"] - row["deposits_micros"] + row["withdrawals_micros"]
        by_parts = row["realized_pnl_micros"] + row["unrealized_pnl_micros"]
        if by_flows != by_parts:
            message = f"PnL is {by_flows} by equity and flows, {by_parts} by realised and unrealised"
            yield Violation(CHECK, f"snapshot of {portfolio(row)} at {row['at']}", message)


def check_sources(_tape: Tape, run: Run) -> Iterator[Violation]:
    """In EXEC_GLOBAL each entry of an attempt names the user it was copied from; elsewhere there is nothing to name."""
    users = {row["id"]: row["user_label"] for row in run["attempts"] if row["scope"] == "EXEC_GLOBAL"}
    for row in run["ledger"]:
        wanted = users.get(row["ref_id"])
        if row["entry_type"] not in {"SETTLEMENT", "REVERSAL"} and row["source_user"] != wanted:
            message = f"put down to {row['source_user']}, copied from {wanted}"
            yield Violation(CHECK, f"entry {row['id']} in {row['scope']}", message)


CHECKS = (check_positions, check_newest_snapshots, check_snapshots_add_up, check_sources)
