"""The stack on one machine: embedded databases, data directory, supervisor, and the order in which they start.

`session(data_dir)` is what other commands need of it: the operator's URLs, with the stack up or down.
"""

from services.cli.stack.visit import Session, session

__all__ = ["Session", "session"]
