"""What one stream entry looks like: the message as JSON in FastStream's field, readable with any Redis client.

An entry may name one group; the others acknowledge it unseen. That is how a replay or a sweep reaches only the group
that needs it. FastStream's binary envelope is read too.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import orjson
from faststream.redis.message import DATA_KEY
from faststream.redis.parser import BinaryMessageFormatV1
from pydantic import ValidationError

from libs.common.bus.streams import SUBJECT_MAX_CHARS, Stream
from libs.common.domain.errors import Rejected
from libs.common.messages import Message

M = TypeVar("M", bound=Message)
Fields = Mapping[bytes, bytes]

DATA_FIELD = DATA_KEY.encode()
GROUP_FIELD = b"group"
REPLAY_FIELD = b"replay_of"
PAYLOAD_MAX_CHARS = 100_000
"""A dead letter keeps this much of what could not be read."""

_ENVELOPE = BinaryMessageFormatV1.IDENTITY_HEADER


class Poison(Rejected):
    """A stream entry that cannot be read as its stream's message."""


def encode(message: Message, *, group: str | None = None) -> dict[bytes, bytes]:
    """Return the entry of `message`, for `group` alone where one is named."""
    fields = {DATA_FIELD: message.__pydantic_serializer__.to_json(message)}
    if group is not None:
        fields[GROUP_FIELD] = group.encode()
    return fields


def decode(stream: Stream[M], fields: Fields) -> M:
    """Return the message of an entry; raises Poison saying what was expected and what came."""
    body = fields.get(DATA_FIELD)
    if body is None:
        found = ", ".join(sorted(name.decode(errors="replace") for name in fields)) or "nothing"
        raise Poison(f"expected the field {DATA_KEY}, found {found}")
    if body.startswith(_ENVELOPE):
        body = BinaryMessageFormatV1.parse(body)[0]
    return parse(stream, body)


def parse(stream: Stream[M], body: bytes | str) -> M:
    """Return the message a JSON document describes; raises Poison naming each wrong field."""
    try:
        return stream.message.model_validate_json(body)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'body'}: {item['msg']}" for item in error.errors()[:10]
        )
        raise Poison(f"expected a {stream.message.__name__}, got: {faults}") from error


def is_for(fields: Fields, group: bytes) -> bool:
    """Tell whether `group` has to handle an entry."""
    named = fields.get(GROUP_FIELD)
    return named is None or named == group


def payload_text(fields: Fields) -> str:
    """Return an entry's body as text a database can hold; an entry without body as the JSON of its fields."""
    body = fields.get(DATA_FIELD)
    if body is None:
        body = orjson.dumps({_text(name): _text(value) for name, value in fields.items()})
    elif body.startswith(_ENVELOPE):
        body = BinaryMessageFormatV1.parse(body)[0]
    return _text(body)[:PAYLOAD_MAX_CHARS]


def claimed_subject(stream: Stream[Any], fields: Fields) -> str | None:
    """Return the id an unreadable entry says it is about, if it says so at all."""
    try:
        document = orjson.loads(payload_text(fields))
    except orjson.JSONDecodeError:
        return None
    value = document.get(stream.subject) if isinstance(document, dict) else None
    return _text(value.encode())[:SUBJECT_MAX_CHARS] if isinstance(value, str) else None


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace").replace("\x00", "\\x00")
