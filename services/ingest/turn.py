"""One wallet's turn to be polled: when it is due, how far back somebody wishes it to reach, and who waits for it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


class Turns(Protocol):
    """The part of the store that keeps checkpoints, and says whose turn it is among replicas."""

    async def take_turn(self, key: str, seconds: float) -> dict[str, Any] | None:
        """Return the checkpoint under a key, or None when another replica has the turn."""

    async def remember(self, key: str, value: Mapping[str, Any]) -> None:
        """Keep a value under a key."""

    async def end_turn(self, key: str, value: Mapping[str, Any] | None = None) -> None:
        """Keep a value (if any) under a key and end the turn."""


@dataclass(slots=True)
class Turn:
    """One wallet's turn; `urgent` goes before others that are due."""

    due: float
    urgent: bool = False
    first: bool = True
    failures: int = 0
    wished: int | None = None
    waiting: list["asyncio.Future[None]"] = field(default_factory=list)
    polling: bool = False

    @property
    def rank(self) -> tuple[bool, float]:
        """Who goes first among those that are due."""
        return not (self.urgent or self.waiting), self.due


def earlier(one: int | None, other: int | None) -> int | None:
    """Return the earlier of two instants, either of which may be missing."""
    return min((each for each in (one, other) if each is not None), default=None)
