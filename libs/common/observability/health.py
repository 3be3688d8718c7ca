"""Health of one process, as told by the work it gets done: a ping proves a connection, only progress proves a worker.

Parts of the process mark progress by name; a required name that falls silent, or an open fault, degrades the whole.
"""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

Status = Literal["starting", "ok", "degraded"]


class Health:
    """What this process knows of itself; safe to read from the HTTP thread while the event loop writes."""

    def __init__(self, service: str, instance: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.service = service
        self.instance = instance
        self.started_at = datetime.now(UTC)
        self._clock = clock
        self._lock = threading.Lock()
        self._progress: dict[str, float] = {}
        self._required: dict[str, float] = {}
        self._faults: dict[str, str] = {}
        self._detail: dict[str, Any] = {}

    def progress(self, name: str) -> None:
        """Mark that the part `name` did useful work, or looked and found none."""
        with self._lock:
            self._progress[name] = self._clock()

    def require(self, name: str, within_seconds: float) -> None:
        """Demand progress of `name` at least every `within_seconds`; until its first one the process is starting."""
        with self._lock:
            self._required[name] = within_seconds

    def set_fault(self, name: str, reason: str | None) -> None:
        """Open a fault that degrades the process until it is closed with `None`."""
        with self._lock:
            if reason is None:
                self._faults.pop(name, None)
            else:
                self._faults[name] = reason

    def set_detail(self, key: str, value: Any) -> None:
        """Publish a JSON-able fact with the health answer (connection state, progress of a backfill)."""
        with self._lock:
            self._detail[key] = value

    def snapshot(self) -> dict[str, Any]:
        """Tell status, faults and the age in seconds of every progress mark, as JSON-able values."""
        with self._lock:
            now = self._clock()
            ages = {name: round(now - at, 1) for name, at in self._progress.items()}
            missing = [name for name in self._required if name not in ages]
            silent = {
                name: f"no progress for {ages[name]:.0f} s, expected every {within:.0f} s"
                for name, within in self._required.items()
                if name in ages and ages[name] > within
            }
            faults = {**silent, **self._faults}
            status: Status = "degraded" if faults else "starting" if missing else "ok"
            return {
                "status": status,
                "service": self.service,
                "instance": self.instance,
                "started_at": self.started_at.isoformat(),
                "faults": faults,
                "waiting_for": missing,
                "progress_age_s": ages,
                "detail": dict(self._detail),
            }
