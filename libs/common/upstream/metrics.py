"""What the gateway reports of itself; the process that builds it says where to."""

from typing import Protocol


class UpstreamMetrics(Protocol):
    """Takes counts (`requests`, `rows_ignored`) and values (`request_duration`, `limiter_wait`, `breaker_open`)."""

    def count(self, name: str, amount: int = 1, **labels: str) -> None:
        """Add `amount` to the counter `name`."""

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Record `value` (seconds, or 0 and 1 for a state) under `name`."""


class NoMetrics:
    """Reports nothing."""

    def count(self, name: str, amount: int = 1, **labels: str) -> None:
        """Forget a count."""

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Forget a value."""
