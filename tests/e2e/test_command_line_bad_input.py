"""Bad input gets one line that says what was expected, exit code 2, and changes nothing."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.cli.stack.data_dir import Memory, hold, load_secrets, open_data_dir
from services.cli.stack.ports import free_port
from tests.support.command_line import Outcome, command, environment, shadowbook

pytestmark = pytest.mark.e2e


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", free_port())) as server:
        yield server.getsockname()[1]


def assert_refused(outcome: Outcome, *expected: str) -> None:
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    assert outcome.err.startswith("shadowbook: ")
    assert outcome.err.count("\n") == 1, outcome.err
    for text in expected:
        assert text in outcome.err


def write_tape(folder: Path, **files: str) -> Path:
    folder.mkdir()
    head: dict[str, Any] = {"name": "t", "start_ms": 1_000_000_000_000, "end_ms": 1_000_000_060_000, "api_lag_ms": 0}
    head |= {"wallets": [{"label": "w", "wallet": "0x" + "a" * 40}]}
    (folder / "tape.json").write_text(files.pop("head", json.dumps(head)))
    for name in ("activity", "books", "markets"):
        (folder / f"{name}.jsonl").write_text(files.get(name, ""))
    return folder


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["up", "--bogus"], "No such option: --bogus"),
        (["up", "--speed", "fast"], "'--speed'"),
        (["up", "--speed", "0"], "--speed must be above 0"),
        (["up", "--speed", "nan"], "--speed must be above 0"),
        (["up", "--seed", "-1"], "--seed must be 0 or more"),
        (["up", "--tape", "/nowhere"], "expected a folder with a tape.json"),
        (["up", "--faults", "/nowhere"], "/nowhere"),
        (["up", "--config", "/nowhere"], "/nowhere"),
        (["up", "--live", "--speed", "2"], "--live shows the real exchange"),
        (["up", "--exit-when-drained"], "--exit-when-drained needs a tape"),
        (["up", "--port", "99999"], "--port must be between 1 and 65535"),
        (["upp"], "No such command 'upp'"),
        (["status"], "no stack has been started"),
        (["export", "everything"], "choose one of"),
        (["replay", "--since", "yesterday"], "--since: expected a duration (30m, 24h, 7d)"),
        (["skips", "--scope", "all"], "--scope: expected global or user"),
        (["export", "events", "--format", "xml"], "'--format'"),
        (["export", "events", "--out", "/"], "it is a folder"),
        (["follow"], "Missing argument"),
        (["backfill", "--user", "x"], "--hours"),
        (["backfill", "--hours", "1"], "either --user NAME or --all"),
        (["backfill", "--all", "--hours", "0"], "--hours: expected a whole number from 1 to 26280, got '0'"),
        (["coverage", "--hours", "0"], "--hours: expected a whole number from 1 to 8784, got '0'"),
        (["gap", "--hours", "1.5"], "--hours: expected a whole number from 1 to 8784, got '1.5'"),
        (["test-config", "x", "--hours", "-1"], "--hours: expected a whole number from 1 to 744, got '-1'"),
        (["logs", "--lines", "-5"], "--lines"),
        (["deposit", "1_000"], "expected USDC above 0 with at most six decimals"),
        (["deposit", "\u0661\u0662"], "expected USDC above 0"),
        (["deposit", "15e-7"], "expected USDC above 0"),
        (["withdraw", "0.0000001"], "expected USDC above 0"),
        (["withdraw", "--", "-5"], "expected USDC above 0"),
        (["deposit", "1" + "0" * 30], "expected USDC above 0"),
        (["deposit", "NaN"], "expected USDC above 0"),
        (["dlq", "discard", "1234"], "see `shadowbook dlq discard --help`"),
    ],
)
def test_a_wrong_request_is_refused_in_one_line(tmp_path: Path, arguments: list[str], expected: str) -> None:
    assert_refused(shadowbook(*arguments, cwd=tmp_path), expected)
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_has_seen_enough_ends_a_command_without_a_word() -> None:
    unread, written = os.pipe()
    os.close(unread)
    try:
        done = subprocess.run(
            command("--help"), stdout=written, stderr=subprocess.PIPE, text=True, check=False, env=environment()
        )
    finally:
        os.close(written)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.parametrize("command", [[], ["dlq"], ["config"]])
def test_a_command_that_only_groups_others_answers_with_its_help(tmp_path: Path, command: list[str]) -> None:
    outcome = shadowbook(*command, cwd=tmp_path)
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith(f"Usage: {' '.join(['shadowbook', *command])} [OPTIONS] COMMAND")
    assert "\nCommands:\n" in outcome.err


def test_the_list_of_commands_cuts_no_sentence_short(tmp_path: Path) -> None:
    assert "..." not in shadowbook("--help", cwd=tmp_path).out.partition("Commands:")[2]


@pytest.mark.parametrize("command", ["up", "status", "down", "login", "verify", "export events", "follow 0x1"])
def test_a_data_directory_that_is_a_file_is_refused(tmp_path: Path, command: str) -> None:
    file = tmp_path / "var"
    file.write_text("mine")
    assert_refused(shadowbook(*command.split(), "--data-dir", str(file)), str(file))
    assert file.read_text() == "mine"


def test_a_malformed_tape_line_is_named_with_file_and_line(tmp_path: Path) -> None:
    tape = write_tape(tmp_path / "tape", books='{"asset_id": "1"\n')
    assert_refused(shadowbook("up", "--tape", str(tape), "--data-dir", str(tmp_path / "var")), "books.jsonl:1:")
    assert not (tmp_path / "var").exists()


def test_a_tape_without_a_usable_head_is_refused(tmp_path: Path) -> None:
    tape = write_tape(tmp_path / "tape", head='{"name": "t"}')
    assert_refused(shadowbook("up", "--tape", str(tape), "--data-dir", str(tmp_path / "var")), "tape.json")
    assert not (tmp_path / "var").exists()


def test_a_malformed_fault_is_named_with_file_and_line(tmp_path: Path) -> None:
    faults = tmp_path / "faults.jsonl"
    faults.write_text('{"at_s": 1, "for_s": 2, "fault": "earthquake", "target": "data"}\n')
    outcome = shadowbook("up", "--faults", str(faults), "--data-dir", str(tmp_path / "var"))
    assert_refused(outcome, "faults.jsonl:1:")
    assert not (tmp_path / "var").exists()


def test_a_taken_port_is_refused(tmp_path: Path, taken_port: int) -> None:
    outcome = shadowbook("up", "--port", str(taken_port), "--data-dir", str(tmp_path / "var"))
    assert_refused(outcome, f"--port {taken_port} is taken")
    assert not (tmp_path / "var").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may use every port")
def test_a_port_below_1024_is_refused_to_an_ordinary_user(tmp_path: Path) -> None:
    assert_refused(shadowbook("up", "--port", "80", "--data-dir", str(tmp_path / "var")), "--port 80 needs root")


def test_a_data_directory_in_use_is_refused_and_its_user_named(tmp_path: Path) -> None:
    data_dir = open_data_dir(tmp_path / "var")
    with hold(data_dir, "up"):
        outcome = shadowbook("up", "--data-dir", str(data_dir.root))
    assert_refused(outcome, f"{data_dir.root} is in use by `shadowbook up` (process {os.getpid()})", "shadowbook down")


def test_a_command_that_needs_the_stack_says_that_it_is_down(tmp_path: Path) -> None:
    data_dir = open_data_dir(tmp_path / "var")
    ports = {name: free_port() for name in ("postgres", "valkey", "sandbox")}
    Memory(data_dir.root / "stack.json").remember(ports=ports, market={"kind": "synthetic"})
    load_secrets(data_dir)
    wallet = "0x" + "a" * 40
    assert_refused(shadowbook("follow", wallet, "--data-dir", str(data_dir.root)), "is down: start it with")
    assert_refused(shadowbook("probe", "--data-dir", str(data_dir.root)), "is down", "start it with", "--live")


def test_another_tape_in_the_same_data_directory_is_refused(tmp_path: Path) -> None:
    data_dir = open_data_dir(tmp_path / "var")
    market = {"kind": "tape", "speed": 1.0, "seed": 1, "tape": "/tapes/a", "fingerprint": "0" * 16}
    Memory(data_dir.root / "stack.json").remember(market=market)
    before = (data_dir.root / "stack.json").read_text()
    tape = write_tape(tmp_path / "tape")
    assert_refused(
        shadowbook("up", "--tape", str(tape), "--data-dir", str(data_dir.root)), "holds the data of tape /tapes/a"
    )
    assert (data_dir.root / "stack.json").read_text() == before


@pytest.mark.parametrize("variable", ["DATABASE_URL", "REDIS_URL"])
def test_an_address_that_is_no_url_is_refused(tmp_path: Path, variable: str) -> None:
    outcome = shadowbook("up", "--data-dir", str(tmp_path / "var"), variables={variable: "localhost:5432"})
    assert_refused(outcome, f"{variable} is not a URL")
    assert not (tmp_path / "var").exists()
