"""The account that runs Postgres.

Postgres refuses uid 0, so a stack started by root runs it as a system user of its own. That user has to reach the
binaries and the data; where a closed directory lies on the way they are placed elsewhere (see `places`), because
permissions of directories that were there before are never widened.
"""

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from services.cli.errors import StackError

SYSTEM_USER = "shadowbook"
FALLBACK_USER = "nobody"
LOOKUP_TIMEOUT_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Account:
    """A user other than the caller, for programs that must not run as root."""

    name: str
    uid: int
    gid: int

    def run(self, arguments: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        """Run a short command as this account, with no privilege of the caller's left."""
        return subprocess.run(  # type: ignore[call-overload, no-any-return]
            arguments, user=self.uid, group=self.gid, extra_groups=[], text=True, capture_output=True, check=False,
            cwd="/", **options,
        )  # fmt: skip

    def can(self, flag: str, path: Path) -> bool:
        """Tell whether the account passes `test FLAG PATH`; asked of the kernel, so that ACLs count too."""
        return (
            self.run(
                ["/bin/sh", "-c", 'test "$1" "$2"', "sh", flag, str(path)], timeout=LOOKUP_TIMEOUT_SECONDS
            ).returncode
            == 0
        )


def database_account() -> Account | None:
    """Return the account Postgres has to run under, creating it if needed; None when the caller may run it."""
    if os.geteuid() != 0:
        return None
    for name in (SYSTEM_USER, FALLBACK_USER):
        if name == SYSTEM_USER and not _exists(name):
            _create(name)
        if _exists(name):
            entry = pwd.getpwnam(name)
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise StackError(
        f"Postgres does not run as root, and neither {SYSTEM_USER!r} nor {FALLBACK_USER!r} exists here: "
        f"create a system user with `useradd --system {SYSTEM_USER}` and start again"
    )


def account_of(path: Path) -> Account:
    """Return the owner of a path: a cluster can only be run by the account it belongs to."""
    status = path.stat()
    try:
        name = pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        name = str(status.st_uid)
    return Account(name, status.st_uid, status.st_gid)


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _create(name: str) -> None:
    """Create the system user; a failure is no error, because a fallback follows and a second stack may have won."""
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if useradd is None:
        return
    arguments = [useradd, "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    arguments += ["--shell", "/usr/sbin/nologin", name]
    subprocess.run(arguments, capture_output=True, check=False, timeout=LOOKUP_TIMEOUT_SECONDS)
