"""`python -m tests.chaos [--tape DIR] [--speed N] [--cases NAME...]`: play a tape under each disturbance in turn.

One line a case: what differs from the undisturbed play, or what is wrong by itself; exit 1 if anything is.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.chaos.account import SECOND, read_account, started
from tests.chaos.cases import CASES, SHORT, Case
from tests.chaos.judging import Judged, difference, facts, judge
from tests.chaos.truth import untruths_midway
from tests.support.playing import SPEED, Play
from tests.support.tapes import write_tape

WAIT_SECONDS = 900.0
SHOWN_MAX = 5
REFERENCE = "undisturbed"


def played(tape: Path, folder: Path, case: Case, speed: int) -> Judged:
    """Play a tape under one disturbance and judge it."""
    play = Play(tape, folder, "--exit-when-drained", "--faults", case.schedule(folder), speed=speed)
    try:
        play.wait_playing()
        if case.meanwhile is not None:
            case.meanwhile(play)
        midway = None if case.outage_seconds is None else report_midway(play, case.outage_seconds)
        code = play.wait(WAIT_SECONDS)
    finally:
        play.stop()
    judged = judge(tape, play.data_dir, folder / "exports", code, speed, case)
    if midway is not None:
        judged.wrong.extend(untruths_midway(read_account(judged.exports, play.data_dir, case), midway))
    return judged


def report_midway(play: Play, at_seconds: float) -> dict[str, Any]:
    """Return the coverage report of one second of the play."""
    due = started(play.data_dir) / SECOND + at_seconds
    play.wait_until(lambda: time.time() >= due, f"second {at_seconds:.0f} of the play", at_seconds + WAIT_SECONDS)
    return dict(json.loads(play.run("coverage", "--json").stdout))


def main() -> int:
    """Play the cases and print a line each."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--tape", type=Path, help="a tape to play instead of the short one of our own")
    arguments.add_argument("--speed", type=int, default=SPEED)
    every = CASES | SHORT
    arguments.add_argument(
        "--cases", nargs="*", choices=every, default=list(CASES), metavar="NAME", help=", ".join(every)
    )
    arguments.add_argument("--keep", type=Path, help="folder for data, logs and exports; the reference there is reused")
    given = arguments.parse_args()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="shadowbook-chaos-"))
    tape: Path = given.tape or write_tape(folder / "tape")
    reference = folder / REFERENCE / "exports"
    bad = 0
    if not reference.exists():
        bad += _tell(REFERENCE, time.monotonic(), played(tape, folder / REFERENCE, Case(REFERENCE), given.speed))
    expected = facts(reference)
    for name in given.cases:
        shutil.rmtree(folder / name, ignore_errors=True)
        began = time.monotonic()
        try:
            judged = played(tape, folder / name, every[name], given.speed)
        except Exception as error:  # noqa: BLE001  the next case is played whatever became of this one
            bad += _tell(name, began, Judged(-1, folder / name, [repr(error)]))
            continue
        differs = difference(expected, facts(judged.exports))
        bad += _tell(name, began, Judged(judged.code, judged.exports, ([differs] if differs else []) + judged.wrong))
    if given.keep is None and not bad:
        shutil.rmtree(folder)
    elif bad:
        sys.stdout.write(f"logs and exports are in {folder}\n")
    return 1 if bad else 0


def _tell(name: str, began: float, judged: Judged) -> int:
    took = time.monotonic() - began
    verdict = "same" if not judged.wrong else f"{len(judged.wrong)} WRONG: " + " | ".join(judged.wrong[:SHOWN_MAX])
    sys.stdout.write(f"{name:<20} {took:6.1f} s  {verdict}\n")
    sys.stdout.flush()
    return int(bool(judged.wrong))


if __name__ == "__main__":
    raise SystemExit(main())
