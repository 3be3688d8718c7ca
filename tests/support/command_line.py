"""The `shadowbook` command as a person runs it: a process of its own, with a clean environment."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

UP_TIMEOUT_SECONDS = 90.0
STOP_TIMEOUT_SECONDS = 60.0
LOOK_INTERVAL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str


def environment(**extra: str) -> dict[str, str]:
    """Return an environment that points at no database and no data directory."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return kept | extra


def command(*arguments: str) -> list[str]:
    """Return the arguments of a `shadowbook` command."""
    return [sys.executable, "-m", "services.cli", *arguments]


def shadowbook(
    *arguments: str, cwd: Path | None = None, timeout: float = 60, variables: dict[str, str] | None = None
) -> Outcome:
    """Run a command to its end."""
    done = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        cwd=cwd,
        env=environment(**(variables or {})),
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


class Up:
    """A running `shadowbook up`."""

    def __init__(self, data_dir: Path, arguments: Sequence[str], output: Path) -> None:
        self.data_dir = data_dir
        self._output = output
        with output.open("w") as sink:
            self._process = subprocess.Popen(
                command("up", "--data-dir", str(data_dir), *arguments),
                stdout=sink, stderr=subprocess.STDOUT, env=environment(), start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """Process id of the command."""
        return self._process.pid

    @property
    def output(self) -> str:
        """Everything it has printed."""
        return self._output.read_text()

    def wait_printed(self, pattern: str) -> re.Match[str]:
        """Return the match of what it has printed with a pattern, once there is one."""
        deadline = time.monotonic() + UP_TIMEOUT_SECONDS
        while (found := re.search(pattern, self.output)) is None:
            assert self._process.poll() is None, f"`up` ended with {self._process.poll()}:\n{self.output}"
            assert time.monotonic() < deadline, f"`up` did not print {pattern!r}:\n{self.output}"
            time.sleep(LOOK_INTERVAL_SECONDS)
        return found

    def wait_announced(self) -> str:
        """Return the login link once everything runs."""
        return self.wait_printed(r"Dashboard\s+(\S+)").group(1)

    def signal(self, number: signal.Signals) -> None:
        """Send the command a signal."""
        self._process.send_signal(number)

    def wait(self, seconds: float = STOP_TIMEOUT_SECONDS) -> int:
        """Return the exit code once it has ended."""
        return self._process.wait(seconds)

    def end(self) -> None:
        """Stop it, whatever state it is in."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shadowbook("down", "--data-dir", str(self.data_dir))


@contextmanager
def up(data_dir: Path, *arguments: str) -> Iterator[Up]:
    """Run `shadowbook up` for a block; whatever is left of it is ended."""
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    running = Up(data_dir, arguments, data_dir.with_name(data_dir.name + ".out"))
    try:
        yield running
    finally:
        running.end()


def processes_naming(path: Path) -> list[str]:
    """Return the command lines of living processes that name a path or carry its stack's mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and str(path) in " ".join([*process.cmdline(), process.cwd()]):
                found.append(f"{process.pid} {' '.join(process.cmdline())}")
        except (psutil.Error, OSError):
            continue
    return found
