"""Configuration rows, their merged versions, and switches.

Writers: GuardrailConfig, CopySizingConfig, MarketBlacklist and ControlFlag are intents of the ui and the operator;
EffectiveConfig is the simulator's.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Identity, Index, UniqueConstraint
from sqlmodel import Field, SQLModel

from libs.common.db.tables.columns import document, instant


class GuardrailConfig(SQLModel, table=True):
    """Guardrail settings: one GLOBAL row and at most one per user, holding only what was set."""

    __tablename__ = "guardrail_config"
    __table_args__ = (UniqueConstraint("scope", "user_id", postgresql_nulls_not_distinct=True),)

    id: UUID = Field(primary_key=True)
    scope: str = Field(max_length=6)
    user_id: UUID | None = Field(default=None, foreign_key="followed_user.id")
    values: dict[str, Any] = document()
    updated_at: datetime = instant()
    updated_by: str = Field(max_length=100)


class CopySizingConfig(SQLModel, table=True):
    """Sizing settings: one GLOBAL row and at most one per user, holding only what was set."""

    __tablename__ = "copy_sizing_config"
    __table_args__ = (UniqueConstraint("scope", "user_id", postgresql_nulls_not_distinct=True),)

    id: UUID = Field(primary_key=True)
    scope: str = Field(max_length=6)
    user_id: UUID | None = Field(default=None, foreign_key="followed_user.id")
    values: dict[str, Any] = document()
    updated_at: datetime = instant()
    updated_by: str = Field(max_length=100)


class EffectiveConfig(SQLModel, table=True):
    """A merged configuration, complete and immutable; attempts name its version."""

    __tablename__ = "effective_config"
    __table_args__ = (Index("effective_config_latest", "scope", "user_id", "version"),)

    version: int | None = Field(
        default=None, sa_type=BigInteger, primary_key=True, sa_column_args=(Identity(always=True),)
    )
    scope: str = Field(max_length=6)
    user_id: UUID | None = Field(default=None, foreign_key="followed_user.id")
    values: dict[str, Any] = document()
    effective_at: datetime = instant()


class ControlFlag(SQLModel, table=True):
    """A switch, such as `engine_paused`."""

    __tablename__ = "control_flag"

    key: str = Field(primary_key=True, max_length=60)
    value: dict[str, Any] = document()
    updated_at: datetime = instant()
    updated_by: str = Field(max_length=100)


class MarketBlacklist(SQLModel, table=True):
    """A market that nothing is opened in, for all (`user_id` null) or for the copies of one user.

    An intent of the ui and the operator. `listed` false takes it off, null leaves it to what is set more generally; a
    user's row goes before the one for all, and both go before the configuration's `market_blacklist`.
    """

    __tablename__ = "market_blacklist"
    __table_args__ = (UniqueConstraint("condition_id", "user_id", postgresql_nulls_not_distinct=True),)

    id: UUID = Field(primary_key=True)
    condition_id: str = Field(max_length=80)
    user_id: UUID | None = Field(default=None, foreign_key="followed_user.id")
    listed: bool | None = None
    reason: str = Field(default="", max_length=300)
    updated_at: datetime = instant()
    updated_by: str = Field(max_length=100)
