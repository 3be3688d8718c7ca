"""The dashboard's settings."""

from typing import Final
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from libs.common.settings import ServiceSettings

LOOPBACK_NAMES: Final = frozenset({"127.0.0.1", "localhost", "::1"})


class Settings(ServiceSettings):
    """Where the dashboard answers, and the secret that signs its sessions."""

    host: str = "127.0.0.1"
    """Address to listen on; anything but loopback needs a proxy with TLS in front and PUBLIC_URL."""
    port: int = Field(ge=1, le=65535)
    """Port of the pages and the API."""
    storage_secret: SecretStr = Field(min_length=16)
    """Signs session cookies: whoever keeps it across restarts keeps sessions across restarts."""
    public_url: str | None = Field(default=None, validation_alias="PUBLIC_URL")
    """Address by which the world reaches the dashboard, when it is not only this machine."""

    @field_validator("public_url")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if not value:
            return None
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path not in {"", "/"}:
            raise ValueError("expected http(s)://HOST[:PORT] without a path")
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def is_https(self) -> bool:
        """Whether cookies may travel over TLS only."""
        return self.public_url is not None and self.public_url.startswith("https://")

    @property
    def origins(self) -> frozenset[str]:
        """Origins whose writes are believed."""
        if self.public_url is not None:
            return frozenset({self.public_url})
        return frozenset(f"http://{name}:{self.port}" for name in ("127.0.0.1", "localhost", "[::1]"))

    @property
    def hosts(self) -> frozenset[str]:
        """Host headers that are answered: others come by a name that somebody else controls."""
        own = {f"{name}:{self.port}" for name in ("127.0.0.1", "localhost", "[::1]")}
        return frozenset(own if self.public_url is None else {*own, urlsplit(self.public_url).netloc})
