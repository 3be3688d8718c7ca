"""Embedded Postgres: make a cluster, know its command line, wait until it answers.

The package's binaries are run directly. Its own launcher would open the permissions of every parent directory, trust
local connections and listen on no TCP port. Connections are TCP on loopback with SCRAM; no unix socket is made, so the
length limit of socket paths does not bind the data directory.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from services.cli.errors import CommandError, StackError
from services.cli.stack.parent_death import end_with_parent
from services.cli.stack.places import PostgresPlace

OPERATOR = "shadowbook_operator"
DATABASE = "shadowbook"
START_TIMEOUT_SECONDS = 60.0  # recovery after a crash replays up to max_wal_size
STOP_TIMEOUT_SECONDS = 30.0
PROBE_INTERVAL_SECONDS = 0.03
WAL_SEGMENTS = 16
"""Segments of 16 MB that a new cluster has ready; checkpoints keep as many (`min_wal_size`)."""

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "effective_cache_size": "512MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "wal_buffers": "8MB",
    "max_wal_size": "2GB",  # the first touch of a page after a checkpoint logs the whole page: few checkpoints
    "min_wal_size": "256MB",
    "checkpoint_timeout": "15min",
    "wal_compression": "off",  # the packaged build has pglz alone, which takes longer than the rows themselves
    "random_page_cost": "1.1",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",  # one or two CPUs, and nine services that want them
    "max_parallel_maintenance_workers": "0",
    "io_method": "sync",  # saves three worker processes
    "autovacuum_max_workers": "2",
    "autovacuum_naptime": "10s",  # until the first analysis a young database's plans read whole tables
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_duration_statement": "1000",
    "log_line_prefix": "%m [%p] %q%u ",
}
UNSAFE_FOR_TESTS: Mapping[str, str] = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def command(place: PostgresPlace, port: int, extra: Mapping[str, str] | None = None) -> list[str]:
    """Return the arguments that run the cluster in the foreground; SIGINT stops it quickly and cleanly."""
    settings = {**SETTINGS, **(extra or {}), "port": str(port)}
    arguments = [str(place.binaries / "postgres"), "-D", str(place.data)]
    for name, value in settings.items():
        arguments += ["-c", f"{name}={value}"]
    return arguments


def ensure_cluster(place: PostgresPlace, operator_password: str) -> bool:
    """Create the cluster if there is none; returns whether it was created. A half-made one is started over."""
    version_file = place.data / "PG_VERSION"
    if version_file.exists():
        _check_version(place, version_file.read_text().strip())
        return False
    scratch = place.data.with_name("postgres.new")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(mode=0o700)
    if place.account is not None:
        os.chown(scratch, place.account.uid, place.account.gid)
    for name, make in (("initdb", _initdb), ("postgres --single", _make_wal)):
        result = make(place, scratch, operator_password)
        if result.returncode != 0:
            shutil.rmtree(scratch, ignore_errors=True)
            raise StackError(f"{name} failed in {scratch}: {(result.stderr or result.stdout).strip()}")
    scratch.rename(place.data)
    return True


def wait_ready(
    place: PostgresPlace,
    port: int,
    timeout_seconds: float = START_TIMEOUT_SECONDS,
    is_alive: Callable[[], bool] = lambda: True,
) -> None:
    """Return when the server accepts connections; raises StackError when it does not in time, or is not alive."""
    probe = [str(place.binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port), "-t", "3"]
    deadline = time.monotonic() + timeout_seconds
    while subprocess.run(probe, check=False, env=_environment(), cwd="/").returncode != 0:
        if time.monotonic() > deadline or not is_alive():
            raise StackError(
                f"Postgres did not answer on 127.0.0.1:{port} within {timeout_seconds:.0f} s: see postgres.log"
            )
        time.sleep(PROBE_INTERVAL_SECONDS)


def ensure_database(place: PostgresPlace, port: int, password: str, name: str = DATABASE) -> None:
    """Create the database; one that exists is left alone."""
    arguments = [
        str(place.binaries / "createdb"),
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
        "-U",
        OPERATOR,
        "--template=template0",
        name,
    ]
    result = subprocess.run(
        arguments, check=False, env=_environment(PGPASSWORD=password), cwd="/", capture_output=True, text=True
    )
    if result.returncode != 0 and "already exists" not in result.stderr:
        raise StackError(f"could not create database {name!r}: {result.stderr.strip()}")


def url(port: int, password: str, *, role: str = OPERATOR, database: str = DATABASE) -> str:
    """Return the SQLAlchemy URL of a role."""
    return f"postgresql+asyncpg://{role}:{password}@127.0.0.1:{port}/{database}"


@contextmanager
def running(
    place: PostgresPlace, port: int, log: Path, extra: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the cluster for the length of a block, without a supervisor."""
    identity: dict[str, object] = {}
    if place.account is not None:
        identity = {"user": place.account.uid, "group": place.account.gid, "extra_groups": []}
    with log.open("ab") as sink:
        process: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]
            command(place, port, extra), stdout=sink, stderr=sink, stdin=subprocess.DEVNULL,
            env=_environment(), cwd="/", start_new_session=True,
            **identity,
            preexec_fn=end_with_parent(signal.SIGINT),  # noqa: PLW1509 - it makes one system call
        )  # fmt: skip
    try:
        wait_ready(place, port, is_alive=lambda: process.poll() is None)
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _make_wal(place: PostgresPlace, target: Path, _: str) -> subprocess.CompletedProcess[str]:
    """Write WAL segments for later use: making one in the middle of the work holds up every commit meanwhile."""
    statements = "SELECT txid_current(), pg_switch_wal();\n" * WAL_SEGMENTS + "CHECKPOINT;\n"
    arguments = [str(place.binaries / "postgres"), "--single", "-D", str(target)]
    for name in ("min_wal_size", "max_wal_size"):
        arguments += ["-c", f"{name}={SETTINGS[name]}"]
    return _run(place, [*arguments, "postgres"], statements)


def _initdb(place: PostgresPlace, target: Path, password: str) -> subprocess.CompletedProcess[str]:
    with tempfile.NamedTemporaryFile("w", prefix="shadowbook-", dir="/tmp") as secret:
        secret.write(password)
        secret.flush()
        arguments = [
            str(place.binaries / "initdb"), "-D", str(target), "-U", OPERATOR, f"--pwfile={secret.name}",
            "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8", "--no-instructions",
        ]  # fmt: skip
        if place.account is not None:
            os.fchown(secret.fileno(), place.account.uid, place.account.gid)
        return _run(place, arguments)


def _run(place: PostgresPlace, arguments: list[str], given: str = "") -> subprocess.CompletedProcess[str]:
    """Run a short command as the account the cluster belongs to, with `given` on its standard input."""
    if place.account is not None:
        return place.account.run(arguments, env=_environment(), input=given)
    return subprocess.run(
        arguments, text=True, capture_output=True, check=False, env=_environment(), cwd="/", input=given
    )


def _check_version(place: PostgresPlace, major: str) -> None:
    reported = subprocess.run(
        [str(place.binaries / "postgres"), "--version"], text=True, capture_output=True, check=True, cwd="/"
    )
    ours = reported.stdout.split()[-1].split(".")[0]
    if ours != major:
        raise CommandError(
            f"{place.data} was made by Postgres {major}, this is Postgres {ours}: "
            "start with the version that made it, or use another --data-dir"
        )


def _environment(**extra: str) -> dict[str, str]:
    """Return a clean environment: no PG* variable of the caller may redirect a command."""
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "TZ": "UTC", **extra}
