"""Closed groups and their members. Writer: grouper. Never updated."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Index
from sqlmodel import Field, SQLModel

from libs.common.db.tables.columns import instant, micros


class EventGroup(SQLModel, table=True):
    """Events of one key within the aggregation window, closed.

    `reference_price_micros` is the members' VWAP, up for BUY and down for SELL; null for SPLIT and MERGE.
    `first_ordinal` is the first member's log index, else its ordinal.
    """

    __tablename__ = "event_group"
    __table_args__ = (
        Index("event_group_order", "first_detect_time", "first_event_time", "first_ordinal", "id"),
        Index("event_group_user_order", "user_id", "first_detect_time", "first_event_time", "first_ordinal", "id"),
    )

    id: UUID = Field(primary_key=True)
    kind: str = Field(max_length=5)
    user_id: UUID = Field(foreign_key="followed_user.id")
    condition_id: str | None = Field(default=None, max_length=80)
    asset_id: str | None = Field(default=None, max_length=100)
    side: str | None = Field(default=None, max_length=4)
    share_micros: int = micros()
    usdc_notional_micros: int = micros()
    reference_price_micros: int | None = micros(default=None, nullable=True)
    first_event_time: datetime = instant()
    first_detect_time: datetime = instant()
    first_ordinal: int
    closed_at: datetime = instant()


class EventGroupMember(SQLModel, table=True):
    """The one group an event belongs to; `position` is its place in the group's order."""

    __tablename__ = "event_group_member"

    event_id: UUID = Field(primary_key=True)
    group_id: UUID = Field(foreign_key="event_group.id", index=True)
    position: int
