"""Settings of the sandbox, which has neither database nor bus."""

from decimal import Decimal
from pathlib import Path
from typing import Literal

from pydantic import Field

from libs.common.settings import StrictSettings


class Settings(StrictSettings):
    """What to play, how fast, with which faults, and where."""

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
