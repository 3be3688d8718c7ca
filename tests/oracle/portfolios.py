"""SPEC 6 and 7: every portfolio recomputed from exported events, attempts and marks equals what the run has of it.

Flows and conversions are taken as posted, because nothing else tells of them; payouts and openings are the tape's. Of
settlements only how many shares each of them ended is taken from the run: that depends on what was seen when.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor
from typing import Any

from tests.oracle.holdings import attempts_in_order
from tests.oracle.ledger import entries, portfolio
from tests.oracle.run import Row, Run, Violation
from tests.oracle.shadow import payout_of, settled_cash
from tests.oracle.tape import MICROS, Tape

CHECK = "portfolios"

Owner = tuple[str, str | None]


@dataclass
class Held:
    """One token of one portfolio: shares, what they cost at average (a short: minus what it brought), realised PnL."""

    shares: int = 0
    cost: int = 0
    realized: int = 0

    def trade(self, shares: int, paid: int) -> None:
        """Add shares (negative: remove them) for what was paid (negative: what they brought)."""
        if shares == 0:
            self.realized -= paid
        elif self.shares * shares >= 0:
            self.shares, self.cost = self.shares + shares, self.cost + paid
        elif abs(shares) <= abs(self.shares):
            removed = self.cost if shares == -self.shares else floor(Fraction(self.cost * -shares, self.shares))
            self.realized += -paid - removed
            self.shares, self.cost = self.shares + shares, self.cost - removed
        else:
            rest = self.shares + shares
            closing = int(Fraction(paid * self.shares, -shares))  # toward zero; what is left opens the other side
            self.trade(-self.shares, closing)
            self.trade(rest, paid - closing)


@dataclass
class Recomputed:
    """One portfolio from nothing."""

    cash: int = 0
    deposits: int = 0
    withdrawals: int = 0
    fees: int = 0
    tokens: dict[str, Held] = field(default_factory=dict)

    def trade(self, asset: str, shares: int, notional: int, fee: int) -> None:
        """Book a fill; shares and notional are signed."""
        self.tokens.setdefault(asset, Held()).trade(shares, notional)
        self.cash -= notional + fee
        self.fees += fee

    def pairs(self, assets: tuple[str, ...], count: int) -> None:
        """Book a split of so many pairs, or a merge (negative): half the money a leg, an odd micro to outcome 0."""
        half = int(Fraction(count, 2))
        for asset, paid in zip(assets, (count - half, half), strict=True):
            self.tokens.setdefault(asset, Held()).trade(count, paid)
        self.cash -= count

    def settle(self, asset: str, shares: int, payout: int) -> None:
        """Pay so many shares out (negative: a short), each settlement rounded by itself."""
        paid = settled_cash(shares, payout)
        self.tokens.setdefault(asset, Held()).trade(-shares, -paid)
        self.cash += paid

    def flow(self, row: Row) -> None:
        """Book money that a person put in or took out."""
        self.cash += row["cash_delta_micros"]
        if row["entry_type"] == "DEPOSIT":
            self.deposits += row["cash_delta_micros"]
        else:
            self.withdrawals -= row["cash_delta_micros"]


def _event_order(row: Row) -> tuple[Any, ...]:
    return (
        row["event_time"],
        row["tx_hash"],
        row["log_index"] if row["log_index"] is not None else row.get("ordinal", 0),
    )


def _shadow(tape: Tape, run: Run, label: str) -> Recomputed:
    found = Recomputed()
    for (owner, asset), shares in tape.openings.items():
        if owner == label:
            cost = tape.opening_costs[owner, asset]
            found.tokens.setdefault(asset, Held()).trade(shares, cost)
            found.deposits += cost
    adjustments = [row for row in run["ledger"] if row["entry_type"] == "ADJUSTMENT" and row["user_label"] == label]
    events = [
        row
        for row in run["events"]
        if row["user_label"] == label and row["status"] == "CANONICAL" and row.get("booked", True)
    ]
    for row in sorted([*events, *adjustments], key=_event_order):
        if "entry_type" in row:
            paid = -row["cash_delta_micros"]
            found.tokens.setdefault(row["asset_id"], Held()).trade(row["share_delta_micros"], paid)
            found.cash -= paid
        elif row["kind"] == "TRADE" and row["share_micros"]:
            sign = 1 if row["side"] == "BUY" else -1
            notional = sign * row["usdc_notional_micros"]
            found.trade(row["asset_id"], sign * row["share_micros"], notional, row["fee_micros"])
        elif row["kind"] in {"SPLIT", "MERGE"} and row["share_micros"]:
            sign = 1 if row["kind"] == "SPLIT" else -1
            found.pairs(tape.markets[row["condition_id"]].assets, sign * row["share_micros"])
    return found


def _executable(tape: Tape, run: Run, owner: Owner) -> Recomputed:
    found = Recomputed()
    for row in run["ledger"]:
        if portfolio(row) == owner and row["entry_type"] in {"DEPOSIT", "WITHDRAWAL"}:
            found.flow(row)
    settled = [row for row in entries(run) if portfolio(row) == owner and row["entry_type"] == "SETTLEMENT"]
    for attempt in attempts_in_order(run).get(owner, []):
        if attempt["decision"] != "EXECUTE":
            continue
        while settled and settled[0]["created_at"] < attempt["decided_at"]:
            _settle(tape, found, settled.pop(0))
        shares, notional = attempt["filled_share_micros"], attempt["filled_notional_micros"]
        if attempt["kind"] == "TRADE":
            sign = 1 if attempt["side"] == "BUY" else -1
            found.trade(attempt["asset_id"], sign * shares, sign * notional, attempt["fee_micros"])
        else:
            found.pairs(tape.markets[attempt["condition_id"]].assets, shares if attempt["kind"] == "SPLIT" else -shares)
    for row in settled:
        _settle(tape, found, row)
    return found


def _settle(tape: Tape, found: Recomputed, row: Row) -> None:
    payout = payout_of(tape, row["asset_id"])
    if payout is not None:
        found.settle(row["asset_id"], -row["share_delta_micros"], payout)


def recomputed(tape: Tape, run: Run) -> dict[Owner, Recomputed]:
    """Return every portfolio of a run."""
    owners = {portfolio(row) for kind in ("ledger", "snapshots") for row in run[kind]}
    found = {}
    for owner in sorted(owners, key=str):
        if owner[0] != "SHADOW_USER":
            found[owner] = _executable(tape, run, owner)
            continue
        found[owner] = _shadow(tape, run, owner[1] or "")
        for row in entries(run):
            if portfolio(row) == owner and row["entry_type"] == "SETTLEMENT":
                _settle(tape, found[owner], row)
    return found


def check_positions(tape: Tape, run: Run) -> Iterator[Violation]:
    """Compare shares, cost and realised PnL of every position of every portfolio."""
    kept = {
        (portfolio(row), row["asset_id"]): (row["share_micros"], row["cost_micros"], row["realized_pnl_micros"])
        for row in run["positions"]
    }
    expected = {
        (owner, asset): (held.shares, held.cost, held.realized)
        for owner, each in recomputed(tape, run).items()
        for asset, held in each.tokens.items()
    }
    for place in sorted(kept.keys() | expected.keys(), key=str):
        given, wanted = kept.get(place, (0, 0, 0)), expected.get(place, (0, 0, 0))
        if given != wanted:
            message = f"(shares, cost, realised) {given}, events and attempts give {wanted}"
            yield Violation(CHECK, f"position {place}", message)


def check_newest_snapshots(tape: Tape, run: Run) -> Iterator[Violation]:
    """Compare the newest snapshot of every portfolio, its positions worth their latest marks, in every column."""
    newest: dict[Owner, Row] = {}
    for row in sorted(run["snapshots"], key=lambda row: int(row["at"])):
        newest[portfolio(row)] = row
    marks: dict[str, int] = {}
    for row in sorted(run["marks"], key=lambda row: int(row["at"])):
        marks[row["asset_id"]] = row["price_micros"]
    for owner, each in recomputed(tape, run).items():
        if owner not in newest:
            continue
        open_tokens = {asset: held for asset, held in each.tokens.items() if held.shares}
        exposure = sum(
            held.shares * marks[asset] // MICROS if asset in marks else held.cost for asset, held in open_tokens.items()
        )
        expected = {
            "cash_micros": each.cash,
            "exposure_micros": exposure,
            "equity_micros": each.cash + exposure,
            "unrealized_pnl_micros": exposure - sum(held.cost for held in open_tokens.values()),
            "realized_pnl_micros": sum(held.realized for held in each.tokens.values()) - each.fees,
            "deposits_micros": each.deposits,
            "withdrawals_micros": each.withdrawals,
            "fees_micros": each.fees,
        }
        for name, value in expected.items():
            found = newest[owner].get(name, value)
            if found != value:
                message = f"the newest snapshot has {name} {found}, events, attempts and marks give {value}"
                yield Violation(CHECK, f"portfolio {owner}", message)


def check_snapshots_add_up(_tape: Tape, run: Run) -> Iterator[Violation]:
    """PnL by equity and flows is PnL by realised and unrealised, in every snapshot."""
    for row in run["snapshots"]:
        by_flows = row["equity_micros"] - row["deposits_micros"] + row.get("withdrawals_micros", 0)
        by_parts = row["realized_pnl_micros"] + row["unrealized_pnl_micros"]
        if by_flows != by_parts:
            message = f"PnL is {by_flows} by equity and flows, {by_parts} by realised and unrealised"
            yield Violation(CHECK, f"snapshot of {portfolio(row)} at {row['at']}", message)


CHECKS = (check_positions, check_newest_snapshots, check_snapshots_add_up)
