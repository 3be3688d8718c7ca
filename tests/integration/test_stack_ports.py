"""Ports: stacks that start at the same time do not choose the same one."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.cli.errors import CommandError
from services.cli.stack import ports
from services.cli.stack.assembly import choose_ports
from services.cli.stack.data_dir import Memory
from services.cli.stack.ports import claim, free_port, is_free

pytestmark = pytest.mark.integration

CHOOSE = "from services.cli.stack.ports import free_port; print(free_port(), flush=True); input()"
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="ports are claimed on Linux alone")


@pytest.fixture
def other() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Another process and the port it has chosen, where it does not listen yet."""
    with subprocess.Popen(
        [sys.executable, "-c", CHOOSE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
        process.kill()


@needs_linux
def test_a_port_another_process_has_chosen_is_passed_over_until_it_ends(
    other: tuple[subprocess.Popen[str], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, theirs = other
    assert is_free(theirs)
    assert not claim(theirs)
    memory = Memory(tmp_path / "stack.json")
    memory.remember(ports={"postgres": theirs})
    choose_ports(memory, live=False, requested=None)
    assert memory.ports["postgres"] != theirs
    process.kill()
    process.wait()
    monkeypatch.setattr(ports, "FIRST", theirs)
    monkeypatch.setattr(ports, "LAST", theirs)
    assert free_port() == theirs


def test_a_process_gets_each_port_once_and_none_that_is_listened_on(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = free_port()
    assert claim(chosen)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert not claim(listener.getsockname()[1])
    monkeypatch.setattr(ports, "FIRST", chosen)
    monkeypatch.setattr(ports, "LAST", chosen)
    with pytest.raises(CommandError, match="no free TCP port"):
        free_port()


def test_a_requested_port_is_taken_whoever_else_has_chosen_it(
    other: tuple[subprocess.Popen[str], int], tmp_path: Path
) -> None:
    memory = Memory(tmp_path / "stack.json")
    choose_ports(memory, live=False, requested=other[1])
    assert memory.ports["dashboard"] == other[1]
    assert len(set(memory.ports.values())) == len(memory.ports)
