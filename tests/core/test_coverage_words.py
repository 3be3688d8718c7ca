"""What the coverage report says, in words and at the terminal."""

from datetime import UTC, date, datetime, timedelta

import pytest

from libs.common.domain.contact import Contact, Gap, GapStatus, LookBack, Span, Way
from libs.common.domain.coverage import Coverage, Day, Fills, Followed, Lag, Looking, SourceGap, SourceState, spoken
from libs.common.domain.coverage_survey import days_of, survey
from libs.common.domain.kinds import Source
from services.cli.coverage import _text

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
WINDOW = Span(NOON - timedelta(hours=1), NOON)


def at(second: int) -> datetime:
    return WINDOW.start + timedelta(seconds=second)


def report(fills: Fills, polls: Looking, chain: Looking | None = None) -> Coverage:
    followed = [Followed("0x1", "otter", WINDOW)]
    has_chain = chain is not None
    gaps, _ = survey(WINDOW, followed, chain or Looking(), {"0x1": polls}, chain_configured=has_chain)
    days = days_of(WINDOW, followed, gaps, {("otter", date(2026, 11, 1)): fills}, chain_configured=has_chain)
    states = tuple(SourceState(source, has_chain or source is Source.DATA_API, True, NOON, 0) for source in Source)
    return Coverage(WINDOW.start, WINDOW.end, True, 1, 1, states, tuple(days), tuple(gaps))


WATCHED = Looking((Contact(WINDOW.start, NOON, timedelta(seconds=60)),))


def test_the_first_line_is_the_verdict() -> None:
    fills = Fills(fills=412, both=409, awaiting_api=3, chain_lag=Lag(1200, 2500))
    found = report(fills, WATCHED, WATCHED)
    lines = list(_text(found))
    assert lines[0] == "complete: 412 fills, 409 seen by both sources, 3 awaiting the API; no gap in contact"
    assert lines[-1] == "No gap in contact."
    assert any("1.2 / 2.5 s" in line and line.endswith("complete") for line in lines)


def test_gaps_say_how_they_were_healed_and_how_late() -> None:
    broken = Looking(
        (
            Contact(WINDOW.start, at(100), timedelta(), "closed by the node"),
            Contact(at(280), at(2000), timedelta(), "closed by the node"),
            Contact(at(2010), NOON, timedelta(seconds=15)),
        ),
        (LookBack(Span(at(90), at(280)), at(283), Way.GETLOGS),),
    )
    lines = list(_text(report(Fills(), WATCHED, broken)))
    assert lines[0] == "complete: no trade; 2 gaps in contact, none unhealed"
    assert "10 s" in lines[-2]
    assert lines[-2].endswith("the API was polled for it: closed by the node")
    assert "healed by fetched logs, late by up to 3 min 3 s" in lines[-1]


def test_a_gap_of_both_sources_nobody_looked_back_into_is_unhealed() -> None:
    deaf = Looking((Contact(WINDOW.start, at(1800), timedelta(), "data: 503"),))
    found = report(Fills(), deaf, deaf)
    assert found.verdict == "NOT complete: 30 min nobody has looked at (1 of 1 users, still going on); no trade"
    assert [day.answer for day in found.days] == ["not looked at for 30 min"]
    assert [day.blind for day in found.days] == [timedelta(minutes=30)]
    assert sum("UNHEALED: data: 503" in line for line in _text(found)) == 2


def test_without_a_node_there_is_no_gap_in_the_chain() -> None:
    found = report(Fills(fills=2, only_api=2), WATCHED)
    assert found.verdict == "complete: 2 fills, 2 by the API alone; no gap in contact"
    assert any(line.startswith("CHAIN: no contact is on record") for line in _text(found))


def test_many_gaps_are_told_in_groups_and_cut() -> None:
    def gap(number: int, wallet: int) -> SourceGap:
        span = Span(at(number * 60), at(number * 60 + 5))
        healed = Gap(span, False, "data: 503", GapStatus.HEALED, at(number * 60 + 6), Way.POLL, ())
        return SourceGap(Source.DATA_API, healed, f"user-{wallet}", f"0x{wallet}")

    gaps = tuple(gap(number, wallet) for number in range(40) for wallet in range(3))
    day = Day("user-0", NOON.date(), Fills(), *(timedelta(),) * 5)
    lines = list(_text(Coverage(WINDOW.start, NOON, False, 3, 3, (), (day,), gaps)))
    assert "the stack is down" in lines[1]
    assert lines[-1] == "  ... 10 more, none of them unhealed; --json has them all."
    assert "user-0 and 2 more" in lines[-2]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "less than 1 s"), (59, "59 s"), (60, "1 min"), (61, "1 min 1 s"), (3_600, "1 h"), (90_000, "1 d 1 h")],
)
def test_durations_are_spoken_in_two_units(seconds: float, words: str) -> None:
    assert spoken(timedelta(seconds=seconds)) == words
