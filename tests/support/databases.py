"""Real Postgres and Valkey for tests.

One Postgres cluster and one Valkey serve a session; both run the embedded binaries, the way `shadowbook up` does.
`SHADOWBOOK_TEST_CONTAINERS=1` takes containers instead. Each test gets its own database, copied from a migrated
template, and an emptied Valkey.
"""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from services.cli.stack import postgres, valkey
from services.cli.stack.account import database_account
from services.cli.stack.places import PostgresPlace, postgres_place
from services.cli.stack.ports import free_port

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

SERVICES = ("ingest", "grouper", "simulator", "ledger", "pricer", "ui")
CONTAINERS_VARIABLE = "SHADOWBOOK_TEST_CONTAINERS"
TEMPLATE = "shadowbook_template"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Postgres server: where it is and the passwords of its roles (`operator` and the services)."""

    host: str
    port: int
    passwords: dict[str, str]

    def url(self, role: str = "operator", database: str = "postgres") -> str:
        """Return the SQLAlchemy URL of a role, by its short name."""
        return f"postgresql+asyncpg://shadowbook_{role}:{self.passwords[role]}@{self.host}:{self.port}/{database}"

    async def execute(self, *statements: str, database: str = "postgres") -> None:
        """Run statements as operator, each outside of a transaction."""
        import asyncpg

        connection = await asyncpg.connect(self.url(database=database).replace("+asyncpg", ""))
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()


@dataclass(slots=True)
class Database:
    """One test's own database."""

    cluster: Cluster
    name: str
    engines: dict[str, "AsyncEngine"] = field(default_factory=dict)

    def url(self, role: str = "operator") -> str:
        """Return the SQLAlchemy URL of a role: operator, ingest, grouper, simulator, ledger, pricer or ui."""
        return self.cluster.url(role, self.name)

    def engine(self, role: str = "operator") -> "AsyncEngine":
        """Return the role's engine, made as the services make theirs; disposed of after the test."""
        if role not in self.engines:
            from libs.common.db.engine import make_engine

            self.engines[role] = make_engine(self.url(role), application=f"test-{role}")
        return self.engines[role]

    async def dispose(self) -> None:
        """Close every connection."""
        for engine in self.engines.values():
            await engine.dispose()


@dataclass(frozen=True, slots=True)
class Redis:
    """A Valkey server and the passwords of its users."""

    host: str
    port: int
    passwords: dict[str, str]

    def url(self, user: str = "operator") -> str:
        """Return the URL of a user."""
        return f"redis://{user}:{self.passwords[user]}@{self.host}:{self.port}/0"


def fresh_passwords() -> dict[str, str]:
    """Return a random password for the operator and each service."""
    return {name: secrets.token_urlsafe(18) for name in ("operator", *SERVICES)}


@contextmanager
def open_folder() -> Iterator[Path]:
    """Make a temporary directory that the database's account may enter, too."""
    folder = Path(tempfile.mkdtemp(prefix="shadowbook-test-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def embedded_postgres(passwords: dict[str, str]) -> Iterator[Cluster]:
    """Run an embedded Postgres that does without durability."""
    with open_folder() as folder:
        place = postgres_place(folder, folder.name, database_account())
        postgres.ensure_cluster(place, passwords["operator"])
        with running_cluster(place, folder) as port:
            yield Cluster("127.0.0.1", port, passwords)


@contextmanager
def running_cluster(place: PostgresPlace, folder: Path) -> Iterator[int]:
    """Run a cluster on a free port, without durability."""
    port = free_port()
    with postgres.running(place, port, folder / "postgres.log", postgres.UNSAFE_FOR_TESTS):
        yield port


@contextmanager
def embedded_valkey(passwords: dict[str, str]) -> Iterator[Redis]:
    """Run an embedded Valkey with the users and rules of the stack."""
    with open_folder() as folder:
        place, port = valkey.ValkeyPlace(folder / "valkey"), free_port()
        valkey.configure(place, port, passwords, bus_rules())
        with valkey.running(place, port, passwords["operator"], folder / "valkey.log"):
            yield Redis("127.0.0.1", port, passwords)


@contextmanager
def contained_postgres(passwords: dict[str, str]) -> Iterator[Cluster]:
    """Run Postgres in a container."""
    from testcontainers.postgres import PostgresContainer

    container = PostgresContainer(
        "postgres:18", username=postgres.OPERATOR, password=passwords["operator"], dbname="postgres", driver=None
    )
    with container as started:
        yield Cluster(started.get_container_host_ip(), int(started.get_exposed_port(5432)), passwords)


@contextmanager
def contained_valkey(passwords: dict[str, str]) -> Iterator[Redis]:
    """Run Valkey in a container, with the users and rules of the stack."""
    import redis
    from testcontainers.redis import RedisContainer

    with RedisContainer("valkey/valkey:9") as started:
        host, port = started.get_container_host_ip(), int(started.get_exposed_port(6379))
        with redis.Redis(host, port) as client:
            for user, rule in bus_rules().items():
                client.execute_command("ACL", "SETUSER", user, "on", f">{passwords[user]}", *rule.split())
        yield Redis(host, port, passwords)


def bus_rules() -> dict[str, str]:
    """Return the ACL rules of each user of the bus."""
    from libs.common.bus.acl import RULES

    return dict(RULES)


def wants_containers() -> bool:
    """Tell whether this run takes containers instead of the embedded binaries."""
    return os.environ.get(CONTAINERS_VARIABLE) == "1"
