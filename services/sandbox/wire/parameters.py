"""Reads the Data API's query parameters: snake or camel case, aliases, and refusals that name the parameter."""

import re
from collections.abc import Mapping

from starlette.requests import Request

from services.sandbox.order_filled import PROTOCOL_CONTRACTS
from services.sandbox.wire.answers import invalid

LIMIT_DEFAULT, LIMIT_MAX, CONDITIONS_MAX = 100, 1000, 20
ALIASES = {"condition_id": "condition", "before": "cursor"}

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_CAMEL = re.compile(r"(?<=[a-z0-9])([A-Z])")


class Parameters:
    """The parameters of one request, by their snake-case names."""

    def __init__(self, request: Request, known: frozenset[str]) -> None:
        given = {}
        for name, value in request.query_params.multi_items():
            snake = _CAMEL.sub(lambda match: "_" + match[1].lower(), name).lower()
            given[ALIASES.get(snake, snake)] = value
        if "offset" in given:
            raise invalid("offset is not supported, use cursor", "offset")
        self._given: Mapping[str, str] = given
        self.reusable = given.keys() <= known | {"limit", "cursor"}
        """Whether the URL holds known parameters only, so that the CDN's copy of it may be asked for again."""

    def text(self, name: str) -> str | None:
        """Return a parameter, None where absent or empty."""
        return self._given.get(name) or None

    def flag(self, name: str, *, default: bool) -> bool:
        """Return a boolean."""
        value = self.text(name)
        if value is None:
            return default
        if value.lower() not in {"true", "false", "1", "0"}:
            raise invalid(f"{name} must be true or false", name)
        return value.lower() in {"true", "1"}

    def number(self, name: str) -> int | None:
        """Return a whole number."""
        value = self.text(name)
        if value is None:
            return None
        if not value.isdigit():
            raise invalid(f"invalid {name}: {value}", name)
        return int(value)

    def one_of(self, name: str, allowed: tuple[str, ...], default: str | None = None) -> str | None:
        """Return an upper-case word of a closed set."""
        value = self.text(name)
        if value is None:
            return default
        if value.upper() not in allowed:
            raise invalid(f"{name} must be one of {', '.join(allowed)}", name)
        return value.upper()

    def listed(self, name: str) -> list[str]:
        """Return a comma-separated list."""
        value = self.text(name)
        return [each.strip() for each in value.split(",") if each.strip()] if value else []

    def conditions(self) -> list[str]:
        """Return the conditions asked for, at most 20."""
        found = list(dict.fromkeys(each.lower() for each in self.listed("condition")))
        if len(found) > CONDITIONS_MAX:
            raise invalid(f"at most {CONDITIONS_MAX} distinct conditions", "condition")
        return found

    def limit(self) -> int:
        """Return the page size; above the cap it is refused, not clamped."""
        limit = self.number("limit")
        if limit is None:
            return LIMIT_DEFAULT
        if not 1 <= limit <= LIMIT_MAX:
            raise invalid(f"limit must be between 1 and {LIMIT_MAX}", "limit")
        return limit

    def user(self) -> str | None:
        """Return the wallet asked for, lower case."""
        user = self.text("user")
        if user is None:
            return None
        if "," in user:
            return user.lower()
        if not _ADDRESS.fullmatch(user):
            raise invalid("invalid user address", "user")
        if user.lower() in PROTOCOL_CONTRACTS:
            raise invalid("user is a protocol contract", "user")
        return user.lower()
