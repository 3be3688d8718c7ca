"""The whole stack as a person meets it: up, looked at, stopped in every way, up again, and nothing left behind."""

import json
import os
import re
import signal
import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.command_line import Outcome, Up, processes_naming, shadowbook, up

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
DATABASES = {"postgres", "valkey"}
SERVICES = {"sandbox", "ingest", "grouper", "simulator-user", "simulator-global", "ledger", "pricer", "ui"}
DECISION_TIMEOUT_SECONDS = 60.0
WALLET = "0x" + "1" * 40


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A synthetic market that all tests of this file look at without disturbing it."""
    with up(tmp_path_factory.mktemp("stack") / "var", "--seed", "7") as running:
        running.wait_announced()
        yield running


def ask(stack: Up, *arguments: str) -> Outcome:
    return shadowbook(*arguments, "--data-dir", str(stack.data_dir))


def is_answering(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def assert_nothing_left(data_dir: Path) -> None:
    assert processes_naming(data_dir) == []
    ports = json.loads((data_dir / "stack.json").read_text())["ports"]
    assert [name for name, port in ports.items() if is_answering(port)] == []
    assert not list(data_dir.rglob("*.sock"))
    assert shadowbook("status", "--data-dir", str(data_dir)).code == 3


def test_coverage_says_what_was_looked_at_and_refuses_what_it_does_not_know(stack: Up) -> None:
    outcome = ask(stack, "coverage", "--json")
    report = json.loads(outcome.out)
    assert outcome.code == (0 if report["complete"] else 1), outcome
    assert {"verdict", "since", "until", "watching", "sources", "days", "gaps", "suspects"} <= set(report)
    assert report["watching"] is True
    assert ask(stack, "coverage").out.splitlines()[0].startswith(("complete: ", "NOT complete: "))
    for wrong in (("--user", "nobody"), ("--hours", "0"), ("--hours", "x")):
        assert ask(stack, "coverage", *wrong).code == 2


def test_status_lists_every_process_stream_and_address_without_passwords(stack: Up) -> None:
    outcome = ask(stack, "status", "--json")
    assert outcome.code == 0, outcome
    report = json.loads(outcome.out)
    assert {row["name"] for row in report["processes"]} == DATABASES | SERVICES | {"supervisor", "up"}
    for row in report["processes"]:
        assert set(row) == {"name", "service", "pid", "state", "uptime_s", "pss_bytes"}
        assert row["state"] == "RUNNING"
        assert psutil.pid_exists(row["pid"])
        assert row["pss_bytes"] > 1_000_000
    assert all(set(row) == {"name", "group", "lag", "pending", "dead"} for row in report["streams"])
    assert {"events.detected", "groups.closed", "attempts.decided"} <= {row["name"] for row in report["streams"]}
    for name in ("database_url", "redis_url", "dashboard_url"):
        assert re.fullmatch(r"\w+://(\w+@)?127\.0\.0\.1:\d+(/\w+)?", report[name]), report[name]
    assert "PROCESS" in ask(stack, "status").out


def test_the_dashboard_answers_where_the_link_says(stack: Up) -> None:
    link = stack.wait_announced()
    assert link.startswith(json.loads(ask(stack, "status", "--json").out)["dashboard_url"])
    with urllib.request.urlopen(link, timeout=10) as answer:  # noqa: S310 - an http link, as asserted above
        assert answer.status == 200


def test_login_prints_another_link_each_time(stack: Up) -> None:
    links = {ask(stack, "login").out.strip() for _ in range(2)} | {stack.wait_announced()}
    assert len(links) == 3


def test_a_second_up_in_the_same_directory_is_refused(stack: Up) -> None:
    outcome = ask(stack, "up")
    assert outcome.code == 2
    assert f"in use by `shadowbook up` (process {stack.pid})" in outcome.err


def test_follow_and_unfollow_say_what_they_did(stack: Up) -> None:
    url = f"https://polymarket.com/profile/{WALLET.upper().replace('X', 'x')}"
    assert ask(stack, "follow", url, "--user", "ann").out == f"Following ann ({WALLET}).\n"
    again = json.loads(ask(stack, "follow", WALLET, "--json").out)
    assert again == {"user": "ann", "wallet": WALLET, "new": False}
    assert json.loads(ask(stack, "unfollow", "ann", "--json").out) == {"unfollowed": [WALLET]}


@pytest.mark.parametrize(
    "wallet", ["0x1234", "https://polymarket.com/event/x", "https://example.com/profile/" + WALLET]
)
def test_a_malformed_wallet_is_refused_in_one_line(stack: Up, wallet: str) -> None:
    before = ask(stack, "export", "audit").out
    outcome = ask(stack, "follow", wallet)
    assert outcome.code == 2
    assert re.fullmatch(r"shadowbook: expected a wallet .* got .*\n", outcome.err)
    assert ask(stack, "export", "audit").out == before


def test_backfill_reads_the_last_hours_again_and_says_what_was_read(stack: Up) -> None:
    shown = ask(stack, "backfill", "--all", "--hours", "2")
    assert shown.code == 0, shown
    assert re.search(r"Read [\d,]+ rows of the last 2 h of \d+ wallets; [\d,]+ events were new\.", shown.out), shown
    told = ask(stack, "backfill", "--all", "--hours", "2", "--json")
    report = json.loads(told.out)
    assert report["ok"]
    assert {"wallet", "from", "to", "rows", "new", "error"} == set(report["wallets"][0])
    nobody = ask(stack, "backfill", "--user", "0x" + "9" * 40, "--hours", "2")
    assert (nobody.code, nobody.out) == (2, "")
    assert "is not followed" in nobody.err


def test_logs_of_one_process_and_of_all(stack: Up) -> None:
    assert ask(stack, "logs", "ingest", "--lines", "3").out.count("\n") == 3
    everything = ask(stack, "logs", "--lines", "1", "--json").out.splitlines()
    assert {"postgres", "valkey", "ui"} <= {json.loads(line)["process"] for line in everything} | {"postgres"}
    unknown = ask(stack, "logs", "nobody")
    assert unknown.code == 2
    assert "choose one of" in unknown.err


def test_export_and_verify_work_while_it_runs(stack: Up) -> None:
    assert ask(stack, "export", "ledger").code == 0
    assert ask(stack, "verify").code == 0
    # Wallets trade all the time: nothing differs, and what is too fresh to compare is not said to.
    compared = json.loads(ask(stack, "verify", "--online", "--json").out)
    assert (compared["ok"], compared["different"]) == (True, 0), compared
    assert ask(stack, "verify", "--online").out.endswith("settled.\n")


def test_a_decision_is_explained_and_all_are_replayed_while_it_runs(stack: Up) -> None:
    deadline = time.monotonic() + DECISION_TIMEOUT_SECONDS
    while not (exported := ask(stack, "export", "attempts").out):
        assert time.monotonic() < deadline, "nothing was decided"
    attempt = json.loads(exported.splitlines()[0])
    told = ask(stack, "explain", attempt["id"][:12])
    assert (told.code, told.err) == (0, ""), told
    assert told.out.startswith(("COPIED", "NOT COPIED"))
    assert "\x1b" not in told.out
    assert max(map(len, told.out.splitlines())) <= 100
    both = json.loads(ask(stack, "explain", attempt["group_id"], "--json").out)["attempts"]
    assert attempt["id"] in {each["attempt_id"] for each in both}
    assert ask(stack, "explain", "ffffff-no").code == 2
    replayed = json.loads(ask(stack, "replay", "--json").out)
    assert replayed["ok"], replayed
    assert replayed["compared"] >= replayed["attempts"] > 0  # some may be committed while it looks
    assert re.fullmatch(r"[\d,]+ attempts decided again: none differs\.\n", ask(stack, "replay", "--since", "1h").out)
    assert {each["scope"] for each in json.loads(ask(stack, "skips", "--json").out)["scopes"]} == {
        "EXEC_GLOBAL", "EXEC_USER",
    }  # fmt: skip
    assert ask(stack, "replay", "--user", "nobody").code == 2


def test_each_service_s_environment_holds_only_its_own(stack: Up) -> None:
    rows = {row["name"]: row["pid"] for row in json.loads(ask(stack, "status", "--json").out)["processes"]}
    secrets = json.loads((stack.data_dir / "secrets.json").read_text())
    ui = psutil.Process(rows["ui"]).environ()
    assert secrets["postgres"]["ui"] in ui["DATABASE_URL"]
    others = [secrets[kind][name] for kind in ("postgres", "redis") for name in secrets[kind] if name != "ui"]
    assert not [secret for secret in others if any(secret in value for value in ui.values())]
    assert "SHADOWBOOK_DATA_API_URL" not in ui
    assert "DATABASE_URL" not in psutil.Process(rows["sandbox"]).environ()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands Postgres to another account")
def test_no_existing_directory_is_opened(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with up(closed / "var") as running:
        running.wait_announced()
        assert closed.stat().st_mode & 0o777 == 0o700
        running.signal(signal.SIGINT)
        assert running.wait() == 0
        assert_nothing_left(running.data_dir)
        assert shadowbook("export", "ledger", "--data-dir", str(running.data_dir)).code == 0


def test_stopped_and_started_again_it_goes_on_where_it_was(tmp_path: Path) -> None:
    data_dir = tmp_path / "var"
    with up(data_dir, "--seed", "3") as first:
        first.wait_announced()
        ports = json.loads((data_dir / "stack.json").read_text())["ports"]
        first.signal(signal.SIGINT)
        assert first.wait() == 0
        assert_nothing_left(data_dir)
    exported = [shadowbook("export", kind, "--data-dir", str(data_dir)) for kind in ("events", "ledger")]
    assert [outcome.code for outcome in exported] == [0, 0]
    events_before = set(exported[0].out.splitlines())
    with up(data_dir) as second:
        second.wait_announced()
        assert json.loads((data_dir / "stack.json").read_text())["ports"] == ports
        ids = {
            json.loads(line)["id"]
            for line in shadowbook("export", "events", "--data-dir", str(data_dir)).out.splitlines()
        }
        assert {json.loads(line)["id"] for line in events_before} <= ids
        assert shadowbook("down", "--data-dir", str(data_dir)).out == "Stopped.\n"
        assert second.wait() == 0
        assert_nothing_left(data_dir)
        assert shadowbook("verify", "--data-dir", str(data_dir)).code == 0
        assert_nothing_left(data_dir)


def test_a_second_ctrl_c_hurries_and_still_leaves_nothing(tmp_path: Path) -> None:
    with up(tmp_path / "var") as running:
        running.wait_announced()
        running.signal(signal.SIGINT)
        running.signal(signal.SIGINT)
        assert running.wait(20) == 0
        assert_nothing_left(running.data_dir)


def test_ctrl_c_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    with up(tmp_path / "var") as running:
        running.wait_printed("databases ready")
        running.signal(signal.SIGINT)
        assert running.wait() == 0
        assert_nothing_left(running.data_dir)


def test_what_kill_9_leaves_is_gone_after_down(tmp_path: Path) -> None:
    with up(tmp_path / "var") as running:
        running.wait_announced()
        report = json.loads(shadowbook("status", "--json", "--data-dir", str(running.data_dir)).out)
        supervisor = next(row["pid"] for row in report["processes"] if row["name"] == "supervisor")
        os.kill(running.pid, signal.SIGKILL)
        os.kill(supervisor, signal.SIGKILL)
        running.wait()
        assert shadowbook("down", "--data-dir", str(running.data_dir)).code == 0
        assert_nothing_left(running.data_dir)
