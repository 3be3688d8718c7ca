"""Which mark an asset gets, and which conditions are asked about."""

from datetime import UTC, datetime, timedelta

from libs.common.domain.kinds import MarkSource
from services.pricer.core import (
    Freshness,
    Held,
    Mark,
    choose_marks,
    conditions_to_ask,
    due_at_once,
    freshness,
    misfit,
    worth_writing,
)

NOW = datetime(2026, 9, 28, 9, 0, tzinfo=UTC)


def held(asset: str = "1", *, payout: int | None = None, closed: bool = False, close_in_s: int | None = None) -> Held:
    close_time = None if close_in_s is None else NOW + timedelta(seconds=close_in_s)
    return Held(asset, f"0x{asset}", close_time, closed, payout)


def test_a_resolved_asset_is_worth_its_payout() -> None:
    assert choose_marks([held(payout=0)], {"1": 400_000}, {}, NOW) == [Mark("1", 0, MarkSource.PAYOUT, NOW)]


def test_midpoint_comes_before_last_trade() -> None:
    assert choose_marks([held()], {"1": 400_000}, {"1": 300_000}, NOW)[0].source is MarkSource.MIDPOINT
    assert choose_marks([held()], {}, {"1": 300_000}, NOW)[0].price_micros == 300_000


def test_an_unmarkable_asset_gets_no_invented_mark() -> None:
    assert choose_marks([held()], {}, {}, NOW) == []


def test_an_unchanged_mark_is_written_again_only_after_ten_minutes() -> None:
    mark = Mark("1", 400_000, MarkSource.MIDPOINT, NOW)
    for age_s, written in ((1, []), (599, []), (600, [mark])):
        last = Mark("1", 400_000, MarkSource.MIDPOINT, NOW - timedelta(seconds=age_s))
        assert worth_writing([mark], {"1": last}, timedelta(minutes=10)) == written


def test_a_changed_or_first_mark_is_written() -> None:
    mark = Mark("1", 400_000, MarkSource.MIDPOINT, NOW)
    assert worth_writing([mark], {}, timedelta(minutes=10)) == [mark]
    for last in (Mark("1", 400_001, MarkSource.MIDPOINT, NOW), Mark("1", 400_000, MarkSource.LAST_TRADE, NOW)):
        assert worth_writing([mark], {"1": last}, timedelta(minutes=10)) == [mark]


def test_resolved_conditions_are_not_asked_about_again() -> None:
    assert conditions_to_ask([held("1"), held("2", payout=1_000_000)]) == {"0x1"}


def test_redeemed_closed_and_ended_markets_are_asked_about_at_once() -> None:
    assets = [held("1"), held("2", closed=True), held("3", close_in_s=0), held("4", close_in_s=1), held("5")]
    assert due_at_once(assets, {"0x5"}, NOW) == {"0x2", "0x3", "0x5"}
    assert due_at_once([held("2", closed=True, payout=0)], (), NOW) == set()


def test_marks_older_than_two_minutes_and_missing_ones_are_stale() -> None:
    assets = [held("1"), held("2"), held("3"), held("4", payout=0)]
    taken = {"1": NOW - timedelta(seconds=120), "2": NOW - timedelta(seconds=121)}
    assert freshness(assets, taken, ["0x9"], NOW) == Freshness(
        assets=3, missing=1, stale=2, oldest_seconds=121.0, overdue=1
    )
    assert freshness([], {}, [], NOW) == Freshness(assets=0, missing=0, stale=0, oldest_seconds=None, overdue=0)


def test_payouts_fit_a_condition_by_its_last_outcome() -> None:
    assert misfit("0xc", (1, 2), {0, 1}) is None
    assert misfit("0xc", (1, 2, 3), {0, 2}) is None  # an outcome without a token
    assert misfit("0xc", (1, 2), ()) is None  # nothing known to contradict
    assert misfit("0xc", (1, 2), {0, 1, 2}) == "condition 0xc: expected payouts of 3 outcomes, got 2"
    assert misfit("0xc", (1, 2, 3), {0, 1}) == "condition 0xc: expected payouts of 2 outcomes, got 3"
