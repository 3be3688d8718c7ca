"""Up to which block everything is committed, while logs arrive at the head and gaps behind it are being closed."""

from dataclasses import dataclass, field
from typing import Final

OVERLAP_BLOCKS: Final = 5
"""Fetched again before the place kept: its own block may be committed in part, and the last blocks may have changed."""
START_BLOCKS: Final = 60
"""How far back logs are fetched where no place is kept."""
BLOCK_SECONDS_MIN: Final = 1.0
"""Blocks come no faster, so a time is at most this many blocks ago."""


@dataclass(slots=True)
class Progress:
    """How far one connection is: delivered up to `through`, except for gaps that are not closed yet."""

    through: int
    _gaps: dict[int, int] = field(default_factory=dict)
    _opened: int = 0

    @property
    def place(self) -> int:
        """The block up to which nothing is missing."""
        return min([self.through, *(first - 1 for first in self._gaps.values())])

    def deliver(self, block: int) -> None:
        """Note that everything the connection delivered up to a block is committed."""
        self.through = max(self.through, block)

    def open(self, first: int) -> int:
        """Note a gap that begins with block `first`; returns its number."""
        self._opened += 1
        self._gaps[self._opened] = first
        return self._opened

    def narrow(self, gap: int, first: int) -> None:
        """Note that a gap is closed up to before block `first`, and committed."""
        self._gaps[gap] = first

    def close(self, gap: int) -> None:
        """Note that a gap is closed, and committed."""
        del self._gaps[gap]


@dataclass(frozen=True, slots=True)
class Gap:
    """Blocks `first` to `last` are to be fetched; `given_up` blocks before them are more than may be."""

    first: int
    last: int
    given_up: int = 0


def gap_behind(head: int, place: int | None, *, blocks_max: int, withheld_seconds: float = 0.0) -> Gap:
    """Return what a new connection at `head` must fetch, given the place kept (None: none).

    `withheld_seconds` is how long ago the last connection is known to have withheld a fill: the place may be past it.
    A place ahead of the head is another chain's and counts for nothing.
    """
    first = head - START_BLOCKS
    if place is not None and place <= head + OVERLAP_BLOCKS:
        first = place - OVERLAP_BLOCKS
    if withheld_seconds > 0:
        first = min(first, head - blocks_in(withheld_seconds) - OVERLAP_BLOCKS)
    first = max(first, 0)
    reachable = max(first, head - blocks_max)
    return Gap(reachable, head, reachable - first)


def blocks_in(seconds: float) -> int:
    """Return the most blocks a time can hold."""
    return int(max(0.0, seconds) / BLOCK_SECONDS_MIN) + 1
