"""What can go wrong during a play, by name: faults of the sandbox's schedule, and databases killed."""

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.chaos.meddling import (
    end_databases_once,
    kill_process,
    kill_simulators,
    run_second_ingest_without_valkey,
    shut_postgres_down,
)
from tests.support.playing import Play
from tests.support.plays import Meanwhile, Played, play_through

BEGIN_SECONDS: Final = 5
MINUTE: Final = 60
LONG: Final = 180
TOLD_SECONDS: Final = 75
"""Two turns without a poll, and some: by then the report says that an API is away."""
ALWAYS: Final = 100_000
API: Final = ("data", "clob", "gamma")
KILLS_AT_SECONDS: Final = (8.0, 20.0)
SHUTDOWNS: Final = 5


@dataclass(frozen=True)
class Case:
    """One disturbance of a play."""

    name: str
    faults: tuple[dict[str, Any], ...] = ()
    meanwhile: Meanwhile | None = None

    @property
    def outage_seconds(self) -> float | None:
        """Return the second of the play at which an outage has to show in the report; None where there is none."""
        long = [each["at_s"] + TOLD_SECONDS for each in self.faults if MINUTE < each["for_s"] < ALWAYS]
        return max(long, default=None)

    def schedule(self, folder: Path) -> Path:
        """Write the schedule as `up --faults` reads it."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "schedule.jsonl"
        path.write_text("".join(json.dumps(fault) + "\n" for fault in self.faults))
        return path

    def play(self, tape: Path, folder: Path) -> Played:
        """Play a tape under this disturbance, to its end."""
        return play_through(tape, folder, "--faults", self.schedule(folder), meanwhile=self.meanwhile)


def fault(name: str, target: str, for_s: float, at_s: float = BEGIN_SECONDS, **options: Any) -> dict[str, Any]:
    """Return one line of a schedule."""
    return {"at_s": at_s, "for_s": for_s, "fault": name, "target": target, **options}


def kills(name: str) -> Meanwhile:
    """Return what kills a process without warning, more than once, while the tape plays."""
    return lambda play: _at_instants(play, KILLS_AT_SECONDS, lambda: kill_process(play, name))


def shuts_postgres_down(seed: int) -> Meanwhile:
    """Return what shuts Postgres down at once, at random instants from the tape's beginning to its end."""

    def shut_down(play: Play) -> None:
        drawn = Random(seed)  # noqa: S311  the same instants in every play
        instants = sorted(drawn.uniform(0, play.tape_seconds) for _ in range(SHUTDOWNS))
        _at_instants(play, instants, lambda: shut_postgres_down(play))

    return shut_down


def _at_instants(play: Play, instants_seconds: Sequence[float], act: Callable[[], None]) -> None:
    """Act at instants from now on, or as soon after one as the last act is over; not once the play is over."""
    began, waited = time.monotonic(), threading.Event()  # nobody sets it: these are instants, not conditions
    for at_seconds in instants_seconds:
        waited.wait(max(0.0, began + at_seconds - time.monotonic()))
        if play.is_over():  # on a slow machine the last ones come late
            return
        act()


def _http(name: str, for_s: float, **options: Any) -> tuple[dict[str, Any], ...]:
    return (fault(name, "all", for_s, **options),)


CASES: Final = {
    case.name: case
    for case in (
        Case("chain_outage", (fault("down", "rpc", LONG),)),
        Case("api_outage", tuple(fault("down", target, LONG) for target in API)),
        Case("rate_limit", _http("rate_limit", MINUTE, retry_after=None)),
        Case("slow", _http("slow", MINUTE, delay_ms=10_000)),
        Case("reorg", tuple(fault("reorg", "rpc", 0, at_s, depth=4) for at_s in (8, 15, 22, 30, 45))),
        Case("ws_flap", (fault("ws_flap", "rpc", MINUTE),)),
        Case("ws_silent", (fault("ws_silent", "rpc", MINUTE),)),
        Case("ws_drop", tuple(fault("ws_drop", "rpc", 3, at_s) for at_s in (8, 20, 35))),
        Case("duplicate_rows", _http("duplicate_rows", ALWAYS)),
        Case("reorder_rows", _http("reorder_rows", ALWAYS)),
        Case("no_block_timestamp", (fault("no_block_timestamp", "rpc", ALWAYS),)),
        Case("kill_postgres", meanwhile=kills("postgres")),
        Case("postgres_shutdowns", meanwhile=shuts_postgres_down(5)),
        Case("postgres_shutdowns_again", meanwhile=shuts_postgres_down(23)),
        Case("kill_valkey", meanwhile=kills("valkey")),
        Case("simulators_killed", meanwhile=kill_simulators),
        Case("kill_ingest", meanwhile=kills("ingest")),
        Case("html", _http("html", MINUTE)),
        Case("truncated", _http("truncated", MINUTE)),
        Case("malformed", _http("malformed", MINUTE)),
        Case("server_error", _http("server_error", MINUTE)),
        Case("rate_limit_date", _http("rate_limit", MINUTE, retry_after="date")),
        Case("rate_limit_seconds", _http("rate_limit", MINUTE, retry_after=5)),
        Case("silent_always", (fault("ws_silent", "rpc", ALWAYS),)),
        Case("flap_always", (fault("ws_flap", "rpc", ALWAYS),)),
    )
}


def _storm() -> tuple[dict[str, Any], ...]:
    """Return a schedule of twenty seconds in which every face fails in every way, the API beyond the tape's end."""
    always = [fault(name, "all", ALWAYS, 0) for name in ("duplicate_rows", "reorder_rows")]
    node = [
        fault("no_block_timestamp", "rpc", ALWAYS, 0),
        fault("ws_flap", "rpc", 4, 1),
        fault("ws_silent", "rpc", 2, 6),
        fault("malformed", "rpc", 1, 9),
        fault("reorg", "rpc", 0, 11, depth=3),
        fault("ws_drop", "rpc", 1, 13),
        fault("reorg", "rpc", 0, 17, depth=5),
    ]
    api = [
        fault("rate_limit", "all", 2, 1, retry_after=None),
        fault("rate_limit", "data", 2, 3, retry_after="date"),
        fault("server_error", "all", 2, 5),
        fault("html", "gamma", 2, 7),
        fault("html", "data", 2, 7),
        fault("truncated", "clob", 2, 9),
        fault("truncated", "data", 2, 9),
        fault("malformed", "data", 2, 11),
        fault("slow", "all", 3, 13, delay_ms=10_000),
        fault("down", "data", 12, 16),
    ]
    return (*always, *node, *api)


SHORT: Final = {
    case.name: case
    for case in (
        Case("storm", _storm()),
        Case("databases_killed", meanwhile=end_databases_once),
        Case("second_ingest", meanwhile=run_second_ingest_without_valkey),
    )
}
"""For a tape of twenty seconds; the test suite plays these."""
