"""What the judge of a disturbed play excuses, and that it excuses nothing else."""

from typing import Any

from tests.chaos.account import Account, Stretch
from tests.chaos.cases import fault
from tests.chaos.judging import UNKNOWN_MARKET, UNKNOWN_TO_BE_CLOSED, unexcused
from tests.oracle import Violation
from tests.oracle.grouping import check_joins_the_earliest
from tests.oracle.run import Row, Run
from tests.oracle.tape import Tape

SECOND = 1_000_000
START = 1_000 * SECOND
NO_TAPE = Tape("none", 0, {}, {})
TRADE = {"kind": "TRADE", "user_label": "otter", "asset_id": "1", "side": "BUY"}


def stretch(start: float, end: float) -> Stretch:
    """Return a stretch given in seconds of the play."""
    return Stretch(START + round(start * SECOND), START + round(end * SECOND))


def account(run: Run, *faults: Row, away: tuple[Stretch, ...] = ()) -> Account:
    return Account({}, run, START, faults, None, (), away)


def overtaken(detected: float, posted: float | None) -> Run:
    """Return a fill in a group of its own while one opened at 10 s, closed at 12.1 s, was open for it."""
    events = [
        {
            **TRADE,
            "id": name,
            "detect_time": START + round(at * SECOND),
            "event_time": START + 9 * SECOND,
            "tx_hash": name,
        }
        for name, at in (("first", 10), ("late", detected))
    ]
    groups = [
        {**TRADE, "id": f"of {name}", "event_ids": [name], "closed_at": START + round(at * SECOND)}
        for name, at in (("first", 12.1), ("late", 20))
    ]
    entry = {"scope": "SHADOW_USER", "ref_id": "late", "created_at": START + round((posted or 0) * SECOND)}
    return Run({"events": events, "groups": groups, "ledger": [] if posted is None else [entry]})


def told(run: Run, *away: Stretch) -> int:
    return len(unexcused(list(check_joins_the_earliest(NO_TAPE, run)), account(run, away=away)))


def test_a_fill_that_waited_for_its_database_opens_a_group_of_its_own() -> None:
    run = overtaken(detected=11, posted=13)
    assert told(run, stretch(10.5, 12)) == 0
    assert told(run, stretch(4, 6)) == 0, "connections were being taken up again"
    assert told(overtaken(detected=11, posted=None), stretch(10.5, 12)) == 0


def test_a_fill_left_out_while_everything_ran_is_told() -> None:
    run = overtaken(detected=11, posted=13)
    assert told(run) == 1
    assert told(run, stretch(30, 32)) == 1, "it was seen long before"
    assert told(run, stretch(-9, -7)) == 1, "it was seen long after"


def test_a_fill_that_was_committed_before_its_group_closed_is_told_whatever_was_away() -> None:
    assert told(overtaken(detected=11, posted=12), stretch(10.5, 12)) == 1


def test_what_was_seen_last_of_all_is_told_only_where_it_is_known_to_have_been_there() -> None:
    assert told(overtaken(detected=11.9, posted=12.05)) == 1
    assert told(overtaken(detected=11.9, posted=12.2)) == 0
    assert told(overtaken(detected=11.9, posted=None)) == 0


def unknown(decided: float, *faults: Row, away: tuple[Stretch, ...] = (), message: str = UNKNOWN_MARKET) -> int:
    run = Run({"attempts": [{"id": "a", "decided_at": START + round(decided * SECOND)}]})
    found = [Violation("decision", "attempt a", f"market: {message}")]
    return len(unexcused(found, account(run, *faults, away=away)))


def failing(**values: Any) -> Row:
    return fault(**{"name": "down", "target": "gamma", "for_s": 10, "at_s": 50, **values})


def test_a_market_is_rightly_unknown_while_gamma_fails_or_a_process_is_away() -> None:
    assert unknown(55, failing()) == 0
    assert unknown(55, failing(name="slow", target="all")) == 0
    assert unknown(55, away=(stretch(50, 56),)) == 0


def test_nobody_is_told_that_a_market_closed_while_gamma_fails() -> None:
    closed = f"{UNKNOWN_TO_BE_CLOSED}, 'STALE_EVENT'])"
    assert unknown(55, failing(), message=closed) == 0
    assert unknown(95, failing(), message=closed) == 1
    assert unknown(55, failing(), message="['MARKET_CLOSED'] holds but is not given ([])") == 1


def test_a_market_that_gamma_was_there_to_tell_of_is_wrongly_unknown() -> None:
    assert unknown(45, failing()) == 1
    assert unknown(95, failing()) == 1
    assert unknown(55, failing(target="data")) == 1
    assert unknown(55, failing(name="duplicate_rows", target="all")) == 1
    assert unknown(95, away=(stretch(50, 56),)) == 1


def test_another_fault_is_not_excused_by_what_was_away() -> None:
    assert unknown(55, failing(), message="['MARKET_CLOSED'] is given but does not hold") == 1
