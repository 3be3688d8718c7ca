"""One fill, one event: whatever order, repetition or split between sources."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.domain.kinds import EventStatus, Role, Side, Source
from libs.common.domain.money import within_tolerance
from services.ingest.core.fills import Fill, FillChanges
from services.ingest.core.matching import Transaction
from services.ingest.core.sightings import FillKey, LogSighting, RowSighting, cash_of
from services.ingest.core.tally import CONTRADICTIONS_MAX

USER = UUID(int=1)
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
TX = "0x" + "ab" * 32
BLOCK, OTHER_BLOCK = "0x" + "01" * 32, "0x" + "02" * 32


def key(asset: str = "7", side: Side = Side.BUY, shares: int = 10_000_000) -> FillKey:
    return FillKey(TX, "0x" + "11" * 20, asset, side, shares)


def log(index: int, notional: int = 5_000_000, fee: int = 0, *, of: FillKey | None = None) -> LogSighting:
    return LogSighting(
        key=of or key(),
        user_id=USER,
        booked=True,
        notional_micros=notional,
        fee_micros=fee,
        price_micros=500_000,
        role=Role.TAKER if fee else Role.MAKER,
        log_index=index,
        block_number=100,
        block_hash=BLOCK,
        event_time=NOON,
        seen_at=NOON + timedelta(seconds=1),
        removed=False,
        wire={},
    )


def row(notional: int = 5_000_000, fee: int = 0, *, of: FillKey | None = None) -> RowSighting:
    return RowSighting(
        key=of or key(),
        user_id=USER,
        booked=True,
        notional_micros=notional,
        fee_micros=fee,
        price_micros=500_000,
        event_time=NOON,
        seen_at=NOON + timedelta(seconds=4),
        wire={},
    )


def fold(*steps: LogSighting | list[RowSighting]) -> tuple[list[Fill], list[FillChanges]]:
    """Take steps in one by one, each from what the last one left, as separate transactions do."""
    known: dict[UUID, Fill] = {}
    changes = []
    for step in steps:
        changed = FillChanges()
        transaction = Transaction((replace(fill) for fill in known.values()), changed)
        if isinstance(step, LogSighting):
            transaction.see_log(step)
        else:
            alike: dict[FillKey, list[RowSighting]] = {}
            for each in step:
                alike.setdefault(each.key, []).append(each)
            for rows in alike.values():
                transaction.see_rows(rows)
        transaction.close()
        known |= {fill.id: fill for fill in changed.created} | changed.changed
        changes.append(changed)
    return list(known.values()), changes


def standing(fills: list[Fill]) -> list[Fill]:
    return [fill for fill in fills if fill.stands]


def test_a_log_then_its_row_is_one_fill_with_two_sights() -> None:
    fills, changes = fold(log(3), [row()])
    assert len(fills) == 1
    assert [sight.source for change in changes for sight in change.sights] == [Source.CHAIN, Source.DATA_API]
    assert changes[1].created == []
    assert changes[1].confirmed == fills


def test_a_row_then_its_log_is_one_fill_completed_by_the_log() -> None:
    fills, changes = fold([row(5_000_000, 100_000)], log(3, 5_000_004, 100_000))
    (fill,) = fills
    assert (fill.first_source, fill.log_index, fill.role) == (Source.DATA_API, 3, Role.TAKER)
    assert fill.notional_micros == 5_000_004
    assert changes[1].restated == fills
    assert fill.mismatch is None


def test_a_new_fill_is_told_once() -> None:
    assert [change.restated for change in fold(log(3), [row()], log(4))[1]] == [[], [], []]


def test_a_fill_is_told_again_when_its_log_tells_no_more_than_its_place() -> None:
    fills, changes = fold([row()], log(3), log(3), [row()])
    assert [change.restated for change in changes] == [[], fills, [], []]


def test_identical_twins_are_two_fills() -> None:
    assert len(fold(log(3), log(4))[0]) == 2
    assert len(fold([row(), row()])[0]) == 2
    assert len(fold(log(3), [row(), row()], log(4))[0]) == 2


def test_listings_are_never_summed() -> None:
    assert len(fold([row()], [row()], [row(), row()], [row()])[0]) == 2


def test_twins_at_different_prices_are_paired_by_their_cash() -> None:
    fills, changes = fold(log(3, 5_000_000), log(4, 6_000_000), [row(6_000_000), row(5_000_000)])
    assert len(fills) == 2
    assert not any(fill.mismatch for fill in fills)
    cash = {fill.id: fill.cash_micros for fill in fills}
    assert all(cash[sight.event_id] == sight.cash_micros for sight in changes[2].sights)


def test_a_log_that_contradicts_its_row_is_flagged_and_changes_no_amount() -> None:
    fills, changes = fold([row(5_000_000)], log(3, 5_000_012))
    (fill,) = fills
    assert fill.notional_micros == 5_000_000
    assert fill.mismatch == {
        "recorded_cash_micros": 5_000_000,
        "reported_cash_micros": 5_000_012,
        "reported_notional_micros": 5_000_012,
        "reported_fee_micros": 0,
        "reported_price_micros": 500_000,
        "reported_by": "CHAIN",
    }
    assert fill.log_index == 3
    assert changes[1].mismatched == fills


def test_a_row_that_contradicts_its_log_is_flagged_once() -> None:
    fills, changes = fold(log(3), [row(4_000_000)], [row(4_000_000)])
    assert fills[0].mismatch is not None
    assert fills[0].mismatch["reported_by"] == "DATA_API"
    assert [len(change.mismatched) for change in changes] == [0, 1, 0]


@pytest.mark.parametrize(("distance", "agreeing"), [(10, True), (11, True), (12, False)])
def test_tolerance_is_ten_micros_and_a_ten_billionth_of_the_size(distance: int, agreeing: bool) -> None:
    assert within_tolerance(1_000, 1_000 + distance, 10**10) is agreeing


def test_a_removed_log_reverses_and_a_mined_again_one_is_the_next_incarnation() -> None:
    again = replace(log(9), block_hash=OTHER_BLOCK, block_number=101)
    fills, changes = fold(log(3), replace(log(3), removed=True), again)
    assert [(fill.incarnation, fill.status) for fill in fills] == [
        (0, EventStatus.REVERSED),
        (1, EventStatus.CANONICAL),
    ]
    assert fills[0].ordinal == fills[1].ordinal == 0
    assert [fill.id for fill in changes[1].reversed] == [fills[0].id]


def test_a_log_in_another_block_reverses_what_was_missed_while_away() -> None:
    again = replace(log(3), block_hash=OTHER_BLOCK, block_number=101)
    fills, _ = fold(log(3), again)
    assert [fill.incarnation for fill in standing(fills)] == [1]


def test_a_late_echo_of_the_replaced_block_is_ignored() -> None:
    again = replace(log(3), block_hash=OTHER_BLOCK, block_number=101)
    fills, _ = fold(log(3), again, log(3))
    assert [fill.block_hash for fill in standing(fills)] == [OTHER_BLOCK]


def test_removing_an_unknown_log_does_nothing() -> None:
    assert fold(replace(log(3), removed=True))[0] == []


def test_a_row_does_not_revive_a_fill_that_was_just_reversed() -> None:
    fills, changes = fold(log(3), replace(log(3), removed=True), [row()])
    assert standing(fills) == []
    assert changes[2].waiting == 1


def test_a_row_revives_a_reversed_fill_once_the_chain_should_have_spoken() -> None:
    late = replace(row(), seen_at=NOON + timedelta(seconds=60))
    fills, _ = fold(log(3), replace(log(3), removed=True), [late])
    assert [(fill.incarnation, fill.first_source) for fill in standing(fills)] == [(1, Source.DATA_API)]
    elsewhere = replace(row(), event_time=NOON + timedelta(seconds=2))
    assert len(standing(fold(log(3), replace(log(3), removed=True), [elsewhere])[0])) == 1


def test_a_reversed_fill_gives_up_its_index_to_one_mined_instead() -> None:
    other = key(asset="8")
    again = replace(log(3, of=other), block_hash=OTHER_BLOCK)
    fills, _ = fold(log(3), [row(of=other)], replace(log(3), removed=True), again)
    indexes = [(fill.log_index, fill.incarnation) for fill in fills if fill.log_index is not None]
    assert len(indexes) == len(set(indexes))
    assert [fill.key.asset_id for fill in standing(fills)] == ["8"]


amounts = st.sampled_from([(5_000_000, 0), (5_000_000, 100_000), (7_000_000, 0)])
keys = st.sampled_from([key(), key(shares=20_000_000), key(side=Side.SELL), key(asset="8")])


@st.composite
def tellings(draw: st.DrawFn) -> tuple[Counter[tuple[FillKey, int]], list[LogSighting | list[RowSighting]]]:
    """What happened in one transaction, and the sources telling it: in parts, again, in any order."""
    happened = draw(st.lists(st.tuples(keys, amounts), min_size=1, max_size=5))
    logs = [log(index, *amount, of=of) for index, (of, amount) in enumerate(happened)]
    listing = [row(*amount, of=of) for of, amount in happened]
    told_by_chain = draw(st.lists(st.sampled_from(logs), max_size=8))
    complete = draw(st.sampled_from(["chain", "api", "both"]))
    steps: list[LogSighting | list[RowSighting]] = list(told_by_chain)
    if complete != "api":
        steps += logs
    if complete != "chain":
        steps += [draw(st.permutations(listing)) for _ in range(draw(st.integers(1, 3)))]
    truth = Counter((of, cash_of(of.side, *amount)) for of, amount in happened)
    return truth, draw(st.permutations(steps))


@settings(max_examples=400, deadline=None)
@given(tellings())
def test_any_order_repetition_and_split_between_sources_gives_the_same_fills(
    telling: tuple[Counter[tuple[FillKey, int]], list[LogSighting | list[RowSighting]]],
) -> None:
    truth, steps = telling
    fills, _ = fold(*steps)
    assert Counter((fill.key, fill.cash_micros) for fill in fills) == truth
    assert not any(fill.mismatch for fill in fills)
    assert len({fill.id for fill in fills}) == len(fills)


@settings(max_examples=200, deadline=None)
@given(tellings())
def test_every_sight_reports_the_cash_of_its_fill(
    telling: tuple[Counter[tuple[FillKey, int]], list[LogSighting | list[RowSighting]]],
) -> None:
    fills, changes = fold(*telling[1])
    cash = {fill.id: fill.cash_micros for fill in fills}
    assert all(cash[sight.event_id] == sight.cash_micros for change in changes for sight in change.sights)


def test_the_cash_of_a_row_includes_its_fee() -> None:
    assert row(100, 10).cash_micros == 110
    assert row(100, 10, of=key(side=Side.SELL)).cash_micros == 90


def test_a_log_flagged_for_want_of_its_fill_moves_to_it() -> None:
    fills, changes = fold([row(5_000_000)], log(4, 6_000_000), log(3, 5_000_000))
    assert {(fill.cash_micros, fill.log_index) for fill in fills} == {(5_000_000, 3), (6_000_000, 4)}
    assert [len(change.mismatched) for change in changes] == [0, 1, 0]
    assert not any(fill.mismatch for fill in fills)
    assert [(moved.source, moved.cash_micros) for moved in changes[2].moved] == [(Source.CHAIN, 6_000_000)]
    also, _ = fold([row(5_000_000)], log(4, 6_000_000), [row(6_000_000), row(5_000_000)], log(3, 5_000_000))
    assert {(fill.cash_micros, fill.log_index) for fill in also} == {(5_000_000, 3), (6_000_000, 4)}


def test_a_row_flagged_for_want_of_its_fill_is_explained_by_a_log() -> None:
    fills, changes = fold(log(3, 5_000_000), [row(6_000_000)], log(4, 6_000_000))
    assert [bool(change.mismatched) for change in changes] == [False, True, False]
    assert not any(fill.mismatch for fill in fills)
    assert Counter(fill.cash_micros for fill in fills) == Counter([5_000_000, 6_000_000])


def test_a_row_flagged_on_a_fill_whose_log_explains_it_is_withdrawn() -> None:
    # The API is ten micros off to either side of the logs, and shows one of two fills, then the other, then both.
    up, down = row(5_000_010), row(4_999_990)
    fills, changes = fold([up], [down], log(3), [down, up])
    assert [len(change.mismatched) for change in changes] == [0, 1, 0, 0]
    assert [(fill.cash_micros, fill.mismatch) for fill in fills] == [(5_000_000, None), (5_000_010, None)]
    assert not any(fill.mismatch for fill in fold([up], [down], log(3))[0])


def test_a_row_is_explained_when_its_fill_was_taken_by_another_that_has_a_new_one_now() -> None:
    up, down = row(5_000_010), row(4_999_990)
    logs = (log(3), log(4, 7_000_000))
    assert [fill.mismatch is not None for fill in fold(*logs, [up, down])[0]] == [False, True]
    fills, changes = fold(*logs, [up, down], [down, up, row(7_000_000)])
    assert [fill.cash_micros for fill in fills] == [5_000_000, 7_000_000, 5_000_010]
    assert not any(fill.mismatch for fill in fills)
    assert [(moved.source, moved.cash_micros) for moved in changes[3].moved] == [(Source.DATA_API, 4_999_990)]


def test_a_genuine_contradiction_stays_flagged_with_both_values_whoever_speaks_when() -> None:
    steps: list[LogSighting | list[RowSighting]] = [log(3), log(4, 7_000_000), [row()], [row(6_000_000)]]
    for order in permutations(steps):
        (flagged,) = [fill for fill in fold(*order)[0] if fill.mismatch]
        told = [each["reported_cash_micros"] for each in flagged.contradictions()]
        assert 6_000_000 in (flagged.cash_micros, *told)
        assert {5_000_000, 7_000_000} & {flagged.cash_micros, *told}


def test_a_listing_that_shows_a_row_twice_is_not_explained_by_one_that_shows_it_once() -> None:
    twice, once = [row(6_000_000), row(6_000_000)], [row(6_000_000), row()]
    for order in ([twice, once], [once, twice]):
        assert [fill.mismatch is not None for fill in fold(log(3), log(4, 6_000_000), *order)[0]] == [True, False]


def test_what_contradicts_a_fill_beside_the_first_is_kept_with_it() -> None:
    (fill,), changes = fold([row()], [row(6_000_000)], log(3, 7_000_000), [row(6_000_000)])
    assert fill.mismatch is not None
    assert (fill.mismatch["reported_by"], fill.mismatch["reported_cash_micros"]) == ("CHAIN", 7_000_000)
    assert [each["reported_cash_micros"] for each in fill.mismatch["also"]] == [6_000_000]
    assert [len(change.mismatched) for change in changes] == [0, 1, 1, 0]
    told: list[list[RowSighting]] = [[row(6_000_000 + 100 * number)] for number in range(2 * CONTRADICTIONS_MAX)]
    ((full,), _) = fold(log(3), *told)
    assert len(full.contradictions()) == CONTRADICTIONS_MAX


def test_what_nothing_explains_stays_flagged() -> None:
    fills, _ = fold([row(5_000_000), row(6_000_000)], log(4, 7_000_000), log(3, 5_000_000))
    assert {(fill.cash_micros, fill.log_index, bool(fill.mismatch)) for fill in fills} == {
        (5_000_000, 3, False),
        (6_000_000, 4, True),
    }


def test_taking_back_a_log_never_seen_reverses_the_fill_the_api_told_of() -> None:
    fills, _ = fold([row()], replace(log(3), removed=True))
    assert [fill.status for fill in fills] == [EventStatus.REVERSED]
    again = replace(log(3), block_hash=OTHER_BLOCK, block_number=101)
    assert [fill.incarnation for fill in standing(fold([row()], replace(log(3), removed=True), again)[0])] == [1]


def test_a_log_taken_back_again_reverses_what_a_late_row_of_its_block_revived() -> None:
    later = timedelta(seconds=2)
    mined_again = replace(log(3), block_hash=OTHER_BLOCK, block_number=101, event_time=NOON + later)
    removed = replace(mined_again, removed=True)
    late = replace(row(), event_time=NOON + later)
    fills, _ = fold([row()], mined_again, removed, [late])
    assert [fill.incarnation for fill in standing(fills)] == [1]
    assert standing(fold([row()], mined_again, removed, [late], mined_again, removed)[0]) == []


def test_an_echo_after_the_taking_back_revives_nothing() -> None:
    fills, _ = fold(log(3), replace(log(3), removed=True), log(3))
    assert standing(fills) == []


def test_a_log_of_an_older_block_that_was_never_heard_of_is_an_echo() -> None:
    newer = replace(log(3), block_hash=OTHER_BLOCK, block_number=101)
    assert [fill.block_hash for fill in fold(newer, log(3))[0]] == [OTHER_BLOCK]


def test_a_fill_mined_again_keeps_its_chain_by_its_cash() -> None:
    again = [replace(log(index, cash), block_hash=OTHER_BLOCK, block_number=101) for index, cash in ((8, 6), (9, 5))]
    removed = [replace(log(index, cash), removed=True) for index, cash in ((3, 5), (4, 6))]
    wide = [replace(each, notional_micros=each.notional_micros * 1_000_000) for each in (*removed, *again)]
    fills, _ = fold(log(3, 5_000_000), log(4, 6_000_000), *wide)
    chains = {(fill.ordinal, fill.incarnation): fill.cash_micros for fill in fills}
    assert chains == {(0, 0): 5_000_000, (0, 1): 5_000_000, (1, 0): 6_000_000, (1, 1): 6_000_000}


def test_a_row_shown_again_is_flagged_on_one_fill_only() -> None:
    twins = (log(1), log(2), [row(6_000_000)], [row(6_000_000), row()])
    assert sum(fill.mismatch is not None for fill in fold(*twins)[0]) == 1
    assert not any(fill.mismatch for fill in fold(*twins, log(0, 6_000_000))[0])
    both = fold(log(1), log(2), [row(6_000_000), row(6_000_000)])[0]
    assert all(fill.mismatch for fill in both)
