"""Configuration files: `up --config FILE`, `config set FILE` and a tape's `config`."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from libs.common.domain.config import Amount, canonical, overrides
from libs.common.domain.config_problem import ConfigRejected, Problem, problems_of
from libs.common.domain.errors import Rejected
from libs.common.domain.money import MICROS


class ConfigFile(BaseModel):
    """What `up --config FILE` and a tape's `config` hold, validated; see `read_config_file`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    global_values: dict[str, Any]
    user_values: dict[str, dict[str, Any]]
    bankroll_micros: Amount | None


_GLOBAL_KEYS: Final = {"global"}
_USER_KEYS: Final = {"users", "per_user", "user", "labels", "per_label"}
_BANKROLL_KEYS: Final = {"bankroll_micros", "bankroll"}


def read_config_file(content: object, where: str = "config") -> ConfigFile:
    """Validate `{"global": {...}, "users": {"<label>": {...}}, "bankroll_micros": N}`; every part may be absent.

    Settings beside these keys count as global; null takes a setting back to what is inherited. Raises Rejected, naming
    the place, when anything is wrong.
    """
    if not isinstance(content, Mapping):
        raise Rejected(f"{where}: expected a JSON object, got {type(content).__name__}")
    shared: dict[str, Any] = {}
    users: dict[str, Mapping[str, Any]] = {}
    bankroll: object = None
    for key, value in content.items():
        lower = str(key).lower()
        if lower in _GLOBAL_KEYS:
            shared.update(canonical(_section(value, f"{where}: {key}"), f"{where}: {key}"))
        elif lower in _USER_KEYS:
            users.update(
                {
                    str(label): _section(each, f"{where}: {key}.{label}")
                    for label, each in _section(value, f"{where}: {key}").items()
                }
            )
        elif lower in _BANKROLL_KEYS:
            bankroll = value
            if lower == "bankroll" and isinstance(value, int) and 0 < value < MICROS:
                text = f"expected micros (1 USDC is {MICROS}), got {value}; write {value * MICROS}?"
                raise ConfigRejected(where, [Problem(str(key), text)])
        else:
            shared.update(canonical({key: value}, where))
    global_values = overrides(shared, where=f"{where}: global", is_part=True)
    user_values = {
        label: overrides(each, over=global_values, where=f"{where}: users.{label}", is_part=True)
        for label, each in users.items()
    }
    try:
        return ConfigFile(global_values=global_values, user_values=user_values, bankroll_micros=bankroll)
    except ValidationError as error:
        raise ConfigRejected(where, problems_of(error)) from None


def _section(value: object, where: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise Rejected(f"{where}: expected a JSON object, got {type(value).__name__}")
    return value
