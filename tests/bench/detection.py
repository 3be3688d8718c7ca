"""How fast a log becomes a committed event with a thousand wallets followed, and what ingest costs meanwhile.

From the instant at which the sandbox's log is due to the instant at which the event, committed before, stands on
`events.detected`: what the sandbox, the bus and two shared cores take is in it, too.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

import psutil
import redis

from tests.bench.pipeline import BANKROLL_MICROS, Stack, log_times, play_start, running_stack
from tests.bench.tape import Load

WALLETS = 1_000
WARM_SECONDS = 5
"""The first polls, connections and statements of a fresh process are not what is measured."""


@dataclass(frozen=True, slots=True)
class _Spent:
    at: float
    cpu_seconds: float


def measure_detection(folder: Path, rate: int, seconds: int) -> dict[str, Any]:
    """Return percentiles of detection in milliseconds, and memory and share of a core that ingest took."""
    seconds += WARM_SECONDS
    load = Load(rate * seconds, seconds * 1_000, (seconds + 5) * 1_000, wallets=WALLETS)
    with running_stack(folder, load, {"bankroll_micros": BANKROLL_MICROS}) as stack:
        origin = play_start(stack.data_dir)
        pid = next(row["pid"] for row in stack.processes() if row["service"] == "ingest")
        time.sleep(max(0.0, origin.timestamp() + 1 + WARM_SECONDS - time.time()))
        before = _spent(pid)
        announced = _announced(stack, until=origin.timestamp() + 1 + seconds)
        after = _spent(pid)
        pss = next(row["pss_bytes"] for row in stack.processes() if row["service"] == "ingest")
        hashes = {str(row.id): row.tx_hash for row in stack.query("SELECT id, tx_hash FROM trade_event")}
    logged = log_times(folder / "tape", origin)
    warm = origin.timestamp() + 1 + WARM_SECONDS
    took = [
        at_ms - logged[hashes[event]].timestamp() * 1000
        for event, at_ms in announced.items()
        if logged[hashes[event]].timestamp() >= warm
    ]
    cuts = quantiles(took, n=100)
    return {
        "detection_samples": len(took),
        "detection_ms_p50": round(cuts[49], 1),
        "detection_ms_p95": round(cuts[94], 1),
        "detection_ms_p99": round(cuts[98], 1),
        "ingest_pss_mb": round(pss / 1e6, 1),
        "ingest_cpu_percent": round(100 * (after.cpu_seconds - before.cpu_seconds) / (after.at - before.at), 1),
    }


def _spent(pid: int) -> _Spent:
    times = psutil.Process(pid).cpu_times()
    return _Spent(time.monotonic(), times.user + times.system)


def _announced(stack: Stack, *, until: float) -> dict[str, int]:
    """Return when each event was first announced, in epoch ms by event id, read from the stream as it grows."""
    announced: dict[str, int] = {}
    last = "0-0"
    with redis.Redis.from_url(stack.redis_url, decode_responses=True) as client:
        while time.time() < until:
            for _, entries in client.xread({"events.detected": last}, count=1000, block=500) or []:
                for entry, fields in entries:
                    last = entry
                    announced.setdefault(json.loads(fields["__data__"])["event_id"], int(entry.split("-")[0]))
    return announced
