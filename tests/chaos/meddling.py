"""What is done to a stack's processes while a tape plays. It waits for conditions, but for the instants of kills."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Final

import psutil

from services.cli.stack.data_dir import Memory, existing_data_dir
from services.cli.stack.ports import free_port
from services.cli.stack.supervisor import Supervisor
from tests.support.playing import Play

RECORDED: Final = '"event":"events_recorded"'
REDIS_AWAY: Final = '"event":"redis_away"'
SUBSCRIBED: Final = '"event":"websocket_subscribed"'
NOTICED_SECONDS: Final = 180.0
SECOND: Final = "ingest-second"
POSTGRES: Final = "postgres"
AWAY: Final = "away.jsonl"
SIMULATORS: Final = ("simulator-user", "simulator-global")
SEED: Final = 20_261_122
KILLS: Final = 24
PAUSE_SECONDS: Final = (0.3, 4.0)
"""Shortest and longest time between two kills."""
STOPPED_SECONDS: Final = (0.5, 6.0)
"""Shortest and longest time for which one is stopped instead."""


def kill_process(play: Play, name: str, how: signal.Signals = signal.SIGKILL) -> None:
    """End a database or a service without warning, wait until another runs in its place, and note when it was away."""
    killed: list[int] = []

    def is_killed() -> bool:
        pid = play.pid_of(name)
        if pid is not None:
            with suppress(ProcessLookupError):  # one just started may have given up, to be started again
                os.kill(pid, how)
                killed.append(pid)
        return bool(killed)

    play.wait_until(is_killed, f"{name} to run")
    began = time.time()
    play.wait_until(lambda: play.pid_of(name) not in {None, *killed}, f"another {name}")
    note_away(play, name, began, time.time())


def note_away(play: Play, name: str, began: float, ended: float) -> None:
    """Note beside the logs from when to when a process was away, in seconds of the epoch."""
    with (play.data_dir / "logs" / AWAY).open("a", encoding="utf-8") as notes:
        notes.write(json.dumps({"name": name, "from": began, "to": ended}) + "\n")


def shut_postgres_down(play: Play) -> None:
    """Have Postgres end at once without a checkpoint and wait until another runs: its own immediate shutdown."""
    kill_process(play, POSTGRES, signal.SIGQUIT)


def end_databases_once(play: Play) -> None:
    """Shut Postgres down and kill it as it recovers, and once fills are recorded again Valkey; all in mid-play."""
    _wait_for_further_fills(play)
    shut_postgres_down(play)
    kill_process(play, POSTGRES)
    _wait_for_further_fills(play)
    kill_process(play, "valkey")


def _wait_for_further_fills(play: Play) -> None:
    recorded = play.log("ingest").count(RECORDED)
    play.wait_until(lambda: play.log("ingest").count(RECORDED) > recorded, "further fills")


def run_second_ingest_without_valkey(play: Play) -> None:
    """Run a further ingest to the end of the play; until it listens Valkey is away, and both have noticed.

    Without Valkey no stack counts as drained: the play lasts until then, however slow the machine is.
    """
    return_valkey = _take_valkey_away(play)
    second = _beside(play, "ingest", "services.ingest", SECOND)
    try:
        try:
            play.wait_until(lambda: RECORDED in play.log("ingest"), "fills", NOTICED_SECONDS)
            play.wait_until(lambda: SUBSCRIBED in play.log(SECOND), "the second one to listen", NOTICED_SECONDS)
            noticed = partial(_have_logged, play, ("ingest", SECOND), REDIS_AWAY)
            play.wait_until(noticed, "both to notice", NOTICED_SECONDS)
        finally:
            return_valkey()
        play.wait()
    finally:
        second.kill()
        second.wait()


def _beside(play: Play, program: str, module: str, name: str) -> subprocess.Popen[bytes]:
    """Start a further process of a program, beside the supervised one and with its environment; the caller ends it."""
    first = play.pid_of(program)
    assert first is not None, f"{program} does not run"
    own = {"SHADOWBOOK_INSTANCE": name, "SHADOWBOOK_HTTP_PORT": str(free_port())}
    with (play.data_dir / "logs" / f"{name}.log").open("ab") as log:
        command = [sys.executable, "-m", module]
        return subprocess.Popen(command, stdout=log, stderr=log, env=psutil.Process(first).environ() | own)


def kill_simulators(play: Play) -> None:
    """Run two simulators of each scope, and kill or stop one of the four at a time, at random instants.

    The supervisor starts its own again; the others are started again here. Both may be away at once for a moment.
    """
    drawn = random.Random(SEED)  # noqa: S311  the same instants in every play
    waited = threading.Event()  # nobody sets it: these are instants of the play, not conditions
    beside = {name: _second_simulator(play, name) for name in SIMULATORS}
    try:
        for _ in range(KILLS):
            waited.wait(drawn.uniform(*PAUSE_SECONDS))
            name, is_supervised, stops = drawn.choice(SIMULATORS), drawn.random() < 1 / 2, drawn.random() < 1 / 4
            stopped_seconds = drawn.uniform(*STOPPED_SECONDS)
            if play.is_over():
                break
            pid = play.pid_of(name) if is_supervised else beside[name].pid
            if pid is None:  # killed a moment ago, and not started again yet
                continue
            with suppress(ProcessLookupError):
                if stops:
                    os.kill(pid, signal.SIGSTOP)
                    waited.wait(stopped_seconds)
                    os.kill(pid, signal.SIGCONT)
                else:
                    os.kill(pid, signal.SIGKILL)
            if beside[name].poll() is not None:
                beside[name] = _second_simulator(play, name)
        play.wait()
    finally:
        for process in beside.values():
            process.kill()
            process.wait()


def _second_simulator(play: Play, name: str) -> subprocess.Popen[bytes]:
    play.wait_until(lambda: play.pid_of(name) is not None, f"another {name}")
    return _beside(play, name, "services.simulator", f"{name}-second")


def _take_valkey_away(play: Play) -> Callable[[], None]:
    """End Valkey without warning; it stays away until what this returns is called."""
    data_dir = existing_data_dir(play.data_dir)
    supervisor = Supervisor(data_dir, Memory(data_dir.root / "stack.json").stack_id)
    pid = play.pid_of("valkey")
    assert pid is not None, "valkey does not run"
    began = time.time()
    os.kill(pid, signal.SIGKILL)
    # Or the supervisor starts it again; it takes no order between noticing the death and doing so.
    play.wait_until(partial(_is_stopped, supervisor, "valkey"), "Valkey to stay away")

    def bring_back() -> None:
        supervisor.start_program("valkey")
        note_away(play, "valkey", began, time.time())

    return bring_back


def _is_stopped(supervisor: Supervisor, name: str) -> bool:
    supervisor.stop_program(name)
    return any(info["name"] == name and info["statename"] == "STOPPED" for info in supervisor.programs())


def _have_logged(play: Play, names: Iterable[str], what: str) -> bool:
    return all(what in play.log(name) for name in names)
