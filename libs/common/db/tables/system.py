"""Checkpoints (each service its own rows), audit trail and dead letters (insert-only for all services)."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index
from sqlmodel import Field, SQLModel

from libs.common.db.tables.columns import document, instant


class SystemCheckpoint(SQLModel, table=True):
    """What a service remembers between lives, heartbeats included; it may write only rows that bear its name."""

    __tablename__ = "system_checkpoint"

    service: str = Field(primary_key=True, max_length=30)
    key: str = Field(primary_key=True, max_length=160)
    value: dict[str, Any] = document()
    updated_at: datetime = instant()


class AuditLog(SQLModel, table=True):
    """Who changed what, when."""

    __tablename__ = "audit_log"

    id: UUID = Field(primary_key=True)
    at: datetime = instant(index=True)
    actor: str = Field(max_length=100)
    action: str = Field(max_length=60)
    subject: str = Field(max_length=200)
    detail: dict[str, Any] = document()


class DeadLetter(SQLModel, table=True):
    """A message given up on by one group. `subject` is the id it is about; `status` OPEN, REPLAYED or DISCARDED."""

    __tablename__ = "dead_letter"
    __table_args__ = (
        Index("dead_letter_open", "stream", "group_name", "status"),
        Index("dead_letter_subject", "subject"),
    )

    id: UUID = Field(primary_key=True)
    stream: str = Field(max_length=60)
    group_name: str = Field(max_length=60)
    message_id: str = Field(max_length=60)
    subject: str | None = Field(default=None, max_length=160)
    payload: str
    error: str
    traceback: str | None = None
    attempts: int
    first_at: datetime = instant()
    last_at: datetime = instant()
    status: str = Field(default="OPEN", max_length=9)
    status_at: datetime | None = instant(default=None, nullable=True)
    status_reason: str | None = None
