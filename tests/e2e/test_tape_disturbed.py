"""Our short tape under every fault of the sandbox, with both databases killed, and with a second ingest."""

from fractions import Fraction
from pathlib import Path

import pytest

from tests.chaos.cases import SHORT
from tests.chaos.judging import difference, facts, unexcused
from tests.oracle import audit, read_run
from tests.support.playing import SPEED
from tests.support.plays import Played

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def wrong(name: str, tape: Path, undisturbed: Played, play: Played) -> list[str]:
    """Return what a disturbed play did otherwise than the undisturbed one, and what it did wrong by itself."""
    assert play.code == 0, play.output
    found = unexcused(audit(tape, play.exports, Fraction(SPEED)), SHORT[name].excused)
    differs = difference(facts(undisturbed.exports), facts(play.exports))
    letters = [str(row) for row in read_run(play.exports)["deadletters"] if row["status"] == "OPEN"]
    return [*found, *letters, *([differs] if differs else [])]


def test_under_every_fault_a_play_ends_as_undisturbed(short_tape: Path, undisturbed: Played, storm: Played) -> None:
    assert wrong("storm", short_tape, undisturbed, storm) == []


def test_with_both_databases_killed_a_play_ends_as_undisturbed(
    short_tape: Path, undisturbed: Played, databases_killed: Played
) -> None:
    assert wrong("databases_killed", short_tape, undisturbed, databases_killed) == []


def test_with_a_second_ingest_and_valkey_away_a_play_ends_as_undisturbed(
    short_tape: Path, undisturbed: Played, second_ingest: Played
) -> None:
    assert wrong("second_ingest", short_tape, undisturbed, second_ingest) == []


def test_the_storm_took_fills_back_and_mined_them_again(storm: Played) -> None:
    events = read_run(storm.exports)["events"]
    gone = sum(row["status"] == "REVERSED" for row in events)
    assert 0 < gone == sum(row["status"] == "CANONICAL" and row["incarnation"] > 0 for row in events)


def test_a_difference_is_told(undisturbed: Played) -> None:
    run = facts(undisturbed.exports)
    for what in run:
        changed = {**run, what: run[what].copy()}
        changed[what][next(iter(changed[what]))] += 1
        assert str(difference(run, changed)).startswith(what)
