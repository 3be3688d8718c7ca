"""What a probe found, for people and for scripts."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from dataclasses import field as fresh
from typing import Any, Final, Literal

State = Literal["ok", "warning", "failed"]

ODD_SHARE_MAX: Final = 0.1
"""One row in ten that does not decode is a change of shape; fewer are oddities that are kept and counted."""
_MARKS: Final = {"ok": "ok  ", "warning": "warn", "failed": "FAIL"}
_FIELD = re.compile(r"`([^`]+)`")


@dataclass(slots=True)
class Check:
    """One endpoint: `objects` came, `decoded` of them were understood; `field` is the first that was not."""

    host: str
    endpoint: str
    needed: bool
    state: State = "ok"
    latency_ms: int | None = None
    objects: int = 0
    decoded: int = 0
    detail: str = ""
    field: str | None = None
    unknown_fields: list[str] = fresh(default_factory=list)

    def fail(self, detail: str) -> None:
        """Note what is wrong; on an endpoint Shadowbook can do without it is a warning."""
        self.state = "failed" if self.needed else "warning"
        self.detail = detail
        self.field = _field_of(detail)

    def judge(self, objects: Sequence[Any], decode: Callable[[Any], object], known: frozenset[str]) -> list[Any]:
        """Decode every object and note the first difference; returns what was decoded."""
        found, problems = [], []
        for each in objects:
            try:
                found.append(decode(each))
            except ValueError as error:
                problems.append(str(error))
        self.objects, self.decoded = len(objects), len(found)
        names = {str(name) for each in objects if isinstance(each, dict) for name in each}
        self.unknown_fields = sorted(name[:40] for name in names - known)[:60]
        if len(problems) > ODD_SHARE_MAX * len(objects):
            self.fail(problems[0])
        elif problems:
            self.state, self.detail, self.field = "warning", f"an odd one: {problems[0]}", _field_of(problems[0])
        elif not objects:
            self.detail = "answers, but with nothing to decode"
        return found


@dataclass(frozen=True, slots=True)
class Point:
    """One open question of the exchange's papers; `answer` is None where this probe could not settle it."""

    number: int
    question: str
    answer: str | None
    because: str = ""


@dataclass(slots=True)
class Report:
    """All of it."""

    target: str
    checks: list[Check] = fresh(default_factory=list)
    warnings: list[str] = fresh(default_factory=list)
    points: list[Point] = fresh(default_factory=list)

    @property
    def usable(self) -> bool:
        """Whether Shadowbook can work with what is there."""
        return all(check.state != "failed" for check in self.checks)

    def document(self) -> dict[str, Any]:
        """Return the report for scripts."""
        return {
            "target": self.target,
            "usable": self.usable,
            "checks": [asdict(check) for check in self.checks],
            "warnings": self.warnings,
            "points": [asdict(point) for point in self.points],
        }

    def text(self) -> str:
        """Return the report for people."""
        lines = [f"Probe of {self.target}, read-only.", ""]
        width = max((len(check.endpoint) for check in self.checks), default=0)
        for check in self.checks:
            took = f"{check.latency_ms:>6} ms" if check.latency_ms is not None else "         "
            count = f"{check.decoded}/{check.objects}" if check.objects else ""
            optional = "" if check.needed else " (optional)"
            said = check.detail or "decodes"
            lines.append(
                f"{_MARKS[check.state]}  {check.host:<5} {check.endpoint:<{width}} {took} {count:>9}  {said}{optional}"
            )
        lines += _listed("Mind", self.warnings)
        lines += _listed("Fields we do not know (they are ignored)", _unknown(self.checks))
        lines += _listed(
            "Open points of the papers",
            [f"{each.number:>2}. {each.question}: {each.answer or f'open ({each.because})'}" for each in self.points],
        )
        failed = [check for check in self.checks if check.state == "failed"]
        verdict = "Shadowbook can work with this."
        if failed:
            first = f"`{failed[0].field}`" if failed[0].field else failed[0].detail
            verdict = (
                f"Shadowbook can NOT work with this: {len(failed)} needed of {len(self.checks)} fail, "
                f"first {failed[0].host} {failed[0].endpoint}: {first}. See runbooks/first-live-run.md."
            )
        return "\n".join([*lines, "", verdict, ""])


def _listed(title: str, items: Iterable[str]) -> list[str]:
    listed = [f"  {item}" for item in items]
    return ["", f"{title}:", *listed] if listed else []


def _unknown(checks: Iterable[Check]) -> list[str]:
    return [
        f"{check.host} {check.endpoint}: {', '.join(check.unknown_fields)}" for check in checks if check.unknown_fields
    ]


def _field_of(detail: str) -> str | None:
    found = _FIELD.search(detail)
    return found[1] if found else None
