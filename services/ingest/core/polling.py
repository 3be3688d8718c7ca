"""When to poll a wallet, and how far a poll reaches back."""

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
