"""What a play leaves to judge its coverage report by: the schedule, the sightings and what ingest logged."""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.chaos.cases import Case
from tests.chaos.meddling import AWAY
from tests.oracle import Run, read_run
from tests.oracle.run import microseconds
from tests.support.playing import START

REPORT: Final = "coverage.json"
CHAIN: Final = "CHAIN"
API: Final = "DATA_API"
SECOND: Final = 1_000_000


class Stretch(NamedTuple):
    """A stretch of time in microseconds of the epoch."""

    start: int
    end: int

    def holds(self, at: int, before: float = 0, after: float = 0) -> bool:
        """Tell whether an instant lies in it, widened by seconds."""
        return self.start - before * SECOND <= at <= self.end + after * SECOND


@dataclass(frozen=True)
class Gap:
    """A gap as the report tells it."""

    span: Stretch
    wallet: str | None
    status: str
    healed_at: int | None
    healed_by: str | None
    ended_by: str
    is_open: bool

    def __str__(self) -> str:
        seconds = (self.span.end - self.span.start) / SECOND
        return f"{self.wallet or CHAIN} gap of {seconds:.1f} s ({self.status} by {self.healed_by}: {self.ended_by})"


@dataclass(frozen=True)
class Account:
    """What a play left behind: its report, and what the report is judged by."""

    report: dict[str, Any]
    run: Run
    started: int
    faults: tuple[dict[str, Any], ...]
    failures: int | None
    """Polls that failed according to the log; None where a process was killed that would have counted them."""
    restarts: tuple[int, ...]
    """When another ingest started during play, according to its log."""
    away: tuple[Stretch, ...]
    """When a process was away, as noted by who killed it."""

    @property
    def gaps(self) -> list[Gap]:
        """Return the gaps, oldest first."""
        return [
            Gap(
                Stretch(microseconds(row["from"]), microseconds(row["to"])),
                row["wallet"],
                row["status"],
                microseconds(row["healed_at"]) if row["healed_at"] else None,
                row["healed_by"],
                row["ended_by"] or "",
                row["open"],
            )
            for row in reversed(self.report["gaps"])
        ]

    @property
    def wallets(self) -> set[str]:
        """Return the wallets that traded."""
        return {row["wallet"] for row in self.run["events"]}

    def seconds(self, at: int) -> float:
        """Return an instant as seconds of the play."""
        return round((at - self.started) / SECOND, 1)

    def struck(self, target: str, names: Iterable[str]) -> list[Stretch]:
        """Return when a face was struck by one of these faults."""
        return [
            Stretch(self.started + int(row["at_s"] * SECOND), self.started + int((row["at_s"] + row["for_s"]) * SECOND))
            for row in self.faults
            if row["fault"] in names and row["target"] in {target, "all"}
        ]

    @property
    def seen(self) -> dict[str, dict[str, int]]:
        """Return by event when each source showed it first."""
        found: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for row in self.run["sightings"]:
            times = found[row["event_id"]]
            times[row["source"]] = min(row["seen_at"], times.get(row["source"], row["seen_at"]))
        return found

    def source(self, name: str) -> dict[str, Any]:
        """Return what the report says of a source."""
        found: dict[str, Any] = next(each for each in self.report["sources"] if each["source"] == name)
        return found

    def delay(self, target: str) -> float:
        """Return by how many seconds answers of a face are late at most."""
        late = [row.get("delay_ms", 0) / 1000 for row in self.faults if row["target"] in {target, "all"}]
        return max(late, default=0.0)


def started(data_dir: Path) -> int:
    """Return the instant at which play started, as the sandbox keeps it."""
    return int(json.loads((data_dir / "sandbox" / "play.json").read_text())["segments"][0][1]) * 1000


def read_account(exports: Path, data_dir: Path, case: Case) -> Account:
    """Read what a play under one disturbance left in its folder of exports and in its data directory."""
    report = json.loads((exports / REPORT).read_text())
    log = (data_dir / "logs" / "ingest.log").read_text(errors="replace")
    failures = None if case.meanwhile else log.count('"event":"poll_failed"')
    began = started(data_dir)
    starts = [json.loads(line)["timestamp"] for line in log.splitlines() if START in line]
    restarts = tuple(at for at in map(microseconds, starts) if at > began)
    return Account(report, read_run(exports), began, case.faults, failures, restarts, read_away(data_dir))


def read_away(data_dir: Path) -> tuple[Stretch, ...]:
    """Read when processes were away; nothing where none was killed."""
    path = data_dir / "logs" / AWAY
    notes = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return tuple(Stretch(int(note["from"] * SECOND), int(note["to"] * SECOND)) for note in notes)
