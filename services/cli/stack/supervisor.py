"""The supervisor: its generated configuration, its process, and what is said to it over its socket."""

import contextlib
import http.client
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from services.cli.errors import StackError
from services.cli.stack.data_dir import DataDir, write_private
from services.cli.stack.leftovers import MARK
from services.cli.stack.parent_death import end_with_parent
from services.cli.stack.programs import Program, repository_root

START_TIMEOUT_SECONDS = 20.0
PROBE_INTERVAL_SECONDS = 0.03
LIFECYCLE = """autostart=false
autorestart=true
startsecs=1
startretries=1000000
stopwaitsecs=30
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile={log}
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=3"""
RUNNING_STATES = frozenset({"STARTING", "RUNNING", "BACKOFF", "STOPPING"})


@dataclass(frozen=True, slots=True)
class Launch:
    """How one program is run."""

    program: Program
    command: list[str] | None  # None: the template's own
    user: str | None
    environment: Mapping[str, str]


def write_configuration(data_dir: DataDir, stack_id: str, launches: list[Launch]) -> None:
    """Fill in the templates; files of programs that are no more are removed."""
    templates = repository_root() / "deploy" / "supervisor"
    programs = data_dir.supervisor / "programs"
    programs.mkdir(mode=0o700, exist_ok=True)
    for stale in programs.glob("*.conf"):
        stale.unlink()
    socket_path = data_dir.control_socket(stack_id)
    _ensure_own_folder(socket_path.parent)
    values = {"logs": data_dir.logs, "run": data_dir.supervisor, "socket": socket_path, "stack_id": stack_id}
    _fill(templates / "00-supervisord.conf", data_dir.supervisor / "supervisord.conf", values)
    for launch in launches:
        number = launch.program.template.split("-")[0]
        _fill(
            templates / launch.program.template,
            programs / f"{number}-{launch.program.name}.conf",
            {
                "name": launch.program.name,
                "python": shlex.quote(sys.executable),
                "directory": repository_root(),
                "command": shlex.join(launch.command or []),
                "user": f"user={launch.user}" if launch.user else "",
                "environment": ",".join(f'{name}="{value}"' for name, value in launch.environment.items()),
                "lifecycle": LIFECYCLE.format(log=data_dir.log(launch.program.name)),
            },
        )


class Supervisor:
    """One supervisord, started by this process or found through its socket."""

    def __init__(self, data_dir: DataDir, stack_id: str) -> None:
        self._data_dir = data_dir
        self._stack_id = stack_id
        self._socket = data_dir.control_socket(stack_id)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start supervisord in a session of its own; it stops everything by itself when this process dies."""
        self._socket.unlink(missing_ok=True)
        arguments = [
            sys.executable,
            "-m",
            "supervisor.supervisord",
            "-c",
            str(self._data_dir.supervisor / "supervisord.conf"),
        ]
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        environment |= {MARK: self._stack_id, "PYTHONUNBUFFERED": "1"}
        with self._data_dir.log("supervisord-stderr").open("ab") as sink:
            self._process = subprocess.Popen(
                arguments, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=sink,
                cwd=self._data_dir.root, start_new_session=True, preexec_fn=end_with_parent(signal.SIGTERM),  # noqa: PLW1509 - it makes one system call
            )  # fmt: skip

    def wait_answering(self) -> None:
        """Return when the supervisor takes orders."""
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not self.answers():
            if not self.is_alive() or time.monotonic() > deadline:
                raise StackError(f"the supervisor did not start: see {self._data_dir.log('supervisord')}")
            time.sleep(PROBE_INTERVAL_SECONDS)

    def is_alive(self) -> bool:
        """Tell whether the supervisor this process started still runs."""
        return self._process is not None and self._process.poll() is None

    def answers(self) -> bool:
        """Tell whether a supervisor answers on the socket."""
        try:
            self._call("supervisor.getState")
        except (OSError, http.client.HTTPException, xmlrpc.client.Error):
            return False
        return True

    def start_program(self, name: str) -> None:
        """Start a program without waiting for it; one that runs is left alone."""
        with contextlib.suppress(xmlrpc.client.Fault):
            self._call("supervisor.startProcess", name, False)

    def stop_program(self, name: str) -> None:
        """Ask a program to stop without waiting for it."""
        with contextlib.suppress(xmlrpc.client.Fault):
            self._call("supervisor.stopProcess", name, False)

    def programs(self) -> list[dict[str, Any]]:
        """Return what the supervisor knows of each program: name, statename, pid, start, now, spawnerr."""
        answer: list[dict[str, Any]] = self._call("supervisor.getAllProcessInfo")
        return answer

    def running_programs(self) -> set[str]:
        """Return the names of programs that have not stopped."""
        return {info["name"] for info in self.programs() if info["statename"] in RUNNING_STATES}

    def pid(self) -> int:
        """Return the supervisor's process id."""
        answer: int = self._call("supervisor.getPID")
        return answer

    def shut_down(self) -> None:
        """Ask the supervisor to end."""
        with contextlib.suppress(OSError, http.client.HTTPException, xmlrpc.client.Error):
            self._call("supervisor.shutdown")

    def wait_ended(self, seconds: float) -> bool:
        """Wait for the supervisor this process started to end; tells whether it did."""
        if self._process is None:
            return True
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.poll() is not None

    def clear_socket(self) -> None:
        """Remove the socket, and its folder where that lies outside of the data directory."""
        self._socket.unlink(missing_ok=True)
        if not self._socket.is_relative_to(self._data_dir.root):
            with contextlib.suppress(OSError):
                self._socket.parent.rmdir()

    def _call(self, method: str, *arguments: Any) -> Any:
        with xmlrpc.client.ServerProxy("http://localhost", transport=_SocketTransport(self._socket)) as proxy:
            return getattr(proxy, method)(*arguments)


class _SocketTransport(xmlrpc.client.Transport):
    """XML-RPC over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        """Connect to the socket, whatever the host is called; the transport closes the connection it knows of."""
        self._connection = host, _SocketConnection(self._path)
        return self._connection[1]


class _SocketConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        """Open the unix socket."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self.timeout)
        try:
            connection.connect(str(self._path))
        except OSError:
            connection.close()
            raise
        self.sock = connection


def _ensure_own_folder(folder: Path) -> None:
    """Make a folder for the socket, or check that the one that exists is ours and closed."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise StackError(f"{folder} belongs to someone else or is open to others: remove it and start again")


def _fill(template: Path, target: Path, values: Mapping[str, object]) -> None:
    # A percent sign starts an expansion in the supervisor's files.
    text = Template(template.read_text()).substitute(
        {name: str(value).replace("%", "%%") for name, value in values.items()}
    )
    write_private(target, text)
