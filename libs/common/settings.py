"""Settings every service shares: where its database, its bus and its own door are.

A process's environment holds only its own variables; an unknown SHADOWBOOK_* variable is refused, because a misspelt
one would otherwise be a default in silence.
"""

import os
from typing import Literal

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "SHADOWBOOK_"


class StrictSettings(BaseSettings):
    """Settings read from SHADOWBOOK_* variables, of which none may be unknown."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_variables(cls, values: object) -> object:
        known = {PREFIX + name.upper() for name in cls.model_fields}
        unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
        if unknown:
            raise ValueError(f"unknown variables {', '.join(unknown)}; expected only {', '.join(sorted(known))}")
        return values


class ServiceSettings(StrictSettings):
    """Connections and door of one process; subclassed once per service."""

    database_url: SecretStr = Field(validation_alias="DATABASE_URL")
    """postgresql://ROLE:PASSWORD@HOST:PORT/NAME of this service's own role."""
    redis_url: SecretStr = Field(validation_alias="REDIS_URL")
    """redis://USER:PASSWORD@HOST:PORT/0 of this service's own ACL user."""
    instance: str = Field(min_length=1, max_length=60)
    """Name of this process, unique and stable: it is the consumer name on the bus."""
    http_port: int = Field(ge=1, le=65535)
    """Port of /health and /metrics on 127.0.0.1."""
    log_format: Literal["json", "pretty"] = "json"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


class UpstreamSettings(ServiceSettings):
    """Base URLs of the exchange's public APIs; the sandbox differs from the real thing only here."""

    data_api_url: str = "https://data-api.polymarket.com"
    clob_url: str = "https://clob.polymarket.com"
    gamma_url: str = "https://gamma-api.polymarket.com"
    rpc_ws_url: SecretStr | None = None
    """JSON-RPC websocket of a Polygon node; without it fills are found by polling, only later."""
