"""Our short tape under every fault of the sandbox, with both databases killed, and with a second ingest."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.account import read_account
from tests.chaos.cases import SHORT, Case
from tests.chaos.judging import difference, facts, unexcused, write_report
from tests.chaos.truth import untruths
from tests.oracle import audit, read_run
from tests.support.playing import SPEED
from tests.support.plays import Played

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def wrong(name: str, tape: Path, undisturbed: Played, play: Played) -> list[str]:
    """Return what a disturbed play did otherwise than the undisturbed one, and what it did wrong by itself."""
    assert play.code == 0, play.output
    write_report(play.data_dir, play.exports)
    account = read_account(play.exports, play.data_dir, SHORT[name])
    found = unexcused(audit(tape, play.exports, Fraction(SPEED)), account)
    differs = difference(facts(undisturbed.exports), facts(play.exports))
    letters = [str(row) for row in account.run["deadletters"] if row["status"] == "OPEN"]
    return [*found, *letters, *([differs] if differs else []), *untruths(account)]


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


def test_what_the_storm_took_back_was_mined_again(storm: Played) -> None:
    """How many depends on whether the socket stood when blocks were replaced; none where it never did."""
    events = read_run(storm.exports)["events"]
    gone = sum(row["status"] == "REVERSED" for row in events)
    assert gone == sum(row["status"] == "CANONICAL" and row["incarnation"] > 0 for row in events)


def test_a_report_of_a_quiet_play_is_true_and_one_that_denies_contact_is_not(undisturbed: Played) -> None:
    write_report(undisturbed.data_dir, undisturbed.exports)
    account = read_account(undisturbed.exports, undisturbed.data_dir, Case("undisturbed"))
    untrue = untruths(account)
    assert untrue == []
    late = [{**gap, "to": account.report["until"]} for gap in account.report["gaps"]]
    said = untruths(replace(account, report={**account.report, "gaps": late}))
    assert any("no contact is admitted" in each for each in said)


def test_a_report_that_lies_is_told(storm: Played) -> None:
    write_report(storm.data_dir, storm.exports)
    account = read_account(storm.exports, storm.data_dir, SHORT["storm"])
    gaps = account.report["gaps"]
    lies: dict[str, dict[str, Any]] = {
        "no gap": {"gaps": [gap for gap in gaps if gap["source"] != "CHAIN"]},
        "the sightings say": {"days": [{**day, "both": day["both"] + 1} for day in account.report["days"]]},
        "failed polls, the log has": {"sources": [{**each, "failed_polls": 0} for each in account.report["sources"]]},
        "is not complete": {"complete": False},
    }
    for expected, lie in lies.items():
        said = untruths(replace(account, report={**account.report, **lie}))
        assert any(expected in each for each in said), (expected, said)


def test_a_difference_is_told(undisturbed: Played) -> None:
    run = facts(undisturbed.exports)
    for what in run:
        changed = {**run, what: run[what].copy()}
        changed[what][next(iter(changed[what]))] += 1
        assert str(difference(run, changed)).startswith(what)
