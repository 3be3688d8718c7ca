"""The tapes that lie beside the project, where they do, through the whole stack at eight times their speed."""

from fractions import Fraction
from pathlib import Path

import pytest

from tests.oracle import audit
from tests.support.playing import SPEED, Play

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

TAPES = Path(__file__).parents[3] / "shared" / "tapes"
NAMES = sorted(folder.name for folder in TAPES.glob("*") if (folder / "tape.json").exists())


def test_there_are_tapes_beside_the_project() -> None:
    if not NAMES:
        pytest.skip(f"NO TAPES in {TAPES}: the recorded tapes are not played")


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_tape_passes_the_oracle(name: str, tmp_path: Path) -> None:
    play = Play(TAPES / name, tmp_path, "--exit-when-drained")
    try:
        assert play.wait() == 0, play.output()
        exports = play.exported()
    finally:
        play.stop()
    assert "\n".join(str(each) for each in audit(TAPES / name, exports, Fraction(SPEED))) == ""
