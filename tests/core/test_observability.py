"""Health, secrets in logs, the registry of metrics."""

import pytest
from prometheus_client import Counter, Gauge, Histogram

from libs.common.observability import Health, metrics
from libs.common.observability.logging import drop_secrets, mask


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_process_starts_until_every_required_part_made_progress() -> None:
    health = Health("ledger", "ledger-0", Clock())
    health.require("database", 10)
    health.require("bus", 10)
    health.progress("database")
    snapshot = health.snapshot()
    assert (snapshot["status"], snapshot["waiting_for"]) == ("starting", ["bus"])
    health.progress("bus")
    assert health.snapshot()["status"] == "ok"


def test_a_part_that_falls_silent_degrades_the_process_until_it_works_again() -> None:
    clock = Clock()
    health = Health("ledger", "ledger-0", clock)
    health.require("bus", 10)
    health.progress("bus")
    clock.now += 11
    snapshot = health.snapshot()
    assert snapshot["status"] == "degraded"
    assert snapshot["faults"] == {"bus": "no progress for 11 s, expected every 10 s"}
    health.progress("bus")
    assert health.snapshot()["status"] == "ok"


def test_a_fault_degrades_until_it_is_closed() -> None:
    health = Health("ledger", "ledger-0", Clock())
    health.set_fault("bus:x:y", "stopped")
    assert health.snapshot()["faults"] == {"bus:x:y": "stopped"}
    health.set_fault("bus:x:y", None)
    assert health.snapshot()["status"] == "ok"


def test_details_are_shown_with_the_answer() -> None:
    health = Health("ingest", "ingest-0", Clock())
    health.set_detail("websocket", "up")
    assert health.snapshot()["detail"] == {"websocket": "up"}


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://me:pa55@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("redis://:pa55@host/0", "redis://:***@host/0"),
        ("wss://node.example/v2/KEY gone", "wss://node.example/*** gone"),
        (
            "https://data-api.polymarket.com/v2/activity?user=0x1",
            "https://data-api.polymarket.com/v2/activity?user=0x1",
        ),
        ("plain words", "plain words"),
    ],
)
def test_urls_lose_their_secrets(text: str, masked: str) -> None:
    assert mask(text) == masked


def test_values_under_secret_names_never_reach_a_log() -> None:
    event = {
        "event": "x",
        "redis_password": "a",
        "headers": {"Authorization": "b", "list": ["redis://u:c@h"]},
        "token": "d",
        "token_id": "123",
    }
    assert drop_secrets(None, "info", event) == {
        "event": "x",
        "redis_password": "***",
        "headers": {"Authorization": "***", "list": ["redis://u:***@h"]},
        "token": "***",
        "token_id": "123",
    }


def test_every_metric_is_registered_under_one_prefix_with_a_meaning() -> None:
    families = {family.name: family for family in metrics.REGISTRY.collect()}
    own = {name: family for name, family in families.items() if name.startswith("shadowbook_")}
    declared = [value for value in vars(metrics).values() if isinstance(value, Counter | Gauge | Histogram)]
    assert len(own) == len(declared) > 30
    assert all(family.documentation for family in own.values())
    assert all(family.name.endswith("_seconds") for family in own.values() if family.type == "histogram")


def test_the_bus_counts_into_the_registry() -> None:
    meter = metrics.BusMetrics()
    labels = {"stream": "test", "group": "test"}
    meter.count("handled", 3, **labels)
    meter.count("handled", 0, **labels)
    meter.observe("lag", 7, **labels)
    meter.observe("batch", 0.02, **labels)
    assert metrics.REGISTRY.get_sample_value("shadowbook_bus_messages_handled_total", labels) == 3
    assert metrics.REGISTRY.get_sample_value("shadowbook_bus_lag_messages", labels) == 7
    assert metrics.REGISTRY.get_sample_value("shadowbook_bus_batch_duration_seconds_count", labels) == 1
