"""Failures typed by their remedy; the bus decides a message's fate by them.

::

    ShadowbookError
    +-- Rejected      the facts are wrong: dead letter now, nothing will heal them
    +-- Unavailable   the world is down: wait and try again, never counted
        +-- PartlyAnswered   for some of what was asked for: use the rest
"""

from collections.abc import Collection, Mapping
from typing import Any


class ShadowbookError(Exception):
    """Root of everything Shadowbook raises on purpose."""


class Rejected(ShadowbookError):  # noqa: N818  names a verdict, not a mishap
    """The message or input contradicts the facts; says what was expected and what came."""


class Unavailable(ShadowbookError):  # noqa: N818
    """A shared part (database, Redis, an upstream) is away; the work waits for it."""


class PartlyAnswered(Unavailable):
    """A host has no answer for `missed`; `found` is what it says of the others."""

    def __init__(self, error: Unavailable, found: Mapping[str, Any], missed: Collection[str]) -> None:
        super().__init__(str(error))
        self.found = found
        self.missed = missed
