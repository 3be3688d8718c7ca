"""What the bus tells the process it runs in: shapes of health and metrics, without knowing who implements them."""

from typing import Protocol


class Health(Protocol):
    """The process's own health; see `libs.common.observability.health`."""

    def progress(self, name: str) -> None:
        """Mark that the part `name` worked, or looked and found nothing."""

    def require(self, name: str, within_seconds: float) -> None:
        """Demand progress of `name` at least this often."""

    def set_fault(self, name: str, reason: str | None) -> None:
        """Open or close a fault."""


class Metrics(Protocol):
    """Counters and gauges; see `libs.common.observability.metrics.BusMetrics`."""

    def count(self, name: str, amount: int = 1, **labels: str) -> None:
        """Add to a counter."""

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge or record a duration."""


class Silent:
    """Health and metrics of a process that keeps none."""

    def progress(self, name: str) -> None:
        """Forget it."""

    def require(self, name: str, within_seconds: float) -> None:
        """Forget it."""

    def set_fault(self, name: str, reason: str | None) -> None:
        """Forget it."""

    def count(self, name: str, amount: int = 1, **labels: str) -> None:
        """Forget it."""

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Forget it."""
