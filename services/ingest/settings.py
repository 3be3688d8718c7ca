"""Ingest's settings."""

from pydantic import Field

from libs.common.settings import UpstreamSettings


class Settings(UpstreamSettings):
    """Cadences and limits of one ingest process."""

    market_refresh_seconds: float = Field(default=60.0, gt=0, le=3600)
    """How old a held or recently traded market may grow before Gamma is asked again."""
    polls_at_once_max: int = Field(default=4, ge=1, le=50)
    """Wallets polled at the same time; the shared rate limit holds beside it."""
    log_range_blocks: int = Field(default=10, ge=1, le=10_000)
    """Blocks of one `eth_getLogs`; free plans answer ten."""
    heal_blocks_max: int = Field(default=1000, ge=0, le=100_000)
    """How far back logs are healed after a gap; what is older is left to the poller."""
    positions_settle_seconds: float = Field(default=20.0, ge=0, le=600)
    """How long after a reading of positions activity is listed to be complete up to it: the API lags by seconds."""
