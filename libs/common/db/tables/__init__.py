"""One module per aggregate; importing this package registers every table with `metadata`.

Each table has one writing service, named in its docstring and enforced by the grants in roles.sql.
"""

from sqlmodel import SQLModel

from libs.common.db.tables import (
    attempts,
    config,
    config_tests,
    contact,
    events,
    groups,
    ledger,
    markets,
    system,
    users,
)

metadata = SQLModel.metadata

__all__ = [
    "attempts",
    "config",
    "config_tests",
    "contact",
    "events",
    "groups",
    "ledger",
    "markets",
    "metadata",
    "system",
    "users",
]
