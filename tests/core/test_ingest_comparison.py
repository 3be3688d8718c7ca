"""`verify --online`: a difference is claimed only where both sides count the same events."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from services.ingest.core.comparison import DIFFERENT, EQUAL, SETTLED, Compared, Shadow, Wallet, compare
from services.ingest.core.positions import Held

T0 = datetime(2026, 9, 28, 9, 0, tzinfo=UTC)
USER = UUID(int=7)
ONE, TWO = "0x" + "a" * 40, "0x" + "b" * 40
LAG = timedelta(seconds=20)
WALLET = Wallet(ONE, USER, "otter", T0, followed=True, opened=True, through=T0 + timedelta(minutes=5))


def row(shares: int, second: int = 60) -> Held:
    return Held("11", "0xc1", "e", shares, 500_000, T0 + timedelta(seconds=second))


def verdict(
    shadow: int | None, *readings: Held | None, wallets: tuple[Wallet, ...] = (WALLET,), **known: Any
) -> Compared:
    held: dict[str, Mapping[str, Held]] = {
        wallet.wallet: {"11": reading} if reading else {} for wallet, reading in zip(wallets, readings, strict=False)
    }
    books: dict[str, Any] = {"later": {}, "last": {}, "resolved": set(), "busy": set(), "lag": LAG}
    shadows = [] if shadow is None else [Shadow(USER, "11", "0xc1", shadow)]
    [found] = compare(wallets, shadows, held, **(books | known))
    return found


def test_equal_and_different_are_told_with_both_amounts() -> None:
    assert verdict(5, row(5)).verdict == EQUAL
    found = verdict(5, row(7))
    assert (found.verdict, found.difference_micros, found.user_label) == (DIFFERENT, -2, "otter")
    assert verdict(None, row(7)).verdict == DIFFERENT
    assert verdict(5, None, last={(ONE, "11"): T0}).verdict == DIFFERENT


def test_wallets_of_one_user_add_up() -> None:
    second = replace(WALLET, wallet=TWO)
    assert verdict(5, row(2), row(3), wallets=(WALLET, second)).verdict == EQUAL


def test_what_came_after_the_row_is_taken_off() -> None:
    assert verdict(9, row(5), later={(ONE, "11"): 4}).verdict == EQUAL


def test_a_settled_condition_is_not_compared() -> None:
    assert verdict(0, row(5), resolved={"0xc1"}).verdict == SETTLED


@pytest.mark.parametrize(
    ("changes", "known", "says"),
    [
        ({"opened": False}, {}, "opening"),
        ({"through": None}, {}, "activity"),
        ({"through": T0 + timedelta(seconds=79)}, {}, "activity"),
        ({"followed": False}, {}, "no longer followed"),
        ({}, {"busy": {USER}}, "on their way"),
    ],
)
def test_nothing_is_claimed_before_it_can_be_known(changes: dict[str, Any], known: dict[str, Any], says: str) -> None:
    found = verdict(5, row(7), wallets=(replace(WALLET, **changes),), **known)
    assert "not comparable" in found.verdict
    assert says in found.verdict


def test_a_wallet_that_could_not_be_read_is_not_taken_for_empty() -> None:
    assert "could not be read" in verdict(5).verdict


def test_the_bound_of_completeness_is_inclusive() -> None:
    exactly = replace(WALLET, through=T0 + timedelta(seconds=80))
    assert verdict(5, row(5), wallets=(exactly,)).verdict == EQUAL
    fresh = {(ONE, "11"): T0 + timedelta(minutes=5)}
    assert "activity" in verdict(5, None, last=fresh).verdict
