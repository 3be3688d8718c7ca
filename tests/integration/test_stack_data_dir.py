"""The data directory: lock, memory, secrets, and the market it belongs to."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from services.cli.errors import CommandError
from services.cli.stack.data_dir import InUseError, Memory, chosen_root, hold, holder, load_secrets, open_data_dir
from services.cli.stack.market import MarketRequest, agreed_market

NOTHING_SAID = MarketRequest(tape=None, speed=None, seed=None, live=False)


def a_tape(folder: Path, name: str = "a") -> Path:
    folder.mkdir(parents=True)
    (folder / "tape.json").write_text(json.dumps({"name": name}))
    (folder / "activity.jsonl").write_text("{}\n")
    return folder


def test_a_second_holder_is_refused_and_told_who_is_first(tmp_path: Path) -> None:
    data_dir = open_data_dir(tmp_path / "var")
    named = rf"`shadowbook up` \(process {os.getpid()}\)"
    with hold(data_dir, "up"), pytest.raises(InUseError, match=named), hold(data_dir, "export"):
        pass
    assert holder(data_dir) is None


def test_the_lock_ends_with_the_process_that_held_it(tmp_path: Path) -> None:
    data_dir = open_data_dir(tmp_path / "var")
    code = (
        "import sys; from pathlib import Path; from services.cli.stack.data_dir import *\n"
        "with hold(DataDir(Path(sys.argv[1])), 'up'):\n    print('held', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(data_dir.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert holder(data_dir) == {"pid": process.pid, "command": "up"}
        process.send_signal(signal.SIGKILL)
    with hold(data_dir, "down"):
        assert holder(data_dir) == {"pid": os.getpid(), "command": "down"}


def test_secrets_are_drawn_once_and_closed_to_others(tmp_path: Path) -> None:
    data_dir = open_data_dir(tmp_path / "var")
    first = load_secrets(data_dir)
    assert load_secrets(data_dir) == first
    assert (data_dir.root / "secrets.json").stat().st_mode & 0o777 == 0o600
    assert len({*first["postgres"].values(), *first["redis"].values()}) == 14


def test_a_secret_that_is_missing_is_added_and_the_others_stay(tmp_path: Path) -> None:
    data_dir = open_data_dir(tmp_path / "var")
    first = load_secrets(data_dir)
    kept = {"postgres": {"operator": first["postgres"]["operator"]}}
    (data_dir.root / "secrets.json").write_text(json.dumps(kept))
    second = load_secrets(data_dir)
    assert second["postgres"]["operator"] == first["postgres"]["operator"]
    assert second["postgres"]["ui"] != first["postgres"]["ui"]


def test_a_file_is_no_data_directory(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("")
    with pytest.raises(CommandError, match="is a file: name a directory"):
        open_data_dir(tmp_path / "var")


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_a_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(CommandError, match="cannot be written"):
        open_data_dir(closed / "var")


def test_a_path_that_would_break_a_configuration_file_is_refused() -> None:
    with pytest.raises(CommandError, match="use a plain path"):
        chosen_root(Path("/tmp/50%;x"))


def test_an_existing_directory_keeps_its_permissions(tmp_path: Path) -> None:
    root = tmp_path / "var"
    root.mkdir(mode=0o700)
    open_data_dir(root)
    assert root.stat().st_mode & 0o777 == 0o700


def test_a_data_directory_remembers_ports_and_identity(tmp_path: Path) -> None:
    first = Memory(tmp_path / "stack.json")
    first.remember(ports={"postgres": 15001})
    second = Memory(tmp_path / "stack.json")
    assert (second.stack_id, second.ports) == (first.stack_id, {"postgres": 15001})


def test_without_options_the_remembered_market_goes_on(tmp_path: Path) -> None:
    request = MarketRequest(tape=a_tape(tmp_path / "tape"), speed=8, seed=None, live=False)
    market = agreed_market(request, None, tmp_path)
    assert agreed_market(NOTHING_SAID, market.remembered(), tmp_path) == market


def test_another_tape_is_refused_and_a_moved_one_is_the_same(tmp_path: Path) -> None:
    tape = a_tape(tmp_path / "tape")
    known = agreed_market(MarketRequest(tape, None, None, live=False), None, tmp_path).remembered()
    moved = tape.rename(tmp_path / "moved")
    assert agreed_market(MarketRequest(moved, None, None, live=False), known, tmp_path).tape == str(moved)
    other = a_tape(tmp_path / "other", name="b")
    with pytest.raises(CommandError, match=r"holds the data of tape .*, not of tape .*other"):
        agreed_market(MarketRequest(other, None, None, live=False), known, tmp_path)


@pytest.mark.parametrize(
    "request_",
    [
        MarketRequest(None, 2.0, None, live=False),
        MarketRequest(None, None, 5, live=False),
        MarketRequest(None, None, None, live=True),
    ],
)
def test_another_speed_seed_or_exchange_is_refused(tmp_path: Path, request_: MarketRequest) -> None:
    known = agreed_market(NOTHING_SAID, None, tmp_path).remembered()
    with pytest.raises(CommandError, match="use another --data-dir"):
        agreed_market(request_, known, tmp_path)
