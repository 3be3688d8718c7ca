"""What is done to a stack's processes while a tape plays. All of it waits for conditions, none of it for time."""

import contextlib
import os
import signal
import subprocess
import sys
from typing import Final

import psutil

from services.cli.stack.data_dir import Memory, existing_data_dir
from services.cli.stack.ports import free_port
from services.cli.stack.supervisor import Supervisor
from tests.support.playing import Play

RECORDED: Final = '"event":"events_recorded"'
REDIS_AWAY: Final = '"event":"redis_away"'
SECOND: Final = "ingest-second"


def kill_database(play: Play, name: str, how: signal.Signals = signal.SIGKILL) -> None:
    """End Postgres or Valkey without warning and wait until another runs in its place."""
    killed: list[int] = []

    def is_killed() -> bool:
        pid = play.pid_of(name)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):  # one just started may have given up, to be started again
                os.kill(pid, how)
                killed.append(pid)
        return bool(killed)

    play.wait_until(is_killed, f"{name} to run")
    play.wait_until(lambda: play.pid_of(name) not in {None, *killed}, f"another {name}")


def shut_postgres_down(play: Play) -> None:
    """Have Postgres end at once without a checkpoint and wait until another runs: its own immediate shutdown."""
    kill_database(play, "postgres", signal.SIGQUIT)


def end_databases_once(play: Play) -> None:
    """Shut Postgres down and kill it as it recovers, and once fills are recorded again Valkey; all in mid-play."""
    _wait_for_further_fills(play)
    shut_postgres_down(play)
    kill_database(play, "postgres")
    _wait_for_further_fills(play)
    kill_database(play, "valkey")


def _wait_for_further_fills(play: Play) -> None:
    recorded = play.log("ingest").count(RECORDED)
    play.wait_until(lambda: play.log("ingest").count(RECORDED) > recorded, "further fills")


def run_second_ingest_without_valkey(play: Play) -> None:
    """Run a further ingest to the end of the play, and keep Valkey away until both have noticed."""
    first = play.pid_of("ingest")
    assert first is not None, "ingest does not run"
    own = {"SHADOWBOOK_INSTANCE": SECOND, "SHADOWBOOK_HTTP_PORT": str(free_port())}
    with (play.data_dir / "logs" / f"{SECOND}.log").open("wb") as log:
        command = [sys.executable, "-m", "services.ingest"]
        second = subprocess.Popen(command, stdout=log, stderr=log, env=psutil.Process(first).environ() | own)
    try:
        play.wait_until(lambda: RECORDED in play.log("ingest") and "websocket_subscribed" in play.log(SECOND), "both")
        _keep_valkey_away(play)
        play.wait()
    finally:
        second.kill()
        second.wait()


def _keep_valkey_away(play: Play) -> None:
    data_dir = existing_data_dir(play.data_dir)
    supervisor = Supervisor(data_dir, Memory(data_dir.root / "stack.json").stack_id)
    pid = play.pid_of("valkey")
    assert pid is not None, "valkey does not run"
    os.kill(pid, signal.SIGKILL)
    supervisor.stop_program("valkey")  # or the supervisor would start it again at once
    try:
        play.wait_until(lambda: all(REDIS_AWAY in play.log(name) for name in ("ingest", SECOND)), "both to notice")
    finally:
        supervisor.start_program("valkey")
