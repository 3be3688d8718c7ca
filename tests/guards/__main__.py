"""Take every guard out and move every bound by one, in turn; exit 1 where nothing notices."""

import argparse
import gc
import sys
from collections import Counter
from collections.abc import Sequence
from time import monotonic
from typing import Final

from tests.guards.equivalent import EQUIVALENT
from tests.guards.mutants import NEVER_FAIL, all_mutants, check_names
from tests.guards.trial import Bench, Trial, collect

EXAMPLES: Final = (
    "tests/core/test_simulator_guards.py",
    "tests/core/test_simulator_decide.py",
    "tests/core/test_simulator_walk.py",
    "tests/core/test_simulator_overrides.py",
    "tests/core/test_simulator_schedule.py",
    "tests/core/test_simulator_config.py",
    "tests/core/test_simulator_portfolio.py",
)
BOUND_KINDS: Final = frozenset({"strict", "looser", "tighter"})
WITHOUT_BOUND: Final = frozenset(
    {"control.engine", "control.user", "control.event", "market.known", "market.open", "market.blacklist",
     "risk.global", "book.available", "book.filled"}
)  # fmt: skip
"""Checks that ask for a state, not for an amount."""


def judge(trials: Sequence[Trial], fired: set[str]) -> list[str]:
    """Return what is wrong: mutants nobody noticed, checks that never fire or whose bound never moved."""
    names = {trial.mutant.name for trial in trials}
    wrong = [
        f"nobody notices [{trial.mutant.kind}] {trial.mutant.name}"
        for trial in trials
        if trial.noticed_by is None and trial.mutant.name not in EQUIVALENT
    ]
    wrong += [f"take it out of equivalent.py, no such mutant: {name}" for name in EQUIVALENT.keys() - names]
    wrong += [
        f"take it out of equivalent.py, {trial.noticed_by} notices: {trial.mutant.name}"
        for trial in trials
        if trial.noticed_by is not None and trial.mutant.name in EQUIVALENT
    ]
    known = check_names()
    if not known:
        wrong.append("no check has a name any more: mutants.CHECK_NAME does not find them")
    judged = known - NEVER_FAIL
    wrong += [f"no example makes {name} fire" for name in sorted(judged - fired)]
    wrong += [f"{name} is emitted under a name the source does not spell" for name in sorted(fired - known)]
    wrong += [f"{name} is listed in NEVER_FAIL, but fired" for name in sorted(fired & NEVER_FAIL)]
    moved = {(name, trial.mutant.kind) for trial in trials for name in trial.checks}
    for name in sorted(judged):
        kinds = {"removed"} if name in WITHOUT_BOUND else {"removed"} | BOUND_KINDS
        wrong += [
            f"{name}: no mutant [{kind}] changes its verdict" for kind in sorted(kinds) if (name, kind) not in moved
        ]
    return wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the trials and print what is wrong, or how many there were."""
    parser = argparse.ArgumentParser(prog="python -m tests.guards", description=__doc__)
    parser.add_argument("--only", default="", help="try mutants whose name contains this")
    parser.add_argument("--verbose", action="store_true", help="print each mutant with the test that notices it")
    options = parser.parse_args(arguments)
    began = monotonic()
    bench = Bench(collect(EXAMPLES))
    gc.freeze()  # what is there already need not be copied into every process
    trials = []
    for mutant in all_mutants():
        if options.only not in mutant.name:
            continue
        trials.append(bench.try_(mutant))
        if options.verbose:
            noticed_by = trials[-1].noticed_by or "NOBODY"
            print(f"{monotonic() - began:6.1f} s [{mutant.kind}] {mutant.name}\n         {noticed_by}")  # noqa: T201
    wrong = judge(trials, bench.fired()) if not options.only else []
    print("\n".join([*wrong, summary(trials, monotonic() - began)]))  # noqa: T201
    return 1 if wrong else 0


def summary(trials: Sequence[Trial], seconds: float) -> str:
    """Return how many mutants of each kind there were, and how many of them nobody noticed."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(Counter(each.mutant.kind for each in trials).items()))
    unnoticed = sum(trial.noticed_by is None for trial in trials)
    return (
        f"{len(trials)} mutants ({kinds}) of {len(check_names())} checks; nobody notices {unnoticed}, "
        f"{len(EQUIVALENT)} of them are known to change nothing; {seconds:.1f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
