"""The grouper's settings."""

from pydantic import Field

from libs.common.settings import ServiceSettings


class Settings(ServiceSettings):
    """Window and batch sizes of one grouper."""

    aggregation_window_ms: int = Field(default=2000, ge=1, le=60_000)
    """Length of a group in event time, and how long after its first sighting it closes (AGGREGATION_WINDOW_MS)."""
    keys_per_close_max: int = Field(default=200, ge=1, le=2000)
    """Keys closed in one transaction; bounds its locks and its length."""
