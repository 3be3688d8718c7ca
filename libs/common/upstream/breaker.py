"""A circuit breaker: after a run of failures a host is left alone, then tried by one request at a time."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """`failures` in a row open it for `open_seconds`, doubled after each failed probe up to `open_seconds_max`."""

    failures: int = 6
    open_seconds: float = 2.0
    open_seconds_max: float = 10.0


class CircuitBreaker:
    """State of one host: closed, open until a time, or half-open with one probe on its way."""

    def __init__(self, policy: BreakerPolicy, clock: Callable[[], float]) -> None:
        self._policy = policy
        self._clock = clock
        self._failures = 0
        self._open_for = 0.0
        self._open_until = 0.0
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Tell whether requests are held back (half-open included)."""
        return self._open_for > 0

    def wait_seconds(self) -> float:
        """Return how long until a request may try, 0 when it may now; a probe on its way holds the others back."""
        if not self.is_open:
            return 0.0
        left = self._open_until - self._clock()
        if left > 0:
            return left
        return self._policy.open_seconds if self._probing else 0.0

    def start(self) -> bool:
        """Note that a request goes out and tell whether it is the probe of an open breaker; pass that on at its end."""
        self._probing = self.is_open
        return self._probing

    def succeeded(self) -> None:
        """Note an answer that can be believed."""
        self._failures, self._open_for, self._probing = 0, 0.0, False

    def failed(self, *, probe: bool) -> None:
        """Note a refusal or silence of the host; what was on its way before it opened says nothing new."""
        self._failures += 1
        if probe:
            self._open(min(self._open_for * 2, self._policy.open_seconds_max))
        elif not self.is_open and self._failures >= self._policy.failures:
            self._open(self._policy.open_seconds)

    def abandoned(self, *, probe: bool) -> None:
        """Note that a request ended without telling anything of the host (cancelled)."""
        if probe:
            self._probing = False

    def _open(self, seconds: float) -> None:
        self._open_for, self._probing = seconds, False
        self._open_until = self._clock() + seconds
