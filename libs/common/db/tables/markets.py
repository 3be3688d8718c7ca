"""Markets, outcomes (writer: ingest), their resolutions and marks (writer: pricer)."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import BigInteger, Integer, Numeric
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field, SQLModel

from libs.common.db.tables.columns import instant, micros


class Market(SQLModel, table=True):
    """A market as Gamma last described it. `fee_rate` is 0 where fees are off."""

    __tablename__ = "market"

    condition_id: str = Field(primary_key=True, max_length=80)
    id: str = Field(unique=True, max_length=40)
    question: str
    slug: str
    close_time: datetime | None = instant(default=None, nullable=True)
    active: bool
    closed: bool
    accepting_orders: bool
    neg_risk: bool
    fee_rate: Decimal = Field(sa_type=Numeric)
    fee_exponent: Decimal = Field(sa_type=Numeric)
    tick_micros: int = micros()
    version: str = Field(max_length=10)
    resolved: bool
    refreshed_at: datetime = instant()


class OutcomeAsset(SQLModel, table=True):
    """A token of a market."""

    __tablename__ = "outcome_asset"

    asset_id: str = Field(primary_key=True, max_length=100)
    condition_id: str = Field(foreign_key="market.condition_id", index=True, max_length=80)
    outcome_index: int
    name: str


class MarketResolution(SQLModel, table=True):
    """Final payouts of a condition, micros per share by outcome index."""

    __tablename__ = "market_resolution"

    condition_id: str = Field(primary_key=True, max_length=80)
    payouts_micros: list[int] = Field(sa_type=ARRAY(BigInteger))
    resolved_at: datetime | None = instant(default=None, nullable=True)
    source: str = Field(max_length=20)
    observed_at: datetime = instant()


class MarketPriceSnapshot(SQLModel, table=True):
    """A mark: a row when the price changed or 10 minutes passed; the latest row is the asset's mark."""

    __tablename__ = "market_price_snapshot"

    asset_id: str = Field(primary_key=True, max_length=100)
    at: datetime = instant(primary_key=True)
    price_micros: int = Field(sa_type=Integer)
    source: str = Field(max_length=12)
