"""How late decisions are at fifty groups a second: against the effective due, the round trip for the book included.

Two ends are measured: `decided_at`, the time the decision itself read under its lock, and the announcement of the
committed attempt on `attempts.decided`. EXEC_GLOBAL's effective due is the latest due of all earlier groups.
"""

from datetime import datetime, timedelta
from pathlib import Path
from statistics import quantiles
from typing import Any, Final

from tests.bench.pipeline import BANKROLL_MICROS, announcements, running_stack
from tests.bench.tape import Load

WARM: Final = timedelta(seconds=5)
"""The first statements and connections of a fresh process are not what is measured."""
BAR_MS: Final = 50

_ATTEMPTS: Final = """
SELECT a.id, a.scope, a.decided_at, a.due_at, a.book_fetched_at,
       CAST(a.inputs #>> '{clock,effective_due_at}' AS timestamptz) AS effective_due_at
FROM copy_attempt a
"""


def measure_lateness(folder: Path, rate: int, seconds: int) -> dict[str, Any]:
    """Return percentiles of lateness in milliseconds, by scope; every fill is a group of its own."""
    seconds += int(WARM.total_seconds())
    load = Load(fills=rate * seconds, spread_ms=seconds * 1_000, length_ms=(seconds + 5) * 1_000)
    with running_stack(folder, load, {"bankroll_micros": BANKROLL_MICROS}) as stack:
        announced = announcements(stack, seconds + 12)
        rows = stack.query(_ATTEMPTS)
    begin = min(row.due_at for row in rows) + WARM
    figures: dict[str, Any] = {"lateness_bar_ms": BAR_MS}
    for scope in sorted({row.scope for row in rows}):
        found = [row for row in rows if row.scope == scope and row.due_at >= begin]
        decided = [_ms(row.decided_at - row.effective_due_at) for row in found]
        committed = [
            announced[str(row.id)] - row.effective_due_at.timestamp() * 1000
            for row in found
            if str(row.id) in announced
        ]
        name = scope.lower()
        figures[f"lateness_{name}_samples"] = len(committed)
        figures[f"lateness_{name}_decided_ms"] = _cuts(decided)
        figures[f"lateness_{name}_committed_ms"] = _cuts(committed)
        figures[f"lateness_{name}_book_ms"] = _cuts([_book_ms(row) for row in found if row.book_fetched_at])
    return figures


def _book_ms(row: Any) -> float:
    fetched: datetime = row.book_fetched_at
    return _ms(fetched - row.due_at)


def _ms(duration: timedelta) -> float:
    return duration.total_seconds() * 1000


def _cuts(values: list[float]) -> dict[str, float]:
    cuts = quantiles(values, n=100)
    return {
        "p50": round(cuts[49], 1),
        "p95": round(cuts[94], 1),
        "p99": round(cuts[98], 1),
        "max": round(max(values), 1),
    }
