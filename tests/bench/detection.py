"""How fast a log becomes a committed event with a thousand wallets followed, and what ingest costs meanwhile.

A log is delivered when a second subscriber of the sandbox's node, in a thread of this process, has it in hand. The end
is the instant at which the event, committed before, stands on `events.detected`. `detection_from_due_ms` counts from
when the tape wants the log out, so that what makes the sandbox itself late is not hidden.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

import psutil
import redis
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from libs.common.upstream.chain import EXCHANGES, ORDER_FILLED
from services.cli.stack.data_dir import Memory
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
        with _delivered(Memory(stack.data_dir / "stack.json").ports["sandbox"]) as delivered:
            announced = _announced(stack, until=origin.timestamp() + 1 + seconds)
        after = _spent(pid)
        pss = next(row["pss_bytes"] for row in stack.processes() if row["service"] == "ingest")
        hashes = {str(row.id): row.tx_hash for row in stack.query("SELECT id, tx_hash FROM trade_event")}
    logged = log_times(folder / "tape", origin)
    warm = origin.timestamp() + 1 + WARM_SECONDS
    warmed = {hashes[event]: at_ms for event, at_ms in announced.items() if hashes[event] in delivered}
    from_due = [at_ms - logged[tx].timestamp() * 1000 for tx, at_ms in warmed.items() if logged[tx].timestamp() >= warm]
    took = [at_ms - delivered[tx] for tx, at_ms in warmed.items()]
    cuts, due_cuts = quantiles(took, n=100), quantiles(from_due, n=100)
    return {
        "detection_samples": len(took),
        "detection_ms_p50": round(cuts[49], 1),
        "detection_ms_p95": round(cuts[94], 1),
        "detection_ms_p99": round(cuts[98], 1),
        "detection_from_due_ms_p95": round(due_cuts[94], 1),
        "ingest_pss_mb": round(pss / 1e6, 1),
        "ingest_cpu_percent": round(100 * (after.cpu_seconds - before.cpu_seconds) / (after.at - before.at), 1),
    }


def _spent(pid: int) -> _Spent:
    times = psutil.Process(pid).cpu_times()
    return _Spent(time.monotonic(), times.user + times.system)


@contextmanager
def _delivered(port: int) -> Iterator[dict[str, float]]:
    """Fill a dict, while the block lasts, with when each transaction's log was delivered, in epoch ms."""
    found: dict[str, float] = {}
    socket = connect(f"ws://127.0.0.1:{port}/rpc", compression=None, max_size=None)
    wanted = {"address": list(EXCHANGES), "topics": [ORDER_FILLED]}
    socket.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["logs", wanted]}))

    def listen() -> None:
        try:
            for frame in socket:
                at_ms, log = time.time() * 1000, json.loads(frame).get("params", {}).get("result")
                if log:
                    found.setdefault(log["transactionHash"], at_ms)
        except WebSocketException:
            pass

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    yield found
    socket.close()
    thread.join(timeout=5)


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
