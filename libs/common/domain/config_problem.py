"""What is wrong with a configuration, setting by setting."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from pydantic import ValidationError

from libs.common.domain.errors import Rejected


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one setting: its name, and a sentence of what was expected and what came."""

    name: str
    message: str

    def __str__(self) -> str:
        return f"{self.name}: {self.message}" if self.name else self.message


class ConfigRejected(Rejected):
    """A configuration is not valid; `problems` names each setting, the text where it was found as well."""

    def __init__(self, where: str, problems: Sequence[Problem]) -> None:
        super().__init__(f"{where}: {'; '.join(str(each) for each in problems)}")
        self.where, self.problems = where, tuple(problems)


def problems_of(error: ValidationError) -> list[Problem]:
    """Return what pydantic found, each as field and a sentence of what was expected and what came."""
    found = []
    for item in error.errors():
        name = ".".join(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] != "value_error":
            expected = message.removeprefix("Input should be ").removeprefix("Input should ")
            came = item["input"]
            said = str(came) if isinstance(came, Decimal) else repr(came)
            message = f"expected {expected}, got {said:.60}"
        found.append(Problem(name, message))
    return found
