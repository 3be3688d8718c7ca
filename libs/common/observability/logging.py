"""Structured logs: one line per fact, JSON in production and readable at a terminal, never with a secret in it.

Libraries that log through the standard library come out in the same shape.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import orjson
import structlog
from structlog.typing import Processor

SECRET_WORDS = ("password", "passwd", "secret", "authorization", "cookie", "api_key", "apikey", "private_key")
"""A key that contains one of these loses its value."""
SECRET_KEYS = frozenset({"token", "login_token", "session"})
"""Keys that lose their value on an exact match only; `token_id` is an asset and stays."""
MASK = "***"

_CREDENTIALS = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)(?P<user>[^\s:/@]*):[^\s/@]+@", re.IGNORECASE)
_WEBSOCKET_KEY = re.compile(r"(?P<host>wss?://[^\s/]+)/[^\s'\"]+", re.IGNORECASE)

_NOISY = {
    "faststream": logging.WARNING,
    "asyncio": logging.WARNING,
    "httpx": logging.WARNING,
    "websockets": logging.INFO,
    "uvicorn": logging.WARNING,  # it tells of each websocket and of its own start; ours says that already
}


def mask(text: str) -> str:
    """Remove passwords from URLs and the path of websocket URLs (node providers put their key there)."""
    if "://" not in text:
        return text
    return _WEBSOCKET_KEY.sub(rf"\g<host>/{MASK}", _CREDENTIALS.sub(rf"\g<scheme>\g<user>:{MASK}@", text))


def _clean(key: str, value: object) -> object:
    lowered = key.lower()
    if lowered in SECRET_KEYS or any(word in lowered for word in SECRET_WORDS):
        return MASK
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {k: _clean(str(k), v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_clean("", item) for item in value]
    return value


def drop_secrets(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Mask secrets in every value of a log event, whatever its key."""
    for key in list(event):
        if not key.startswith("_"):
            event[key] = _clean(key, event[key])
    return event


def _dumps(event: Any, **_options: Any) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def configure(service: str, instance: str, fmt: Literal["json", "pretty"] = "json", level: str = "INFO") -> None:
    """Set up logging of this process once; every line then carries `service` and `instance`."""
    threshold = logging.getLevelNamesMapping()[level]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    tail: list[Processor] = [drop_secrets, structlog.processors.JSONRenderer(serializer=_dumps)]
    if fmt == "json":
        shared.append(structlog.processors.format_exc_info)
    else:
        tail = [drop_secrets, structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty())]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *tail],
        )
    )
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(threshold)
    for name, quiet in _NOISY.items():
        logging.getLogger(name).setLevel(max(quiet, threshold))
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(service=service, instance=instance)
