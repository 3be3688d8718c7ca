"""Whom we follow. Writer: ingest (through its commands)."""

from datetime import datetime
from uuid import UUID

from sqlmodel import Field, SQLModel

from libs.common.db.tables.columns import instant


class FollowedUser(SQLModel, table=True):
    """A followed user; may own several wallets. `unfollowed_at` ends ingestion and keeps history."""

    __tablename__ = "followed_user"

    id: UUID = Field(primary_key=True)
    label: str = Field(unique=True, max_length=60)
    profile_wallet: str = Field(unique=True, max_length=42)
    enabled: bool = True
    followed_at: datetime = instant()
    unfollowed_at: datetime | None = instant(default=None, nullable=True)


class FollowedUserProxyWallet(SQLModel, table=True):
    """One wallet of a followed user; sightings are per wallet."""

    __tablename__ = "followed_user_proxy_wallet"

    wallet: str = Field(primary_key=True, max_length=42)
    user_id: UUID = Field(foreign_key="followed_user.id", index=True)
    followed_at: datetime = instant()
    unfollowed_at: datetime | None = instant(default=None, nullable=True)
