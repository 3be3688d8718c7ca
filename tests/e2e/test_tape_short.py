"""Our short tape through the whole stack, undisturbed, without the websocket, and with every service killed once."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from tests.oracle import audit, read_run
from tests.support.playing import SPEED, Play, facts
from tests.support.tapes import write_tape

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

WEBSOCKET_OFF = '{"at_s": 0, "for_s": 100000, "fault": "down", "target": "rpc"}\n'
KILLED = ("ingest", "grouper", "simulator-user", "simulator-global", "ledger", "pricer", "sandbox", "ui")


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tape that all runs play."""
    return write_tape(tmp_path_factory.mktemp("tape"))


@pytest.fixture(scope="module")
def undisturbed(tape: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Exports of a run that nothing disturbed."""
    play = Play(tape, tmp_path_factory.mktemp("undisturbed"), "--exit-when-drained")
    try:
        code = play.wait()
        assert code == 0, play.output()
        yield play.exported()
    finally:
        play.stop()


def violations(tape: Path, exports: Path) -> str:
    return "\n".join(str(each) for each in audit(tape, exports, Fraction(SPEED)))


def test_the_oracle_finds_nothing_wrong(tape: Path, undisturbed: Path) -> None:
    assert violations(tape, undisturbed) == ""


def test_chain_comes_first_and_the_api_confirms(undisturbed: Path) -> None:
    fills = [row for row in read_run(undisturbed)["events"] if row["kind"] == "TRADE"]
    by_chain = [row for row in fills if row["first_source"] == "CHAIN"]
    assert len(by_chain) > len(fills) / 2
    assert all(row["sightings"] == 2 for row in by_chain)


def test_some_groups_are_copied_and_some_skipped(undisturbed: Path) -> None:
    attempts = read_run(undisturbed)["attempts"]
    assert {row["decision"] for row in attempts} == {"EXECUTE", "SKIP"}
    reasons = {reason for row in attempts for reason in row["reason_codes"]}
    assert {"SPREAD_TOO_WIDE", "INSUFFICIENT_DEPTH", "NO_POSITION"} <= reasons
    assert {row["kind"] for row in attempts if row["decision"] == "EXECUTE"} >= {"TRADE", "SPLIT"}


def test_without_the_websocket_everything_is_found_later(tape: Path, undisturbed: Path, tmp_path: Path) -> None:
    faults = tmp_path / "faults.jsonl"
    faults.write_text(WEBSOCKET_OFF)
    play = Play(tape, tmp_path / "play", "--exit-when-drained", "--faults", faults)
    try:
        assert play.wait() == 0, play.output()
        exports = play.exported()
    finally:
        play.stop()
    assert facts(exports) == facts(undisturbed)
    assert violations(tape, exports) == ""
    assert {row["first_source"] for row in read_run(exports)["events"]} == {"DATA_API"}


def test_every_service_killed_once_changes_nothing(tape: Path, undisturbed: Path, tmp_path: Path) -> None:
    play = Play(tape, tmp_path / "play", "--exit-when-drained")
    try:
        play.wait_playing()
        for name in play.pids():
            if name.startswith(KILLED):
                play.kill(name)
        assert play.wait() == 0, play.output()
        exports = play.exported()
    finally:
        play.stop()
    assert facts(exports) == facts(undisturbed)
    assert violations(tape, exports) == ""
