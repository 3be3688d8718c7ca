"""The data directory: its layout, what it remembers between runs, its secrets and its lock.

::

    stack.json      identity, ports, the market it belongs to
    secrets.json    passwords, 0600
    lock            held while a stack or a session uses the directory
    supervisor/     generated configuration, 0700
    logs/           one file a process
    postgres/ valkey/ sandbox/
"""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.cli.errors import CommandError

DEFAULT = Path("var")
SERVICES = ("ingest", "grouper", "simulator", "ledger", "pricer", "ui")
FORBIDDEN = '";%\n\r'  # these would change the meaning of a configuration file that names a path
SOCKET_PATH_MAX = 90  # the kernel's limit is 107 bytes; the supervisor appends its process id while it binds


@dataclass(frozen=True, slots=True)
class DataDir:
    """An existing, writable data directory."""

    root: Path

    @property
    def logs(self) -> Path:
        """One log file a process."""
        return self.root / "logs"

    @property
    def supervisor(self) -> Path:
        """Generated supervisor configuration; holds passwords."""
        return self.root / "supervisor"

    def log(self, name: str) -> Path:
        """Return the log file of a program."""
        return self.logs / f"{name}.log"

    def control_socket(self, stack_id: str) -> Path:
        """Return the supervisor's socket, elsewhere when the data directory's path is too long for one."""
        path = self.supervisor / "control.sock"
        if len(os.fsencode(path)) <= SOCKET_PATH_MAX:
            return path
        return Path("/tmp") / f"shadowbook-{stack_id}" / "control.sock"  # noqa: S108 - made 0700 by us alone


def chosen_root(option: Path | None) -> Path:
    """Return the data directory a command was pointed at: option, else environment (read by the option), else ./var."""
    root = Path(os.path.abspath((option or DEFAULT).expanduser()))  # noqa: PTH100 - symlinks keep their name
    if any(character in str(root) for character in FORBIDDEN):
        raise CommandError(
            f"--data-dir {str(root)!r} has a quote, semicolon, percent sign or line break: use a plain path"
        )
    return root


def open_data_dir(root: Path) -> DataDir:
    """Create the directory and its folders where they are missing; raises CommandError when it cannot be used."""
    if root.exists() and not root.is_dir():
        raise CommandError(f"--data-dir {root} is a file: name a directory")
    try:
        _make_folder(root, 0o755)
        for name, mode in (("logs", 0o750), ("supervisor", 0o700)):
            _make_folder(root / name, mode)
        probe = root / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise CommandError(
            f"--data-dir {root} cannot be written ({error.strerror}): choose another or fix its owner"
        ) from error
    return DataDir(root)


def existing_data_dir(root: Path) -> DataDir:
    """Return a directory in which a stack has run before; raises CommandError when there is none."""
    if not (root / "stack.json").exists():
        raise CommandError(f"no stack has been started in {root}: run `make up`, or say which with --data-dir")
    if not os.access(root / "stack.json", os.R_OK) or not os.access(root / "secrets.json", os.R_OK):
        raise CommandError(f"{root} belongs to another user: run this as the user who started the stack")
    return DataDir(root)


class Memory:
    """What a data directory remembers (`stack.json`); every change is written at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._values: dict[str, Any] = json.loads(path.read_text())
        except FileNotFoundError:
            self._values = {"id": secrets.token_hex(6), "ports": {}, "market": None}
            self._write()
        except ValueError as error:
            raise CommandError(f"{path} is not JSON ({error}): restore it, or use another --data-dir") from error

    @property
    def stack_id(self) -> str:
        """The stack's name on this machine, random and for ever."""
        return str(self._values["id"])

    @property
    def ports(self) -> dict[str, int]:
        """Port by program."""
        return dict(self._values["ports"])

    @property
    def market(self) -> dict[str, Any] | None:
        """The market this directory's data came from; None before the first start."""
        market: dict[str, Any] | None = self._values["market"]
        return market

    @property
    def is_set_going(self) -> bool:
        """Whether the market's wallets have been followed and its own config applied."""
        return bool(self._values.get("set_going"))

    def remember(self, **values: Any) -> None:
        """Store values under their names."""
        self._values |= values
        self._write()

    def _write(self) -> None:
        write_private(self._path, json.dumps(self._values, indent=1) + "\n", mode=0o644)


def load_secrets(data_dir: DataDir) -> dict[str, Any]:
    """Return the stack's secrets, drawing those that are missing: `postgres` and `redis` passwords, `ui` storage."""
    path = data_dir.root / "secrets.json"
    try:
        stored: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        stored = {}
    except ValueError as error:
        raise CommandError(
            f"{path} is not JSON ({error}): restore it from a backup; without it no database opens"
        ) from error
    names = ("operator", *SERVICES)
    complete = {
        "postgres": {name: secrets.token_urlsafe(24) for name in names} | stored.get("postgres", {}),
        "redis": {name: secrets.token_urlsafe(24) for name in names} | stored.get("redis", {}),
        "ui": {"storage": secrets.token_urlsafe(32)} | stored.get("ui", {}),
    }
    if complete != stored:
        write_private(path, json.dumps(complete, indent=1) + "\n")
    return complete


@contextmanager
def hold(data_dir: DataDir, command: str) -> Iterator[None]:
    """Hold the directory's lock for a block; raises CommandError naming who holds it. It ends with the process."""
    descriptor = os.open(data_dir.root / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InUseError(data_dir.root, holder(data_dir)) from None
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "command": command}).encode(), 0)
        yield
        os.truncate(descriptor, 0)
    finally:
        os.close(descriptor)


class InUseError(CommandError):
    """Another process holds the data directory."""

    def __init__(self, root: Path, holder: Mapping[str, Any] | None) -> None:
        self.holder = holder
        who = f"`shadowbook {holder['command']}` (process {holder['pid']})" if holder else "another process"
        super().__init__(f"{root} is in use by {who}: stop it with `shadowbook down --data-dir {root}` or use another")


def holder(data_dir: DataDir) -> dict[str, Any] | None:
    """Return `{"pid", "command"}` of the process that holds the directory; None when nobody does."""
    try:
        descriptor = os.open(data_dir.root / "lock", os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        try:
            written: dict[str, Any] = json.loads(os.pread(descriptor, 1000, 0))
        except ValueError:  # it has the lock but has not said its name yet
            return {"pid": 0, "command": "?"}
        return written
    finally:
        os.close(descriptor)
    return None


def write_private(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Replace a file in one step; only its owner may read it unless `mode` says more."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}.new")
    scratch.unlink(missing_ok=True)
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)


def _make_folder(folder: Path, mode: int) -> None:
    """Create a folder with this mode; one that exists keeps its own."""
    if not folder.is_dir():
        folder.mkdir(parents=True)
        folder.chmod(mode)
