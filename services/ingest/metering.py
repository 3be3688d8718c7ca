"""Where the gateways' counts and values go: the process's metrics."""

from typing import Final

from libs.common.observability import metrics


class UpstreamMetering:
    """Puts what a gateway reports into the registry."""

    def count(self, name: str, amount: int = 1, **labels: str) -> None:
        """Add to `requests` or `rows_ignored`."""
        _COUNTERS[name].labels(**labels).inc(amount)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Record `request_duration` or `limiter_wait` in seconds, or the state `breaker_open`."""
        if name == "breaker_open":
            metrics.BREAKER_OPEN.labels(**labels).set(value)
        else:
            _SECONDS[name].labels(**labels).observe(value)


_COUNTERS: Final = {"requests": metrics.UPSTREAM_REQUESTS, "rows_ignored": metrics.ROWS_IGNORED}
_SECONDS: Final = {"request_duration": metrics.UPSTREAM_DURATION, "limiter_wait": metrics.LIMITER_WAIT}
