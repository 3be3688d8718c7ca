"""The supervisor and what is left when it is killed, with Valkey as the one program."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from services.cli.stack import leftovers, valkey
from services.cli.stack.apart import Errand
from services.cli.stack.data_dir import DataDir, open_data_dir
from services.cli.stack.ports import free_port
from services.cli.stack.programs import VALKEY
from services.cli.stack.supervisor import Launch, Supervisor, write_configuration

pytestmark = pytest.mark.integration
STACK_ID = "test-supervisor"
PATIENCE_SECONDS = 20
LOOK_INTERVAL_SECONDS = 0.02


def eventually(what: str, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"did not happen within {PATIENCE_SECONDS} s: {what}"
        time.sleep(LOOK_INTERVAL_SECONDS)


class OneProgramStack:
    """A supervisor with a Valkey."""

    def __init__(self, data_dir: DataDir) -> None:
        self.data_dir, self.port = data_dir, free_port()
        self.place = valkey.ValkeyPlace(data_dir.root / "valkey")
        valkey.configure(self.place, self.port, {"operator": "secret"}, {"operator": "~* &* +@all"})
        write_configuration(data_dir, STACK_ID, [Launch(VALKEY, valkey.command(self.place), None, {"LANG": "C"})])
        self.supervisor = Supervisor(data_dir, STACK_ID)

    def start(self) -> None:
        self.supervisor.start()
        self.supervisor.wait_answering()
        self.supervisor.start_program("valkey")
        valkey.wait_ready(self.port, "secret")

    def processes(self) -> list[psutil.Process]:
        return leftovers.processes_of(STACK_ID, [str(self.place.configuration)])

    def valkey_pid(self) -> int:
        return int(self.supervisor.programs()[0]["pid"])


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[OneProgramStack]:
    stack = OneProgramStack(open_data_dir(tmp_path / "var"))
    stack.start()
    yield stack
    leftovers.end(stack.processes(), grace_seconds=5, hurry=True)
    stack.supervisor.wait_ended(5)


def test_a_killed_program_is_started_again(stack: OneProgramStack) -> None:
    first = stack.valkey_pid()
    psutil.Process(first).kill()
    eventually("another process", lambda: stack.valkey_pid() not in {0, first})
    valkey.wait_ready(stack.port, "secret")


def test_a_stopped_program_stays_stopped(stack: OneProgramStack) -> None:
    stack.supervisor.stop_program("valkey")
    eventually("stopped", lambda: not stack.supervisor.running_programs())
    assert [process.pid for process in stack.processes()] == [stack.supervisor.pid()]


def test_a_shutdown_leaves_no_process_and_no_socket(stack: OneProgramStack) -> None:
    stack.supervisor.shut_down()
    assert stack.supervisor.wait_ended(PATIENCE_SECONDS)
    stack.supervisor.clear_socket()
    assert stack.processes() == []
    assert not list(stack.data_dir.root.rglob("*.sock"))


def test_what_a_killed_supervisor_leaves_is_found_and_ended(stack: OneProgramStack) -> None:
    pid = stack.valkey_pid()
    psutil.Process(stack.supervisor.pid()).kill()
    eventually("the supervisor gone", lambda: not stack.supervisor.is_alive())
    assert [process.pid for process in stack.processes()] == [pid]
    leftovers.end(stack.processes(), grace_seconds=5)
    assert stack.processes() == []


def test_a_neighbour_s_processes_are_not_touched(stack: OneProgramStack, tmp_path: Path) -> None:
    sign = str(valkey.ValkeyPlace(tmp_path / "var2" / "valkey").configuration)
    assert leftovers.processes_of("another-id", [sign]) == []
    assert stack.processes()


def test_a_hurried_end_is_complete_too(stack: OneProgramStack) -> None:
    leftovers.end(stack.processes(), grace_seconds=5, hurry=True)
    assert stack.processes() == []


def test_the_program_s_environment_is_its_own(stack: OneProgramStack, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = set(psutil.Process(stack.valkey_pid()).environ())
    expected = {"PATH", "HOME", "LANG", "STACK_ID", "PYTHONUNBUFFERED"}
    assert {name for name in variables if not name.startswith("SUPERVISOR_")} <= expected


def test_all_ends_when_the_one_who_started_it_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from tests.integration.test_stack_supervisor import OneProgramStack\n"
        "from services.cli.stack.data_dir import open_data_dir\n"
        "stack = OneProgramStack(open_data_dir(Path(sys.argv[1])))\n"
        "stack.start(); print('up', flush=True); sys.stdin.read()"
    )
    root = tmp_path / "var"
    starter = subprocess.Popen(
        [sys.executable, "-c", code, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    sign = str(valkey.ValkeyPlace(root / "valkey").configuration)
    with starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "up\n"
        assert leftovers.processes_of(STACK_ID, [sign])
        starter.send_signal(signal.SIGKILL)
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(lambda: leftovers.end(leftovers.processes_of(STACK_ID, [sign]), grace_seconds=5, hurry=True))
        eventually("no process left", lambda: not leftovers.processes_of(STACK_ID, [sign]))


def test_a_long_path_gets_its_socket_elsewhere(tmp_path: Path) -> None:
    stack = OneProgramStack(open_data_dir(tmp_path / ("long-" * 25)))
    try:
        stack.start()
        assert not stack.data_dir.control_socket(STACK_ID).is_relative_to(tmp_path)
    finally:
        leftovers.end(stack.processes(), grace_seconds=5)
        stack.supervisor.wait_ended(5)
        stack.supervisor.clear_socket()
    assert not stack.data_dir.control_socket(STACK_ID).parent.exists()


def _shout() -> None:
    raise ValueError("too loud")


def _vanish() -> None:
    psutil.Process().kill()


def test_an_errand_returns_what_it_found_and_raises_what_went_wrong() -> None:
    assert Errand(sorted, [3, 1, 2]).result() == [1, 2, 3]
    with pytest.raises(Exception, match="_shout: ValueError: too loud"):
        Errand(_shout).result()
    with pytest.raises(Exception, match="_vanish died before it was done"):
        Errand(_vanish).result()
