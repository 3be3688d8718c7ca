"""SPEC 5: each attempt's reasons, inputs, levels and fee are what its recorded inputs give."""

from collections.abc import Iterator
from fractions import Fraction
from math import ceil, floor

from tests.oracle.clock import Clock
from tests.oracle.decision import JUDGES, PHASES, Case, allowed_targets, beyond_drawdown, full_target, shrunk
from tests.oracle.holdings import attempts_in_order
from tests.oracle.rules import Rules
from tests.oracle.run import Row, Run, Violation
from tests.oracle.switches import read_switches
from tests.oracle.tape import Tape
from tests.oracle.walk import Taken, affordable, order_fee, shared_fee, walk

CHECK = "decision"


def cases(tape: Tape, run: Run, clock: Clock, rules: dict[int, Rules]) -> Iterator[Case]:
    """Yield every attempt in its portfolio's order with what the portfolio had taken of its book version before."""
    groups = {group["id"]: group for group in run["groups"]}
    switches, shadow = read_switches(tape, run), _shadow_entries(run)
    places = {row["id"]: -1 if row["log_index"] is None else row["log_index"] for row in run["events"]}
    closes = {row["condition_id"]: row["close_time"] for row in run["markets"]}
    fills: dict[str, list[Row]] = {}
    for row in sorted(run["fills"], key=lambda row: int(row["level"])):
        fills.setdefault(row["attempt_id"], []).append(row)
    for attempts in attempts_in_order(run).values():
        taken: dict[tuple[str, str, str], Taken] = {}
        tripped = seen = False
        for row in attempts:
            group = groups.get(row["group_id"])
            if group is None:
                continue
            version = taken.setdefault((row["asset_id"], row["book_hash"], row["side"]), {})
            case = Case(
                row,
                group,
                rules.get(row["config_version"], Rules()),
                tape,
                clock,
                dict(version),
                tripped,
                seen,
                switches,
                closes.get(row["condition_id"]),
                _held_before(group, shadow, places),
            )
            yield case
            tripped = tripped or "BREAKER_DRAWDOWN" in row["reason_codes"]
            seen = seen or beyond_drawdown(case)
            for fill in fills.get(row["id"], []):
                version[fill["price_micros"]] = version.get(fill["price_micros"], 0) + fill["share_micros"]


def _shadow_entries(run: Run) -> dict[tuple[str, str], list[Row]]:
    found: dict[tuple[str, str], list[Row]] = {}
    for row in run["ledger"]:
        if row["scope"] == "SHADOW_USER" and row["share_delta_micros"]:
            found.setdefault((row["user_label"], row["asset_id"]), []).append(row)
    return found


def _held_before(group: Row, shadow: dict[tuple[str, str], list[Row]], places: dict[str, int]) -> int:
    """Return what they held of the group's token when it began, its own fills left out.

    Of what happened in the same second, logs behind the group's first came later.
    """
    entries = shadow.get((group["user_label"], group["asset_id"]), [])
    began = group["first_event_time"]
    own = [row["ref_id"] for row in entries if row["ref_id"] in group["event_ids"] and row["event_time"] == began]
    first = min((places.get(event, -1) for event in own), default=-1)
    return sum(
        row["share_delta_micros"]
        for row in entries
        if row["ref_id"] not in group["event_ids"]
        and (row["event_time"] < began or (row["event_time"] == began and places.get(row["ref_id"], -1) <= first))
    )


def check_reasons(case: Case) -> Iterator[Violation]:
    """The first phase with a failure stops, all of its failures are recorded, and nothing else is."""
    subject, given = f"attempt {case.attempt['id']}", set(case.attempt["reason_codes"])
    unknown = given - frozenset().union(*PHASES.values())
    if unknown:
        yield Violation(CHECK, subject, f"unknown reasons {sorted(unknown)}")
    for phase, codes in PHASES.items():
        finding, here = JUDGES[phase](case), given & codes
        if finding.must - here:
            yield Violation(
                CHECK, subject, f"{phase}: {sorted(finding.must - here)} holds but is not given ({sorted(given)})"
            )
        if here - finding.must - finding.may:
            yield Violation(
                CHECK, subject, f"{phase}: {sorted(here - finding.must - finding.may)} is given but does not hold"
            )
        if here or finding.must:
            if given - codes:
                yield Violation(CHECK, subject, f"reasons {sorted(given - codes)} beside those of phase {phase}")
            break
    expected = "SKIP" if given else "EXECUTE"
    if case.attempt["decision"] != expected:
        yield Violation(CHECK, subject, f"{case.attempt['decision']} with reasons {sorted(given)}")


def check_inputs(case: Case) -> Iterator[Violation]:
    """Recorded prices, bounds, depth, target and rate are the group's, the book's and the market's."""
    row, subject = case.attempt, f"attempt {case.attempt['id']}"
    if row["kind"] == "TRADE":
        yield from _check_book_values(case)
        rate = case.market.fee_rate if case.market else None
        if row["fee_rate"] is not None and rate is not None and Fraction(str(row["fee_rate"])) != rate:
            yield Violation(CHECK, subject, f"fee rate {row['fee_rate']}, the market's is {float(rate)}")
    target = row["target_notional_micros"]
    if target is not None and row["equity_micros"] is not None:
        allowed = _expected_targets(case)
        if allowed and target not in allowed:
            yield Violation(CHECK, subject, f"target {target}, expected one of {sorted(allowed)}")
    reached_size = not set(row["reason_codes"]) & (PHASES["control"] | PHASES["market"] | PHASES["breakers"])
    for name in ("equity_micros", "cash_micros", "target_notional_micros", "config_version"):
        if reached_size and row[name] is None and "BELOW_MIN_NOTIONAL" not in row["reason_codes"]:
            yield Violation(CHECK, subject, f"{name} is missing though its phase was reached")


def _expected_targets(case: Case) -> set[int]:
    """Return the targets to record: what SHRINK left of it once the caps were looked at, the full one before."""
    allowed = allowed_targets(case)
    earlier = PHASES["control"] | PHASES["market"] | PHASES["breakers"] | PHASES["size"]
    if case.is_open and len(allowed) > 1 and not set(case.attempt["reason_codes"]) & earlier:
        target = full_target(case) or 0
        return {shrunk(case, target)} if case.attempt["kind"] == "TRADE" else allowed
    return allowed


def _check_book_values(case: Case) -> Iterator[Violation]:
    row, subject, seen = case.attempt, f"attempt {case.attempt['id']}", case.quote()
    if row["book_hash"] is not None and case.book is None:
        yield Violation(CHECK, subject, f"book {row['book_hash']} of {row['asset_id']} is not on the tape")
        return
    expected: dict[str, set[int | None]] = {
        "their_reference_price_micros": {ceil(case.reference) if case.buying else floor(case.reference)},
        "best_bid_micros": {seen.bid},
        "best_ask_micros": {seen.ask},
        "mid_price_micros": {seen.mid},
        "limit_price_micros": {floor(seen.limit), ceil(seen.limit)},
        "depth_micros": {seen.band},
    }
    for name, values in expected.items():
        if row[name] is not None and row[name] not in values:
            yield Violation(CHECK, subject, f"{name} {row[name]}, expected {sorted(values, key=str)}")
    reached = row["decision"] == "EXECUTE" or bool(set(row["reason_codes"]) & (PHASES["book"] - {"BOOK_UNAVAILABLE"}))
    for name in ("best_bid_micros", "best_ask_micros", "mid_price_micros", "limit_price_micros", "depth_micros"):
        if reached and row[name] is None and None not in expected[name]:
            yield Violation(CHECK, subject, f"{name} is missing though a book was there")


def check_fills(case: Case, levels: list[Row]) -> Iterator[Violation]:
    """An EXECUTE takes the levels the walk takes, at the fee of one order; a SKIP takes nothing."""
    row, subject = case.attempt, f"attempt {case.attempt['id']}"
    amounts = (row["filled_share_micros"] or 0, row["filled_notional_micros"] or 0, row["fee_micros"] or 0)
    if row["decision"] != "EXECUTE" or row["kind"] != "TRADE":
        if levels:
            yield Violation(CHECK, subject, f"{row['decision']} {row['kind']} with {len(levels)} fills")
        if row["decision"] != "EXECUTE" and any(amounts):
            yield Violation(CHECK, subject, f"skipped, yet filled {amounts}")
        if row["decision"] == "EXECUTE":
            yield from _check_split_or_merge(case, amounts)
        return
    if case.market is None or case.book is None:
        return
    expected = walk(case.quote().within, case.buying, row["target_notional_micros"] or 0, case.sellable)
    if case.buying:
        expected = affordable(expected, case.market, row["cash_micros"])
    found = [(fill["price_micros"], fill["share_micros"], fill["notional_micros"]) for fill in levels]
    if found != expected:
        yield Violation(CHECK, subject, f"took {found}, the walk takes {expected}")
        return
    shares, notional = sum(each[1] for each in expected), sum(each[2] for each in expected)
    fee = order_fee(case.market, notional, shares)
    if amounts != (shares, notional, fee):
        yield Violation(
            CHECK, subject, f"amounts (shares, notional, fee) {amounts}, expected {(shares, notional, fee)}"
        )
    if [fill["fee_micros"] for fill in levels] != shared_fee(fee, [each[2] for each in expected]):
        yield Violation(CHECK, subject, "its fee is not shared to levels by notional, the rest to the last")
    vwap = -(-notional * 10**6 // shares) if case.buying else notional * 10**6 // shares
    if row["vwap_price_micros"] != vwap:
        yield Violation(CHECK, subject, f"VWAP {row['vwap_price_micros']}, expected {vwap}")


LIFTED = {"WORSE_THAN_THEIR_PRICE": "no_reference", "CHASING_MID": "no_mid"}
"""A failed price bound is lifted, and only that one."""
SIZED_OTHERWISE = {"BELOW_MIN_NOTIONAL", "NO_POSITION", "UNSUPPORTED_EVENT"}
"""What the size would have been without these SPEC leaves open."""


def check_counterfactual(case: Case) -> Iterator[Violation]:
    """A SKIP with a book says what the walk would have filled without the failed checks; nothing else says anything."""
    row, subject, given = case.attempt, f"attempt {case.attempt['id']}", set(case.attempt["reason_codes"])
    found = row["counterfactual_share_micros"], row["counterfactual_notional_micros"]
    if row["decision"] == "EXECUTE" or row["kind"] != "TRADE" or row["book_hash"] is None:
        if found != (None, None):
            yield Violation(CHECK, subject, f"counterfactual {found} of {row['decision']} without need")
        return
    if given & SIZED_OTHERWISE or case.book is None or row["target_notional_micros"] is None:
        return
    seen = case.quote(**{flag: True for code, flag in LIFTED.items() if code in given})
    filled = walk(seen.within, case.buying, row["target_notional_micros"], case.sellable)
    expected = sum(each[1] for each in filled), sum(each[2] for each in filled)
    if found != expected:
        yield Violation(CHECK, subject, f"counterfactual {found}, the walk would have filled {expected}")


def _check_split_or_merge(case: Case, amounts: tuple[int, int, int]) -> Iterator[Violation]:
    row = case.attempt
    expected = row["target_notional_micros"]
    if amounts != (expected, expected, 0) or not expected:
        yield Violation(
            CHECK,
            f"attempt {row['id']}",
            f"{row['kind']} of {amounts[0]} shares, fee {amounts[2]}; expected {expected}",
        )


def check_attempts(tape: Tape, run: Run, clock: Clock, rules: dict[int, Rules]) -> Iterator[Violation]:
    """Judge every attempt."""
    fills: dict[str, list[Row]] = {}
    for fill in sorted(run["fills"], key=lambda row: int(row["level"])):
        fills.setdefault(fill["attempt_id"], []).append(fill)
    known = {row["id"] for row in run["attempts"]}
    for identity in fills.keys() - known:
        yield Violation(CHECK, f"fills of {identity}", "no such attempt")
    for case in cases(tape, run, clock, rules):
        yield from check_reasons(case)
        yield from check_inputs(case)
        yield from check_fills(case, fills.get(case.attempt["id"], []))
        yield from check_counterfactual(case)


def check_exported_books(tape: Tape, run: Run) -> Iterator[Violation]:
    """An exported book has the levels of the tape's book of that hash, best first."""
    for row in run["books"]:
        book = tape.books.get((row["asset_id"], row["hash"]))
        found = tuple(tuple((int(level[0]), int(level[1])) for level in row[side]) for side in ("bids", "asks"))
        if book is None:
            yield Violation(CHECK, f"book {row['hash']}", "is not on the tape")
        elif found != (book.bids, book.asks):
            yield Violation(CHECK, f"book {row['hash']}", "its levels are not the tape's")
