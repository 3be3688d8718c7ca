"""Copy decisions with everything they were made from. Writer: simulator (the ledger sets `posted_at`)."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, Index, Numeric, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field, SQLModel

from libs.common.db.tables.columns import document, instant, micros


class BookSnapshot(SQLModel, table=True):
    """A book version used by a decision: [[price_micros, share_micros], ...] best first.

    `fetched_at` is when it was last fetched, to the day; `group_book` has the instant for each group.
    """

    __tablename__ = "book_snapshot"
    __table_args__ = (Index("book_snapshot_kept", "fetched_at"),)

    asset_id: str = Field(primary_key=True, max_length=100)
    hash: str = Field(primary_key=True, max_length=80)
    timestamp_ms: int = micros()
    fetched_at: datetime = instant()
    bids: list[list[int]] = document()
    asks: list[list[int]] = document()


class GroupBook(SQLModel, table=True):
    """Which book version a group is decided on, shared by both scopes; claimed by the process that fetches it."""

    __tablename__ = "group_book"
    __table_args__ = (Index("group_book_kept", "claimed_at"),)

    group_id: UUID = Field(primary_key=True, foreign_key="event_group.id")
    claimed_by: str = Field(max_length=60)
    claimed_at: datetime = instant()
    asset_id: str = Field(max_length=100)
    book_hash: str | None = Field(default=None, max_length=80)
    fetched_at: datetime | None = instant(default=None, nullable=True)
    error: str | None = None


class CopyAttempt(SQLModel, table=True):
    """One decision on one group in one scope. Values before the decision; null only where a phase was not reached."""

    __tablename__ = "copy_attempt"
    __table_args__ = (
        UniqueConstraint("group_id", "scope"),
        UniqueConstraint("portfolio_id", "seq"),
        Index(
            "copy_attempt_unposted",
            "portfolio_id",
            "seq",  # in the order of posting, or the planner walks through all that a portfolio ever decided
            postgresql_where=text("posted_at IS NULL AND decision = 'EXECUTE'"),
        ),
        Index("copy_attempt_recent", "scope", "decided_at"),
        Index("copy_attempt_user", "user_id", "scope", "decided_at"),
        Index(
            "copy_attempt_book", "portfolio_id", "asset_id", "book_hash", postgresql_where=text("decision = 'EXECUTE'")
        ),
        Index("copy_attempt_imagined", "asset_id", postgresql_where=text("counterfactual_share_micros > 0")),
    )

    id: UUID = Field(primary_key=True)
    portfolio_id: UUID = Field(foreign_key="portfolio.id")
    seq: int = micros()
    scope: str = Field(max_length=11)
    user_id: UUID = Field(foreign_key="followed_user.id")
    group_id: UUID = Field(foreign_key="event_group.id")
    kind: str = Field(max_length=5)
    condition_id: str | None = Field(default=None, max_length=80)
    asset_id: str | None = Field(default=None, max_length=100)
    side: str | None = Field(default=None, max_length=4)
    decision: str = Field(max_length=7)
    reason_codes: list[str] = Field(sa_type=ARRAY(Text))
    out_of_order: bool = Field(default=False, sa_type=Boolean)
    due_at: datetime = instant()
    decided_at: datetime = instant()
    book_hash: str | None = Field(default=None, max_length=80)
    book_fetched_at: datetime | None = instant(default=None, nullable=True)
    best_bid_micros: int | None = micros(default=None, nullable=True)
    best_ask_micros: int | None = micros(default=None, nullable=True)
    mid_price_micros: int | None = micros(default=None, nullable=True)
    their_reference_price_micros: int | None = micros(default=None, nullable=True)
    limit_price_micros: int | None = micros(default=None, nullable=True)
    depth_micros: int | None = micros(default=None, nullable=True)
    target_notional_micros: int | None = micros(default=None, nullable=True)
    filled_share_micros: int = micros(default=0)
    filled_notional_micros: int = micros(default=0)
    vwap_price_micros: int | None = micros(default=None, nullable=True)
    fee_micros: int = micros(default=0)
    fee_rate: Decimal | None = Field(default=None, sa_type=Numeric)
    cash_micros: int | None = micros(default=None, nullable=True)
    equity_micros: int | None = micros(default=None, nullable=True)
    held_share_micros: int | None = micros(default=None, nullable=True)
    exposure_total_micros: int | None = micros(default=None, nullable=True)
    exposure_market_micros: int | None = micros(default=None, nullable=True)
    exposure_user_micros: int | None = micros(default=None, nullable=True)
    day_start_equity_micros: int | None = micros(default=None, nullable=True)
    week_start_equity_micros: int | None = micros(default=None, nullable=True)
    peak_equity_micros: int | None = micros(default=None, nullable=True)
    counterfactual_share_micros: int | None = micros(default=None, nullable=True)
    counterfactual_notional_micros: int | None = micros(default=None, nullable=True)
    config_version: int | None = micros(default=None, nullable=True)
    inputs: dict[str, Any] = document()
    checks: list[dict[str, Any]] = document()
    posted_at: datetime | None = instant(default=None, nullable=True)


class ExecutableFill(SQLModel, table=True):
    """One book level our paper order consumed; level 0 is the best."""

    __tablename__ = "executable_fill"

    attempt_id: UUID = Field(primary_key=True, foreign_key="copy_attempt.id")
    level: int = Field(primary_key=True)
    share_micros: int = micros()
    price_micros: int = micros()
    notional_micros: int = micros()
    fee_micros: int = micros()
