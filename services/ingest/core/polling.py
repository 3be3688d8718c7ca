"""When to poll a wallet, how far a poll reaches back, and in which parts a long way is gone."""

from dataclasses import dataclass
from typing import Final

INTERVAL_SECONDS: Final = 30.0
POLLS_PER_SECOND_MAX: Final = 8.0
"""Of the Data API's ten calls a second; the rest is for resolutions and further pages."""
REACH_BACK_SECONDS: Final = 120
START_REACH_SECONDS: Final = 15 * 60
RECONNECT_REACH_SECONDS: Final = 5 * 60
RETRY_SECONDS_FIRST: Final = 2.0


def poll_interval(wallets: int) -> float:
    """Return the seconds between two polls of one wallet: 30, stretched evenly when the budget is short."""
    return max(INTERVAL_SECONDS, wallets / POLLS_PER_SECOND_MAX)


def retry_delay(failures: int, interval: float) -> float:
    """Return the seconds until a failed poll is tried again."""
    return float(min(interval, RETRY_SECONDS_FIRST * 2 ** min(failures - 1, 10)))


@dataclass(frozen=True, slots=True)
class Reach:
    """What decides a poll's start, in epoch seconds: where the last complete one began, and any wish to go further."""

    through: int | None = None
    wished: int | None = None

    def start(self, now: int, *, first: bool) -> int:
        """Return the block time from which on a poll at `now` must list; `first` in the life of this process."""
        candidates = [now - REACH_BACK_SECONDS]
        if self.through is not None:
            candidates.append(self.through - REACH_BACK_SECONDS)
        if first:
            candidates.append(now - START_REACH_SECONDS)
        if self.wished is not None:
            candidates.append(self.wished)
        return max(1, min(candidates))


@dataclass(slots=True)
class Windows:
    """Parts of the time from `at` (epoch seconds) on, oldest first; each is listed whole, so none cuts a transaction.

    The first part is everything up to `last` (None: open, whatever the API shows). A part that proves too long is
    asked for again in smaller ones; while parts are short they grow.
    """

    at: int
    last: int | None
    now: int
    width: int | None = None
    done: bool = False

    @property
    def start(self) -> int:
        """First second of the part to list now."""
        return self.at

    @property
    def end(self) -> int | None:
        """Last second of the part to list now; None: open."""
        if self.width is None or self.at + self.width > (self.now if self.last is None else self.last):
            return self.last
        return self.at + self.width - 1

    @property
    def is_smallest(self) -> bool:
        """Tell whether the part cannot be made smaller: it is one second, or lies in the future."""
        end = self.now if self.end is None else self.end
        return end <= self.at

    def listed(self, *, pages: int, pages_max: int) -> None:
        """Go on behind the part just listed; one that took few pages lets the next be longer."""
        if self.end == self.last:
            self.done = True
            return
        assert self.width is not None  # noqa: S101  only a part with a width ends before the last second
        self.at += self.width
        if pages * 2 <= pages_max:
            self.width *= 2

    def too_long(self, oldest: int) -> None:
        """Make the part smaller: its newest rows down to `oldest` filled all the pages it may have."""
        end = max(self.now, self.at) if self.end is None else self.end
        seen, whole = end - oldest + 1, end - self.at + 1
        self.width = max(1, min(seen, whole) // 2)
