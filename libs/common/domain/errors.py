"""Failures typed by their remedy; the bus decides a message's fate by them.

::

    ShadowbookError
    +-- Rejected      the facts are wrong: dead letter now, nothing will heal them
    +-- Unavailable   the world is down: wait and try again, never counted
"""


class ShadowbookError(Exception):
    """Root of everything Shadowbook raises on purpose."""


class Rejected(ShadowbookError):  # noqa: N818  names a verdict, not a mishap
    """The message or input contradicts the facts; says what was expected and what came."""


class Unavailable(ShadowbookError):  # noqa: N818
    """A shared part (database, Redis, an upstream) is away; the work waits for it."""
