"""The embedded Postgres: who runs it, where it lives, and that it keeps strangers out."""

import asyncio
import os
import pwd
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from services.cli.errors import CommandError, StackError
from services.cli.stack import places, postgres
from services.cli.stack.account import SYSTEM_USER, Account, database_account
from services.cli.stack.places import PostgresPlace, collect_orphans, postgres_place
from services.cli.stack.ports import is_free
from tests.support.command_line import processes_naming
from tests.support.databases import Cluster, open_folder, running_cluster

pytestmark = pytest.mark.integration
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to hand Postgres to another account")
DAY_SECONDS = 86_400


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


async def ask(port: int, password: str, query: str = "SELECT 1") -> object:
    connection = await asyncpg.connect(
        host="127.0.0.1", port=port, user=postgres.OPERATOR, password=password, database="postgres", ssl=False
    )
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def the_account() -> Account:
    account = database_account()
    assert account is not None
    return account


def test_a_wrong_password_is_refused(postgres_cluster: Cluster) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        asyncio.run(ask(postgres_cluster.port, "wrong"))


def test_a_cluster_is_made_once_and_a_half_made_one_started_over(folder: Path) -> None:
    place = postgres_place(folder, folder.name, database_account())
    (folder / "postgres.new").mkdir()
    (folder / "postgres.new" / "PG_VERSION").write_text("half")
    assert postgres.ensure_cluster(place, "first") is True
    assert postgres.ensure_cluster(place, "second") is False
    with running_cluster(place, folder) as port:
        postgres.ensure_database(place, port, "first")
        postgres.ensure_database(place, port, "first")
        assert asyncio.run(ask(port, "first", "SELECT count(*) FROM pg_database WHERE datname = 'shadowbook'")) == 1


def test_a_cluster_of_another_major_version_is_refused(folder: Path) -> None:
    place = postgres_place(folder, folder.name, database_account())
    place.data.mkdir()
    (place.data / "PG_VERSION").write_text("12\n")
    with pytest.raises(CommandError, match=r"was made by Postgres 12, this is Postgres \d+"):
        postgres.ensure_cluster(place, "secret")


def test_variables_of_the_caller_do_not_redirect_a_command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "example.invalid")
    monkeypatch.setenv("PGDATABASE", "elsewhere")
    place = postgres_place(folder, folder.name, database_account())
    postgres.ensure_cluster(place, "secret")
    with running_cluster(place, folder) as port:
        postgres.ensure_database(place, port, "secret")


def test_it_ends_with_a_command_that_was_killed(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.support.databases import *\n"
        "folder = Path(sys.argv[1]); place = postgres_place(folder, folder.name, database_account())\n"
        "postgres.ensure_cluster(place, 'secret')\n"
        "with running_cluster(place, folder) as port:\n    print(port, flush=True); sys.stdin.read()"
    )
    arguments = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None
        port = int(command.stdout.readline())
        assert not is_free(port)
        command.kill()
    deadline = time.monotonic() + 20
    while processes_naming(folder):
        assert time.monotonic() < deadline, processes_naming(folder)
        time.sleep(0.05)
    assert is_free(port)


@needs_root
def test_started_by_root_it_runs_under_an_account_of_its_own(folder: Path) -> None:
    place = postgres_place(folder, folder.name, the_account())
    postgres.ensure_cluster(place, "secret")
    assert pwd.getpwuid(place.data.stat().st_uid).pw_name == SYSTEM_USER
    with running_cluster(place, folder) as port:
        assert asyncio.run(ask(port, "secret")) == 1


@needs_root
def test_data_moves_out_of_a_closed_directory_whose_permissions_stay(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    reachable = folder / "reachable"
    place = postgres_place(closed, "an-id", the_account(), reachable=reachable)
    assert place.data == reachable / "an-id" / "postgres"
    assert postgres_place(closed, "an-id", the_account(), reachable=reachable) == place
    assert closed.stat().st_mode & 0o777 == 0o700


@needs_root
def test_binaries_in_a_closed_directory_are_copied_where_they_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = places.packaged_installation().parent
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    for part in (package, package.with_name(package.name + ".libs")):
        (closed / part.name).symlink_to(part)
    monkeypatch.setattr(places, "packaged_installation", lambda: closed / package.name / "pginstall")
    place = postgres_place(folder, "an-id", the_account(), reachable=folder / "reachable")
    assert place.binaries.is_relative_to(folder / "reachable")
    postgres.ensure_cluster(place, "secret")
    with running_cluster(place, folder) as port:
        assert asyncio.run(ask(port, "secret")) == 1
    assert closed.stat().st_mode & 0o777 == 0o700


@needs_root
def test_a_copied_data_directory_does_not_share_the_original_s_database(folder: Path) -> None:
    original, copy = folder / "original", folder / "copy"
    for path in (original, copy):
        path.mkdir(mode=0o700)
        (path / "stack.json").write_text('{"id": "an-id"}')
    postgres_place(original, "an-id", the_account(), reachable=folder / "reachable")
    with pytest.raises(StackError, match="is a copy of"):
        postgres_place(copy, "an-id", the_account(), reachable=folder / "reachable")


@needs_root
def test_orphans_are_collected_and_the_owned_stay(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reachable = folder / "reachable"
    owned, gone = folder / "owned", folder / "gone"
    for path, name in ((owned, "owned-id"), (gone, "gone-id")):
        path.mkdir(mode=0o700)
        (path / "stack.json").write_text(f'{{"id": "{name}"}}')
        place: PostgresPlace = postgres_place(path, name, the_account(), reachable=reachable)
        place.data.mkdir()
    (gone / "stack.json").unlink()
    collect_orphans(0, reachable=reachable)
    assert sorted(path.name for path in reachable.iterdir()) == ["owned-id"]

    (owned / "stack.json").unlink()
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/nowhere")  # now it is no temporary directory
    (reachable / "owned-id" / "orphaned_since").touch()  # another `up` is about to note it
    collect_orphans(0, reachable=reachable)
    assert (reachable / "owned-id").exists(), "the disk may only be absent today"
    collect_orphans(8 * DAY_SECONDS, reachable=reachable)
    assert not (reachable / "owned-id").exists()
