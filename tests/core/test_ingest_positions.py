"""Openings and adjustments: whatever comes in between, what was held before is told exactly, once, at its mark."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.kinds import EntryType
from services.ingest.core.late import Adjusted, Counted, Happened, Told, corrections
from services.ingest.core.positions import (
    NOTHING,
    READINGS_MAX,
    Conversion,
    Held,
    Known,
    Owner,
    adjustments,
    is_absorbed,
    openings,
    unexplained,
)
from services.ingest.core.readings import (
    Reading,
    counted_document,
    counted_from,
    reading_document,
    reading_from,
)

T0 = datetime(2026, 9, 28, 9, 0, tzinfo=UTC)
USER = UUID(int=7)
OWNER = Owner(USER, "0x" + "a" * 40, T0, first=True)
SECOND = Owner(USER, "0x" + "b" * 40, T0 + timedelta(minutes=1), first=False)
TOKENS = ("11", "12", "21", "22")


def at(second: int) -> datetime:
    return T0 + timedelta(seconds=second)


def held(asset: str, shares: int, second: int = -60, price: int | None = 500_000, event: str = "e") -> Held:
    return Held(asset, f"0xc{asset[0]}", event, shares, price, at(second))


def opened(row: Held, known: Known = NOTHING, *, readings: int = 1) -> list[int]:
    made, unclear = openings(OWNER, {row.asset_id: row}, {row.asset_id: known}, readings=readings)
    return [] if unclear else [sync.share_delta_micros for sync in made]


Fill = tuple[str, int, int]
"""Token, signed shares, second after the follow."""
fills = st.lists(st.tuples(st.sampled_from(TOKENS), st.integers(-50, 50), st.integers(0, 9)), max_size=30)
starts = st.dictionaries(st.sampled_from(TOKENS), st.integers(2_000, 3_000))


def naive(rows: Mapping[str, Held], booked: list[Fill]) -> dict[str, int]:
    """Compute openings the long way: undo what was booked, from the last to the first, up to each row's instant."""
    shares = {asset: row.share_micros for asset, row in rows.items()}
    for asset, delta, second in reversed(booked):
        if asset in shares and at(second) <= rows[asset].as_of:
            shares[asset] -= delta
    return {asset: each for asset, each in shares.items() if each}


@given(starts, fills, st.lists(st.integers(-1, 9), min_size=4, max_size=4))
def test_openings_are_what_was_held_however_late_each_row_is(
    start: dict[str, int], happened: list[Fill], read: list[int]
) -> None:
    # Each token's row is as old as it likes; it counts whole seconds, and says the last event it counts.
    rows: dict[str, Held] = {}
    for token, second in zip(TOKENS, read, strict=True):
        seen = [each for each in happened if each[0] == token and each[2] <= second]
        shares = start.get(token, 0) + sum(delta for _, delta, _ in seen)
        if token in start or seen:
            rows[token] = held(token, shares, max((when for _, _, when in seen), default=-60))
    known = {
        asset: Known(sum(delta for token, delta, when in happened if token == asset and at(when) <= row.as_of))
        for asset, row in rows.items()
    }
    made, unclear = openings(OWNER, rows, known, readings=1)
    assert {sync.asset_id: sync.share_delta_micros for sync in made} == start == naive(rows, happened)
    assert unclear == []
    after = Counter({sync.asset_id: sync.share_delta_micros for sync in made})
    for token, delta, _ in happened:
        after[token] += delta
    assert all(after[token] == start.get(token, 0) + sum(d for t, d, _ in happened if t == token) for token in TOKENS)


@given(starts, fills, st.lists(st.integers(-1, 9), min_size=4, max_size=4), st.randoms(use_true_random=False))
def test_whatever_shows_up_after_the_opening_shares_are_what_is_held(
    start: dict[str, int], happened: list[Fill], read: list[int], chance: Random
) -> None:
    told: dict[str, Told] = {}
    for token, second in zip(TOKENS, read, strict=True):
        seen = [each for each in happened if each[0] == token and each[2] <= second]
        if token in start or seen:
            shares = start.get(token, 0) + sum(delta for _, delta, _ in seen)
            told[token] = Told(held(token, shares, max((when for _, _, when in seen), default=-60)), 500_000)
    shown = [each for each in happened if chance.random() < 0.5]
    late = list((Counter(happened) - Counter(shown)).elements())
    rows = {token: each.row for token, each in told.items()}
    known = {
        asset: Known(sum(delta for token, delta, when in shown if token == asset and at(when) <= row.as_of))
        for asset, row in rows.items()
    }
    made, _ = openings(OWNER, rows, known, readings=READINGS_MAX)
    for number, (token, delta, when) in enumerate(late):
        event = Happened(UUID(int=number), USER, OWNER.wallet, "", token, delta, 0, 400_000, at(when))
        made += corrections(event, Counted(T0, told))
    opened = Counter[str]()
    for sync in made:
        opened[sync.asset_id] += sync.share_delta_micros
        assert sync.price_micros == 500_000
    assert {asset: shares for asset, shares in opened.items() if shares} == start
    assert len({sync.ref_id for sync in made}) == len(made)


def test_a_late_redeem_without_a_token_was_of_the_outcome_that_pays() -> None:
    rows = {"11": held("11", 0, 5, price=1_000_000), "12": held("12", 0, 5, price=0), "21": held("21", 0, 5)}
    counted = Counted(T0, {asset: Told(row, row.price_micros) for asset, row in rows.items()})
    event = Happened(UUID(int=1), USER, OWNER.wallet, "0xc1", "", 0, 7, None, at(5))
    [sync] = corrections(event, counted)
    assert (sync.asset_id, sync.share_delta_micros, sync.kind) == ("11", 7, EntryType.OPENING)


def test_an_opening_precedes_all_that_is_booked_and_bears_the_mark_of_the_row() -> None:
    [sync], _ = openings(OWNER, {"11": held("11", 5)}, {}, readings=1)
    assert (sync.event_time < T0, sync.price_micros, sync.cash_delta_micros) == (True, 500_000, 0)
    assert sync.ref_id == f"{USER}:11"


def test_our_own_mark_of_the_follow_comes_before_the_rows() -> None:
    [sync], _ = openings(OWNER, {"11": held("11", 5)}, {"11": Known(mark_micros=510_000)}, readings=1)
    assert sync.price_micros == 510_000


def test_a_further_wallet_and_a_further_follow_have_refs_of_their_own() -> None:
    again = Owner(USER, OWNER.wallet, at(3600), first=False)
    made = [openings(owner, {"11": held("11", 5)}, {}, readings=1)[0][0] for owner in (OWNER, SECOND, again)]
    assert len({sync.ref_id for sync in made}) == len({sync.id for sync in made}) == 3
    assert all(len(sync.ref_id) <= 140 for sync in made)


def test_nothing_is_opened_twice_and_nothing_of_nothing() -> None:
    assert opened(held("11", 5), Known(opened=True)) == []
    assert opened(held("11", 5), Known(5)) == []
    assert opened(replace(held("11", 5), condition_id="0x" + "c" * 62)) == []


def test_no_price_is_invented() -> None:
    made, unclear = openings(OWNER, {"11": held("11", 5, price=None)}, {}, readings=READINGS_MAX)
    assert (made, unclear) == ([], ["11"])


def test_what_a_reorganisation_took_back_is_awaited() -> None:
    made, unclear = openings(OWNER, {"11": held("11", 5)}, {"11": Known(unsettled=True)}, readings=1)
    assert (made, unclear) == ([], ["11"])


def test_less_than_was_booked_is_believed_when_it_stays_so() -> None:
    assert opened(held("11", 3), Known(5)) == []
    assert opened(held("11", 3), Known(5), readings=READINGS_MAX) == [-2]


def test_what_is_gone_of_a_condition_that_is_over_was_paid() -> None:
    assert opened(held("11", 0), Known(5, over=True), readings=READINGS_MAX) == []
    assert opened(held("11", 9), Known(5, over=True)) == [4]


@pytest.mark.parametrize(("price", "expected"), [(1_000_000, 7), (0, 0)])
def test_a_redeem_without_a_token_was_of_the_outcome_that_pays(price: int, expected: int) -> None:
    row = held("11", 0, 5, price=price)
    assert unexplained(row, Known(redeemed_micros=7, over=True)) == expected


CONVERSION = Conversion(UUID(int=9), "0xc1", "", 40, "0xt", at(5))


def adjusted(rows: list[Held], known: Mapping[str, Known], conversion: Conversion = CONVERSION) -> dict[str, object]:
    by_token = {row.asset_id: row for row in rows}
    made = adjustments(OWNER, conversion, by_token, known, ("11", "12"), counted=False)
    assert {sync.ref_id for sync in made} == {str(conversion.event_id)}
    return {sync.asset_id: (sync.share_delta_micros, sync.cash_delta_micros) for sync in made}


def test_a_conversion_brings_every_token_of_its_event_to_the_rows_and_pays_once() -> None:
    rows = [held("12", 0, 5), held("21", 10, 5), held("31", 4, 5, event="other")]
    assert adjusted(rows, {"12": Known(10)}) == {"12": (-10, 40), "21": (10, 0)}


def test_a_conversion_opens_no_condition_that_is_over() -> None:
    rows = [held("12", 0, 5), held("21", 10, 5)]
    assert adjusted(rows, {"12": Known(10), "21": Known(over=True)}) == {"12": (-10, 40)}


def test_a_conversion_that_moves_nothing_is_dealt_with_all_the_same() -> None:
    assert adjusted([], {}) == {"11": (0, 40)}
    assert adjusted([], {}, replace(CONVERSION, asset_id="99")) == {"99": (0, 40)}
    assert adjustments(OWNER, CONVERSION, {}, {}, (), counted=False) == []


def test_a_conversion_that_the_opening_counts_posts_nothing_more() -> None:
    rows = {"12": held("12", 0, 5), "21": held("21", 10, 5)}
    latest = Counted(T0, {asset: Told(row, 1) for asset, row in rows.items()}).groups()
    assert is_absorbed(CONVERSION, rows, latest)
    known = {"21": Known(10, opened=True)}
    [sync] = adjustments(OWNER, CONVERSION, rows, known, ("11", "12"), counted=True)
    assert (sync.share_delta_micros, sync.cash_delta_micros) == (0, 0)


def test_what_was_opened_from_a_row_before_the_conversion_is_brought_to_the_rows_all_the_same() -> None:
    rows = {"12": held("12", 0, 5), "21": held("21", 10, 5)}
    known = {"12": Known(10, opened=True), "21": Known(10, opened=True)}
    [sync] = adjustments(OWNER, CONVERSION, rows, known, ("11", "12"), counted=True)
    assert (sync.asset_id, sync.share_delta_micros, sync.cash_delta_micros) == ("12", -10, 0)


def test_a_conversion_after_the_rows_is_left_to_its_own_re_sync() -> None:
    rows = {"12": held("12", 10, 4), "21": held("21", 0, 4)}
    latest = Counted(T0, {asset: Told(row, 1) for asset, row in rows.items()}).groups()
    assert not is_absorbed(CONVERSION, rows, latest)
    assert not is_absorbed(CONVERSION, rows, {})


def reading(*rows: Held, number: int = 1, unreadable: int = 0) -> Reading:
    by_token = {row.asset_id: row for row in rows}
    return Reading(T0, at(number), number, unreadable, by_token, sorted(by_token))


def test_a_reading_survives_as_json() -> None:
    before = reading(held("11", 5), held("12", 0, 3, price=None), unreadable=2)
    assert reading_from(json.loads(json.dumps(reading_document(before)))) == before
    bound = Adjusted("0xc1", at(5), UUID(int=9), at(4), "0xt")
    counted = Counted(T0, {"11": Told(held("11", 5, 1), 7), "12": Told(held("12", 5), None)}, {"21": bound})
    assert counted_from(json.loads(json.dumps(counted_document(counted)))) == counted


def test_a_second_reading_changes_only_what_was_unclear() -> None:
    fresh = reading(held("11", 9, 8), held("12", 9, 8), held("21", 9, 8))
    after = reading(held("11", 5), held("12", 5)).again(["12"], fresh)
    assert (after.number, after.pending) == (2, ["12"])
    assert {asset: row.share_micros for asset, row in after.held.items()} == {"11": 5, "12": 9}


def test_a_second_reading_after_unreadable_rows_takes_in_what_was_not_seen() -> None:
    fresh = reading(held("11", 9, 8), held("21", 9, 8))
    after = reading(held("11", 5), held("12", 5), unreadable=1).again(["12"], fresh)
    assert after.pending == ["21"]
    assert after.held["11"].share_micros == 5
