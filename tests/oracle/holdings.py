"""What an executable portfolio had before each of its decisions, replayed from its attempts in order of `seq`."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from tests.oracle.ledger import entries, portfolio
from tests.oracle.run import Row, Run, Violation
from tests.oracle.tape import Tape

CHECK = "holdings"
POSTING_SLACK = 2_000_000
"""A settlement posted about when a decision was made may or may not have been seen by it."""


@dataclass
class Holdings:
    """Replay state of one portfolio."""

    cash: int
    shares: Counter[str]
    settlements: list[Row]
    cost: Counter[str] = field(default_factory=Counter)
    sources: dict[str, Counter[str]] = field(default_factory=dict)
    """Open shares of each token by the user they were copied from."""

    def settle_one(self) -> None:
        """Apply the next settlement entry."""
        row = self.settlements.pop(0)
        self.cash += row["cash_delta_micros"]
        self.shares[row["asset_id"]] += row["share_delta_micros"]
        self.cost[row["asset_id"]] = 0
        self.sources.pop(row["asset_id"], None)

    def _move(self, asset: str, shares: int, paid: int, source: str, follow_order: list[str]) -> None:
        """Add shares at what was paid, or remove them at average cost: all of it with the last share."""
        found = self.sources.setdefault(asset, Counter())
        if shares > 0:
            found[source] += shares
        else:
            found.subtract(_shared(found, -shares, follow_order))
        if shares > 0:
            self.cost[asset] += paid
        elif self.shares[asset]:
            self.cost[asset] -= self.cost[asset] * -shares // self.shares[asset]
        self.shares[asset] += shares

    def apply(self, attempt: Row, tape: Tape) -> None:
        """Apply what an executed attempt does."""
        if attempt["decision"] != "EXECUTE":
            return
        shares, notional, fee = attempt["filled_share_micros"], attempt["filled_notional_micros"], attempt["fee_micros"]
        followed = list(dict.fromkeys(tape.labels.values()))
        if attempt["kind"] == "TRADE":
            sign = 1 if attempt["side"] == "BUY" else -1
            self._move(attempt["asset_id"], sign * shares, notional, attempt["user_label"], followed)
            self.cash += -sign * notional - fee
            return
        sign = 1 if attempt["kind"] == "SPLIT" else -1
        for place, asset in enumerate(tape.markets[attempt["condition_id"]].assets):
            paid = shares // 2 + (shares % 2 if place == 0 else 0)
            self._move(asset, sign * shares, paid, attempt["user_label"], followed)
        self.cash -= sign * shares


def _shared(open_shares: Counter[str], lost: int, follow_order: list[str]) -> Counter[str]:
    """Share a loss pro rata: what rounding leaves over goes by largest remainder, ties to who was followed first."""
    total = open_shares.total()
    if not total:
        return Counter()
    exact = {label: Fraction(lost * shares, total) for label, shares in open_shares.items()}
    parts = Counter({label: int(each) for label, each in exact.items()})
    ranked = sorted(exact, key=lambda label: (int(exact[label]) - exact[label], follow_order.index(label)))
    parts.update(ranked[: lost - parts.total()])
    return parts


def attempts_in_order(run: Run) -> dict[tuple[str, str | None], list[Row]]:
    """Return the attempts of each executable portfolio by `seq`."""
    found: dict[tuple[str, str | None], list[Row]] = {}
    for row in sorted(run["attempts"], key=lambda row: int(row["seq"])):
        found.setdefault(portfolio(row), []).append(row)
    return found


def opening(run: Run, owner: tuple[str, str | None]) -> Holdings:
    """Return a portfolio before its first decision: its bankroll, and the settlements to come."""
    rows = [row for row in entries(run) if portfolio(row) == owner]
    deposits = sum(row["cash_delta_micros"] for row in rows if row["entry_type"] in {"DEPOSIT", "WITHDRAWAL"})
    return Holdings(deposits, Counter(), [row for row in rows if row["entry_type"] == "SETTLEMENT"])


def held_by(attempt: Row, state: Holdings, tape: Tape) -> int | None:
    """Return the shares a reduction may use: of the token, or of the smaller leg."""
    if attempt["kind"] == "TRADE":
        return state.shares[attempt["asset_id"]]
    market = tape.markets.get(attempt["condition_id"])
    return min(state.shares[asset] for asset in market.assets) if market and attempt["kind"] == "MERGE" else None


def check_recorded_holdings(tape: Tape, run: Run) -> Iterator[Violation]:
    """Cash and held shares recorded before each decision are what all earlier decisions and settlements leave."""
    for owner, attempts in attempts_in_order(run).items():
        state = opening(run, owner)
        for attempt in attempts:
            if attempt["cash_micros"] is not None:
                yield from _compare(attempt, state, tape)
            state.apply(attempt, tape)


def _agrees(attempt: Row, state: Holdings, tape: Tape) -> bool:
    held = held_by(attempt, state, tape)
    same_shares = attempt["held_share_micros"] is None or held is None or attempt["held_share_micros"] == held
    return bool(attempt["cash_micros"] == state.cash and same_shares)


def _compare(attempt: Row, state: Holdings, tape: Tape) -> Iterator[Violation]:
    before = state.cash, held_by(attempt, state, tape)
    while not _agrees(attempt, state, tape):
        if not state.settlements or state.settlements[0]["created_at"] > attempt["decided_at"] + POSTING_SLACK:
            recorded = attempt["cash_micros"], attempt["held_share_micros"]
            now = state.cash, held_by(attempt, state, tape)
            message = f"recorded (cash, held) {recorded}, earlier decisions leave {before} or, settled, {now}"
            yield Violation(CHECK, f"attempt {attempt['id']}", message)
            return
        state.settle_one()


CHECKS = (check_recorded_holdings,)
