"""Settings of the sandbox; it has neither database nor bus, so it does not share the services' base class."""

import os
from decimal import Decimal
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "SHADOWBOOK_"


class Settings(BaseSettings):
    """What to play, how fast, with which faults, and where."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    instance: str = Field(default="sandbox-0", min_length=1, max_length=60)
    http_port: int = Field(ge=1, le=65535)
    """One port for everything: the four APIs, control, /health and /metrics."""
    tape: Path | None = None
    """Folder of recorded wire objects; without it the synthetic market plays."""
    speed: Decimal = Field(default=Decimal(1), gt=0, le=1000)
    """Divides every recorded gap."""
    seed: int = 1
    """Of the synthetic market: same seed, same market."""
    faults: Path | None = None
    """JSON lines, seconds from the start of play."""
    state_dir: Path | None = None
    """Keeps the start of play, so that a restart goes on where it was; without it every start is a new play."""
    log_range_blocks: int = Field(default=10, ge=1)
    """Widest eth_getLogs range answered, as a free plan of the default provider has it."""
    log_format: Literal["json", "pretty"] = "json"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_variables(cls, values: object) -> object:
        known = {PREFIX + name.upper() for name in cls.model_fields}
        unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
        if unknown:
            raise ValueError(f"unknown variables {', '.join(unknown)}; expected only {', '.join(sorted(known))}")
        return values
