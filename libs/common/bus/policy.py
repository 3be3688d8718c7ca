"""The numbers by which the bus retries, gives up, pauses and takes over; every limit of it is here."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a message is tried again and when it is given up on; see SPEC section 9."""

    retries: int = 3
    """Recorded failures beyond the first before a message is dead-lettered."""
    retry_base_seconds: float = 0.5
    retry_cap_seconds: float = 30.0
    jitter: float = 0.2
    """Each delay is stretched by up to this share of it."""
    outage_base_seconds: float = 0.25
    outage_cap_seconds: float = 5.0
    """Short, because everything waits for the end of the outage."""
    deaths_max: int = 10
    """Process deaths with the message running before it is dead-lettered as CRASH."""
    run_max: int = 25
    """Distinct messages that fail unexpectedly, with no success between, before the consumer stops."""
    stopped_probe_seconds: float = 10.0
    """How often a stopped consumer tries one message."""
    parked_max: int = 2_000
    """Messages waiting for a retry before reading pauses."""
    claim_idle_seconds: float = 300.0
    """Silence after which a consumer counts as dead; at least ten handler timeouts."""
    tick_seconds: float = 2.0
    """How often a consumer looks after itself: reading, groups."""
    upkeep_seconds: float = 15.0
    """How often it looks after the stream: dead consumers, lag, trimming."""

    def retry_delay(self, failures: int) -> float:
        """Return seconds until the next try after `failures` recorded failures (1, 2, ...)."""
        return self._spread(min(self.retry_cap_seconds, self.retry_base_seconds * 2.0 ** (failures - 1)))

    def outage_delay(self, waits: int) -> float:
        """Return seconds until the next try after `waits` tries in an outage (1, 2, ...)."""
        return self._spread(min(self.outage_cap_seconds, self.outage_base_seconds * 2.0 ** min(waits - 1, 16)))

    def claim_idle(self, timeout_seconds: float) -> float:
        """Return the silence in seconds that makes a consumer dead, given its handler's timeout."""
        return max(self.claim_idle_seconds, 10 * timeout_seconds)

    def _spread(self, seconds: float) -> float:
        return seconds * (1 + random.random() * self.jitter)  # noqa: S311  spreads load, guards nothing
