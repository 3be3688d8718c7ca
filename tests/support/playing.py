"""A whole stack that plays a tape, as a person starts it: `shadowbook up --tape ... --exit-when-drained`."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from services.cli.export import Format, write_rows
from services.cli.stack import session
from services.cli.stack.ports import free_port
from tests.oracle import Run, read_run
from tests.oracle.run import KINDS

SPEED: Final = 8
DRAIN_SECONDS: Final = 420.0
POLL_SECONDS: Final = 0.5
STOP_SECONDS: Final = 60.0
START_SECONDS: Final = 120.0

START: Final = '"event":"process_started"'
FALL: Final = '"event":"process_failed"'


def command(*arguments: object) -> list[str]:
    """Return the command line of a `shadowbook` command."""
    return [sys.executable, "-m", "services.cli", *(str(argument) for argument in arguments)]


def environment() -> dict[str, str]:
    """Return this process's environment without settings of a stack."""
    dropped = ("SHADOWBOOK_", "DATABASE_URL", "REDIS_URL", "PYTHONWARNINGS")
    return {name: value for name, value in os.environ.items() if not name.startswith(dropped)}


class Play:
    """One stack in a data directory of its own."""

    def __init__(self, tape: Path, folder: Path, *options: object, speed: int) -> None:
        self.data_dir = folder / "data"
        head = json.loads((tape / "tape.json").read_text(encoding="utf-8"))
        self.tape_seconds: float = (head["end_ms"] - head["start_ms"]) / 1000 / speed
        self._exports = folder / "exports"
        self._log = folder / "up.log"
        folder.mkdir(parents=True, exist_ok=True)
        given = ("--tape", tape, "--speed", speed, "--data-dir", self.data_dir, "--port", free_port(), *options)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command("up", *given), stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment()
            )

    def output(self) -> str:
        """Return what `up` has printed."""
        return self._log.read_text(errors="replace")

    def status(self) -> dict[str, Any]:
        """Return `shadowbook status --json`."""
        return dict(json.loads(self.run("status", "--json").stdout))

    def run(self, name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run another command on this stack."""
        line = command(name, *arguments, "--data-dir", self.data_dir)
        return subprocess.run(line, capture_output=True, text=True, env=environment(), timeout=120, check=False)

    def wait(self, seconds: float = DRAIN_SECONDS) -> int:
        """Return the exit code of `up` once it has drained."""
        return self._process.wait(seconds)

    def is_over(self) -> bool:
        """Tell whether `up` has ended."""
        return self._process.poll() is not None

    def wait_until(self, is_so: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        """Wait for a condition; fails the test when it does not come or the stack ends first."""
        deadline = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < deadline, f"{what} did not come within {seconds:.0f} s\n{self.output()[-2000:]}"
            assert self._process.poll() is None, f"the stack ended before {what}\n{self.output()[-2000:]}"
            time.sleep(POLL_SECONDS)

    def wait_playing(self) -> None:
        """Wait until the tape plays."""
        self.wait_until(lambda: "Dashboard" in self.output(), "play", START_SECONDS)

    def pids(self) -> dict[str, int]:
        """Return the running services' process ids by name; databases, supervisor and `up` itself are left out."""
        others = {"postgres", "valkey", "supervisor", "up"}
        rows = self.status()["processes"]
        return {row["name"]: int(row["pid"]) for row in rows if row["name"] not in others}

    def pid_of(self, name: str) -> int | None:
        """Return the id of one running process by name, of a database too; None while it does not run."""
        rows = self.status()["processes"]
        return next((int(row["pid"]) for row in rows if row["name"] == name and row["pid"]), None)

    def kill(self, name: str, pid: int) -> None:
        """End a process without warning and wait until another has started in its place, or the play is over."""
        started = self._starts(name)
        os.kill(pid, signal.SIGKILL)
        self.wait_until(lambda: self._starts(name) > started or self._process.poll() is not None, f"another {name}")

    def log(self, name: str) -> str:
        """Return what a process has logged."""
        return (self.data_dir / "logs" / f"{name}.log").read_text(errors="replace")

    def _starts(self, name: str) -> int:
        return self.log(name).count(START)

    def exported(self) -> Path:
        """Export every KIND and return the folder."""
        with session(self.data_dir, command="export") as stack:
            export_all(stack.database_url, self._exports)
        return self._exports

    def failures(self) -> list[str]:
        """Return what the logs say of processes that ended by an error of their own."""
        logs = sorted((self.data_dir / "logs").glob("*.log"))
        return [line for log in logs for line in log.read_text(errors="replace").splitlines() if FALL in line]

    def stop(self) -> None:
        """Stop the stack if it still runs."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def export_all(database_url: str, folder: Path) -> None:
    """Write every KIND as `shadowbook export` does; the command itself would start anew for each, Postgres too."""
    folder.mkdir(exist_ok=True)
    for kind in KINDS:
        with (folder / f"{kind}.jsonl").open("w", encoding="utf-8") as stream:
            asyncio.run(write_rows(database_url, kind, Format.JSONL, stream))


def facts(folder: Path) -> dict[str, Counter[tuple[Any, ...]]]:
    """Return what must not depend on how a run went: events, shadow positions and shadow cash."""
    run: Run = read_run(folder)
    event = (
        "id",
        "kind",
        "status",
        "wallet",
        "tx_hash",
        "asset_id",
        "side",
        "share_micros",
        "usdc_notional_micros",
        "fee_micros",
    )
    cash: Counter[tuple[Any, ...]] = Counter()
    for row in run["ledger"]:
        if row["scope"] == "SHADOW_USER":
            cash[row["user_label"],] += row["cash_delta_micros"]
    return {
        "events": Counter(tuple(row[name] for name in event) for row in run["events"]),
        "shadow positions": Counter(
            {
                (row["user_label"], row["asset_id"]): row["share_micros"]
                for row in run["positions"]
                if row["scope"] == "SHADOW_USER"
            }
        ),
        "shadow cash": cash,
    }
