"""Whether a listing's pages can be believed: each counted once, none back in time, none empty but the last."""

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from heapq import nlargest, nsmallest
from typing import Any, Final

from libs.common.upstream.fields import FieldError, read_seconds

REPEAT_ROWS_MIN: Final = 10
"""Of listings asked for in pages of fewer rows a page may rightly look like another: twins are alike in every field."""
BACK_SECONDS_MAX: Final = 60
"""Real listings are a little out of order: by so much a page may begin later than the one before it ended."""


class PagesRead:
    """What was read so far of one listing of the time from `start` to `end` (epoch seconds), the latest rows first."""

    def __init__(self, page_size: int, start: int, end: int) -> None:
        self._page_size = page_size
        self._start = start
        self._end = end
        self._seen: set[bytes] = set()
        self._oldest: int | None = None

    def trouble(self, rows: Sequence[Any], *, more: bool) -> tuple[str, str] | None:
        """Take in the next page; return the reason (a word, a sentence) why it cannot be believed, None if it can.

        Rows without a `timestamp` (epoch seconds) within the time asked for say nothing of the order, nor does one row
        alone: of two pages the second latest and the second oldest are compared, so that a wrong time stops no listing.
        """
        if not rows:
            return ("page_empty", "is empty and claims that more follows") if more else None
        known = _fingerprint(rows)
        if self._page_size >= REPEAT_ROWS_MIN and known in self._seen:
            # Counted twice, its rows would be two fills each.
            return "page_repeated", "repeats a page already read"
        self._seen.add(known)
        stamps = [each for row in rows if (each := _stamp(row)) and self._start <= each <= self._end]
        if len(stamps) < 2:
            return None
        newest, oldest = nlargest(2, stamps)[1], self._oldest
        self._oldest = nsmallest(2, stamps)[1]
        if oldest is not None and newest > oldest + BACK_SECONDS_MAX:
            return "page_back_in_time", f"goes back in time: rows of {newest} after a page that was at {oldest}"
        return None


def _fingerprint(rows: Sequence[Any]) -> bytes:
    """Return what two pages share that hold the same rows, in whatever order."""
    written = sorted(json.dumps(row, sort_keys=True, default=str) for row in rows)
    return blake2b("\n".join(written).encode(), digest_size=16).digest()


def _stamp(row: Any) -> int | None:
    try:
        return read_seconds(row.get("timestamp"), "timestamp", "row") if isinstance(row, Mapping) else None
    except FieldError:
        return None
