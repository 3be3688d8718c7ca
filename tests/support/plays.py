"""Whole plays of tapes. Each lasts minutes and mostly waits, so tests share them and several run at a time."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final

from tests.support.playing import SPEED, Play

AT_ONCE: Final = 3
"""Stacks that run side by side; more of them would make each other late on two cores."""
KILLED_SPEED: Final = 4
"""Slower, so that every service dies while the tape still plays."""
WEBSOCKET_OFF: Final = '{"at_s": 0, "for_s": 100000, "fault": "down", "target": "rpc"}\n'

_STARTING: Final = Lock()
"""Starting is hard work for two cores, and the ports one stack found free another must not find free, too."""

Meanwhile = Callable[[Play], None]


@dataclass(frozen=True)
class Played:
    """A finished play: its exit code, what `up` printed, its exports, and the processes that fell over by themselves.

    `data_dir` still holds the databases and logs.
    """

    code: int
    output: str
    exports: Path
    failures: list[str]
    data_dir: Path


def play_through(
    tape: Path, folder: Path, *options: object, speed: int = SPEED, meanwhile: Meanwhile | None = None
) -> Played:
    """Play a tape to its end, doing something meanwhile, and export everything."""
    with _STARTING:
        play = Play(tape, folder, "--exit-when-drained", *options, speed=speed)
        try:
            play.wait_playing()
        except BaseException:
            play.stop()
            raise
    try:
        if meanwhile is not None:
            meanwhile(play)
        code = play.wait()
        return Played(code, play.output(), play.exported(), play.failures(), play.data_dir)
    finally:
        play.stop()


def without_websocket(tape: Path, folder: Path) -> Played:
    """Play a tape with the node's websocket away all the time."""
    folder.mkdir(parents=True, exist_ok=True)
    faults = folder / "faults.jsonl"
    faults.write_text(WEBSOCKET_OFF)
    return play_through(tape, folder, "--faults", faults)


def with_kills(tape: Path, folder: Path) -> Played:
    """Play a tape and end every service once without warning, one after the other."""
    return play_through(tape, folder, speed=KILLED_SPEED, meanwhile=_kill_each_service)


def _kill_each_service(play: Play) -> None:
    for name, pid in play.pids().items():
        play.kill(name, pid)


class Plays:
    """Runs the plays that were asked for, a few at a time; each is played once."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._asked: dict[str, Future[Played]] = {}

    def ask(self, wanted: Iterable[tuple[str, Callable[[], Played]]]) -> None:
        """Queue plays by name."""
        for name, play in wanted:
            if name not in self._asked:
                self._asked[name] = self._pool.submit(play)

    def result(self, name: str) -> Played:
        """Wait for a play that was asked for."""
        return self._asked[name].result()

    def close(self) -> None:
        """Drop what has not begun and wait for the rest."""
        self._pool.shutdown(wait=True, cancel_futures=True)
