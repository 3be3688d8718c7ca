"""The simulator's settings."""

from pydantic import Field, field_validator

from libs.common.domain.kinds import Scope
from libs.common.settings import UpstreamSettings


class Settings(UpstreamSettings):
    """One simulator process decides in one scope."""

    scope: Scope
    """EXEC_USER (every user's own portfolio) or EXEC_GLOBAL (one for all)."""
    seed: int = Field(default=0, ge=-(2**63), lt=2**63)
    """Seed of the jitter; must be the same in all simulators."""
    groups_per_chunk_max: int = Field(default=100, ge=1, le=1_000)
    """Groups decided in one transaction; bounds its locks and its length."""
    book_patience_seconds: float = Field(default=2.0, gt=0, le=30)
    """How long a missing book is asked for, SPEC 5."""
    config_seconds: float = Field(default=1.0, gt=0, le=2)
    """How often configuration rows are looked at, should a message be lost."""
    sweep_seconds: float = Field(default=10.0, gt=0, le=600)
    """How often Postgres is searched for groups that no message named."""

    @field_validator("scope")
    @classmethod
    def _executable(cls, value: Scope) -> Scope:
        if value is Scope.SHADOW_USER:
            raise ValueError("expected EXEC_USER or EXEC_GLOBAL: shadows are not decided")
        return value
