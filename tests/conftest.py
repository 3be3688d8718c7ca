"""Fixtures for every kind of test; what they are made of is in `tests.support`."""

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from xdist.remote import Producer

from tests.support import databases, spreading
from tests.support.databases import Cluster, Database, Redis


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put tests into the order in which workers take them."""
    items.sort(key=lambda item: spreading.rank(item.nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> spreading.ByFile:
    """Spread tests by whole files."""
    return spreading.ByFile(config, log)


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Cluster]:
    """A Postgres with a migrated template database and the roles of all services."""
    from libs.common.db import migrate

    passwords = databases.fresh_passwords()
    start = databases.contained_postgres if databases.wants_containers() else databases.embedded_postgres
    with start(passwords) as cluster:
        asyncio.run(cluster.execute(f"CREATE DATABASE {databases.TEMPLATE} TEMPLATE template0"))
        services = {name: passwords[name] for name in databases.SERVICES}
        asyncio.run(migrate.upgrade(cluster.url(database=databases.TEMPLATE), services))
        yield cluster


@pytest.fixture
async def database(postgres_cluster: Cluster) -> AsyncIterator[Database]:
    """An empty database of this test's own, with all tables."""
    name = f"test_{secrets.token_hex(6)}"
    await postgres_cluster.execute(f"CREATE DATABASE {name} TEMPLATE {databases.TEMPLATE}")
    own = Database(postgres_cluster, name)
    yield own
    await own.dispose()
    await postgres_cluster.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """A Valkey with the users of all services."""
    start = databases.contained_valkey if databases.wants_containers() else databases.embedded_valkey
    with start(databases.fresh_passwords()) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: Redis) -> str:
    """The operator's URL of an emptied Valkey."""
    import redis

    with redis.Redis.from_url(redis_server.url()) as client:
        client.flushall()
    return redis_server.url()


@pytest.fixture
def redis_url_for(redis_server: Redis, redis_url: str) -> Callable[[str], str]:
    """A function that gives a service's URL of the same, emptied Valkey."""
    assert redis_url
    return redis_server.url


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a headless-capable Chromium; tests that need one skip where there is none."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium here: `make test` as root installs it, else `apt-get install chromium`")
    return path
