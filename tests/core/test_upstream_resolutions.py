"""Which rows of `/v2/resolutions` pay: final ones that agree, and nothing else."""

from datetime import UTC, datetime
from typing import Any

import pytest

from libs.common.upstream.resolutions import decode_resolution, final_resolutions

FINAL: dict[str, Any] = {
    "condition_id": "0xc1",
    "status": "resolved",
    "payouts": [1_000_000, 0],
    "resolution_source": "reported",
    "resolved_at": "2026-09-09T21:19:19Z",
}
PENDING = {
    "condition_id": "0xc1",
    "status": "proposed",
    "proposed_price": "1000000000000000000",
    "reproposed_price": "69",
    "price": "69",
    "last_update_timestamp": "1790704227",
}


def agreed(*rows: object) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    reasons: list[str] = []
    found = final_resolutions(rows, ["0xc1", "0xc2"], lambda reason, _error, _wire: reasons.append(reason))
    return {condition: each.payouts_micros for condition, each in found.items()}, reasons


@pytest.mark.parametrize(
    "status",
    ["initialized", "posed", "proposed", "challenged", "reproposed", "disputed", "active", "arbitration", "", None],
)
@pytest.mark.parametrize("price", ["69", "1000000000000000000", "500000000000000000", "0"])
def test_no_open_state_is_final_whatever_price_or_payouts_it_names(status: str | None, price: str) -> None:
    assert decode_resolution({**PENDING, "status": status, "price": price}) is None
    assert decode_resolution({**FINAL, "status": status, "price": price}) is None


@pytest.mark.parametrize("payouts", [None, []])
def test_resolved_without_payouts_is_not_final(payouts: list[int] | None) -> None:
    assert decode_resolution({**FINAL, "payouts": payouts, "price": "500000000000000000"}) is None


@pytest.mark.parametrize(
    "payouts",
    [[500_000, 500_000], [333_333, 666_667], [333_333, 666_666], [1, 999_999], [333_333] * 3, [0, 0, 1_000_000]],
)
def test_payouts_that_make_up_a_share_are_taken_as_they_are(payouts: list[int]) -> None:
    found = decode_resolution({**FINAL, "payouts": payouts})
    assert found is not None
    assert list(found.payouts_micros) == payouts


@pytest.mark.parametrize(
    "payouts",
    [[0, 0], [1_000_000, 1_000_000], [1, 0], [500_000, 499_998], [1_000_001, 0], [-1, 1_000_001], ["x", 1], [0.5]],
)
def test_payouts_that_do_not_make_up_a_share_are_refused(payouts: list[Any]) -> None:
    assert agreed({**FINAL, "payouts": payouts}) == ({}, ["resolution"])


def test_derived_payouts_count_as_reported_ones_do_and_say_so() -> None:
    found = decode_resolution({**FINAL, "resolution_source": "derived"})
    assert found is not None
    assert found.source == "derived"


@pytest.mark.parametrize(
    ("stamps", "at"),
    [
        ({"resolved_at": "2026-09-09T21:19:19Z"}, datetime(2026, 9, 9, 21, 19, 19, tzinfo=UTC)),
        ({"resolved_at": "1790704227"}, datetime(2026, 9, 29, 17, 50, 27, tzinfo=UTC)),
        ({"resolved_at": None, "last_update_timestamp": "1790704227"}, datetime(2026, 9, 29, 17, 50, 27, tzinfo=UTC)),
        ({"resolved_at": "", "last_update_timestamp": 1790704227}, datetime(2026, 9, 29, 17, 50, 27, tzinfo=UTC)),
        ({"resolved_at": "1790704227000"}, None),
        ({"resolved_at": "soon", "last_update_timestamp": True}, None),
        ({}, None),
    ],
)
def test_both_shapes_of_time_are_read(stamps: dict[str, object], at: datetime | None) -> None:
    row = {key: value for key, value in FINAL.items() if key != "resolved_at"} | stamps
    found = decode_resolution(row)
    assert found is not None
    assert found.resolved_at == at


def test_rows_that_agree_are_one_resolution_and_neighbours_stand_alone() -> None:
    other = {**FINAL, "condition_id": "0xC2", "payouts": [0, 1_000_000]}
    assert agreed(FINAL, dict(FINAL), other) == ({"0xc1": (1_000_000, 0), "0xc2": (0, 1_000_000)}, [])


@pytest.mark.parametrize("second", [{**FINAL, "payouts": [0, 1_000_000]}, PENDING, {**PENDING, "status": "disputed"}])
def test_rows_of_one_condition_that_disagree_pay_nobody_in_either_order(second: dict[str, Any]) -> None:
    assert agreed(FINAL, second) == ({}, ["resolution_contradicted"])
    assert agreed(second, FINAL) == ({}, ["resolution_contradicted"])


def test_an_unreadable_row_of_a_condition_leaves_it_open() -> None:
    assert agreed({**FINAL, "payouts": "all"}, FINAL) == ({}, ["resolution", "resolution_contradicted"])
    assert agreed({"payouts": [1, 2]}, 7, FINAL) == ({"0xc1": (1_000_000, 0)}, ["resolution", "resolution"])


def test_what_was_not_asked_for_is_left_out() -> None:
    assert agreed({**FINAL, "condition_id": "0xc3"}) == ({}, [])
