"""How late decisions are at fifty groups a second, against the effective due.

Two ends are measured: `decided_at`, the time the decision itself read under its lock, and the announcement of the
committed attempt on `attempts.decided`. EXEC_GLOBAL's effective due is the latest due of all earlier groups.

A book may be asked for only once its group is due, and calls for books keep 60 ms apart in the long run, so that the
exchange's 20 calls a second suffice for marks and polls, too: at this rate the first group of a call waits about 40 ms
for it and then for its answer (ADR 0016). `from_due` counts all of it. `from_book` counts from when everything was
there that the decision may have: the effective due, and the books of the group and of all before it in its portfolio.
The bar is for `from_book`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles
from typing import Any, Final
from uuid import UUID

from tests.bench.pipeline import BANKROLL_MICROS, announcements, running_stack
from tests.bench.tape import Load

WARM: Final = timedelta(seconds=5)
"""The first statements and connections of a fresh process are not what is measured."""
BAR_MS: Final = 50

_ATTEMPTS: Final = """
SELECT a.id, a.portfolio_id, a.seq, a.scope, a.decided_at, a.due_at, a.book_fetched_at,
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
    could = _possible_from(rows)
    for scope in sorted({row.scope for row in rows}):
        found = [row for row in rows if row.scope == scope and row.due_at >= begin and str(row.id) in announced]
        committed = {row.id: datetime.fromtimestamp(announced[str(row.id)] / 1000, UTC) for row in found}
        name = f"lateness_{scope.lower()}"
        figures[f"{name}_samples"] = len(found)
        figures[f"{name}_book_ms"] = _cuts([row.book_fetched_at - row.due_at for row in found if row.book_fetched_at])
        figures[f"{name}_from_due_ms"] = _cuts([row.decided_at - row.effective_due_at for row in found])
        figures[f"{name}_from_book_ms"] = _cuts([row.decided_at - could[row.id] for row in found])
        figures[f"{name}_committed_ms"] = _cuts([committed[row.id] - could[row.id] for row in found])
    return figures


def _possible_from(rows: Sequence[Any]) -> dict[UUID, datetime]:
    """Return, by attempt, when it was due and its book, and those before it in its portfolio, were there."""
    found: dict[UUID, datetime] = {}
    reached: dict[UUID, datetime] = {}
    for row in sorted(rows, key=lambda row: row.seq):
        known = [row.effective_due_at, row.book_fetched_at, reached.get(row.portfolio_id)]
        reached[row.portfolio_id] = found[row.id] = max(each for each in known if each is not None)
    return found


def _cuts(durations: Sequence[timedelta]) -> dict[str, float]:
    values = [each / timedelta(milliseconds=1) for each in durations]
    cuts = quantiles(values, n=100)
    return {
        "p50": round(cuts[49], 1),
        "p95": round(cuts[94], 1),
        "p99": round(cuts[98], 1),
        "max": round(max(values), 1),
    }
