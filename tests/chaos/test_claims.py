"""The judge of coverage reports: a process that was killed may say too little, never too much."""

import pytest

from tests.chaos.account import CHAIN, SECOND, Account
from tests.chaos.truth import _chain_claims
from tests.oracle import Run


def _time(second: int) -> str:
    return f"2026-11-01T12:{second // 60:02d}:{second % 60:02d}.000000Z"


def _killed(gap_from: int, *fills: tuple[int, int]) -> Account:
    """Return what is left of a play whose ingest was killed at second 44 and stood again at 60: (happened, seen)."""
    noon = 1_793_534_400 * SECOND
    gap = {
        "from": _time(gap_from), "to": _time(60), "wallet": None, "status": "HEALED", "healed_at": _time(62),
        "healed_by": "GETLOGS", "ended_by": "ended without a word", "open": False,
    }  # fmt: skip
    events = [
        {"id": str(number), "kind": "TRADE", "tx_hash": f"0x{number:064x}", "event_time": noon + happened * SECOND}
        for number, (happened, _) in enumerate(fills)
    ]
    sightings = [
        {"event_id": str(number), "source": CHAIN, "seen_at": noon + seen * SECOND}
        for number, (_, seen) in enumerate(fills)
    ]
    run = Run({"events": events, "sightings": sightings})
    return Account({"gaps": [gap]}, run, noon, (), None, (noon + 58 * SECOND,), ())


@pytest.mark.parametrize(
    ("gap_from", "fill", "said"),
    [
        (40, (37, 61), ["contact is claimed, CHAIN of 0x00000000 at 37.0 s, seen at 61.0 s"]),
        (37, (37, 61), []),
        (40, (38, 61), ["contact is claimed, CHAIN of 0x00000000 at 38.0 s, seen at 61.0 s"]),
        (40, (39, 61), []),  # within the second before
        (40, (42, 43), []),  # pushed after the last word
        (34, (42, 43), ["no contact is admitted from 34.0 to 60.0 s, CHAIN of 0x00000000 at 42.0 s, seen at 43.0 s"]),
        (40, (50, 75), ["healed at 62.0 s, CHAIN of 0x00000000 at 50.0 s, seen at 75.0 s"]),
    ],
)
def test_a_claim_of_a_killed_process_is_held_to_what_was_seen(
    gap_from: int, fill: tuple[int, int], said: list[str]
) -> None:
    assert list(_chain_claims(_killed(gap_from, fill))) == said
