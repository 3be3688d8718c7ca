"""Fault schedules are read whole or refused with the line that is wrong, and hold when they say."""

import json
from pathlib import Path

import pytest

from services.sandbox.commands import FaultsError, validate_faults
from services.sandbox.faults import NAMES
from tests.support.sandbox import faults_file


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_fault_of_the_paper_is_accepted(tmp_path: Path, name: str) -> None:
    target = "rpc" if name.startswith("ws") or name in {"reorg", "no_block_timestamp"} else "all"
    faults = validate_faults(faults_file(tmp_path, [{"at_s": 5, "for_s": 30, "fault": name, "target": target}]))
    assert [fault.name for fault in faults.all] == [name]


def test_a_fault_holds_from_its_start_for_its_length(tmp_path: Path) -> None:
    faults = validate_faults(faults_file(tmp_path, [{"at_s": 1.5, "for_s": 2, "fault": "slow", "target": "clob"}]))
    held = [ms for ms in range(0, 5000, 500) if faults.find("clob", "slow", ms)]
    assert held == [1500, 2000, 2500, 3000]
    assert faults.find("data", "slow", 2000) is None
    assert faults.find("clob", "slow", None) is None


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "faults.jsonl:2: "),
        ("[]", "expected a JSON object, got list"),
        ('{"at_s":1,"for_s":1,"fault":"fire","target":"data"}', "expected `fault` to be one of down, "),
        ('{"at_s":1,"for_s":1,"fault":"slow","target":"moon"}', "expected `target` to be one of data, "),
        ('{"at_s":1,"for_s":1,"fault":"ws_drop","target":"clob"}', "expected `target` rpc for ws_drop"),
        ('{"at_s":-1,"for_s":1,"fault":"slow","target":"data"}', "expected `at_s` to be seconds from 0 on"),
        ('{"at_s":1,"fault":"slow","target":"data"}', "expected `for_s` to be seconds above 0"),
        ('{"at_s":1,"for_s":1,"fault":"slow","target":"data","delay_ms":0}', "expected `delay_ms`"),
        ('{"at_s":1,"for_s":1,"fault":"rate_limit","target":"data","retry_after":"now"}', "expected `retry_after`"),
        ('{"at_s":1,"for_s":1,"fault":"slow","target":"data","why":1}', "got why"),
    ],
)
def test_a_bad_fault_is_named(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "faults.jsonl"
    path.write_text(json.dumps({"at_s": 1, "for_s": 1, "fault": "slow", "target": "data"}) + f"\n{line}\n")
    with pytest.raises(FaultsError) as refused:
        validate_faults(path)
    assert f"{path}:2: " in str(refused.value)
    assert says in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FaultsError, match="expected a readable file of JSON lines, got No such file"):
        validate_faults(tmp_path / "none.jsonl")
