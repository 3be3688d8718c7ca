"""Our short tape through the whole stack, undisturbed, without the websocket, and with every service killed once."""

import json
import subprocess
from fractions import Fraction
from pathlib import Path

import pytest

from tests.oracle import audit, read_run
from tests.support.playing import SPEED, command, environment, facts
from tests.support.plays import KILLED_SPEED, Played

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def violations(tape: Path, play: Played, speed: int = SPEED) -> list[str]:
    return [str(each) for each in audit(tape, play.exports, Fraction(speed))]


def test_an_undisturbed_play_drains_without_a_fall(undisturbed: Played) -> None:
    assert undisturbed.code == 0, undisturbed.output
    assert undisturbed.failures == []


def test_the_oracle_finds_nothing_wrong(short_tape: Path, undisturbed: Played) -> None:
    assert violations(short_tape, undisturbed) == []


def test_chain_comes_first_and_the_api_confirms(undisturbed: Played) -> None:
    fills = [row for row in read_run(undisturbed.exports)["events"] if row["kind"] == "TRADE"]
    by_chain = [row for row in fills if row["first_source"] == "CHAIN"]
    assert len(by_chain) > len(fills) / 2
    assert all(row["sightings"] == 2 for row in by_chain)


def test_some_groups_are_copied_and_some_skipped(undisturbed: Played) -> None:
    attempts = read_run(undisturbed.exports)["attempts"]
    assert {row["decision"] for row in attempts} == {"EXECUTE", "SKIP"}
    reasons = {reason for row in attempts for reason in row["reason_codes"]}
    assert {"SPREAD_TOO_WIDE", "INSUFFICIENT_DEPTH", "NO_POSITION"} <= reasons
    assert {row["kind"] for row in attempts if row["decision"] == "EXECUTE"} >= {"TRADE", "SPLIT"}


def test_the_tracking_gap_is_what_both_portfolios_made_and_its_parts_sum_to_it(undisturbed: Played) -> None:
    line = command("gap", "--json", "--data-dir", undisturbed.exports.parent / "data")
    done = subprocess.run(line, capture_output=True, text=True, env=environment(), timeout=120, check=True)
    latest = {(row["user_label"], row["scope"]): row for row in read_run(undisturbed.exports)["snapshots"]}
    for each in json.loads(done.stdout):
        for scope, name in (("EXEC_USER", "ours_micros"), ("SHADOW_USER", "shadow_pnl_micros")):
            row = latest[each["user"], scope]
            assert each[name] == row["equity_micros"] - row["deposits_micros"]
        assert each["gap_micros"] == each["ours_micros"] - each["theirs_micros"]
        assert abs(each["residual_micros"]) <= len(each["size_micros"]) + 10


def test_without_the_websocket_everything_is_found_later(
    short_tape: Path, undisturbed: Played, unsocketed: Played
) -> None:
    assert unsocketed.code == 0, unsocketed.output
    assert facts(unsocketed.exports) == facts(undisturbed.exports)
    assert violations(short_tape, unsocketed) == []
    assert {row["first_source"] for row in read_run(unsocketed.exports)["events"]} == {"DATA_API"}


def test_every_service_killed_once_changes_nothing(short_tape: Path, undisturbed: Played, killed: Played) -> None:
    assert killed.code == 0, killed.output
    assert facts(killed.exports) == facts(undisturbed.exports)
    assert violations(short_tape, killed, KILLED_SPEED) == []
