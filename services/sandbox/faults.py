"""Scheduled faults: what goes wrong on the wire, when, for how long and on which face of the exchange (SPEC 14).

On HTTP: rate_limit 429, server_error 500/502/503 in turn, slow, truncated (half a body, then the line is cut), html
(200 with a page), malformed (no JSON), down (the line is cut). On the node: down and ws_drop cut connections and refuse
new ones, ws_flap cuts each after three seconds, ws_silent delivers no log but answers calls, reorg takes the logs of
the last blocks back and mines them again under other hashes, no_block_timestamp; rate_limit and server_error answer
with errors, truncated, html and malformed with half a frame, slow late.

duplicate_rows: the node sends every log twice. Rows have no id, so a row repeated within one listing *is* another fill;
the Data API therefore repeats whole listings, refreshed only every ten seconds. reorder_rows shuffles a page's rows,
and the logs that are due together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeGuard

import orjson

Target = Literal["data", "clob", "gamma", "rpc", "all"]

HTTP_FAULTS = frozenset({"rate_limit", "server_error", "slow", "truncated", "html", "malformed", "down"})
WEBSOCKET_FAULTS = frozenset({"ws_drop", "ws_silent", "ws_flap", "reorg", "no_block_timestamp"})
ROW_FAULTS = frozenset({"duplicate_rows", "reorder_rows"})
NAMES = HTTP_FAULTS | WEBSOCKET_FAULTS | ROW_FAULTS
TARGETS = ("data", "clob", "gamma", "rpc", "all")
OPTIONS = frozenset({"retry_after", "delay_ms", "depth"})
MOMENTARY = frozenset({"reorg", "ws_drop"})
"""They strike at an instant, so `for_s` may be left out; `ws_drop` also refuses new connections while it lasts."""
MOMENT_MS = 250
DELAY_MS_MAX = 120_000


class FaultsError(ValueError):
    """A faults file that cannot be used; the text is `file:line: what was expected, what came`."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, in milliseconds from the start of play."""

    at_ms: int
    for_ms: int
    name: str
    target: str
    retry_after: int | str | None = None
    delay_ms: int = 0
    depth: int = 1

    def active(self, since_start_ms: int) -> bool:
        """Tell whether the fault holds at this moment of the play."""
        return self.at_ms <= since_start_ms < self.at_ms + self.for_ms

    def concerns(self, target: str) -> bool:
        """Tell whether the fault strikes this face."""
        return self.target in {target, "all"}


class Faults:
    """All faults of a play, asked by face and moment."""

    def __init__(self, faults: Sequence[Fault] = ()) -> None:
        self.all = tuple(sorted(faults, key=lambda fault: fault.at_ms))

    def find(self, target: str, name: str, since_start_ms: int | None) -> Fault | None:
        """Return the fault of this name that strikes a face now; none before play (`since_start_ms` None)."""
        if since_start_ms is None:
            return None
        for fault in self.all:
            if fault.name == name and fault.concerns(target) and fault.active(since_start_ms):
                return fault
        return None

    def http(self, target: str, since_start_ms: int | None) -> list[Fault]:
        """Return the faults that change this face's HTTP answers now."""
        if since_start_ms is None:
            return []
        return [
            fault
            for fault in self.all
            if fault.name in HTTP_FAULTS and fault.concerns(target) and fault.active(since_start_ms)
        ]

    def reorgs(self) -> Iterator[tuple[int, Fault]]:
        """Yield the reorganisations in order, numbered from 1."""
        yield from enumerate((fault for fault in self.all if fault.name == "reorg"), 1)


def read_faults(path: Path) -> Faults:
    """Read and check a faults file; raises FaultsError."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise FaultsError(f"{path}:1: expected a readable file of JSON lines, got {error.strerror}") from error
    found = []
    for number, raw in enumerate(lines, 1):
        if raw.strip():
            try:
                found.append(_fault(orjson.loads(raw)))
            except ValueError as error:
                raise FaultsError(f"{path}:{number}: {error}") from error
    return Faults(found)


def _fault(value: Any) -> Fault:
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, got {type(value).__name__}")  # noqa: TRY004  one error type
    name, target = value.get("fault"), value.get("target", "all")
    if name not in NAMES:
        raise ValueError(f"expected `fault` to be one of {', '.join(sorted(NAMES))}, got {name!r}")
    if target not in TARGETS:
        raise ValueError(f"expected `target` to be one of {', '.join(TARGETS)}, got {target!r}")
    if name in WEBSOCKET_FAULTS and target not in {"rpc", "all"}:
        raise ValueError(f"expected `target` rpc for {name}, got {target!r}")
    known = {"at_s", "for_s", "fault", "target", *OPTIONS}
    unknown = sorted(value.keys() - known)
    if unknown:
        raise ValueError(f"expected only {', '.join(sorted(known))}, got {', '.join(unknown)}")
    momentary = name in MOMENTARY
    for_ms = _milliseconds(value, "for_s", least=0 if momentary else 1, default=0 if momentary else None)
    retry_after = value.get("retry_after")
    if not (retry_after is None or retry_after == "date" or (_is_number(retry_after) and retry_after >= 0)):
        raise ValueError(f'expected `retry_after` to be seconds, "date" or null, got {retry_after!r}')
    return Fault(
        at_ms=_milliseconds(value, "at_s", least=0),
        for_ms=max(for_ms, MOMENT_MS),
        name=name,
        target=target,
        retry_after=int(retry_after) if _is_number(retry_after) else retry_after,
        delay_ms=_bounded(value, "delay_ms", DELAY_MS_MAX, default=3_000),
        depth=_bounded(value, "depth", 64, default=2),
    )


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _milliseconds(value: dict[str, Any], key: str, *, least: int, default: int | None = None) -> int:
    given = value.get(key, default)
    if not _is_number(given) or round(given * 1000) < least:
        raise ValueError(f"expected `{key}` to be seconds {'above 0' if least else 'from 0 on'}, got {given!r}")
    return round(given * 1000)


def _bounded(value: dict[str, Any], key: str, most: int, *, default: int) -> int:
    given = value.get(key, default)
    if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given <= most:
        raise ValueError(f"expected `{key}` to be a whole number from 1 to {most}, got {given!r}")
    return given
