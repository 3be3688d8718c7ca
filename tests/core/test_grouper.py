"""Grouping is a pure function of recorded values."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.kinds import EventKind, GroupKind, Side
from libs.common.messages import EventDetected
from services.grouper.core import Candidate, Group, Key, assign, due, key_of

WINDOW = timedelta(milliseconds=2000)
START = datetime(2026, 9, 28, 9, 0, tzinfo=UTC)
KEY = Key(GroupKind.TRADE, UUID(int=1), "123", "BUY")


def fill(
    *,
    detect_ms: int = 0,
    event_s: int = 0,
    ordinal: int = 0,
    shares: int = 1_000_000,
    notional: int = 500_000,
    tx: str = "0xa",
) -> Candidate:
    return Candidate(
        event_id=UUID(int=(detect_ms << 40) + (event_s << 20) + ordinal),
        detect_time=START + timedelta(milliseconds=detect_ms),
        event_time=START + timedelta(seconds=event_s),
        tx_hash="0xa",
        ordinal=ordinal,
        share_micros=shares,
        usdc_notional_micros=notional,
    )


def sizes(groups: list[Group]) -> list[int]:
    return [len(group.members) for group in groups]


def test_fills_within_the_window_share_a_group() -> None:
    assert sizes(assign(KEY, [fill(), fill(detect_ms=1999, event_s=1)], WINDOW)) == [2]


def test_detection_exactly_two_seconds_later_still_joins() -> None:
    assert sizes(assign(KEY, [fill(), fill(detect_ms=2000)], WINDOW)) == [2]
    assert sizes(assign(KEY, [fill(), fill(detect_ms=2001)], WINDOW)) == [1, 1]


def test_event_time_exactly_two_seconds_later_opens_a_new_group() -> None:
    assert sizes(assign(KEY, [fill(), fill(detect_ms=1, event_s=1)], WINDOW)) == [2]
    assert sizes(assign(KEY, [fill(), fill(detect_ms=1, event_s=2)], WINDOW)) == [1, 1]


def test_an_event_older_than_the_first_opens_a_new_group() -> None:
    assert sizes(assign(KEY, [fill(event_s=1), fill(detect_ms=1, event_s=0)], WINDOW)) == [1, 1]


def test_the_earliest_open_group_takes_the_event() -> None:
    groups = assign(KEY, [fill(event_s=1), fill(detect_ms=1, event_s=0), fill(detect_ms=2, event_s=1)], WINDOW)
    assert sizes(groups) == [2, 1]


def test_order_of_reading_does_not_matter() -> None:
    events = [fill(), fill(ordinal=1), fill(detect_ms=2500), fill(detect_ms=700, event_s=3)]
    assert assign(KEY, events, WINDOW) == assign(KEY, events[::-1], WINDOW)


def test_a_group_is_due_two_seconds_after_its_first_detection() -> None:
    groups = assign(KEY, [fill()], WINDOW)
    assert due(groups, START + WINDOW - timedelta(microseconds=1), WINDOW) == []
    assert due(groups, START + WINDOW, WINDOW) == groups


def test_reference_price_is_rounded_against_the_copier() -> None:
    members = (fill(shares=3_000_000, notional=1_000_000),)
    assert Group(UUID(int=0), KEY, members).reference_price_micros == 333_334
    sell = Key(GroupKind.TRADE, UUID(int=1), "123", "SELL")
    assert Group(UUID(int=0), sell, members).reference_price_micros == 333_333


def test_a_split_has_no_reference_price() -> None:
    split = Key(GroupKind.SPLIT, UUID(int=1), "0xc", "")
    assert Group(UUID(int=0), split, (fill(),)).reference_price_micros is None


def detected(kind: EventKind, *, booked: bool = True) -> EventDetected:
    return EventDetected(
        event_id=uuid4(),
        kind=kind,
        booked=booked,
        user_id=UUID(int=1),
        condition_id="0xc",
        asset_id="123",
        side=Side.BUY if kind is EventKind.TRADE else None,
        occurred_at=START,
        observed_at=START,
    )


def test_only_booked_trades_splits_and_merges_are_grouped() -> None:
    assert key_of(detected(EventKind.TRADE)) == KEY
    assert key_of(detected(EventKind.SPLIT)) == Key(GroupKind.SPLIT, UUID(int=1), "0xc", "")
    assert key_of(detected(EventKind.REDEEM)) is None
    assert key_of(detected(EventKind.TRADE, booked=False)) is None


events_of_a_key = st.lists(
    st.builds(
        fill,
        detect_ms=st.integers(0, 8000),
        event_s=st.integers(0, 6),
        ordinal=st.integers(0, 3),
        shares=st.integers(1, 10**12),
        notional=st.integers(0, 10**12),
    ),
    max_size=30,
    unique_by=lambda event: event.event_id,
)


@given(events_of_a_key)
def test_grouping_conserves_events_and_shares(events: list[Candidate]) -> None:
    groups = assign(KEY, events, WINDOW)
    members = [member for group in groups for member in group.members]
    assert sorted(m.event_id for m in members) == sorted(e.event_id for e in events)
    assert sum(group.share_micros for group in groups) == sum(event.share_micros for event in events)


@given(events_of_a_key)
def test_every_member_lies_within_its_groups_windows(events: list[Candidate]) -> None:
    for group in assign(KEY, events, WINDOW):
        for member in group.members:
            assert timedelta(0) <= member.event_time - group.first.event_time < WINDOW
            assert member.detect_time <= group.first.detect_time + WINDOW


@given(events_of_a_key, st.integers(0, 8000))
def test_closing_early_groups_first_changes_nothing(events: list[Candidate], now_ms: int) -> None:
    """What is closed at one instant and what is left form the same groups as all together would."""
    now = START + timedelta(milliseconds=now_ms)
    seen = [event for event in events if event.detect_time <= now]
    closed = due(assign(KEY, seen, WINDOW), now, WINDOW)
    gone = {member.event_id for group in closed for member in group.members}
    later = assign(KEY, [event for event in events if event.event_id not in gone], WINDOW)
    assert {g.id for g in closed} | {g.id for g in later} == {g.id for g in assign(KEY, events, WINDOW)}
