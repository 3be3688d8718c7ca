"""What the wire asks of whatever plays, a tape or the synthetic market, and how both write JSON."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

import orjson

from services.sandbox.history import History, Row
from services.sandbox.timeline import Timeline


@dataclass(frozen=True, slots=True)
class Wallet:
    """A wallet of the play, by the name the operator sees."""

    label: str
    address: str


@dataclass(frozen=True, slots=True)
class Market:
    """A market as it is at this instant; `body` is the Gamma object."""

    market_id: str
    condition_id: str
    question_id: str
    slug: str
    tokens: tuple[str, ...]
    outcomes: tuple[str, ...]
    closed: bool
    negative_risk: bool
    body: dict[str, Any]

    @property
    def event(self) -> dict[str, Any] | None:
        """Return the event the market belongs to, if it names one."""
        events = self.body.get("events")
        return events[0] if isinstance(events, list) and events and isinstance(events[0], dict) else None

    @property
    def event_id(self) -> str:
        """Return the id of its event, or an empty string."""
        return str((self.event or {}).get("id", ""))


class Exchange(Protocol):
    """A play: everything is a function of the instant `now` (wall ms)."""

    name: str
    mode: str
    wallets: Sequence[Wallet]
    timeline: Timeline
    history: History

    def advance(self, now: int) -> None:
        """Bring the history up to `now` and a little beyond."""

    def ends_ms(self) -> int | None:
        """Return when nothing will happen any more; None where play never ends or has not started."""

    def row_json(self, row: Row) -> bytes:
        """Write an activity row."""

    def book_json(self, token_id: str, now: int) -> bytes | None:
        """Write the book in force, or None where there is none."""

    def markets(self, now: int) -> Sequence[Market]:
        """Return every market known by now."""

    def resolutions(self, now: int) -> Sequence[dict[str, Any]]:
        """Return the resolution rows in force."""

    def close(self) -> None:
        """Release what it holds open."""

    def held_at_start(self, wallet: str) -> Sequence[dict[str, Any]]:
        """Return the position rows a wallet starts with."""


def parse_wire(text: str | bytes) -> Any:
    """Parse JSON without losing a digit: numbers with a fraction become Decimal."""
    return json.loads(text, parse_float=Decimal)


def _written(value: object) -> object:
    if isinstance(value, Decimal | int):
        return orjson.Fragment(str(value))
    raise TypeError(f"expected a JSON value, got {type(value).__name__}")


def dump_wire(value: object) -> bytes:
    """Write JSON with every number as it was parsed."""
    return fitted(orjson.dumps(value, default=_written))


def fitted(written: bytes) -> bytes:
    """Return bytes without the slack the serialiser leaves behind them, ten times their size in a kept answer."""
    return bytes(memoryview(written))
