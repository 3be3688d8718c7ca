"""What followed wallets did and held, as seen. Writer: ingest. Rows are never deleted; a lost fill is REVERSED."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Identity, Index, LargeBinary, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from libs.common.db.tables.columns import document, instant, micros


class TradeEvent(SQLModel, table=True):
    """One fill of a followed wallet: one OrderFilled log, seen on chain, by the API, or both.

    `usdc_notional_micros` excludes the fee, so cash = notional + fee (BUY) or notional - fee (SELL). `ordinal` tells
    equal fills of one transaction apart; `id` is a pure function of all that does and of the hour (identity.event_id).
    `booked` is false for fills older than the follow.
    """

    __tablename__ = "trade_event"
    __table_args__ = (
        Index("trade_event_log", "tx_hash", "log_index", "incarnation", unique=True),  # no log yet: told apart by id
        Index("trade_event_key", "user_id", "asset_id", "side", "detect_time"),
        Index("trade_event_wallet_time", "wallet", "event_time"),
        Index("trade_event_detected", "detect_time"),
        Index("trade_event_asset", "asset_id", "detect_time"),
    )

    id: UUID = Field(primary_key=True)
    seq: int | None = Field(default=None, sa_type=BigInteger, nullable=False, sa_column_args=(Identity(always=True),))
    user_id: UUID = Field(foreign_key="followed_user.id")
    wallet: str = Field(max_length=42)
    asset_id: str = Field(max_length=100)
    side: str = Field(max_length=4)
    share_micros: int = micros()
    price_micros: int = micros()
    usdc_notional_micros: int = micros()
    fee_micros: int = micros()
    tx_hash: str = Field(max_length=66)
    ordinal: int
    incarnation: int = 0
    role: str | None = Field(default=None, max_length=5)
    log_index: int | None = None
    block_number: int | None = micros(default=None, nullable=True)
    block_hash: str | None = Field(default=None, max_length=66)
    event_time: datetime = instant()
    detect_time: datetime = instant()
    first_source: str = Field(max_length=8)
    status: str = Field(default="CANONICAL", max_length=9)
    booked: bool
    mismatch: dict[str, Any] | None = document(default=None, nullable=True)


class ActivityEvent(SQLModel, table=True):
    """Any other row of a wallet's activity: splits, merges, redeems, conversions, account rows, unknown types.

    `type` is the wire's own word, `kind` what we make of it.
    """

    __tablename__ = "activity_event"
    __table_args__ = (
        UniqueConstraint(
            "tx_hash",
            "wallet",
            "type",
            "condition_id",
            "asset_id",
            "side",
            "share_micros",
            "usdc_micros",
            "ordinal",
            name="activity_event_facts",
        ),
        Index("activity_event_key", "user_id", "condition_id", "kind", "detect_time"),
        Index("activity_event_wallet_time", "wallet", "event_time"),
        Index("activity_event_detected", "detect_time"),
        Index("activity_event_conversion", "wallet", postgresql_where=text("kind = 'CONVERSION'")),
    )

    id: UUID = Field(primary_key=True)
    seq: int | None = Field(default=None, sa_type=BigInteger, nullable=False, sa_column_args=(Identity(always=True),))
    user_id: UUID = Field(foreign_key="followed_user.id")
    wallet: str = Field(max_length=42)
    type: str = Field(max_length=40)
    kind: str = Field(max_length=10)
    condition_id: str = Field(default="", max_length=80)
    asset_id: str = Field(default="", max_length=100)
    side: str = Field(default="", max_length=4)
    share_micros: int = micros()
    usdc_micros: int = micros()
    tx_hash: str = Field(max_length=66)
    ordinal: int
    event_time: datetime = instant()
    detect_time: datetime = instant()
    status: str = Field(default="CANONICAL", max_length=9)
    booked: bool


class EventSighting(SQLModel, table=True):
    """One source's first sight of one event, with the values it reported and the raw object, zlib-compressed.

    The raw object is dropped after 30 days; the row stays.
    """

    __tablename__ = "event_sighting"
    __table_args__ = (Index("event_sighting_kept", "seen_at", postgresql_where=text("payload IS NOT NULL")),)

    event_id: UUID = Field(primary_key=True)
    source: str = Field(primary_key=True, max_length=8)
    seen_at: datetime = instant()
    share_micros: int = micros()
    usdc_micros: int = micros()
    payload: bytes | None = Field(default=None, sa_type=LargeBinary)


class PositionSync(SQLModel, table=True):
    """Shares that no fill explains: what a wallet held of a token at its follow, or after a conversion.

    An event that shows up later than a row that counts it brings a further one, which takes it out again (ADR 0011).
    `as_of` is the `last_event_at` of the positions row it was taken from. An OPENING bears its mark at the follow in
    `price_micros`; an ADJUSTMENT the activity event it follows, and the first one of an event that event's cash.
    `ref_id` is the ref of its ledger entry. Rows are inserted, never changed.
    """

    __tablename__ = "position_sync"
    __table_args__ = (
        Index("position_sync_wallet", "wallet", "asset_id"),
        Index("position_sync_event", "event_id"),
        Index("position_sync_detected", "detect_time"),
    )

    id: UUID = Field(primary_key=True)
    kind: str = Field(max_length=10)
    user_id: UUID = Field(foreign_key="followed_user.id")
    wallet: str = Field(max_length=42)
    condition_id: str = Field(default="", max_length=80)
    asset_id: str = Field(max_length=100)
    share_delta_micros: int = micros()
    cash_delta_micros: int = micros()
    price_micros: int | None = micros(default=None, nullable=True)
    event_id: UUID | None = None
    ref_id: str = Field(max_length=140)
    tx_hash: str | None = Field(default=None, max_length=66)
    as_of: datetime = instant()
    event_time: datetime = instant()
    detect_time: datetime = instant()
