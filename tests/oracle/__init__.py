"""An independent oracle: what a finished run must have exported, recomputed from its tape and SPEC.md alone.

It shares no code with the services and may be slow: rationals instead of rounding, plain loops instead of indexes.
`audit` returns every violation found; `python -m tests.oracle TAPE EXPORTS --speed N` prints them.
"""

from fractions import Fraction
from pathlib import Path

from tests.oracle import (
    attempts,
    clock,
    events,
    grouping,
    holdings,
    ledger,
    order,
    portfolios,
    rules,
    shadow,
    valuation,
)
from tests.oracle.run import Run, Violation, read_run
from tests.oracle.tape import Tape, read_tape

__all__ = ["Run", "Tape", "Violation", "audit", "audit_run", "read_run", "read_tape"]


def audit_run(tape: Tape, run: Run, speed: Fraction = Fraction(1)) -> list[Violation]:
    """Return everything a run got wrong against its tape."""
    found: list[Violation] = []
    for module in (events, shadow, grouping, order, ledger, holdings, valuation, portfolios, rules):
        for check in module.CHECKS:
            found.extend(check(tape, run))
    under, wall = rules.rules_by_version(run), clock.read_clock(tape, run, speed)
    found.extend(clock.check_event_times(tape, run, wall))
    found.extend(clock.check_closes(tape, run, wall))
    found.extend(clock.check_books_in_force(tape, run, wall))
    found.extend(order.check_due_times(tape, run, under))
    found.extend(attempts.check_attempts(tape, run, wall, under))
    found.extend(attempts.check_exported_books(tape, run))
    return found


def audit(tape_folder: Path, run_folder: Path, speed: Fraction = Fraction(1)) -> list[Violation]:
    """Return everything the run exported to `run_folder` got wrong against the tape in `tape_folder`."""
    return audit_run(read_tape(tape_folder), read_run(run_folder), speed)
