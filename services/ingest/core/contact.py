"""What we may claim to have watched: when a poll continues contact, and how far a lost connection is to be believed."""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from libs.common.domain.contact import LookBack, Span, Way

TURNS_MISSED: Final = 2
"""Contact with the API is lost when a wallet went without a complete poll for so many turns."""
CHAIN_PATIENCE: Final = timedelta(seconds=15)
"""Contact with the chain is confirmed every few seconds; a process that does not is taken for dead."""
CONFIRM_EVERY: Final = timedelta(seconds=5)
PING_UNANSWERED: Final = timedelta(seconds=40)
"""A connection that answers no ping is noticed this late."""
DELIVERIES_APART: Final = timedelta(seconds=1)
DELIVERIES_MAX: Final = 900
"""Instants of delivery that are remembered: what was withheld is noticed within minutes."""


@dataclass(frozen=True, slots=True)
class Poll:
    """A complete poll: it listed what happened in [start, began) and was recorded at `done`.

    `interval` is the time between two polls of one wallet, as stretched as it is now.
    """

    start: datetime
    began: datetime
    done: datetime
    interval: timedelta

    @property
    def patience(self) -> timedelta:
        """Return how long after it the next one must have begun."""
        return self.interval * TURNS_MISSED

    @property
    def look(self) -> LookBack:
        """Return the poll as a look at the past."""
        return LookBack(Span(self.start, self.began), self.done, Way.POLL)


def continues(poll: Poll, through: datetime | None, patience: timedelta) -> bool:
    """Tell whether a poll goes on with the contact known `through` then; else something lies between that is a gap.

    A poll that does not reach back to it never does, however soon it comes.
    """
    return through is not None and poll.start <= through and poll.began <= through + patience


@dataclass(slots=True)
class Life:
    """One subscribed connection to the chain: what it gave to believe in it."""

    since: datetime
    through: datetime
    delivered_at: datetime
    answered_at: datetime
    believed_at: datetime
    withheld_at: datetime | None = None
    """When the oldest fill happened that was not delivered as it should have been."""
    withholds: bool = False
    """Whether one still is not."""
    _deliveries: deque[datetime] = field(default_factory=lambda: deque(maxlen=DELIVERIES_MAX))

    @classmethod
    def begin(cls, now: datetime) -> "Life":
        """Return a connection that stands since now."""
        return cls(now, now, now, now, now)

    def deliver(self, now: datetime) -> None:
        """Note that a log came."""
        self.delivered_at = now
        if not self._deliveries or now - self._deliveries[-1] >= DELIVERIES_APART:
            self._deliveries.append(now)

    def withhold(self, since: datetime | None) -> None:
        """Note that a fill of `since` should be here and is not; None: whatever was missed has come."""
        self.withholds = since is not None
        if since is not None:
            self.withheld_at = since if self.withheld_at is None else min(since, self.withheld_at)

    def answer(self, now: datetime) -> None:
        """Note that it was quiet for long, and answered when asked; believed once it does so twice."""
        self.believed_at, self.answered_at = self.answered_at, now

    def stand(self, now: datetime) -> None:
        """Note that it stands."""
        self.through = max(self.through, now)

    def proven_through(self, reason: str = "") -> datetime:
        """Return the same, but for one that seems to have withheld a fill no further than up to that."""
        if self.withheld_at is None:
            return self.believed_through(reason)
        return min(max(self.since, self.withheld_at), self.through)

    @property
    def told_through(self) -> datetime:
        """Return when it last delivered or answered before it withheld anything: what followed may be missing."""
        signs = (*self._deliveries, self.believed_at)
        return max((each for each in signs if self.withheld_at and each <= self.withheld_at), default=self.since)

    def believed_through(self, reason: str = "") -> datetime:
        """Return until when a connection, or one that was lost for `reason`, may have told everything.

        One that fell silent is believed up to its last answer.
        """
        told = max(self.since, self.delivered_at, self.believed_at)
        if reason.startswith("doubted"):
            return min(max(told, self.answered_at), self.through)
        if "ping timeout" in reason:
            return min(max(told, self.answered_at, self.through - PING_UNANSWERED), self.through)
        return self.through
