"""When a websocket that says nothing is to be doubted (SPEC section 3, "Silence"). Times are seconds, any one clock."""

from dataclasses import dataclass, field
from typing import Final, Literal
from uuid import UUID

UNDELIVERED_SECONDS: Final = 20.0
QUIET_SECONDS: Final = 60.0
PROBE_SECONDS: Final = 60.0
"""At most one probe (`eth_blockNumber`) in this time, and so one replacement."""
DELIVERABLE_AFTER_SECONDS: Final = 3.0
"""A fill this soon after the subscription may rightly have been missed by it."""

Doubt = Literal["undelivered", "quiet"]


@dataclass(slots=True)
class Silence:
    """What speaks for and against the socket of now, subscribed at `since`; before the first one nothing does."""

    since: float = float("inf")
    heard_at: float = 0.0
    probed_at: float = float("-inf")
    withheld_seconds: float = 0.0
    """How far back the last socket is known to have withheld something: the next one has that to make up for."""
    _undelivered: dict[UUID, float] = field(default_factory=dict)

    def renew(self, now: float) -> None:
        """Note that another socket is subscribed from now on."""
        self.since = self.heard_at = now
        self._undelivered.clear()

    def hear(self, now: float) -> None:
        """Note that something came."""
        self.heard_at = now

    def miss(self, fill: UUID, event_time: float) -> None:
        """Note a fill the API shows and the socket has not delivered so far."""
        if event_time >= self.since + DELIVERABLE_AFTER_SECONDS:
            self._undelivered[fill] = event_time

    def deliver(self, fill: UUID) -> None:
        """Note that the socket delivered a fill."""
        self._undelivered.pop(fill, None)

    def doubt(self, now: float) -> Doubt | None:
        """Return why the socket is to be probed now, and then to be replaced; or None."""
        if now - self.probed_at < PROBE_SECONDS:
            return None
        if self._oldest(now) > UNDELIVERED_SECONDS:
            return "undelivered"
        if now - max(self.heard_at, self.since) >= QUIET_SECONDS:
            return "quiet"
        return None

    def withheld_since(self, now: float) -> float | None:
        """Return when the oldest fill happened that should have been delivered by now; None: there is none."""
        oldest = self._oldest(now)
        return now - oldest if oldest > UNDELIVERED_SECONDS else None

    def probe(self, now: float) -> None:
        """Note that a probe goes out, after which the socket is replaced."""
        self.probed_at = now
        self.withheld_seconds = self._oldest(now)

    def reach_back(self, since: float, now: float) -> None:
        """Note that the next socket has to make up for all that happened from `since` on."""
        self.withheld_seconds = max(self.withheld_seconds, now - since)

    def _oldest(self, now: float) -> float:
        """Return how long ago the oldest fill happened that was not delivered; 0 where there is none."""
        return max((now - event_time for event_time in self._undelivered.values()), default=0.0)
