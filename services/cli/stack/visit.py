"""A visit to a stack's databases, with the stack up or down.

With the stack up a visit uses what runs. With it down it starts the embedded Postgres alone, for the length of a block.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.cli.errors import CommandError, StackError
from services.cli.stack import leftovers, postgres, valkey
from services.cli.stack.account import database_account
from services.cli.stack.data_dir import (
    DataDir,
    InUseError,
    Memory,
    chosen_root,
    existing_data_dir,
    hold,
    holder,
    load_secrets,
)
from services.cli.stack.endpoints import Endpoints, endpoints
from services.cli.stack.places import PostgresPlace, postgres_place
from services.cli.stack.ports import free_port, is_free
from services.cli.stack.programs import LIVE_URLS, sandbox_urls
from services.cli.stack.supervisor import Supervisor

TURN_TIMEOUT_SECONDS = 120.0
TURN_INTERVAL_SECONDS = 0.1
UP = "up"


@dataclass(frozen=True, slots=True)
class Session:
    """The operator's way to a stack; `redis_url` is None while the stack is down."""

    data_dir: DataDir
    database_url: str
    redis_url: str | None
    data_api_url: str = ""
    """Where the stack's market tells what wallets hold; empty while the stack is down."""

    @property
    def stack_is_up(self) -> bool:
        """Whether the services run."""
        return self.redis_url is not None


@contextmanager
def session(root: Path | None, *, command: str = "session", require_up: bool = False) -> Iterator[Session]:
    """Open the databases of the stack in a data directory; starts the embedded Postgres when the stack is down.

    Raises CommandError when there is no such stack, or when `require_up` and it is down.
    """
    data_dir = existing_data_dir(chosen_root(root))
    memory, secrets = Memory(data_dir.root / "stack.json"), load_secrets(data_dir)
    where = endpoints(memory.ports, secrets)
    deadline = time.monotonic() + TURN_TIMEOUT_SECONDS
    while True:
        held_by = holder(data_dir)
        if held_by is not None and held_by["command"] == UP:
            _wait_up(data_dir, memory, where, secrets["redis"]["operator"])
            urls = where.database_urls["operator"], where.redis_urls["operator"]
            yield Session(data_dir, *urls, data_api_url=_data_api_url(memory))
            return
        if require_up:
            raise CommandError(f"the stack in {data_dir.root} is down: start it with `make up` or `shadowbook up`")
        if held_by is None:
            try:
                with hold(data_dir, command):
                    yield from _alone(data_dir, memory, where, secrets["postgres"]["operator"])
                    return
            except InUseError:  # somebody was faster
                continue
        if time.monotonic() > deadline:
            raise InUseError(data_dir.root, held_by)
        time.sleep(TURN_INTERVAL_SECONDS)


def _data_api_url(memory: Memory) -> str:
    live = (memory.market or {}).get("kind") == "live"
    return (LIVE_URLS if live else sandbox_urls(memory.ports["sandbox"]))["SHADOWBOOK_DATA_API_URL"]


def place_of(data_dir: DataDir, memory: Memory) -> PostgresPlace:
    """Return where the stack's embedded Postgres lives."""
    return postgres_place(data_dir.root, memory.stack_id, database_account())


def clear_leftovers(data_dir: DataDir, memory: Memory, place: PostgresPlace, *, grace_seconds: float = 20.0) -> int:
    """End what an earlier, killed run left behind; returns how many processes that were. Needs the lock."""
    found = leftovers.processes_of(memory.stack_id, stack_signs(data_dir, place))
    leftovers.end(found, grace_seconds=grace_seconds)
    Supervisor(data_dir, memory.stack_id).clear_socket()
    (place.data / "postmaster.pid").unlink(missing_ok=True)  # its number may be another process's by now
    return len(found)


def stack_signs(data_dir: DataDir, place: PostgresPlace) -> list[str]:
    """Return the arguments by which the databases of this stack are known."""
    return [str(place.data), str(valkey.ValkeyPlace(data_dir.root / "valkey").configuration)]


def _alone(data_dir: DataDir, memory: Memory, where: Endpoints, password: str) -> Iterator[Session]:
    if not where.embedded_postgres:
        yield Session(data_dir, where.database_urls["operator"], None)
        return
    place = place_of(data_dir, memory)
    if not (place.data / "PG_VERSION").exists():
        raise CommandError(f"the stack in {data_dir.root} has no database yet: start it once with `make up`")
    clear_leftovers(data_dir, memory, place)
    postgres.ensure_cluster(place, password)
    port = memory.ports["postgres"] if is_free(memory.ports["postgres"]) else free_port(memory.ports.values())
    with postgres.running(place, port, data_dir.log("postgres")):
        yield Session(data_dir, postgres.url(port, password), None)


def _wait_up(data_dir: DataDir, memory: Memory, where: Endpoints, redis_password: str) -> None:
    """Return when the databases of a starting stack answer."""
    try:
        if where.embedded_postgres:
            postgres.wait_ready(place_of(data_dir, memory), memory.ports["postgres"])
        if where.embedded_valkey:
            valkey.wait_ready(memory.ports["valkey"], redis_password)
    except StackError as error:
        raise StackError(
            f"the stack in {data_dir.root} is starting but its databases do not answer: {error}"
        ) from error
