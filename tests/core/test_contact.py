"""Contact and gaps against a naive model that looks at every second by itself."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.domain.contact import (
    Contact,
    GapStatus,
    LookBack,
    Span,
    Way,
    find_gaps,
    length,
    live_spans,
    union,
    within,
    without,
)
from services.ingest.core.contact import CHAIN_PATIENCE, Life, Poll, continues

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
END = 30
WINDOW = Span(NOON, NOON + timedelta(seconds=END))


def at(second: int) -> datetime:
    return NOON + timedelta(seconds=second)


def span(start: int, end: int) -> Span:
    return Span(at(start), at(end))


def seconds(spans: list[Span]) -> set[int]:
    """Every second the spans cover."""
    return {
        second
        for each in spans
        for second in range(
            round((each.start - NOON).total_seconds()),
            round((each.end - NOON).total_seconds()),
        )
    }


moments = st.integers(-10, END + 10)
spans = st.builds(lambda a, b: span(*sorted((a, b))), moments, moments)
several = st.lists(spans, max_size=8)
contacts = st.builds(
    lambda each, patience: Contact(each.start, each.end, timedelta(seconds=patience)), spans, st.integers(0, 15)
)
looks = st.builds(
    lambda each, late: LookBack(each, each.end + timedelta(seconds=late), Way.GETLOGS), spans, st.integers(0, 30)
)


@settings(max_examples=60)
@given(several, several)
def test_spans_are_sets_of_seconds(some: list[Span], others: list[Span]) -> None:
    joined = union(some)
    assert seconds(joined) == seconds(some)
    assert all(before.end < after.start for before, after in pairwise(joined))
    assert seconds(without(some, others)) == seconds(some) - seconds(others)
    assert seconds(within(some, WINDOW)) == seconds(some) & set(range(END))
    assert length(joined).total_seconds() == len(seconds(some))


@given(st.lists(contacts, max_size=6), st.lists(looks, max_size=6), several)
def test_gaps_are_what_a_second_by_second_account_says(
    lives: list[Contact], backs: list[LookBack], elsewhere: list[Span]
) -> None:
    live = set()
    for contact in lives:
        until = WINDOW.end if contact.lasts(WINDOW.end) else contact.through
        live |= seconds([Span(contact.since, until)]) if contact.since < until else set()
    gaps = find_gaps(WINDOW, lives, backs, elsewhere)
    assert seconds([gap.span for gap in gaps]) == set(range(END)) - live
    known: dict[int, datetime] = {}
    for look in backs:
        for second in seconds([look.span]):
            known[second] = min(known.get(second, look.known_at), look.known_at)
    for gap in gaps:
        inside = seconds([gap.span])
        assert gap.open == (gap.span.end == WINDOW.end)
        if inside <= known.keys():
            assert gap.status is GapStatus.HEALED
            assert gap.healed_at == max(known[second] for second in inside)
        else:
            left = inside - known.keys() - seconds(elsewhere)
            assert seconds(list(gap.unhealed)) == left
            assert gap.status is (GapStatus.UNHEALED if left else GapStatus.BRIDGED)
            assert gap.healed_at is None
            assert gap.late is None


def test_a_gap_says_why_contact_ended_and_how_late_it_was_healed() -> None:
    lives = [
        Contact(at(0), at(10), timedelta(), "closed by the node"),
        Contact(at(20), at(29), CHAIN_PATIENCE),
    ]
    (gap,) = find_gaps(WINDOW, lives, [LookBack(span(5, 20), at(21), Way.GETLOGS)])
    assert (gap.span, gap.ended_by, gap.healed_by) == (span(10, 20), "closed by the node", Way.GETLOGS)
    assert gap.late == timedelta(seconds=11)


def test_no_gap_is_reported_while_contact_may_still_be_confirmed_and_one_from_its_last_word_on_after() -> None:
    assert live_spans([Contact(at(0), at(20), timedelta(seconds=10))], at(30)) == [span(0, 30)]
    (gap,) = find_gaps(WINDOW, [Contact(at(0), at(19), timedelta(seconds=10))], [])
    assert (gap.span, gap.open, gap.status) == (span(19, 30), True, GapStatus.UNHEALED)


def test_nobody_ever_looked() -> None:
    (gap,) = find_gaps(WINDOW, [], [])
    assert (gap.span, gap.open, gap.ended_by, gap.unhealed) == (WINDOW, True, None, (WINDOW,))
    (gap,) = find_gaps(WINDOW, [], [], ongoing=False)
    assert not gap.open


def poll(start: int, began: int) -> Poll:
    return Poll(at(start), at(began), at(began + 1), timedelta(seconds=30))


@pytest.mark.parametrize(
    ("start", "began", "through", "goes_on"),
    [
        (-90, 30, None, False),
        (-90, 30, 0, True),
        (-60, 60, 0, True),  # a turn may be missed
        (-59, 61, 0, False),
        (1, 30, 0, False),  # it does not reach back to what is known
        (0, 30, 0, True),
        (-120, 0, 5, True),  # another replica was faster
    ],
)
def test_a_poll_continues_contact_if_it_comes_in_time_and_reaches_back(
    start: int, began: int, through: int | None, goes_on: bool
) -> None:
    given_poll = poll(start, began)
    known = None if through is None else at(through)
    assert continues(given_poll, known, given_poll.patience) is goes_on


polls = st.lists(st.tuples(st.integers(1, 90), st.booleans()), max_size=30)


@settings(max_examples=60)
@given(polls)
def test_whatever_polls_fail_the_record_covers_just_what_complete_ones_listed(turns: list[tuple[int, bool]]) -> None:
    """Polls that reach back to the checkpoint minus two minutes leave gaps, and every gap is healed by its poll."""
    now, through = 0, None
    lives: list[Contact] = []
    backs: list[LookBack] = []
    complete: list[int] = []
    for pause, is_complete in turns:
        now += pause
        if not is_complete:
            continue
        each = poll((through if through is not None else now - 780) - 120, now)
        if through is not None and continues(each, at(through), each.patience):
            lives[-1] = Contact(lives[-1].since, each.began, each.patience)
        else:
            lives.append(Contact(each.began, each.began, each.patience))
            backs.append(each.look)
        through = now
        complete.append(now)
    window = Span(at(0), at(now + 1))
    gaps = find_gaps(window, lives, backs, momentary=True)
    if complete:
        first, rest = complete[0], [pair for pair in pairwise(complete) if pair[1] - pair[0] > 60]
        closed = [gap for gap in gaps if not gap.open]
        assert [gap.span for gap in closed] == [span(0, first), *(span(*pair) for pair in rest)]
        assert all(gap.status is GapStatus.HEALED for gap in closed)
        assert all(gap.healed_at == gap.span.end + timedelta(seconds=1) for gap in closed)
        assert any(gap.open for gap in gaps) == (now + 1 - complete[-1] > 60)
    else:
        assert [gap.status for gap in gaps] == [GapStatus.UNHEALED]


def stood(life: Life, until: int) -> Life:
    for second in range(until + 1):
        life.stand(at(second))
    return life


def test_a_connection_that_breaks_is_believed_to_the_end() -> None:
    assert stood(Life.begin(at(0)), 50).believed_through("rpc notifications: closed by the node") == at(50)


def test_one_that_withheld_a_fill_is_believed_up_to_that_and_may_have_been_silent_since_its_last_log() -> None:
    life = stood(Life.begin(at(0)), 50)
    life.deliver(at(12))
    life.withhold(at(35))
    assert (life.told_through, life.proven_through(), life.believed_through()) == (at(12), at(35), at(50))
    life.answer(at(30))
    assert life.told_through == at(12)  # a quiet minute is believed once the next one was quiet, too
    life.answer(at(45))
    assert life.told_through == at(30)
    life.withhold(at(5))  # what the API shows last may have happened first
    assert (life.told_through, life.proven_through()) == (at(0), at(5))


def test_what_a_connection_delivered_after_it_withheld_a_fill_does_not_speak_for_it() -> None:
    life = stood(Life.begin(at(0)), 90)
    for second in (3, 12, 65, 70, 89):
        life.deliver(at(second))
    life.withhold(at(33))
    assert (life.told_through, life.proven_through("rpc: closed by the node")) == (at(12), at(33))
    life.withhold(None)
    assert not life.withholds
    assert life.proven_through() == at(33)


def test_one_that_fell_silent_is_believed_up_to_its_last_answer() -> None:
    life = stood(Life.begin(at(0)), 100)
    life.deliver(at(5))
    life.answer(at(70))
    assert life.believed_through("doubted: quiet, and no answer") == at(70)
    assert life.believed_through("ConnectionClosedError: keepalive ping timeout") == at(70)
    assert stood(Life.begin(at(0)), 100).believed_through("keepalive ping timeout") == at(60)
