"""The judge of coverage reports: it believes an honest report of each disturbance, and tells each lie."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.chaos.account import API, CHAIN, SECOND, Account
from tests.chaos.cases import fault
from tests.chaos.truth import untruths, untruths_midway
from tests.oracle.run import Run, microseconds

WALLET, LABEL = "0xa1", "otter"
START = microseconds("2026-11-22T10:00:00.000000Z")
END = 300.0

Seen = tuple[float, float | None, float | None]
"""Seconds of play at which a fill happened, and at which the chain and the API showed it."""
FILLS: tuple[Seen, ...] = tuple((at, at + 0.5, at + 8) for at in (20.0, 41.0, 55.0, 100.0, 140.0, 240.0))


def at(seconds: float) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=START + round(seconds * SECOND))
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def gap(start: float, end: float, *, wallet: str | None = None, **values: Any) -> dict[str, Any]:
    """Return a gap as reported: of a wallet's polls, or of the chain, healed by itself."""
    healed = {"status": "HEALED", "healed_at": at(end + 0.5), "healed_by": "POLL" if wallet else "GETLOGS"}
    own = {"source": API if wallet else CHAIN, "wallet": wallet, "open": False, "ended_by": "it broke"}
    return {"from": at(start), "to": at(end), **own, **healed, **values}


def lag(lags: Sequence[float]) -> dict[str, int] | None:
    ranked = sorted(round(each * 1000) for each in lags)
    return {f"{name}_ms": ranked[-(-len(ranked) * part // 100) - 1] for name, part in (("median", 50), ("p95", 95))}


def milliseconds(row: dict[str, Any]) -> tuple[int, int]:
    """Return from when to when a gap lasted, in milliseconds of the play."""
    start, end = ((microseconds(row[name]) - START) // 1000 for name in ("from", "to"))
    return start, end


def account(
    *faults: dict[str, Any],
    gaps: Sequence[dict[str, Any]] = (),
    fills: Sequence[Seen] = FILLS,
    failed: int = 0,
    restarts: Sequence[float] = (),
) -> Account:
    """Return what an honest report says of a play of 300 seconds, and what it is judged by."""
    blank = {"kind": "TRADE", "status": "CANONICAL", "booked": True, "mismatch": None, "user_label": LABEL}
    events, sightings = [], []
    for number, (happened, *times) in enumerate(fills):
        own = {"id": f"e{number}", "wallet": WALLET, "tx_hash": f"0x{number:08}"}
        events.append({**blank, **own, "event_time": START + round(happened * SECOND)})
        for source, seconds in zip((CHAIN, API), times, strict=True):
            if seconds is not None:
                seen = {"event_id": f"e{number}", "source": source, "seen_at": START + round(seconds * SECOND)}
                sightings.append(seen)
    both = sum(None not in row for row in fills)
    only_api = sum(chain is None for _, chain, _ in fills)
    counts = {"fills": len(fills), "both": both, "only_api": only_api, "only_chain": len(fills) - both - only_api}
    lags = {
        "chain_lag": lag([chain - happened for happened, chain, _ in fills if chain is not None]),
        "api_lag": lag([api - happened for happened, _, api in fills if api is not None]),
    }
    chain, api = (
        {each for row in gaps if row["wallet"] == wallet for each in range(*milliseconds(row))}
        | set(range(-5000, 1000))
        for wallet in (None, WALLET)
    )
    without = {"chain_gap": chain, "api_gap": api, "blind": chain & api, "unhealed": ()}
    durations = {f"{name}_seconds": len(each) / 1000 for name, each in without.items()} | {"followed_seconds": END + 5}
    day = {"user": LABEL, "day": "2026-11-22", "answer": "complete", "awaiting_api": 0, "mismatched": 0, "reversed": 0}
    report = {
        "complete": True,
        "verdict": "complete",
        "suspects": [],
        "until": at(END),
        "wallets": 1,
        "sources": [
            {"source": source, "configured": True, "in_contact": True, "failed_polls": failed if source == API else 0}
            for source in (CHAIN, API)
        ],
        "days": [{**day, **counts, **lags, **durations, "others": 0}],
        "gaps_omitted": 0,
        "gaps": [*gaps, gap(-5, 1), gap(-5, 1, wallet=WALLET)],
    }
    run = Run({"events": events, "sightings": sightings})
    again = tuple(START + round(each * SECOND) for each in restarts)
    return Account(report, run, START, faults, failed, again, ())


def said(judged: Account, **lie: Any) -> list[str]:
    return untruths(replace(judged, report={**judged.report, **lie}))


CUT = fault("down", "rpc", 30, 30)
API_DOWN = fault("down", "data", 180, 30)
FLAPS = fault("ws_flap", "rpc", 60, 30)
SILENT = fault("ws_silent", "rpc", 60, 30)
GARBLED = fault("malformed", "rpc", 30, 30)
FLAPPED = [gap(start, start + 2) for start in (32, 45, 60)]
FETCHED = tuple((at_s, 61.5 if 30 < at_s < 60 else chain, api) for at_s, chain, api in FILLS)
"""Fills of the outage, fetched after it."""
POLLED = tuple((at_s, chain, 218.0 if 30 < at_s < 205 else api) for at_s, chain, api in FILLS)
UNLOGGED = ((20.0, None, 28.0), *FILLS[1:])
DOUBTED = "doubted: a log was not delivered"
SHOWN_LATE = gap(28, 215, wallet=WALLET)

HONEST = {
    "nothing happens": account(),
    "the node is cut off": account(CUT, gaps=[gap(30, 61)], fills=FETCHED),
    "the socket flaps": account(FLAPS, gaps=FLAPPED),
    "the socket is silent": account(SILENT, gaps=[gap(31, 62)], fills=FETCHED),
    "frames are garbled": account(GARBLED, gaps=[gap(40, 61)], fills=FETCHED),
    "ingest starts again": account(gaps=[gap(60, 66)], restarts=[65]),
    "a fill has no log": account(gaps=[gap(60, 62, ended_by=DOUBTED)], fills=UNLOGGED),
    "the API is down": account(API_DOWN, gaps=[SHOWN_LATE], fills=POLLED, failed=9),
}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_report_is_believed(name: str) -> None:
    assert untruths(HONEST[name]) == []


LATE_BY_CHAIN = ((20.0, 35.0, 28.0), *FILLS[1:])
LATE_BY_API = ((20.0, 20.5, 130.0), *FILLS[1:])
QUIET = HONEST["nothing happens"].report

LIES: dict[str, tuple[Account, str]] = {
    "what was seen late was in contact with the chain": (account(fills=LATE_BY_CHAIN), "contact is claimed, CHAIN"),
    "what was seen late was in contact with the API": (account(fills=LATE_BY_API), "contact is claimed, DATA_API"),
    "a gap is healed before it is": (
        account(CUT, gaps=[gap(30, 61)], fills=((41.0, 75.0, 49.0), *FILLS[3:])),
        "healed at 61.5 s, CHAIN",
    ),
    "nothing was seen when something was": (account(CUT, gaps=[gap(30, 61)]), "no contact is admitted from 30.0"),
    "the node was never cut off": (account(CUT, fills=FETCHED), "the node was cut off at 30.0 s: no gap"),
    "the node came back late": (account(CUT, gaps=[gap(30, 99)], fills=FETCHED), "the gap ends at 99.0 s"),
    "the node came back early": (account(CUT, gaps=[gap(30, 50)], fills=FETCHED), "the gap ends at 50.0 s"),
    "the API healed the node's gap": (
        account(CUT, gaps=[gap(30, 61, healed_by="POLL")], fills=FETCHED),
        "is not healed by the node",
    ),
    "a flapping socket fell twice": (account(FLAPS, gaps=FLAPPED[:2]), "ws_flap for 60 s with 1 fills leaves 2 gaps"),
    "a silent socket spoke": (account(SILENT, fills=FETCHED), "ws_silent for 60 s with 1 fills leaves 0 gaps"),
    "garbled frames were read": (account(GARBLED, fills=FETCHED), "frames were garbled from 30.0 s: no gap"),
    "a socket fell by itself": (account(gaps=[gap(60, 62)]), "nothing cut the node off"),
    "a socket fell under what harms none": (
        account(fault("duplicate_rows", "all", END), gaps=[gap(60, 62)]),
        "nothing cut the node off",
    ),
    "a socket was doubted without a reason": (
        account(gaps=[gap(60, 62, ended_by=DOUBTED)]),
        "nothing cut the node off",
    ),
    "a doubted socket was replaced slowly": (
        account(gaps=[gap(60, 75, ended_by=DOUBTED)], fills=UNLOGGED),
        "nothing cut the node off",
    ),
    "a socket fell by itself where a log is missing": (
        account(gaps=[gap(60, 62)], fills=UNLOGGED),
        "nothing cut the node off",
    ),
    "ingest never stopped": (account(restarts=[65]), "ingest was started again at 65.0 s: []"),
    "ingest came back late": (account(gaps=[gap(60, 99)], restarts=[61]), "ingest was started again at 61.0 s"),
    "the API healed what ingest missed": (
        account(gaps=[gap(60, 66, healed_by="POLL")], restarts=[65]),
        "ingest was started again at 65.0 s",
    ),
    "the API was never down": (account(API_DOWN, fills=POLLED, failed=9), f"0 gaps of {WALLET}"),
    "the API was down twice": (
        account(API_DOWN, gaps=[gap(28, 29, wallet=WALLET), gap(30, 215, wallet=WALLET)], fills=POLLED, failed=9),
        f"2 gaps of {WALLET}",
    ),
    "the API was down before": (
        account(API_DOWN, gaps=[gap(-8, 215, wallet=WALLET)], fills=POLLED, failed=9),
        "starts at -8.0 s",
    ),
    "the API came back late": (
        account(API_DOWN, gaps=[gap(28, 250, wallet=WALLET)], fills=POLLED, failed=9),
        "ends at 250.0 s",
    ),
    "the API came back early": (
        account(API_DOWN, gaps=[gap(28, 160, wallet=WALLET)], fills=POLLED, failed=9),
        "ends at 160.0 s",
    ),
    "nobody says why the API was away": (
        account(API_DOWN, gaps=[{**SHOWN_LATE, "ended_by": None}], fills=POLLED, failed=9),
        "should be healed by a poll and say why",
    ),
    "the chain healed the API's gap": (
        account(API_DOWN, gaps=[{**SHOWN_LATE, "healed_by": "GETLOGS"}], fills=POLLED, failed=9),
        "should be healed by a poll and say why",
    ),
    "no poll failed for a minute": (
        account(API_DOWN, gaps=[SHOWN_LATE], fills=POLLED),
        "polls failed for a minute and none is told",
    ),
    "polls fail by themselves": (account(failed=2), "2 failed polls, and nothing disturbed them"),
    "the API was away by itself": (account(gaps=[gap(60, 90, wallet=WALLET)]), "nothing disturbed the API"),
    "a gap of a drained play is open": (
        account(CUT, gaps=[gap(30, 61, status="UNHEALED")], fills=FETCHED),
        "is unhealed",
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_each_lie_about_a_disturbance_is_told(name: str) -> None:
    lying, expected = LIES[name]
    found = untruths(lying)
    assert any(expected in each for each in found), found


DAY = QUIET["days"][0]


@pytest.mark.parametrize(
    ("lie", "expected"),
    [
        ({"complete": False}, "is not complete"),
        ({"suspects": ["0x1"]}, "is not complete"),
        ({"sources": [{**each, "failed_polls": 1} for each in QUIET["sources"]]}, "1 failed polls, the log has 0"),
        ({"sources": [{**each, "configured": False} for each in QUIET["sources"]]}, "sources are"),
        ({"days": [{**DAY, "answer": "no trade"}]}, "is 'no trade'"),
        ({"days": []}, "the sightings say"),
        *(
            ({"days": [{**DAY, name: DAY[name] + 1}]}, "the sightings say")
            for name in DAY
            if isinstance(DAY[name], int)
        ),
        *(
            ({"days": [{**DAY, name: {**DAY[name], part: DAY[name][part] + 2}}]}, f"{name} of otter is")
            for name in ("chain_lag", "api_lag")
            for part in ("median_ms", "p95_ms")
        ),
        *(({"days": [{**DAY, f"{name}_seconds": 7.5}]}, "the gaps give") for name in ("chain_gap", "api_gap", "blind")),
        ({"days": [{**DAY, "unhealed_seconds": 1}]}, "the gaps give"),
        ({"days": [{**DAY, "chain_lag": None}]}, "chain_lag of otter is [] ms"),
    ],
)
def test_each_false_count_is_told(lie: dict[str, Any], expected: str) -> None:
    found = said(HONEST["nothing happens"], **lie)
    assert any(expected in each for each in found), found


def midway(*, chain: bool, api: bool, **lie: Any) -> dict[str, Any]:
    """Return an honest report of second 100, while sources are in contact or away."""
    gaps = [] if chain else [gap(30, 100, open=True, status="BRIDGED")]
    gaps += [] if api else [gap(30, 100, wallet=WALLET, open=True, status="UNHEALED")]
    sources = [{"source": CHAIN, "in_contact": chain}, {"source": API, "in_contact": api}]
    own = {"until": at(100), "wallets": 1, "gaps": gaps, "sources": sources, "complete": api, "verdict": "as it is"}
    return {**own, **lie}


CHAIN_DOWN = account(fault("down", "rpc", 180, 30))
API_AWAY = account(API_DOWN)


@pytest.mark.parametrize(
    ("judged", "report", "expected"),
    [
        (CHAIN_DOWN, midway(chain=False, api=True), []),
        (API_AWAY, midway(chain=True, api=False), []),
        (CHAIN_DOWN, midway(chain=True, api=True), ["CHAIN is away: in contact True, 0 open gaps"]),
        (API_AWAY, midway(chain=True, api=False, gaps=[]), ["DATA_API is away: in contact False, 0 open gaps"]),
        (CHAIN_DOWN, midway(chain=False, api=False), ["DATA_API is not away", "the API is not away"]),
        (API_AWAY, midway(chain=True, api=False, complete=True), ["the API is away: as it is"]),
        (
            CHAIN_DOWN,
            midway(chain=False, api=True, gaps=[gap(30, 100, open=True, status="HEALED")]),
            ["CHAIN: an open gap is HEALED"],
        ),
        (
            API_AWAY,
            midway(chain=True, api=False, gaps=[gap(30, 100, wallet=WALLET, open=True, status="BRIDGED")]),
            ["DATA_API: an open gap is BRIDGED"],
        ),
    ],
)
def test_a_report_in_an_outage_says_what_is_away(judged: Account, report: dict[str, Any], expected: list[str]) -> None:
    found = untruths_midway(judged, report)
    assert len(found) == len(expected)
    assert all(wanted in each for wanted, each in zip(expected, found, strict=True)), found
