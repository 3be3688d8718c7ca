"""When the engine was paused and who was disabled, as the audit log tells (SPEC 12: it holds every change)."""

from dataclasses import dataclass, field

from tests.oracle.run import Row, Run
from tests.oracle.tape import Tape

SLACK_MICROSECONDS = 1_000_000
"""A change takes effect with its commit, somewhat after the time it is recorded with."""
ENGINE = ""
"""Whom a pause concerns."""


@dataclass(frozen=True)
class Switches:
    """Changes of the engine's and of each user's switch, in order: (time, off)."""

    changes: dict[str, list[tuple[int, bool]]] = field(default_factory=dict)

    def is_off(self, who: str, at: int) -> bool | None:
        """Tell whether a switch was off at a moment; None when it was changed about then."""
        off = False
        for moment, turned_off in self.changes.get(who, []):
            if abs(moment - at) < SLACK_MICROSECONDS:
                return None
            if moment < at:
                off = turned_off
        return off


def _change(row: Row, tape: Tape) -> tuple[str, bool] | None:
    action = row["action"]
    if action in {"control.pause", "control.resume"}:
        return ENGINE, action == "control.pause"
    if action in {"user.disable", "user.enable"}:
        return str(row["subject"]), action == "user.disable"
    if action in {"wallet_unfollowed", "wallet_followed_again"}:
        label = tape.labels.get(str(row["subject"]).lower())
        return (label, action == "wallet_unfollowed") if label else None
    return None


def read_switches(tape: Tape, run: Run) -> Switches:
    """Return every change that was recorded."""
    found = Switches()
    for row in sorted(run["audit"], key=lambda row: int(row["at"])):
        change = _change(row, tape)
        if change is not None:
            found.changes.setdefault(change[0], []).append((row["at"], change[1]))
    return found
