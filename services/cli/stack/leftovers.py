"""Processes of a stack, found without the help of what should have stopped them.

Every process the supervisor starts carries the stack's id in its environment; the databases, which may overwrite
theirs, name the stack's paths as arguments. Both signs are the stack's own, so no other program is touched.
"""

import contextlib
import signal
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import psutil

MARK = "STACK_ID"
WAIT_INTERVAL_SECONDS = 0.05


def processes_of(stack_id: str, signs: Sequence[str]) -> list[psutil.Process]:
    """Return the living processes of a stack, the supervisor first."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.status() != psutil.STATUS_ZOMBIE and _belongs(process, stack_id, signs):
                found.append(process)
    return sorted(found, key=lambda process: not _is_supervisor(process))


def end(processes: Sequence[psutil.Process], *, grace_seconds: float, hurry: bool = False) -> None:
    """Stop the processes, each in its own way, and kill what is left after the grace; `hurry` skips the order."""
    supervisors = [process for process in processes if _is_supervisor(process)]
    if hurry:
        _signal(supervisors, signal.SIGKILL)  # or it would start again what stops
    elif supervisors:
        _signal(supervisors, signal.SIGTERM)  # it stops its programs in order, services before databases
        _wait(processes, grace_seconds)
    remaining = [process for process in processes if _is_alive(process)]
    for process in remaining:
        _signal([process], _stop_signal(process, hurry=hurry))
    _wait(remaining, grace_seconds)
    _signal([process for process in remaining if _is_alive(process)], signal.SIGKILL)
    _wait(remaining, grace_seconds)


def _stop_signal(process: psutil.Process, *, hurry: bool) -> signal.Signals:
    name = _name(process)
    if name == "postgres":  # the immediate stop; a killed postmaster would leave its shared memory behind
        return signal.SIGQUIT
    return signal.SIGKILL if hurry and name != "valkey-server" else signal.SIGTERM


def _belongs(process: psutil.Process, stack_id: str, signs: Sequence[str]) -> bool:
    if process.environ().get(MARK) == stack_id:
        return True
    if _name(process) not in {"postgres", "valkey-server"}:
        return False
    return any(sign in process.cmdline() for sign in signs)


def _is_supervisor(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return "supervisor.supervisord" in process.cmdline()
    return False


def _name(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return Path((process.cmdline() or [process.name()])[0].rstrip(":")).name
    return ""


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _signal(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def _wait(processes: Iterable[psutil.Process], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while any(_is_alive(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(WAIT_INTERVAL_SECONDS)
