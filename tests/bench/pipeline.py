"""`make bench`: throughput, latency and memory of the whole stack, started the way a person starts it.

Throughput: a backlog of fills arrives on the chain at once, the decision delay is 0; the clock runs from the first log
to the last posting in the last scope. Latency: fills trickle in at the usual delay; from the log to the announcement of
the committed attempt, minus the window and the delay that the configuration asks for (EXEC_GLOBAL counts from its
effective due). Memory: proportional and resident set of every process during the trickle. Lateness of decisions, pure
decisions, detection, decoders, what a long past costs (growth.py) and the test of a configuration: see the files of
their names.
"""

import argparse
import asyncio
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles
from typing import Any

import psutil
import redis
from sqlalchemy import text

from libs.common.db.engine import make_engine
from services.cli.stack.visit import session
from tests.bench.config_test import measure_config_test
from tests.bench.decisions import measure_decisions
from tests.bench.decoders import measure_decoders
from tests.bench.tape import START_MS, Load, write_tape

ROOT = Path(__file__).parents[2]
COMMAND = Path(sys.executable).parent / "shadowbook"
BANKROLL_MICROS = 10**15
"""A billion USDC: no cap ends the measurement."""
WINDOW_MS = 2_000
START_TIMEOUT_SECONDS = 90
END_TIMEOUT_SECONDS = 600
EVER = datetime(2000, 1, 1, tzinfo=UTC)
AT_ONCE = {"global": {"decision_latency_ms": 0, "jitter_ms": 0}, "bankroll_micros": BANKROLL_MICROS}
"""Configuration of a backlog: nothing waits."""
LOOK_SECONDS = 2.0
_NO_WHOLE_TABLES = text("SET enable_seqscan = off")
"""Looking must not cost more the more the database holds."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack: how to reach it."""

    data_dir: Path
    database_url: str
    redis_url: str

    def query(self, sql: str) -> list[Any]:
        """Return the rows of a query."""
        return asyncio.run(_query(self.database_url, sql))

    def processes(self) -> list[dict[str, Any]]:
        """Return the stack's processes with their memory in bytes."""
        answer = subprocess.run(
            [COMMAND, "status", "--json", "--data-dir", self.data_dir], capture_output=True, text=True, check=False
        )
        found: list[dict[str, Any]] = json.loads(answer.stdout)["processes"]
        return found


async def _query(url: str, sql: str) -> list[Any]:
    engine = make_engine(url, application="bench", pool_size=1)
    try:
        async with engine.connect() as connection:
            await connection.execute(_NO_WHOLE_TABLES)
            return list(await connection.execute(text(sql)))
    finally:
        await engine.dispose()


@contextmanager
def running_stack(folder: Path, load: Load, config: dict[str, Any]) -> Iterator[Stack]:
    """Play a tape of `load` under `config` until the block ends."""
    tape, data_dir = folder / "tape", folder / "data"
    write_tape(tape, load)
    (folder / "config.json").write_text(json.dumps(config))
    arguments: list[str | Path] = ["up", "--tape", tape, "--config", folder / "config.json", "--data-dir", data_dir]
    with (folder / "up.log").open("w") as log:
        process = subprocess.Popen([COMMAND, *arguments], stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait_playing(process, folder / "up.log")
            with session(data_dir) as visit:
                urls = (visit.database_url, visit.redis_url or "")
            yield Stack(data_dir, *urls)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)


def _wait_playing(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while "Dashboard" not in log.read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the stack did not start: {log.read_text()[-2000:]}")
        time.sleep(0.2)


def measure_throughput(folder: Path, fills: int) -> dict[str, float]:
    """Return fills and groups per second through all three scopes."""
    with running_stack(folder, backlog(fills), AT_ONCE) as stack:
        return await_backlog(stack, fills)


def backlog(fills: int) -> Load:
    """Return fills that arrive at once, two an order; the tape has new books for as long as they take."""
    return Load(fills=fills, spread_ms=1_000, length_ms=120_000, parts=2)


def await_backlog(stack: Stack, fills: int, since: datetime = EVER, after: int = 0) -> dict[str, float]:
    """Wait until `fills` detected `since` then are through, and say how fast; entries up to `after` are not theirs.

    Only when nothing more is being posted is everything counted, so that waiting costs nothing.
    """
    entries, then = f"seq > {after}", f"'{since.isoformat()}'"
    deadline = time.monotonic() + END_TIMEOUT_SECONDS
    last, done = -1, None
    while time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
        (posted,) = stack.query("SELECT coalesce(max(seq), 0) AS seq FROM ledger_entry")
        if posted.seq != last:
            last = posted.seq
            continue
        (done,) = stack.query(
            f"SELECT (SELECT count(*) FROM trade_event WHERE detect_time >= {then}) AS fills,"  # noqa: S608
            " (SELECT count(*) FROM event_group g JOIN event_group_member m ON m.group_id = g.id"
            f" WHERE first_detect_time >= {then}) AS grouped,"
            f" (SELECT count(*) FROM event_group WHERE first_detect_time >= {then}) AS groups,"
            f" (SELECT count(*) FROM copy_attempt WHERE scope IN ('EXEC_USER', 'EXEC_GLOBAL') AND decided_at >= {then})"
            " AS attempts,"
            " (SELECT count(*) FROM copy_attempt WHERE decision = 'EXECUTE' AND posted_at IS NULL) AS unposted,"
            f" (SELECT count(*) FROM ledger_entry WHERE {entries} AND scope = 'SHADOW_USER'"
            " AND entry_type = 'TRADE_FILL') AS shadow"
        )
        if (
            done.fills == done.grouped == done.shadow == fills
            and done.attempts == 2 * done.groups
            and not done.unposted
        ):
            break
    else:
        raise RuntimeError(f"not done after {END_TIMEOUT_SECONDS} s: {done}")
    (row,) = stack.query(
        f"SELECT (SELECT max(created_at) FROM ledger_entry WHERE {entries})"  # noqa: S608
        f" - (SELECT min(detect_time) FROM trade_event WHERE detect_time >= {then}) AS took,"
        f" (SELECT max(detect_time) - min(detect_time) FROM trade_event WHERE detect_time >= {then}) AS detected,"
        " (SELECT count(*) FROM copy_attempt WHERE scope IN ('EXEC_USER', 'EXEC_GLOBAL')"
        f" AND decided_at >= {then} AND decision = 'EXECUTE') AS executed"
    )
    seconds = row.took.total_seconds()
    return {
        "fills": fills,
        "groups": done.groups,
        "attempts_executed": row.executed,
        "seconds": round(seconds, 2),
        "seconds_to_detect_all": round(row.detected.total_seconds(), 2),
        "fills_per_s": round(fills / seconds, 1),
    }


def measure_latency(folder: Path, rate: int, seconds: int) -> dict[str, Any]:
    """Return latency percentiles per scope and overall, in milliseconds, and the memory of every process."""
    load = Load(fills=rate * seconds, spread_ms=seconds * 1_000, length_ms=(seconds + 5) * 1_000)
    with running_stack(folder, load, {"bankroll_micros": BANKROLL_MICROS}) as stack:
        announced = announcements(stack, seconds + 15)
        processes = stack.processes()
        memory = {row["name"]: row["pss_bytes"] for row in processes}
        resident = {row["name"]: _resident_bytes(row["pid"]) for row in processes}
        rows = stack.query(
            "SELECT a.id, a.scope, a.due_at, g.closed_at, g.first_detect_time, m.tx_hash FROM copy_attempt a"
            " JOIN event_group g ON g.id = a.group_id"
            " CROSS JOIN LATERAL (SELECT e.tx_hash FROM event_group_member x JOIN trade_event e ON e.id = x.event_id"
            "   WHERE x.group_id = g.id ORDER BY x.position LIMIT 1) m"
        )
        origin = play_start(stack.data_dir)
    logged = log_times(folder / "tape", origin)
    latencies = _latencies(rows, announced, logged)
    return {**_percentiles(latencies), **_memory(memory, resident)}


def announcements(stack: Stack, seconds: int) -> dict[str, int]:
    """Return when each attempt was announced, in epoch ms by attempt id, read from the stream as it grows."""
    announced: dict[str, int] = {}
    last = "0-0"
    deadline = time.monotonic() + seconds
    with redis.Redis.from_url(stack.redis_url, decode_responses=True) as client:
        while time.monotonic() < deadline:
            for _, entries in client.xread({"attempts.decided": last}, count=1000, block=500) or []:
                for entry, fields in entries:
                    last = entry
                    announced[json.loads(fields["__data__"])["attempt_id"]] = int(entry.split("-")[0])
    return announced


def play_start(data_dir: Path) -> datetime:
    from services.cli.stack.data_dir import Memory
    from services.cli.stack.readiness import ask

    port = Memory(data_dir / "stack.json").ports["sandbox"]
    _, status = ask(f"http://127.0.0.1:{port}/_sandbox/status")
    return datetime.fromisoformat(status["started_at"])


def log_times(tape: Path, origin: datetime) -> dict[str, datetime]:
    with (tape / "activity.jsonl").open() as file:
        rows = [json.loads(line) for line in file]
    return {row["transaction_hash"]: origin + timedelta(milliseconds=row["_at_ms"] - START_MS) for row in rows}


def _latencies(rows: list[Any], announced: dict[str, int], logged: dict[str, datetime]) -> dict[str, list[float]]:
    """Return per scope how long each attempt took beyond the waits it was told to make, in ms."""
    found: dict[str, list[float]] = {}
    effective: datetime | None = None
    for row in sorted(rows, key=lambda row: (row.scope, row.first_detect_time)):
        if str(row.id) not in announced:
            continue
        if row.scope == "EXEC_GLOBAL":
            effective = max(effective or row.due_at, row.due_at)
        due = effective if row.scope == "EXEC_GLOBAL" and effective else row.due_at
        wait_ms = WINDOW_MS + (due - row.closed_at).total_seconds() * 1000
        total_ms = announced[str(row.id)] - logged[row.tx_hash].timestamp() * 1000
        found.setdefault(row.scope, []).append(total_ms - wait_ms)
    return found


def _percentiles(latencies: dict[str, list[float]]) -> dict[str, Any]:
    everything = [value for values in latencies.values() for value in values]
    cuts = quantiles(everything, n=100)
    by_scope = {scope: round(quantiles(values, n=100)[94], 1) for scope, values in latencies.items()}
    return {
        "latency_samples": len(everything),
        "latency_ms_p50": round(cuts[49], 1),
        "latency_ms_p95": round(cuts[94], 1),
        "latency_ms_p99": round(cuts[98], 1),
        "latency_ms_p95_by_scope": by_scope,
    }


def _resident_bytes(pid: int) -> int:
    process = psutil.Process(pid)
    return sum(each.memory_info().rss for each in [process, *process.children(recursive=True)])


def _memory(pss: dict[str, int], rss: dict[str, int]) -> dict[str, Any]:
    return {
        "pss_mb": round(sum(pss.values()) / 1e6, 1),
        "pss_mb_by_process": {name: round(value / 1e6, 1) for name, value in pss.items()},
        "rss_mb_by_process": {name: round(value / 1e6, 1) for name, value in rss.items()},
    }


def main() -> int:
    """Measure, print, and write the figures where --json says."""
    from tests.bench.detection import measure_detection  # which, as the next two, builds on this module
    from tests.bench.growth import EVENTS, measure_growth
    from tests.bench.lateness import measure_lateness

    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--fills", type=int, default=20_000, help="fills of the backlog (20000)")
    parser.add_argument("--rate", type=int, default=20, help="fills per second of the trickle (20)")
    parser.add_argument("--seconds", type=int, default=40, help="length of the trickle (40)")
    parser.add_argument("--followed-rate", type=int, default=50, help="fills per second of 1000 followed wallets (50)")
    parser.add_argument(
        "--groups-rate", type=int, default=50, help="groups per second that must be decided in time (50)"
    )
    parser.add_argument("--events", type=int, default=EVENTS, help=f"fills preloaded for growth ({EVENTS}; 0: skip)")
    parser.add_argument("--keep", action="store_true", help="keep the data directories")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="shadowbook-bench-"))
    folder.chmod(0o711)
    try:
        for part in ("latency", "backlog", "lateness", "detection"):
            (folder / part).mkdir()
        figures: dict[str, Any] = measure_latency(folder / "latency", options.rate, options.seconds)
        figures |= measure_throughput(folder / "backlog", options.fills)
        if options.events:
            (folder / "growth").mkdir(mode=0o711)
            figures |= measure_growth(folder / "growth", options.fills, options.events)
        figures |= measure_lateness(folder / "lateness", options.groups_rate, options.seconds)
        figures |= measure_decisions()
        figures |= measure_detection(folder / "detection", options.followed_rate, options.seconds)
        figures |= measure_decoders()
        figures |= measure_config_test()
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    for name, value in figures.items():
        sys.stdout.write(f"{name:36}{json.dumps(value)}\n")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
