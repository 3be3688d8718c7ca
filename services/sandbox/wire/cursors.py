"""Opaque, signed cursors that are bound to the filters they were given out for."""

import base64
import hashlib
import hmac
from collections.abc import Mapping

import orjson


class Cursors:
    """Gives out cursors and takes them back."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def give(self, place: list[int | str], filters: Mapping[str, object]) -> str:
        """Return a cursor that continues after `place` under these filters."""
        body = orjson.dumps({"p": place, "f": _fingerprint(filters)})
        return base64.urlsafe_b64encode(self._sign(body) + body).decode()

    def take(self, cursor: str, filters: Mapping[str, object]) -> list[int | str] | None:
        """Return the place of a cursor, None where it belongs to other filters; raises ValueError for a forged one."""
        raw = base64.urlsafe_b64decode(cursor.encode())
        signature, body = raw[:16], raw[16:]
        if not hmac.compare_digest(signature, self._sign(body)):
            raise ValueError("invalid cursor")
        value = orjson.loads(body)
        place: list[int | str] = value["p"]
        return place if value["f"] == _fingerprint(filters) else None

    def _sign(self, body: bytes) -> bytes:
        return hmac.new(self._key, body, hashlib.sha256).digest()[:16]


def _fingerprint(filters: Mapping[str, object]) -> str:
    text = orjson.dumps(dict(filters), option=orjson.OPT_SORT_KEYS, default=list)
    return hashlib.sha256(text).hexdigest()[:16]
