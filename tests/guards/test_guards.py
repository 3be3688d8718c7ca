"""Every guard of the copy decision is shown to fire; and what shows it would say so if one did not."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.guards.__main__ import judge
from tests.guards.equivalent import EQUIVALENT
from tests.guards.mutants import JUDGED, Mutant, NoSuchCodeError, Removed, all_mutants, check_names, recompile, tree_of
from tests.guards.trial import Bench, Example, Trial
from tests.support.decisions import BUY, Scene, book, levels, usdc

ROOT = Path(__file__).parents[2]
WIDE = BUY.with_(book=book(levels(("0.479999", "100")), levels(("0.50", "100"))))


def noticing(scene: Scene, expected: set[str]) -> Bench:
    """Return a bench with one example."""

    def run() -> None:
        assert scene.reasons() == expected

    return Bench([Example("the example", run)])


def mutant(name: str) -> Mutant:
    (found,) = [each for each in all_mutants() if each.name == name]
    return found


@pytest.mark.timeout(600)
def test_every_guard_removed_or_moved_by_a_micro_is_noticed() -> None:
    done = subprocess.run([sys.executable, "-m", "tests.guards"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_removed_check_passes_and_is_noticed_by_who_expects_it() -> None:
    trial = noticing(WIDE, {"SPREAD_TOO_WIDE"}).try_(Removed("removed", "book.spread", "", ""))
    assert (trial.noticed_by, trial.checks) == ("the example", {"book.spread", "book.filled"})
    assert WIDE.reasons() == {"SPREAD_TOO_WIDE"}  # here nothing changed


def test_a_removed_check_that_nobody_expects_is_reported() -> None:
    bench = noticing(BUY, set())
    trial = bench.try_(Removed("removed", "book.spread", "as it is", "always passes"))
    assert trial.noticed_by is None
    wrong = judge([trial], bench.fired())
    assert "nobody notices [removed] book.spread: as it is  ->  always passes" in wrong
    assert "no example makes book.spread fire" in wrong
    assert "book.spread: no mutant [removed] changes its verdict" in wrong
    assert "book.spread: no mutant [tighter] changes its verdict" in wrong


def test_a_bound_moved_by_a_micro_is_noticed_at_the_bound_only() -> None:
    tighter = mutant("decide._Quote.checks: spread <= rules.spread  ->  spread <= __shift__(rules.spread, -1)")
    at = BUY.with_(book=book(levels(("0.48", "100")), levels(("0.50", "100"))))
    within = BUY.with_(book=book(levels(("0.480001", "100")), levels(("0.50", "100"))))
    assert noticing(at, set()).try_(tighter).noticed_by == "the example"
    assert noticing(within, set()).try_(tighter).noticed_by is None


def test_a_mutant_that_never_ends_is_noticed_by_the_clock() -> None:
    class Endless(Mutant):
        def apply(self) -> None:
            while True:
                pass

    trial = noticing(BUY, set()).try_(Endless("sign", "", "", ""))
    assert trial.noticed_by is not None
    assert trial.noticed_by.startswith("the clock")


def test_a_mutant_that_cannot_be_made_is_an_error_not_a_success() -> None:
    class Broken(Mutant):
        def apply(self) -> None:
            recompile("walk", tree_of("walk"), {"no_such_function"})

    with pytest.raises(RuntimeError, match="no_such_function"):
        noticing(BUY, set()).try_(Broken("sign", "", "", ""))


def test_a_function_that_is_judged_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(JUDGED, "schedule", frozenset({"is_stale", "is_rotten"}))
    with pytest.raises(NoSuchCodeError, match="is_rotten"):
        list(all_mutants())


def test_what_is_said_to_change_nothing_must_exist_and_change_nothing() -> None:
    name = next(iter(EQUIVALENT))
    gone = f"take it out of equivalent.py, no such mutant: {name}"
    assert gone in judge([], set())
    place, _, change = name.partition(": ")
    before, _, after = change.partition("  ->  ")
    noticed = Trial(Mutant("branch", place, before, after), "an example")
    wrong = judge([noticed], set())
    assert f"take it out of equivalent.py, an example notices: {name}" in wrong
    assert gone not in wrong


def test_a_check_under_a_name_the_source_does_not_spell_is_reported() -> None:
    assert "book.colour is emitted under a name the source does not spell" in judge([], {"book.colour"})


def test_every_check_a_decision_can_emit_is_found() -> None:
    scenes = (BUY, WIDE, BUY.with_(market=None), BUY.with_(sell_sizing="PROPORTIONAL", held_share_micros=usdc(1)))
    emitted = {check[0] for scene in scenes for check in scene.decide().checks}
    assert emitted <= check_names()
    assert len(check_names()) > len(emitted)


def test_mutants_have_names_of_their_own() -> None:
    names = [each.name for each in all_mutants()]
    assert len(names) == len(set(names)) > 500
