"""When we were looking. Writer: ingest."""

from datetime import datetime

from sqlalchemy import BigInteger, Identity, Index
from sqlmodel import Field, SQLModel

from libs.common.db.tables.columns import instant


class SourceContact(SQLModel, table=True):
    """A stretch of time in which a source was looked at; `wallet` is NULL for the chain, which is watched as a whole.

    `way` LIVE: contact from `since` on, last confirmed at `through`, extended in place; lost when nothing was heard for
    `patience_seconds` more, or at once when that is 0; `failed` counts polls that failed meanwhile, `ended_by` says why
    it ended or is about to. Other ways (GETLOGS, POLL, BACKFILL) are looks back at [since, through), done at
    `known_at`. FAILED counts polls that failed before the first contact.
    """

    __tablename__ = "source_contact"
    __table_args__ = (Index("source_contact_through", "source", "wallet", "through"),)

    id: int | None = Field(default=None, sa_type=BigInteger, primary_key=True, sa_column_args=(Identity(always=True),))
    source: str = Field(max_length=8)
    wallet: str | None = Field(default=None, max_length=42)
    way: str = Field(max_length=8)
    instance: str = Field(max_length=60)
    since: datetime = instant()
    through: datetime = instant()
    known_at: datetime = instant()
    patience_seconds: int = 0
    failed: int = 0
    ended_by: str | None = Field(default=None, max_length=200)
