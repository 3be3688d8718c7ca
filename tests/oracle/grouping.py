"""SPEC 4: every booked fill, split and merge is in exactly one group, of the right key, window and amounts."""

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction

from tests.oracle.run import Row, Run, Violation
from tests.oracle.tape import Tape

CHECK = "groups"
WINDOW_MICROSECONDS = 2_000_000
COMMIT_SLACK_MICROSECONDS = 500_000
"""What is seen this close to a group's closing may commit after it, and then opens a group of its own."""


def _key(row: Row) -> tuple[str, str, str, str]:
    if row["kind"] == "TRADE":
        return row["user_label"], "TRADE", row["asset_id"], row["side"]
    return row["user_label"], row["kind"], row["condition_id"], ""


def groupable(run: Run) -> dict[str, Row]:
    """Return the events that must be grouped, by id; a fill that was mined again is not copied twice."""
    return {
        row["id"]: row
        for row in run["events"]
        if row["status"] == "CANONICAL"
        and row["kind"] in {"TRADE", "SPLIT", "MERGE"}
        and row["share_micros"]
        and not row["incarnation"]
    }


def check_each_event_in_one_group(_tape: Tape, run: Run) -> Iterator[Violation]:
    """Count the groups of each event."""
    counts = Counter(event for group in run["groups"] for event in group["event_ids"])
    events = groupable(run)
    reversed_ones = {row["id"] for row in run["events"] if row["status"] == "REVERSED"}
    for event in sorted(events.keys() | counts.keys()):
        if event in reversed_ones and counts[event] <= 1:
            continue
        wanted = 1 if event in events else 0
        if counts[event] != wanted:
            yield Violation(CHECK, f"event {event}", f"in {counts[event]} groups, expected {wanted}")


def _order(row: Row) -> tuple[int, int, str]:
    return row["detect_time"], row["event_time"], row["tx_hash"]


def check_members_fit(_tape: Tape, run: Run) -> Iterator[Violation]:
    """Each member has the group's key and lies in the window that the group's first member opened."""
    events = {row["id"]: row for row in run["events"]}
    for group in run["groups"]:
        subject = f"group {group['id']}"
        members = [events[event] for event in group["event_ids"] if event in events]
        if not members:
            yield Violation(CHECK, subject, "has no member")
            continue
        keys = {_key(row) for row in members}
        if keys != {_key(group)}:
            yield Violation(CHECK, subject, f"key {_key(group)}, members have {sorted(keys)}")
        first = min(members, key=_order)
        if (group["first_detect_time"], group["first_event_time"]) != (first["detect_time"], first["event_time"]):
            yield Violation(CHECK, subject, "its first times are not its first member's")
        for row in members:
            if not _fits(row, first):
                yield Violation(CHECK, subject, f"event {row['id']} lies outside its window")
        if group["closed_at"] < group["first_detect_time"] + WINDOW_MICROSECONDS:
            yield Violation(CHECK, subject, "closed before its window ended")


def _fits(row: Row, first: Row, slack: int = 0) -> bool:
    since = row["event_time"] - first["event_time"]
    return bool(
        0 <= since < WINDOW_MICROSECONDS and row["detect_time"] <= first["detect_time"] + WINDOW_MICROSECONDS - slack
    )


def left_out(run: Run) -> Iterator[tuple[Row, Row, Row]]:
    """Yield each event that sits in a later group while an earlier one was open for it: (event, its group, that).

    What the ledger posted before a group closed had been committed; of the rest only when it was seen is known.
    """
    events = {row["id"]: row for row in run["events"]}
    posted = {row["ref_id"]: row["created_at"] for row in run["ledger"] if row["scope"] == "SHADOW_USER"}
    by_key: dict[tuple[str, str, str, str], list[tuple[Row, Row]]] = {}
    for group in run["groups"]:
        members = [events[event] for event in group["event_ids"] if event in events]
        if members:
            by_key.setdefault(_key(group), []).append((min(members, key=_order), group))
    for opened in by_key.values():
        opened.sort(key=lambda pair: _order(pair[0]))
        for place, (_, group) in enumerate(opened):
            for member in (events[event] for event in group["event_ids"] if event in events):
                for first, earlier in opened[:place]:
                    was_there = posted.get(member["id"], earlier["closed_at"]) < earlier["closed_at"]
                    slack = 0 if was_there else COMMIT_SLACK_MICROSECONDS
                    if _order(first) < _order(member) and _fits(member, first, slack):
                        yield member, group, earlier


def open_for(member: Row, group: Row, earlier: Row) -> Violation:
    """Return what is said of an event in a later group than it might have been in."""
    return Violation(CHECK, f"event {member['id']}", f"in group {group['id']}, {earlier['id']} was open for it")


def check_joins_the_earliest(_tape: Tape, run: Run) -> Iterator[Violation]:
    """No event sits in a later group of its key while an earlier one was open for it."""
    for member, group, earlier in left_out(run):
        yield open_for(member, group, earlier)


def check_group_amounts(_tape: Tape, run: Run) -> Iterator[Violation]:
    """A group's shares and notional are its members' sums, its reference their VWAP rounded against the copier."""
    events = {row["id"]: row for row in run["events"]}
    for group in run["groups"]:
        members = [events[event] for event in group["event_ids"] if event in events]
        shares = sum(row["share_micros"] for row in members)
        notional = sum(row["usdc_notional_micros"] for row in members)
        subject = f"group {group['id']}"
        if (group["share_micros"], group["usdc_notional_micros"]) != (shares, notional):
            yield Violation(CHECK, subject, f"amounts are not its members' ({shares}, {notional})")
        if group["kind"] == "TRADE" and shares:
            exact = Fraction(notional * 10**6, shares)
            rounded = (
                -(-exact.numerator // exact.denominator)
                if group["side"] == "BUY"
                else exact.numerator // exact.denominator
            )
            if group["reference_price_micros"] != rounded:
                yield Violation(CHECK, subject, f"reference {group['reference_price_micros']}, VWAP gives {rounded}")


CHECKS = (check_each_event_in_one_group, check_members_fit, check_joins_the_earliest, check_group_amounts)
