"""Read the fields of a wire object within bounds, and name the one that is not as promised.

Liberal in the notation, strict in the value: a number may come as text and text as a whole number, but nothing is
rounded, guessed or passed on beyond what Postgres and the domain can hold. Bounds: amounts 0 to 10^18 micros, prices 0
to 1, whole numbers within a bigint, epoch seconds before 2100, ids in lower-case hex or plain decimal,
text free of what no database stores.
"""

import re
from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final

from libs.common.domain.money import MICROS, WIRE_AMOUNT_MAX, micros_from_wire

BIGINT_MAX: Final = 2**63 - 1
EPOCH_SECOND_MIN: Final = 1
EPOCH_SECOND_MAX: Final = 4_102_444_799  # the end of 2099
EPOCH_YEARS: Final = "in epoch seconds before 2100"
TOKEN_DIGITS_MAX: Final = 78  # a uint256
HEX_DIGITS_MAX: Final = 64
SHOWN_MAX: Final = 60

_TOKEN = re.compile(rf"[1-9][0-9]{{0,{TOKEN_DIGITS_MAX - 1}}}")
_HEX_ID = re.compile(rf"0x[0-9a-f]{{1,{HEX_DIGITS_MAX}}}")
_HASH = re.compile(r"0x[0-9a-f]{64}")
_WALLET = re.compile(r"0x[0-9a-f]{40}")
_INTEGER = re.compile(r"-?[0-9]{1,30}")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class FieldError(ValueError):
    """One field of a wire object is not as promised; `field` is its name on the wire."""

    def __init__(self, what: str, field: str, expected: str, got: object) -> None:
        super().__init__(f"{what}: expected `{field}` {expected}, got {shown(got)}")
        self.field = field


def shown(value: object) -> str:
    """Return a wire value in few words, whatever it is."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    if isinstance(value, str):
        return repr(value[:SHOWN_MAX])
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 4 * SHOWN_MAX:
        return f"a number of {value.bit_length()} bits"
    return str(value)[:SHOWN_MAX]


def an_object(wire: object, what: str) -> Mapping[str, Any]:
    """Return `wire` if it is an object; raises ValueError."""
    if not isinstance(wire, Mapping):
        raise ValueError(f"{what}: expected an object, got {shown(wire)}")  # noqa: TRY004  one error type at the edge
    return wire


def clean(value: object, length_max: int) -> str:
    """Return text as a database can hold it, cut, never another word than it was; nothing for what is no text."""
    if isinstance(value, str):
        text = value[: 4 * length_max]
        return (text if text.isascii() and "\0" not in text else _UNSTORABLE.sub("\ufffd", text))[:length_max]
    return str(value)[:length_max] if isinstance(value, int) and not isinstance(value, bool) else ""


def read_amount(value: object, field: str, what: str, most: int = WIRE_AMOUNT_MAX) -> int:
    """Return an amount of at most `most` whole units in micros; raises FieldError."""
    try:
        return micros_from_wire(value, what=field, most=most)
    except ValueError:
        raise FieldError(what, field, f"a number from 0 to {most:,}", value) from None


def read_price(value: object, field: str, what: str) -> Decimal:
    """Return a price from 0 to 1, exact; raises FieldError."""
    if isinstance(value, Decimal):
        price = value
    elif type(value) is int:
        price = Decimal(value)
    elif isinstance(value, str):
        try:
            price = Decimal(value)
        except ArithmeticError:
            price = Decimal("NaN")
    else:
        raise FieldError(what, field, "a number", value)
    if not price.is_finite() or not 0 <= price <= 1:
        raise FieldError(what, field, "a number from 0 to 1", value)
    return price


def read_price_micros(value: object, field: str, what: str) -> int:
    """Return a price in micros, 0 to 1_000_000; raises FieldError."""
    return int((read_price(value, field, what) * MICROS).to_integral_value(rounding=ROUND_HALF_EVEN))


def read_integer(
    value: object, field: str, what: str, *, least: int = 0, most: int = BIGINT_MAX, expected: str = "a whole number"
) -> int:
    """Return a whole number given as such or as text, within bounds; raises FieldError."""
    number: int | None = None
    if type(value) is int:
        number = value
    elif isinstance(value, Decimal):
        if value.is_finite() and abs(value) <= BIGINT_MAX and value == value.to_integral_value():
            number = int(value)
    elif isinstance(value, str) and _INTEGER.fullmatch(value):
        number = int(value)
    if number is None or not least <= number <= most:
        raise FieldError(what, field, expected, value)
    return number


def read_seconds(value: object, field: str, what: str) -> int:
    """Return epoch seconds; raises FieldError, for milliseconds too."""
    if type(value) is int and EPOCH_SECOND_MIN <= value <= EPOCH_SECOND_MAX:
        return value
    return read_integer(value, field, what, least=EPOCH_SECOND_MIN, most=EPOCH_SECOND_MAX, expected=EPOCH_YEARS)


def read_flag(value: object, field: str, what: str, *, default: bool | None = False) -> bool:
    """Return a boolean, `default` where it is absent (None: it must be there); raises FieldError.

    The word "false" is true to Python.
    """
    if value is None and default is not None:
        return default
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise FieldError(what, field, "true or false", value)


def read_token(value: object, field: str, what: str) -> str:
    """Return a token id: plain decimal digits, no leading zero; raises FieldError."""
    if isinstance(value, str):
        if _TOKEN.fullmatch(value):
            return value
    elif type(value) is int and 0 < value < 10**TOKEN_DIGITS_MAX:
        return str(value)
    raise FieldError(what, field, "a decimal token id", value)


def read_hex_id(value: object, field: str, what: str) -> str:
    """Return a condition id in lower case, of 1 to 64 digits: combos have 62; raises FieldError."""
    if isinstance(value, str) and _HEX_ID.fullmatch(lowered := value.lower()):
        return lowered
    raise FieldError(what, field, "a hex id", value)


def read_hash(value: object, field: str, what: str) -> str:
    """Return a transaction or block hash in lower case; raises FieldError."""
    if isinstance(value, str) and _HASH.fullmatch(lowered := value.lower()):
        return lowered
    raise FieldError(what, field, "a hash of 64 hex digits", value)


def read_wallet(value: object, field: str, what: str) -> str:
    """Return an address in lower case; raises FieldError."""
    if isinstance(value, str) and _WALLET.fullmatch(lowered := value.lower()):
        return lowered
    raise FieldError(what, field, "an address of 40 hex digits", value)
