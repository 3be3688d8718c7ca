"""What could not be used is counted and shown: one log line per reason and minute, with the object it was about.

A wire object is written down whatever is in it: numbers no machine word holds, text no database stores, any depth.
"""

import json
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import orjson
import structlog

from libs.common.upstream.metrics import UpstreamMetrics

EVERY_SECONDS: Final = 60.0
SHOWN_MAX: Final = 600
WRITTEN_BYTES_MAX: Final = 64 * 1024
"""An object beyond this is kept cut: rows are a kilobyte."""
EXPONENT_MAX: Final = 300
"""What a reader of JSON takes for a number."""
REASONS_MAX: Final = 200

_log = structlog.get_logger()


def written(wire: Any) -> bytes:
    """Return a wire object as JSON, every number as it was parsed; what JSON cannot hold becomes text. Never raises."""
    try:
        body = orjson.dumps(wire, default=_number, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # an integer beyond 64 bits, half a character, too deep
        body = _written_patiently(wire)
    if len(body) > WRITTEN_BYTES_MAX:
        cut = body[: WRITTEN_BYTES_MAX // 2].decode(errors="ignore")
        body = orjson.dumps({"cut": cut, "bytes": len(body)})
    return body


def _number(value: object) -> object:
    plain = isinstance(value, Decimal) and value.is_finite() and abs(value.adjusted()) < EXPONENT_MAX
    return orjson.Fragment(str(value)) if plain else str(value)


def _written_patiently(wire: Any) -> bytes:
    try:
        return json.dumps(wire, default=str, ensure_ascii=False).encode(errors="replace")
    except (TypeError, ValueError, RecursionError) as error:
        return orjson.dumps({"unwritable": type(wire).__name__, "because": type(error).__name__})


class Sampler:
    """Logs the first object of each reason, then at most one a minute, and how many were passed over."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due: dict[str, float] = {}
        self._passed: dict[str, int] = {}

    def show(self, reason: str, error: str, wire: Any) -> bool:
        """Log `wire` unless its reason was shown within the minute; returns whether it was."""
        now = self._clock()
        if now < self._due.get(reason, now) or (reason not in self._due and len(self._due) >= REASONS_MAX):
            self._passed[reason] = self._passed.get(reason, 0) + 1
            return False
        self._due[reason] = now + EVERY_SECONDS
        _log.warning(
            "wire_row_ignored",
            reason=reason,
            error=error[:300],
            sample=written(wire)[:SHOWN_MAX].decode(errors="ignore"),
            passed_over=self._passed.pop(reason, 0),
        )
        return True


_sampler = Sampler()


def show_sample(reason: str, error: str, wire: Any) -> None:
    """Log an object that could not be used; the caller counts it under the same reason."""
    _sampler.show(reason, error, wire)


def note_ignored(metrics: UpstreamMetrics, reason: str, error: object, wire: Any) -> None:
    """Count an object that could not be used, and show it."""
    metrics.count("rows_ignored", reason=reason)
    show_sample(reason, str(error), wire)
