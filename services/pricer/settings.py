"""The pricer's settings."""

from pydantic import Field

from libs.common.settings import UpstreamSettings


class Settings(UpstreamSettings):
    """Cadences of one pricer, in seconds of wall time."""

    look_seconds: float = Field(default=1.0, gt=0, le=60)
    """How often it looks for assets held for the first time, redeems and markets past their end."""
    mark_seconds: float = Field(default=30.0, gt=0, le=3600)
    """How often every held asset is marked."""
    resolution_seconds: float = Field(default=60.0, gt=0, le=3600)
    """How often every held condition is asked for its resolution."""
    unchanged_seconds: float = Field(default=600.0, gt=0, le=86_400)
    """A mark that did not change is written again after this long, to show that it was looked at."""
