"""A process that dies in the middle of a transaction: at a chosen statement, or with its commit under way."""

from enum import StrEnum
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine


class Death(StrEnum):
    """How it ends."""

    BEFORE_STATEMENT = "the process ends before the statement is sent"
    TERMINATED = "the server ends the connection instead of running the statement"
    BEFORE_COMMIT = "the server ends the connection instead of committing"
    AFTER_COMMIT = "the commit is done and its answer lost"


class Crashes:
    """Ends what an engine does; armed for one death at a time, counted in statements or in commits."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._how: Death | None = None
        self._left = 0
        self.fired = False
        dialect = engine.sync_engine.dialect
        self._commit = dialect.do_commit
        event.listen(engine.sync_engine, "before_cursor_execute", self._on_statement)
        dialect.do_commit = self._on_commit  # type: ignore[method-assign, assignment]

    def arm(self, death: tuple[Death, int] | None) -> None:
        """Die at the given statement or commit from now on, the first being 0; None: live."""
        self._how, self._left = death or (None, 0)
        self.fired = False

    def _due(self, *kinds: Death) -> bool:
        if self._how not in kinds:
            return False
        self._left -= 1
        if self._left >= 0:
            return False
        self.fired = True
        return True

    def _on_statement(self, connection: Any, *_: Any) -> None:
        if self._due(Death.BEFORE_STATEMENT, Death.TERMINATED):
            how, self._how = self._how, None
            if how is Death.TERMINATED:
                connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")
            raise ConnectionResetError("the process ended here")

    def _on_commit(self, connection: Any) -> None:
        if self._due(Death.BEFORE_COMMIT):
            self._how = None
            cursor = connection.cursor()
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        done = self._due(Death.AFTER_COMMIT)
        self._commit(connection)
        if done:
            self._how = None
            raise ConnectionResetError("the process ended after its commit")
