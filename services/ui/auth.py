"""Who is the admin: signed session cookies, one-time login tokens, and what a request must bring.

There is one admin. Until a provider of identities is configured, sessions begin with a one-time link that only a
person at this machine's terminal can have read.
"""

import hashlib
import secrets
from typing import Final

from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.datastructures import Headers

from services.ui.settings import LOOPBACK_NAMES, Settings

ADMIN: Final = "admin"
TOKEN_BYTES: Final = 16
TOKEN_LENGTH_MAX: Final = 64
SESSION_SECONDS: Final = 30 * 24 * 3600
_FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")


def new_token() -> str:
    """Return a fresh 128-bit token in text that fits a URL."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def token_hash(token: str) -> str:
    """Return what is kept of a token: reading the database does not let anybody in."""
    return hashlib.sha256(token.encode()).hexdigest()


class Sessions:
    """Session cookies. The name carries the port, because browsers do not keep cookies of two ports apart."""

    def __init__(self, settings: Settings) -> None:
        self._signer = URLSafeTimedSerializer(settings.storage_secret.get_secret_value(), salt="shadowbook.session")
        self.cookie: Final = f"{'__Host-' if settings.is_https else ''}shadowbook_{settings.port}"
        self.is_secure: Final = settings.is_https

    def begin(self) -> str:
        """Return the value of a new session's cookie."""
        return str(self._signer.dumps({"who": ADMIN, "nonce": secrets.token_hex(8)}))

    def is_admin(self, cookie: str | None) -> bool:
        """Tell whether a cookie is one of ours and has not run out."""
        if not cookie:
            return False
        try:
            content = self._signer.loads(cookie, max_age=SESSION_SECONDS)
        except BadSignature:
            return False
        return isinstance(content, dict) and content.get("who") == ADMIN


def may_use_link(settings: Settings, client: str | None, headers: Headers) -> bool:
    """Tell whether a one-time link may be used by this request: loopback, no public address, nothing in between."""
    if settings.public_url is not None or client not in LOOPBACK_NAMES:
        return False
    return not any(name in headers for name in _FORWARDED)


def is_same_origin(origins: frozenset[str], headers: Headers) -> bool:
    """Tell whether a write or a socket comes from our own pages; what is not a browser sends neither header."""
    origin = headers.get("origin")
    if origin is not None:
        return origin in origins
    return headers.get("sec-fetch-site", "none") in {"same-origin", "none"}
