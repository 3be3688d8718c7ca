"""The books. Writer: ledger (the simulator owns the decision columns of Portfolio)."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Identity, Index, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field, SQLModel

from libs.common.db.tables.columns import instant, micros


class Portfolio(SQLModel, table=True):
    """One portfolio: projection of its entries, and the row every decision and posting locks.

    The simulator writes `decision_seq` .. `drawdown_reset_at`; all else is the ledger's.
    """

    __tablename__ = "portfolio"
    __table_args__ = (UniqueConstraint("scope", "user_id", postgresql_nulls_not_distinct=True),)

    id: UUID = Field(primary_key=True)
    scope: str = Field(max_length=11)
    user_id: UUID | None = Field(default=None, foreign_key="followed_user.id")
    opened_at: datetime = instant()
    cash_micros: int = micros(default=0)
    deposits_micros: int = micros(default=0)
    withdrawals_micros: int = micros(default=0)
    fees_micros: int = micros(default=0)
    realized_pnl_micros: int = micros(default=0)
    decision_seq: int = micros(default=0)
    decided_through: datetime | None = instant(default=None, nullable=True)
    last_first_detect_time: datetime | None = instant(default=None, nullable=True)
    last_first_event_time: datetime | None = instant(default=None, nullable=True)
    last_first_ordinal: int | None = None
    last_group_id: UUID | None = None
    peak_equity_micros: int | None = micros(default=None, nullable=True)
    drawdown_tripped: bool = False
    drawdown_reset_at: datetime | None = instant(default=None, nullable=True)


class LedgerEntry(SQLModel, table=True):
    """One append-only posting; `seq` is the total order, `ref_id` the fact it stands for.

    `id` is a pure function of the portfolio and the key, which is unique: an index of its own would say the same again,
    at one page written per entry.
    """

    __tablename__ = "ledger_entry"
    __table_args__ = (
        UniqueConstraint(
            "ref_id",  # first, so that looking for a ref ends in this index, too
            "scope",
            "user_id",
            "entry_type",
            "asset_id",
            name="ledger_entry_key",
            postgresql_nulls_not_distinct=True,
        ),
        Index("ledger_entry_position", "portfolio_id", "asset_id", "event_time"),
    )

    seq: int | None = Field(default=None, sa_type=BigInteger, primary_key=True, sa_column_args=(Identity(always=True),))
    id: UUID
    portfolio_id: UUID = Field(foreign_key="portfolio.id")
    scope: str = Field(max_length=11)
    user_id: UUID | None = Field(default=None, foreign_key="followed_user.id")
    source_user_id: UUID | None = Field(default=None, foreign_key="followed_user.id")
    condition_id: str | None = Field(default=None, max_length=80)
    asset_id: str | None = Field(default=None, max_length=100)
    entry_type: str = Field(max_length=10)
    share_delta_micros: int = micros()
    cash_delta_micros: int = micros()
    cost_micros: int | None = micros(default=None, nullable=True)
    price_micros: int | None = micros(default=None, nullable=True)
    ref_id: str = Field(max_length=140)
    event_time: datetime = instant()
    tx_hash: str | None = Field(default=None, max_length=66)
    log_index: int | None = None
    created_at: datetime = instant()
    reverses: UUID | None = None


class EntryPlace(SQLModel, table=True):
    """Where in its transaction a fill stands that was posted before its log told: entries themselves never change."""

    __tablename__ = "entry_place"

    ref_id: str = Field(primary_key=True, max_length=140)
    log_index: int
    placed_at: datetime = instant()


class WaitingEvent(SQLModel, table=True):
    """A split or merge that cannot be posted yet: the tokens it makes or takes are those of a market nobody knows."""

    __tablename__ = "waiting_event"

    event_id: UUID = Field(primary_key=True)
    kind: str = Field(max_length=20)
    user_id: UUID
    condition_id: str = Field(max_length=80)
    waits_since: datetime = instant()


class Position(SQLModel, table=True):
    """Projection of one portfolio's entries in one asset; a short has negative shares and cost = -proceeds.

    `episodes_*` are its `libs.common.domain.episodes`. `base_*` is what the entries before `base_before` fold to, so
    that a late one need not have all of them read again.
    """

    __tablename__ = "position"
    __table_args__ = (
        Index("position_held", "asset_id", postgresql_where=text("share_micros <> 0")),
        Index("position_condition", "condition_id"),
        Index("position_open", "portfolio_id", postgresql_where=text("share_micros <> 0")),
        Index("position_closed", "portfolio_id", "updated_at", postgresql_where=text("share_micros = 0")),
    )

    portfolio_id: UUID = Field(primary_key=True, foreign_key="portfolio.id")
    asset_id: str = Field(primary_key=True, max_length=100)
    condition_id: str | None = Field(default=None, max_length=80)
    share_micros: int = micros()
    cost_micros: int = micros()
    realized_pnl_micros: int = micros()
    episodes_closed: int = micros(default=0, sa_column_kwargs={"server_default": "0"})
    episodes_won: int = micros(default=0, sa_column_kwargs={"server_default": "0"})
    episode_result_micros: int = micros(default=0, sa_column_kwargs={"server_default": "0"})
    flags: list[str] = Field(default_factory=list, sa_type=ARRAY(Text))
    folded_event_time: datetime | None = instant(default=None, nullable=True)
    folded_tx_hash: str | None = Field(default=None, max_length=66)
    base_before: datetime | None = instant(default=None, nullable=True)
    base_share_micros: int | None = micros(default=None, nullable=True)
    base_cost_micros: int | None = micros(default=None, nullable=True)
    base_realized_pnl_micros: int | None = micros(default=None, nullable=True)
    base_episodes_closed: int | None = micros(default=None, nullable=True)
    base_episodes_won: int | None = micros(default=None, nullable=True)
    base_episode_result_micros: int | None = micros(default=None, nullable=True)
    updated_at: datetime = instant()


class PositionSource(SQLModel, table=True):
    """Whose fills an EXEC_GLOBAL position was copied from, in open shares."""

    __tablename__ = "position_source"

    asset_id: str = Field(primary_key=True, max_length=100)
    source_user_id: UUID = Field(primary_key=True, foreign_key="followed_user.id")
    share_micros: int = micros()


class PortfolioSnapshot(SQLModel, table=True):
    """A portfolio's value in one minute; the current minute's row is upserted at every posting and mark."""

    __tablename__ = "portfolio_snapshot"

    portfolio_id: UUID = Field(primary_key=True, foreign_key="portfolio.id")
    at: datetime = instant(primary_key=True)
    equity_micros: int = micros()
    cash_micros: int = micros()
    exposure_micros: int = micros()
    unrealized_pnl_micros: int = micros()
    realized_pnl_micros: int = micros()
    deposits_micros: int = micros()
    withdrawals_micros: int = micros(default=0)
    fees_micros: int = micros()
