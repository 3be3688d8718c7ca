"""How long a host asks to be left alone."""

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

RETRY_AFTER_SECONDS_MAX: Final = 300.0
"""A host that asks for a longer rest is asked again after this long: it may be a slip, and asking costs little."""


def retry_after_seconds(header: str | None, now: datetime) -> float | None:
    """Return the wait a Retry-After header asks for, given as seconds or as a date; None where it says nothing.

    Never negative, never above RETRY_AFTER_SECONDS_MAX; what is neither a number nor a date says nothing.
    """
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        at = http_date(header)
        if at is None:
            return None
        seconds = (at - now).total_seconds()
    if math.isnan(seconds):
        return None
    return min(max(0.0, seconds), RETRY_AFTER_SECONDS_MAX)


def http_date(header: str | None) -> datetime | None:
    """Return the time an HTTP date tells, None where it tells none."""
    try:
        at = parsedate_to_datetime(header) if header else None
    except (ValueError, TypeError, OverflowError):
        return None
    return at.replace(tzinfo=at.tzinfo or UTC) if at else None
