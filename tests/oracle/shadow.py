"""SPEC 6 for SHADOW_USER: shares and cash recomputed from the tape alone equal the ledger and the positions."""

from collections import Counter
from collections.abc import Iterator

from tests.oracle.run import Row, Run, Violation
from tests.oracle.tape import MICROS, Tape, TapeRow

CHECK = "shadow"


def settled_cash(share_micros: int, payout_micros: int) -> int:
    """Return what a position pays out: floor for longs, ceil for shorts."""
    if share_micros >= 0:
        return share_micros * payout_micros // MICROS
    return -(-share_micros * payout_micros // MICROS)


def payout_of(tape: Tape, asset_id: str) -> int | None:
    """Return the payout of a token whose condition is resolved on the tape."""
    market = tape.market_of(asset_id)
    if market is None or market.condition_id not in tape.payouts:
        return None
    return tape.payouts[market.condition_id][1][market.assets.index(asset_id)]


def converted(tape: Tape, row: TapeRow) -> dict[str, int]:
    """Return what a conversion of one question does: its NO becomes YES of every other question of its event."""
    market = tape.markets[row.condition_id]
    others = [each for each in tape.markets.values() if each.event_id == market.event_id and each is not market]
    return {market.assets[1]: -row.share_micros, **{each.assets[0]: row.share_micros for each in others}}


def _before_settlement(tape: Tape) -> tuple[Counter[tuple[str, str]], Counter[str]]:
    shares: Counter[tuple[str, str]] = Counter(tape.openings)
    cash: Counter[str] = Counter()
    for fill in tape.fills:
        bought = fill.key[3] == "BUY"
        shares[fill.label, fill.key[2]] += fill.key[4] if bought else -fill.key[4]
        cash[fill.label] += -fill.cash_micros if bought else fill.cash_micros
    for row in tape.rows:
        market = tape.markets.get(row.condition_id)
        if row.type == "CONVERSION" and market is not None:
            for asset, delta in converted(tape, row).items():
                shares[row.label, asset] += delta
            cash[row.label] += row.usdc_micros
            continue
        if row.type not in {"SPLIT", "MERGE"} or market is None:
            continue
        sign = 1 if row.type == "SPLIT" else -1
        for asset in market.assets:
            shares[row.label, asset] += sign * row.share_micros
        cash[row.label] -= sign * row.share_micros
    return shares, cash


def shadow_entries(run: Run) -> list[Row]:
    """Return the ledger entries of shadow portfolios."""
    return [row for row in run["ledger"] if row["scope"] == "SHADOW_USER"]


def check_shadow_positions(tape: Tape, run: Run) -> Iterator[Violation]:
    """Compare every shadow position: open ones to the share, resolved ones at zero."""
    expected, _ = _before_settlement(tape)
    for place in expected:
        if payout_of(tape, place[1]) is not None:
            expected[place] = 0
    found: Counter[tuple[str, str]] = Counter()
    for row in run["positions"]:
        if row["scope"] == "SHADOW_USER":
            found[row["user_label"], row["asset_id"]] += row["share_micros"]
    for place in sorted(expected.keys() | found.keys()):
        if expected[place] != found[place]:
            yield Violation(
                CHECK, f"position {place}", f"the tape gives {expected[place]}, the run holds {found[place]}"
            )


def check_shadow_cash(tape: Tape, run: Run) -> Iterator[Violation]:
    """Compare the cash of every shadow portfolio, fees and settlements included, to the micro."""
    _, expected = _before_settlement(tape)
    found: Counter[str] = Counter()
    for row in shadow_entries(run):
        found[row["user_label"]] += row["cash_delta_micros"]
        payout = payout_of(tape, row["asset_id"]) if row["entry_type"] == "SETTLEMENT" else None
        if payout is not None:
            expected[row["user_label"]] += settled_cash(-row["share_delta_micros"], payout)
    for label in sorted(expected.keys() | found.keys()):
        if expected[label] != found[label]:
            yield Violation(CHECK, f"cash of {label}", f"the tape gives {expected[label]}, the ledger {found[label]}")


def check_shadow_entries_name_events(tape: Tape, run: Run) -> Iterator[Violation]:
    """Find for each canonical fill, split and merge its entries by its id, and none for rows that post nothing.

    Entries that a REVERSAL took back do not count.
    """
    taken_back = {row["reverses"] for row in shadow_entries(run) if row["entry_type"] == "REVERSAL"}
    posted: Counter[tuple[str, str]] = Counter(
        (row["ref_id"], row["entry_type"]) for row in shadow_entries(run) if row["id"] not in taken_back
    )
    expected: Counter[tuple[str, str]] = Counter()
    for row in run["events"]:
        if row["status"] != "CANONICAL":
            continue
        if row["kind"] == "TRADE":
            expected[row["id"], "TRADE_FILL"] = 1
            if row["fee_micros"]:
                expected[row["id"], "FEE"] = 1
        elif row["kind"] in {"SPLIT", "MERGE"} and row["share_micros"]:
            market = tape.markets.get(row["condition_id"])
            # Which tokens a market has that no line tells nobody knows.
            expected[row["id"], row["kind"]] = len(market.assets) if market else 0
    relevant = {place: count for place, count in posted.items() if place[1] in {"TRADE_FILL", "FEE", "SPLIT", "MERGE"}}
    fees = {
        row["ref_id"] for row in shadow_entries(run) if row["entry_type"] == "FEE" and row["cash_delta_micros"] == 0
    }
    for place in sorted(expected.keys() | relevant.keys()):
        if place[1] == "FEE" and place[0] in fees:
            continue
        if expected[place] != relevant.get(place, 0):
            yield Violation(
                CHECK, f"entries {place}", f"expected {expected[place]}, the ledger has {relevant.get(place, 0)}"
            )


def check_openings(tape: Tape, run: Run) -> Iterator[Violation]:
    """What was held at the start is opened once, exactly, without cash, at the mark its row gives."""
    found: Counter[tuple[str, str]] = Counter()
    costs: Counter[tuple[str, str]] = Counter()
    for row in run["ledger"]:
        if row["entry_type"] != "OPENING":
            continue
        place = row["user_label"], row["asset_id"]
        found[place] += row["share_delta_micros"]
        costs[place] += row["cost_micros"] or 0
        if row["scope"] != "SHADOW_USER" or row["cash_delta_micros"]:
            yield Violation(CHECK, f"opening {place}", f"in {row['scope']} with cash {row['cash_delta_micros']}")
    for place in sorted(tape.openings.keys() | found.keys()):
        expected = tape.openings[place], tape.opening_costs[place]
        if expected != (found[place], costs[place]):
            message = f"held {expected[0]} worth {expected[1]}, opened {found[place]} worth {costs[place]}"
            yield Violation(CHECK, f"opening {place}", message)


def check_adjustments(tape: Tape, run: Run) -> Iterator[Violation]:
    """Each conversion is adjusted under its own event: the tokens it turns into each other, and its cash."""
    refs = {row["id"]: row for row in run["events"] if row["kind"] == "CONVERSION"}
    posted: dict[str, dict[str, int]] = {}
    cash: Counter[str] = Counter()
    for row in run["ledger"]:
        if row["entry_type"] == "ADJUSTMENT":
            posted.setdefault(row["ref_id"], {})[row["asset_id"]] = row["share_delta_micros"]
            cash[row["ref_id"]] += row["cash_delta_micros"]
    by_tx = {row.tx_hash: row for row in tape.rows if row.type == "CONVERSION" and row.condition_id in tape.markets}
    for ref in sorted(refs.keys() | posted.keys()):
        told = by_tx.get(refs[ref]["tx_hash"]) if ref in refs else None
        if told is None:
            if ref in posted:
                yield Violation(CHECK, f"adjustment {ref}", "of no conversion on the tape")
            continue
        expected = converted(tape, told), told.usdc_micros
        if (posted.get(ref), cash[ref]) != expected:
            yield Violation(CHECK, f"adjustment {ref}", f"expected {expected}, posted {posted.get(ref)}, {cash[ref]}")


CHECKS = (
    check_shadow_positions, check_shadow_cash, check_shadow_entries_name_events, check_openings, check_adjustments,
)  # fmt: skip
