"""SPEC 6: entries are unique, sums match projections, executables never go below zero, attempts and entries pair up."""

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction

from tests.oracle.run import Row, Run, Violation
from tests.oracle.shadow import payout_of, settled_cash
from tests.oracle.tape import Tape

CHECK = "ledger"
BANKROLL = 10_000_000_000
FLOWS = {"deposit": 1, "withdrawal": -1}


def portfolio(row: Row) -> tuple[str, str | None]:
    """Return (scope, user label); EXEC_GLOBAL belongs to nobody."""
    return row["scope"], None if row["scope"] == "EXEC_GLOBAL" else row["user_label"]


def entries(run: Run) -> list[Row]:
    """Return all ledger entries in their total order."""
    return sorted(run["ledger"], key=lambda row: int(row["seq"]))


def bankroll_of(tape: Tape) -> int:
    """Return what every executable portfolio of a tape starts with."""
    return int(tape.config.get("bankroll_micros") or BANKROLL)


def flows(run: Run, owner: tuple[str, str | None]) -> list[int]:
    """Return what the operator put into a portfolio, or (negative) took out, as the audit tells."""
    told = [(FLOWS[row["action"]], row["detail"]) for row in run["audit"] if row["action"] in FLOWS]
    return [sign * int(detail["amount_micros"]) for sign, detail in told if (detail["scope"], detail["user"]) == owner]


def check_keys_unique(_tape: Tape, run: Run) -> Iterator[Violation]:
    """Find no posting twice: (scope, user, ref, type, asset) with nulls equal."""
    keys = Counter((*portfolio(row), row["ref_id"], row["entry_type"], row["asset_id"]) for row in run["ledger"])
    for key, count in keys.items():
        if count > 1:
            yield Violation(CHECK, f"entry {key}", f"posted {count} times")
    for name in ("id", "seq"):
        for value, count in Counter(row[name] for row in run["ledger"]).items():
            if count > 1:
                yield Violation(CHECK, f"{name} {value}", f"{count} entries bear it")


def check_positions_are_sums(_tape: Tape, run: Run) -> Iterator[Violation]:
    """Compare each position with the sum of its share deltas."""
    sums: Counter[tuple[str, str | None, str]] = Counter()
    for row in run["ledger"]:
        if row["share_delta_micros"]:
            sums[*portfolio(row), row["asset_id"]] += row["share_delta_micros"]
    held = Counter({(*portfolio(row), row["asset_id"]): row["share_micros"] for row in run["positions"]})
    for place in sorted(sums.keys() | held.keys(), key=str):
        if sums[place] != held[place]:
            yield Violation(
                CHECK, f"position {place}", f"entries sum to {sums[place]}, the projection says {held[place]}"
            )


def check_snapshots_end_at_the_sum(_tape: Tape, run: Run) -> Iterator[Violation]:
    """Compare the newest snapshot of each portfolio with the sum of its cash deltas."""
    cash: Counter[tuple[str, str | None]] = Counter()
    for row in run["ledger"]:
        cash[portfolio(row)] += row["cash_delta_micros"]
    newest: dict[tuple[str, str | None], Row] = {}
    for row in run["snapshots"]:
        if portfolio(row) not in newest or row["at"] > newest[portfolio(row)]["at"]:
            newest[portfolio(row)] = row
        if row["equity_micros"] != row["cash_micros"] + row["exposure_micros"]:
            subject = f"{portfolio(row)} at {row['at']}"
            yield Violation(CHECK, subject, f"equity {row['equity_micros']} is not cash + exposure")
    for place in sorted(cash.keys() | newest.keys(), key=str):
        if place not in newest:
            yield Violation(CHECK, f"snapshots of {place}", "none, yet it has entries")
        elif newest[place]["cash_micros"] != cash[place]:
            found = newest[place]["cash_micros"]
            yield Violation(
                CHECK, f"snapshots of {place}", f"the newest has cash {found}, entries sum to {cash[place]}"
            )


def check_executables_never_negative(_tape: Tape, run: Run) -> Iterator[Violation]:
    """Follow executable cash and shares entry by entry; an attempt's fill and fee count as one step."""
    cash: Counter[tuple[str, str | None]] = Counter()
    shares: Counter[tuple[str, str | None, str]] = Counter()
    rows = [row for row in entries(run) if row["scope"] != "SHADOW_USER"]
    for place, row in enumerate(rows):
        cash[portfolio(row)] += row["cash_delta_micros"]
        if row["asset_id"] is not None:
            shares[*portfolio(row), row["asset_id"]] += row["share_delta_micros"]
            if shares[*portfolio(row), row["asset_id"]] < 0:
                yield Violation(CHECK, f"entry {row['id']}", f"leaves {portfolio(row)} short of {row['asset_id']}")
        step_goes_on = place + 1 < len(rows) and rows[place + 1]["ref_id"] == row["ref_id"]
        if cash[portfolio(row)] < 0 and not step_goes_on:
            yield Violation(CHECK, f"entry {row['id']}", f"leaves {portfolio(row)} with cash {cash[portfolio(row)]}")


def _expected_entries(attempt: Row, tape: Tape) -> dict[tuple[str, str], tuple[int, int]]:
    """Return (type, asset) -> (shares, cash) of an executed attempt; a zero fee may be posted or not."""
    shares, notional, fee = attempt["filled_share_micros"], attempt["filled_notional_micros"], attempt["fee_micros"]
    if attempt["kind"] == "TRADE":
        sign = 1 if attempt["side"] == "BUY" else -1
        found = {("TRADE_FILL", attempt["asset_id"]): (sign * shares, -sign * notional)}
        if fee:
            found["FEE", attempt["asset_id"]] = (0, -fee)
        return found
    sign = 1 if attempt["kind"] == "SPLIT" else -1
    assets = tape.markets[attempt["condition_id"]].assets
    return {
        (attempt["kind"], asset): (sign * shares, 0 if index else -sign * shares) for index, asset in enumerate(assets)
    }


def check_attempts_and_entries_pair_up(tape: Tape, run: Run) -> Iterator[Violation]:
    """Find for each EXECUTE exactly its entries and amounts, and no entry without one."""
    posted: dict[str, dict[tuple[str, str], tuple[int, int]]] = {}
    for row in run["ledger"]:
        if row["scope"] != "SHADOW_USER" and row["entry_type"] in {"TRADE_FILL", "FEE", "SPLIT", "MERGE"}:
            amounts = (row["share_delta_micros"], row["cash_delta_micros"])
            if row["entry_type"] != "FEE" or any(amounts):
                posted.setdefault(row["ref_id"], {})[row["entry_type"], row["asset_id"]] = amounts
    executed = {row["id"]: row for row in run["attempts"] if row["decision"] == "EXECUTE"}
    for identity in sorted(executed.keys() | posted.keys()):
        if identity not in executed:
            yield Violation(CHECK, f"ref {identity}", "entries of an attempt that was not executed")
            continue
        expected = _expected_entries(executed[identity], tape)
        if posted.get(identity, {}) != expected:
            yield Violation(
                CHECK, f"attempt {identity}", f"expected entries {expected}, found {posted.get(identity, {})}"
            )


def check_settlements(tape: Tape, run: Run) -> Iterator[Violation]:
    """Each SETTLEMENT closes the whole position as it stood, at the tape's payout."""
    shares: Counter[tuple[str, str | None, str]] = Counter()
    for row in entries(run):
        if row["asset_id"] is None:
            continue
        place = (*portfolio(row), row["asset_id"])
        if row["entry_type"] == "SETTLEMENT":
            subject = f"entry {row['id']}"
            payout = payout_of(tape, row["asset_id"])
            if payout is None:
                yield Violation(CHECK, subject, f"settles {row['asset_id']}, which the tape does not resolve")
                continue
            if row["share_delta_micros"] != -shares[place]:
                yield Violation(CHECK, subject, f"moves {row['share_delta_micros']} of {shares[place]} shares")
            if row["cash_delta_micros"] != settled_cash(-row["share_delta_micros"], payout):
                yield Violation(
                    CHECK, subject, f"pays {row['cash_delta_micros']} for {row['share_delta_micros']} at {payout}"
                )
        shares[place] += row["share_delta_micros"]
    for place, held in shares.items():
        if held and payout_of(tape, place[2]) is not None:
            yield Violation(CHECK, f"position {place}", f"{held} shares of a resolved token were not settled")


def check_bankroll(tape: Tape, run: Run) -> Iterator[Violation]:
    """Find the opening DEPOSIT, of the tape's bankroll, in each executable portfolio, before anything else."""
    first: dict[tuple[str, str | None], Row] = {}
    for row in entries(run):
        if row["scope"] != "SHADOW_USER":
            first.setdefault(portfolio(row), row)
    for place, row in first.items():
        if row["entry_type"] != "DEPOSIT" or row["cash_delta_micros"] != bankroll_of(tape):
            yield Violation(CHECK, f"portfolio {place}", f"starts with {row['entry_type']} {row['cash_delta_micros']}")


def check_entry_prices(_tape: Tape, run: Run) -> Iterator[Violation]:
    """A TRADE_FILL's price is its notional per share, to the micro."""
    for row in run["ledger"]:
        if row["entry_type"] == "TRADE_FILL" and row["price_micros"] is not None and row["share_delta_micros"]:
            exact = abs(Fraction(row["cash_delta_micros"] * 10**6, row["share_delta_micros"]))
            if abs(exact - row["price_micros"]) > 1:
                yield Violation(
                    CHECK, f"entry {row['id']}", f"price {row['price_micros']}, amounts give {float(exact):.2f}"
                )


CHECKS = (
    check_keys_unique, check_positions_are_sums, check_snapshots_end_at_the_sum, check_executables_never_negative,
    check_attempts_and_entries_pair_up, check_settlements, check_bankroll, check_entry_prices,
)  # fmt: skip
