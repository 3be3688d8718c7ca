"""Addresses of the databases: embedded ones, or those the environment names instead."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from services.cli.errors import CommandError
from services.cli.stack import postgres, valkey
from services.cli.stack.data_dir import SERVICES

DATABASE_VARIABLE, REDIS_VARIABLE = "DATABASE_URL", "REDIS_URL"
DATABASE_SCHEMES = ("postgres", "postgresql+asyncpg", "postgresql")
REDIS_SCHEMES = ("unix", "rediss", "redis")


@dataclass(frozen=True, slots=True)
class Endpoints:
    """URLs by service and for `operator`; with passwords."""

    database_urls: Mapping[str, str]
    redis_urls: Mapping[str, str]
    embedded_postgres: bool
    embedded_valkey: bool


def check_environment() -> None:
    """Raise CommandError when a variable that should name a database does not."""
    for variable, schemes in ((DATABASE_VARIABLE, DATABASE_SCHEMES), (REDIS_VARIABLE, REDIS_SCHEMES)):
        if url := os.environ.get(variable):
            _check(variable, url, schemes)


def endpoints(ports: Mapping[str, int], secrets: Mapping[str, Any]) -> Endpoints:
    """Return where the databases are; `DATABASE_URL` and `REDIS_URL` (the operator's) replace the embedded ones."""
    check_environment()
    external_database, external_redis = os.environ.get(DATABASE_VARIABLE), os.environ.get(REDIS_VARIABLE)
    names = ("operator", *SERVICES)
    if external_database:
        databases = {
            name: with_credentials(external_database, f"shadowbook_{name}", secrets["postgres"][name])
            for name in SERVICES
        } | {"operator": external_database}
    else:
        databases = {
            name: postgres.url(ports["postgres"], secrets["postgres"][name], role=f"shadowbook_{name}")
            for name in names
        }
    if external_redis:
        redis = dict.fromkeys(names, external_redis)
    else:
        redis = {name: valkey.url(ports["valkey"], secrets["redis"][name], user=name) for name in names}
    return Endpoints(databases, redis, not external_database, not external_redis)


def with_credentials(url: str, user: str, password: str) -> str:
    """Return the URL for another user."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{host}"))


def without_password(url: str) -> str:
    """Return the URL fit for a screen."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username}@{host}" if parts.username else host))


def _check(variable: str, url: str, schemes: tuple[str, ...]) -> None:
    try:
        parts = urlsplit(url)
        usable = (
            parts.scheme in schemes and (parts.hostname is not None or parts.scheme == "unix") and (parts.port or 1)
        )
    except ValueError:
        usable = False
    if not usable:
        raise CommandError(
            f"{variable} is not a URL of the form {schemes[-1]}://USER:PASSWORD@HOST:PORT/NAME: correct or unset it"
        )
