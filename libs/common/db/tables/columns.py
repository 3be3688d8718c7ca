"""Column kinds used by every table: micros are BIGINT, instants are TIMESTAMPTZ, free structures are JSONB."""

from typing import Any

from sqlalchemy import BigInteger, DateTime
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

INSTANT = DateTime(timezone=True)


def micros(**kwargs: Any) -> Any:
    """Return a field for an integer amount in micros."""
    return Field(sa_type=BigInteger, **kwargs)


def instant(**kwargs: Any) -> Any:
    """Return a field for a UTC-aware time."""
    return Field(sa_type=INSTANT, **kwargs)


def document(**kwargs: Any) -> Any:
    """Return a field for a JSON document."""
    return Field(sa_type=JSONB, **kwargs)
