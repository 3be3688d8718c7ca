"""The tapes that lie beside the project, where they do, through the whole stack at eight times their speed."""

from fractions import Fraction

import pytest

from tests.e2e.conftest import TAPES
from tests.oracle import audit
from tests.support.playing import SPEED
from tests.support.plays import Plays

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

NAMES = sorted(folder.name for folder in TAPES.glob("*") if (folder / "tape.json").exists())


def test_there_are_tapes_beside_the_project() -> None:
    if not NAMES:
        pytest.skip(f"NO TAPES in {TAPES}: the recorded tapes are not played")


@pytest.mark.parametrize("recorded", NAMES)
def test_a_recorded_tape_passes_the_oracle(recorded: str, plays: Plays) -> None:
    play = plays.result(recorded)
    assert play.code == 0, play.output
    assert play.failures == []
    assert [str(each) for each in audit(TAPES / recorded, play.exports, Fraction(SPEED))] == []
