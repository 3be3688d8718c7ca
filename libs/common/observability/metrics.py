"""Every metric Shadowbook exports, by name, kind, unit and meaning; nothing else creates one."""

from typing import Any, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

Unit = Literal["", "seconds", "bytes", "messages", "micros"]

REGISTRY = CollectorRegistry(auto_describe=True)
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Buckets in seconds for work inside a process."""
LAG = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 600.0, 3600.0)
"""Buckets in seconds from the world to us."""


def _counter(name: str, meaning: str, labels: tuple[str, ...] = ()) -> Counter:
    return Counter(f"shadowbook_{name}", meaning, labels, registry=REGISTRY)


def _gauge(name: str, meaning: str, labels: tuple[str, ...] = (), unit: Unit = "") -> Gauge:
    return Gauge(f"shadowbook_{name}", meaning, labels, unit=unit, registry=REGISTRY)


def _seconds(name: str, meaning: str, labels: tuple[str, ...] = (), buckets: tuple[float, ...] = FAST) -> Histogram:
    return Histogram(f"shadowbook_{name}", meaning, labels, unit="seconds", buckets=buckets, registry=REGISTRY)


# bus
BUS_PUBLISHED = _counter("bus_messages_published", "Messages put on a stream", ("stream",))
BUS_HANDLED = _counter("bus_messages_handled", "Messages handled and acknowledged", ("stream", "group"))
BUS_FAILURES = _counter("bus_failures", "Failed deliveries, by kind", ("stream", "group", "kind"))
BUS_DEAD_LETTERS = _counter("bus_dead_letters", "Messages given up on, by kind", ("stream", "group", "kind"))
BUS_RECOVERED = _counter("bus_messages_recovered", "Messages taken over, by origin", ("stream", "group", "origin"))
BUS_SWEPT = _counter("bus_messages_swept", "Messages put back on a stream from Postgres", ("stream", "group"))
BUS_TRIMMED = _counter("bus_messages_trimmed", "Acknowledged messages removed from a stream", ("stream",))
BUS_BATCH = _seconds("bus_batch_duration", "Time a handler took for one batch", ("stream", "group"))
BUS_LAG = _gauge("bus_lag", "Messages not yet delivered to a group", ("stream", "group"), "messages")
BUS_PENDING = _gauge("bus_pending", "Messages delivered and not acknowledged", ("stream", "group"), "messages")
BUS_PAUSED = _gauge("bus_consumer_paused", "1 while a run of unexpected errors stops the consumer", ("stream", "group"))
BUS_UNKNOWN_GROUPS = _gauge("bus_unknown_groups", "Groups on a stream that the map does not know", ("stream",))

# ingest
EVENTS_DETECTED = _counter("events_detected", "Events first seen, by kind and source", ("kind", "source"))
EVENT_SIGHTINGS = _counter("event_sightings", "Sightings of events, by source", ("source",))
EVENTS_REVERSED = _counter("events_reversed", "Events taken back by a chain reorganisation")
EVENT_MISMATCHES = _counter("event_mismatches", "Events whose sources disagree beyond tolerance")
DETECTION_LAG = _seconds("detection_lag", "From block time to first sight", ("source",), LAG)
ROWS_IGNORED = _counter("wire_rows_ignored", "Wire rows recorded but not understood, by reason", ("reason",))
WEBSOCKET_UP = _gauge("websocket_up", "1 while every chain subscription is established")
WEBSOCKET_RECONNECTS = _counter("websocket_reconnects", "Replaced websocket connections, by reason", ("reason",))
LOG_HEALS = _counter(
    "log_heals", "Gaps of the chain feed fetched again: complete, halved range, refused, beyond_limit", ("outcome",)
)
CHAIN_PLACE = _gauge("chain_place", "Block up to which every log of followed wallets is committed")
POLLS = _counter("polls", "Wallet polls, by outcome", ("outcome",))
POSITION_READINGS = _counter("position_readings", "Readings of what a wallet holds, by outcome", ("outcome",))
POSITION_SYNCS = _counter("position_syncs", "Openings and adjustments recorded, by kind", ("kind",))
POLL_INTERVAL = _gauge("poll_interval", "Interval between two polls of one wallet", (), "seconds")

# grouper
GROUPS_CLOSED = _counter("groups_closed", "Groups closed, by kind", ("kind",))
GROUPS_OPEN = _gauge("groups_open", "Groups waiting for their window to end")

# simulator
ATTEMPTS = _counter("attempts_decided", "Copy attempts, by scope and decision", ("scope", "decision"))
SKIP_REASONS = _counter("attempt_skip_reasons", "Reasons of skipped attempts", ("scope", "reason"))
DECISION_DURATION = _seconds("decision_duration", "From taking a due group to its committed attempt", ("scope",))
DECISION_LATENESS = _seconds("decision_lateness", "From effective due time to committed attempt", ("scope",), LAG)
GROUPS_WAITING = _gauge("groups_waiting", "Closed groups waiting for their decision", ("scope",))
BOOKS_FETCHED = _counter("books_fetched", "Books fetched for a decision, by outcome", ("outcome",))

# ledger
EVENTS_WAITING = _gauge(
    "ledger_events_waiting", "Splits and merges that wait for their market; every replica tells all"
)
ENTRIES_POSTED = _counter("ledger_entries_posted", "Ledger entries, by scope and type", ("scope", "type"))
POSTING_LAG = _seconds("posting_lag", "From the decision or detection to the posted entries", ("scope",), LAG)
SNAPSHOTS_WRITTEN = _counter("portfolio_snapshots_written", "Portfolio snapshots written")

# pricer
MARKS_UPDATED = _counter("marks_updated", "Marks taken, by source", ("source",))
MARKS_STALE = _gauge("marks_stale", "Held assets that were given no mark for two minutes, or never")
MARKS_MISSING = _gauge("marks_missing", "Held assets that were never given a mark")
MARK_AGE_OLDEST = _gauge("mark_age_oldest", "Time since the mark given longest ago among held assets", (), "seconds")
MARKETS_RESOLVED = _counter("markets_resolved", "Conditions whose payouts became final")
MARKETS_OVERDUE = _gauge("markets_overdue", "Held conditions closed or past their end that have no final payouts")
RESOLUTIONS_REFUSED = _gauge(
    "resolutions_refused", "Conditions whose told payouts contradict those kept, or do not fit"
)

# outside world
UPSTREAM_REQUESTS = _counter("upstream_requests", "Requests to the exchange, by outcome", ("host_class", "outcome"))
UPSTREAM_DURATION = _seconds("upstream_request_duration", "Time of one request", ("host_class",))
LIMITER_WAIT = _seconds("limiter_wait", "Time waited for the shared rate limit", ("host_class",))
LIMITER_FALLBACK = _gauge("limiter_fallback", "1 while the shared limiter is away and the local eighth applies")
BREAKER_OPEN = _gauge("upstream_breaker_open", "1 while a host's circuit breaker is open", ("host_class",))

# ui
PAGE_DURATION = _seconds("page_duration", "Time to build one page or answer one API call", ("page",))


class BusMetrics:
    """Counts what the bus reports; passed to `Bus(metrics=...)`, which knows only the shape of it."""

    def count(self, name: str, amount: int = 1, **labels: str) -> None:
        """Add to the bus counter `name` (published, handled, failures, dead_letters, recovered, swept, trimmed)."""
        if amount > 0:
            _BUS_COUNTERS[name].labels(**labels).inc(amount)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Set the bus gauge `name` (lag, pending, paused, unknown_groups) or record a batch time in seconds."""
        metric: Any = _BUS_VALUES[name].labels(**labels)
        if isinstance(metric, Histogram):
            metric.observe(value)
        else:
            metric.set(value)


_BUS_COUNTERS = {
    "published": BUS_PUBLISHED,
    "handled": BUS_HANDLED,
    "failures": BUS_FAILURES,
    "dead_letters": BUS_DEAD_LETTERS,
    "recovered": BUS_RECOVERED,
    "swept": BUS_SWEPT,
    "trimmed": BUS_TRIMMED,
}
_BUS_VALUES: dict[str, Gauge | Histogram] = {
    "batch": BUS_BATCH,
    "lag": BUS_LAG,
    "pending": BUS_PENDING,
    "paused": BUS_PAUSED,
    "unknown_groups": BUS_UNKNOWN_GROUPS,
}


class UpstreamMetrics:
    """Counts what a gateway reports; passed to `Gateway(metrics=...)`, which knows only the shape of it."""

    def count(self, name: str, amount: int = 1, **labels: str) -> None:
        """Add to `requests` or `rows_ignored`."""
        _UPSTREAM_COUNTERS[name].labels(**labels).inc(amount)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Record `request_duration` or `limiter_wait` in seconds, or the state `breaker_open`."""
        if name == "breaker_open":
            BREAKER_OPEN.labels(**labels).set(value)
        else:
            _UPSTREAM_SECONDS[name].labels(**labels).observe(value)


_UPSTREAM_COUNTERS = {"requests": UPSTREAM_REQUESTS, "rows_ignored": ROWS_IGNORED}
_UPSTREAM_SECONDS = {"request_duration": UPSTREAM_DURATION, "limiter_wait": LIMITER_WAIT}
