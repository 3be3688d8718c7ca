"""Who is due when, and whose turn it is."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from libs.common.domain.config import CopyConfig, merge
from services.simulator.core.facts import Group
from services.simulator.core.rules import compile_rules
from services.simulator.core.schedule import AHEAD, Schedule, is_history, needs_book, own_due
from tests.support.decisions import GROUP, NOW, SPLIT

RULES = compile_rules(CopyConfig(), 1)
OTTER, HERON = UUID(int=1), UUID(int=2)


def group(second: float, user: UUID = OTTER) -> Group:
    return replace(GROUP, id=uuid4(), user_id=user, first_detect_time=NOW + timedelta(seconds=second))


def test_due_is_closing_plus_latency_plus_a_stable_jitter_within_its_bound() -> None:
    for _ in range(200):
        each = group(0)
        late = own_due(each, RULES, 1) - each.closed_at
        assert timedelta(milliseconds=750) <= late <= timedelta(milliseconds=1000)
        assert own_due(each, RULES, 1) - each.closed_at == late
    none = compile_rules(merge({"jitter_ms": 0, "decision_latency_ms": 0}), 1)
    assert own_due(GROUP, none, 1) == GROUP.closed_at
    assert len({own_due(group(0), RULES, 1) for _ in range(50)}) > 10


def test_a_lane_waits_for_its_first_group_even_when_younger_ones_are_ready() -> None:
    schedule = Schedule(per_user=False)
    older, younger = group(0), group(1, HERON)
    schedule.add(younger, NOW)
    schedule.add(older, NOW + timedelta(seconds=2))
    schedule.come_up(NOW)
    schedule.ready([younger.id, older.id])
    assert schedule.eligible(NOW) == []
    assert schedule.eligible(NOW + timedelta(seconds=2)) == [None]
    assert [each.group for each in schedule.waiting_in(None, NOW + timedelta(seconds=2), 10)] == [older, younger]
    schedule.remove([older.id])
    assert schedule.eligible(NOW) == [None]


def test_users_have_lanes_of_their_own() -> None:
    schedule = Schedule(per_user=True)
    one, other = group(0), group(1, HERON)
    schedule.add(one, NOW + timedelta(seconds=5))
    schedule.add(other, NOW)
    schedule.ready([other.id])
    assert schedule.eligible(NOW) == [HERON]


def test_a_group_without_its_book_is_not_eligible() -> None:
    schedule = Schedule(per_user=False)
    schedule.add(GROUP, NOW)
    assert schedule.eligible(NOW) == []
    schedule.ready([GROUP.id])
    assert schedule.eligible(NOW) == [None]


def test_each_group_comes_up_once_ahead_of_its_due() -> None:
    schedule = Schedule(per_user=False)
    schedule.add(GROUP, NOW)
    schedule.add(GROUP, NOW + timedelta(seconds=1))
    assert schedule.come_up(NOW - AHEAD - timedelta(microseconds=1)) == []
    assert [each.group for each in schedule.come_up(NOW - AHEAD)] == [GROUP]
    assert schedule.next_wake(NOW - AHEAD) == NOW
    assert schedule.come_up(NOW + timedelta(seconds=5)) == []


def test_a_lane_on_hold_is_left_alone_until_then_or_until_a_book_comes() -> None:
    schedule = Schedule(per_user=False)
    schedule.add(GROUP, NOW)
    schedule.come_up(NOW)
    schedule.ready([GROUP.id])
    schedule.hold(None, NOW + timedelta(seconds=1))
    assert schedule.eligible(NOW) == []
    assert schedule.next_wake(NOW) == NOW + timedelta(seconds=1)
    assert schedule.eligible(NOW + timedelta(seconds=1)) == [None]
    schedule.ready([GROUP.id])
    assert schedule.eligible(NOW) == [None]


def test_a_group_that_falls_due_earlier_than_it_did_is_not_waited_for_longer() -> None:
    schedule = Schedule(per_user=False)
    second = timedelta(seconds=1)
    waiting = schedule.add(GROUP, NOW + 600 * second)
    schedule.hold(None, NOW + 600 * second)
    schedule.reconsider(lambda _: NOW + 601 * second)
    assert (waiting.due, schedule.next_wake(NOW)) == (NOW + 600 * second, NOW + 600 * second - AHEAD)
    schedule.hold(None, NOW + 2 * second)
    schedule.reconsider(lambda _: NOW + 600 * second)
    assert schedule.next_wake(NOW) == NOW + 2 * second
    schedule.reconsider(lambda _: NOW + 5 * second)
    assert (waiting.due, schedule.next_wake(NOW)) == (NOW + 5 * second, NOW + 5 * second - AHEAD)
    assert [each.group for each in schedule.come_up(NOW + 5 * second - AHEAD)] == [GROUP]
    schedule.reconsider(lambda _: NOW + 4.9 * second)
    assert schedule.next_wake(NOW) == NOW + 4.9 * second
    schedule.ready([GROUP.id])
    assert schedule.eligible(NOW + 4.9 * second) == [None]


def test_it_wakes_when_the_next_group_comes_up() -> None:
    schedule = Schedule(per_user=False)
    assert schedule.next_wake(NOW) is None
    gone = group(0)
    schedule.add(gone, NOW + timedelta(seconds=1))
    schedule.add(GROUP, NOW + timedelta(seconds=3))
    schedule.remove([gone.id])
    assert schedule.next_wake(NOW) == NOW + timedelta(seconds=3) - AHEAD
    assert len(schedule) == 1
    assert GROUP.id in schedule


def test_only_live_trades_need_a_book() -> None:
    old = replace(GROUP, first_event_time=NOW - timedelta(seconds=120, microseconds=1))
    assert needs_book(GROUP, RULES, NOW)
    assert not needs_book(SPLIT.group, RULES, NOW)
    assert is_history(old, RULES, NOW)
    assert not needs_book(old, RULES, NOW)


@pytest.mark.parametrize(("limit", "seconds"), [(5, 120), (120, 120), (200, 200)])
def test_a_group_is_history_when_it_is_neither_live_nor_young_enough(limit: int, seconds: int) -> None:
    rules = compile_rules(merge({"max_event_age_seconds": limit}), 1)
    born = GROUP.first_event_time
    assert not is_history(GROUP, rules, born + timedelta(seconds=seconds))
    assert is_history(GROUP, rules, born + timedelta(seconds=seconds, microseconds=1))
