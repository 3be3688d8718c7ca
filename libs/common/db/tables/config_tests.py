"""Tests of a configuration on what was recorded. The ui and the operator ask, the simulator answers."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index, text
from sqlmodel import Field, SQLModel

from libs.common.db.tables.columns import document, instant


class ConfigTestRun(SQLModel, table=True):
    """One test: `draft` = {"global": {...}, "users": {label: {...}}} over what is set, of decisions in [since, until).

    With `user_id` only that user is tested. Whoever asks writes the columns up to `cancel_requested_at`, the simulator
    the others; `worker` is the process that owns a RUNNING row as long as `heartbeat_at` is fresh.
    """

    __tablename__ = "config_test_run"
    __table_args__ = (
        Index(
            "config_test_run_unfinished",
            "requested_at",
            postgresql_where=text("state IN ('QUEUED', 'RUNNING')"),
        ),
    )

    id: UUID = Field(primary_key=True)
    requested_at: datetime = instant()
    requested_by: str = Field(max_length=100)
    user_id: UUID | None = Field(default=None, foreign_key="followed_user.id")
    draft: dict[str, Any] = document()
    since: datetime = instant()
    until: datetime = instant()
    cancel_requested_at: datetime | None = instant(default=None, nullable=True)
    state: str = Field(default="QUEUED", max_length=9, sa_column_kwargs={"server_default": "QUEUED"})
    total: int | None = None
    done: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    tries: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    worker: str | None = Field(default=None, max_length=100)
    heartbeat_at: datetime | None = instant(default=None, nullable=True)
    started_at: datetime | None = instant(default=None, nullable=True)
    finished_at: datetime | None = instant(default=None, nullable=True)
    error: str | None = Field(default=None, max_length=1000)
    result: dict[str, Any] | None = document(default=None, nullable=True)
