"""The clock of the play: maps instants of the tape (or of the synthetic market) to wall time, and survives a kill.

A play is a list of segments, each a pair (source instant, wall instant) from which on time runs at `speed`. A tape has
one segment: it goes on while the process is away, like the real exchange. The synthetic market sleeps while nobody
runs it, so that a stack started again next morning does not have a night of trades to catch up with: the time away
becomes a jump to a new segment.
"""

import json
import os
import time
from bisect import bisect_right
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

ALIVE_EVERY_MS = 5_000
"""How often the last sign of life is written."""
ASLEEP_AFTER_MS = 60_000
"""A longer silence is sleep."""
STATE_FILE = "play.json"


def wall_clock_ms() -> int:
    """Read the wall clock in milliseconds."""
    return time.time_ns() // 1_000_000


class Timeline:
    """Where the play stands. `key` names what is played: state of another play is not taken up."""

    def __init__(
        self,
        *,
        start_ms: int,
        speed: Fraction,
        key: str,
        state_dir: Path | None = None,
        sleeps: bool = False,
        clock: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self.start_ms = start_ms
        self.speed = speed
        self._key = key
        self._state = state_dir / STATE_FILE if state_dir else None
        self._sleeps = sleeps
        self._clock = clock
        self._sources: list[int] = []
        self._walls: list[int] = []
        self._alive_ms = 0
        self._load()

    @property
    def playing(self) -> bool:
        """Tell whether play has started."""
        return bool(self._walls)

    @property
    def started_ms(self) -> int | None:
        """Return the wall instant at which play started."""
        return self._walls[0] if self._walls else None

    def now(self) -> int:
        """Return wall time in ms."""
        return self._clock()

    def play(self) -> None:
        """Start the play; a second call changes nothing."""
        if not self.playing:
            self._sources, self._walls, self._alive_ms = [self.start_ms], [self.now()], self.now()
            self._save()

    def wall(self, source_ms: int) -> int:
        """Return the wall ms of a source instant; before play, as if play started now."""
        if not self._walls:
            return self.now() + self._stretched(source_ms - self.start_ms)
        place = max(0, bisect_right(self._sources, source_ms) - 1)
        return self._walls[place] + self._stretched(source_ms - self._sources[place])

    def source(self, wall_ms: int) -> int:
        """Return the source instant reached at a wall instant; before play it stands at the start."""
        if not self._walls:
            return self.start_ms
        place = max(0, bisect_right(self._walls, wall_ms) - 1)
        reached = self._sources[place] + (wall_ms - self._walls[place]) * self.speed.numerator // self.speed.denominator
        if place + 1 < len(self._sources):
            return min(reached, self._sources[place + 1] - 1)
        return reached

    def shortened(self, gap_ms: int) -> int:
        """Return how long a recorded gap lasts on the wall."""
        return self._stretched(gap_ms)

    def beat(self) -> bool:
        """Write a sign of life; returns whether a sleep was found and jumped over."""
        now = self.now()
        if not self.playing or now - self._alive_ms < ALIVE_EVERY_MS:
            return False
        slept = self._sleeps and now - self._alive_ms > ASLEEP_AFTER_MS
        if slept:
            # what was within reach of the last sign of life may have been shown already and keeps its time
            reached = self.source(self._alive_ms + 4 * ALIVE_EVERY_MS)
            self._sources.append(reached + 1)
            self._walls.append(now)
        self._alive_ms = now
        if self._sleeps:
            self._save()
        return slept

    def _stretched(self, gap_ms: int) -> int:
        return gap_ms * self.speed.denominator // self.speed.numerator

    def _load(self) -> None:
        if self._state is None or not self._state.exists():
            return
        state: dict[str, Any] = json.loads(self._state.read_text(encoding="utf-8"))
        if state.get("key") == self._key:
            self._sources = [int(each[0]) for each in state["segments"]]
            self._walls = [int(each[1]) for each in state["segments"]]
            self._alive_ms = int(state["alive_ms"])

    def _save(self) -> None:
        if self._state is None:
            return
        self._state.parent.mkdir(parents=True, exist_ok=True)
        segments = list(zip(self._sources, self._walls, strict=True))
        text = json.dumps({"key": self._key, "segments": segments, "alive_ms": self._alive_ms})
        fresh = self._state.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._state)
