"""Does a fill cost the same after months? Throughput with an empty and with a preloaded database, in one run.

The preloaded database holds a million fills and four million ledger entries (see preload.py), among them long histories
of the very positions that go on trading. Its run stands between two runs of empty ones, whose mean it is compared
with. Sizes are of tables with indexes and everything else that belongs to them, over what the backlog added.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services.cli.stack import postgres
from services.cli.stack.assembly import choose_ports
from services.cli.stack.data_dir import Memory, load_secrets, open_data_dir
from services.cli.stack.errands import prepare_database
from services.cli.stack.visit import place_of
from tests.bench.pipeline import AT_ONCE, BANKROLL_MICROS, Stack, await_backlog, backlog, running_stack
from tests.bench.preload import Past, preload
from tests.bench.tape import MARKETS, condition, token, wallets

EVENTS = 1_040_000
LARGE_MICROS = {"shared_buffers": "1GB", "work_mem": "256MB", "maintenance_work_mem": "512MB", "max_wal_size": "8GB"}
PRELOADING = {**LARGE_MICROS, **postgres.UNSAFE_FOR_TESTS, "checkpoint_timeout": "1h", "autovacuum": "off"}
_SIZES = "SELECT relname, pg_total_relation_size(oid) AS bytes FROM pg_class WHERE relkind = 'r' AND relnamespace = \
'public'::regnamespace"


def measure_growth(folder: Path, fills: int, events: int) -> dict[str, Any]:
    """Return fills per second with an empty and a preloaded database, their ratio, and bytes per thousand fills."""
    empty = [_run(folder / "empty-1", fills)]
    entries = prepare(folder / "full" / "data", events)
    full = _run(folder / "full", fills, entries)
    empty.append(_run(folder / "empty-2", fills))
    speeds = [each["fills_per_s"] for each in empty]
    return {
        "growth_events": events,
        "growth_entries": entries,
        "growth_empty_fills_per_s": speeds,
        "growth_full_fills_per_s": full["fills_per_s"],
        "growth_ratio": round(full["fills_per_s"] * len(speeds) / sum(speeds), 3),
        "growth_database_mb": round(full["bytes_before"] / 1e6),
        "growth_kb_per_1000_fills": {name: round(each / 1e3) for name, each in full["bytes_per_1000"].items()},
    }


def prepare(data_dir: Path, events: int) -> int:
    """Make a data directory whose database remembers `events` fills; return the number of its ledger entries."""
    data_dir.mkdir(parents=True)
    data_dir.parent.chmod(0o711)
    opened = open_data_dir(data_dir)
    memory, passwords = Memory(data_dir / "stack.json"), load_secrets(opened)["postgres"]
    choose_ports(memory, live=False, requested=None)
    place, port = place_of(opened, memory), memory.ports["postgres"]
    url = postgres.url(port, passwords["operator"])
    services = {name: password for name, password in passwords.items() if name != "operator"}
    past = Past(
        fills=events,
        wallets=[(each["label"], each["wallet"]) for each in wallets()],
        assets=[(token(n), condition(n // 2)) for n in range(2 * MARKETS)],
        bankroll_micros=BANKROLL_MICROS,
    )
    postgres.ensure_cluster(place, passwords["operator"])
    with postgres.running(place, port, opened.log("postgres"), PRELOADING):
        prepare_database(place, port, passwords["operator"], url, services)
        return asyncio.run(preload(url, past))


def _run(folder: Path, fills: int, entries: int = 0) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    folder.chmod(0o711)
    since = datetime.now(UTC)
    with running_stack(folder, backlog(fills), AT_ONCE) as stack:
        before = _sizes(stack)
        found: dict[str, Any] = await_backlog(stack, fills, since, entries)
        after = _sizes(stack)
    grown = {name: (after[name] - before[name]) * 1000 / fills for name in after}
    largest = sorted(((name, each) for name, each in grown.items() if each), key=lambda each: -each[1])
    return found | {
        "bytes_before": sum(before.values()),
        "bytes_per_1000": {"total": sum(grown.values()), **dict(largest)},
    }


def _sizes(stack: Stack) -> dict[str, int]:
    return {row.relname: row.bytes for row in stack.query(_SIZES)}


def main() -> int:
    """Measure growth alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--fills", type=int, default=20_000, help="fills of the backlog (20000)")
    parser.add_argument("--events", type=int, default=EVENTS, help=f"fills preloaded ({EVENTS})")
    parser.add_argument("--prepare", type=Path, help="only make this data directory")
    options = parser.parse_args()
    if options.prepare:
        prepare(options.prepare, options.events)
        return 0
    folder = Path(tempfile.mkdtemp(prefix="shadowbook-bench-"))
    folder.chmod(0o711)
    try:
        figures = measure_growth(folder, options.fills, options.events)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name, value in figures.items():
        sys.stdout.write(f"{name:28}{json.dumps(value)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
