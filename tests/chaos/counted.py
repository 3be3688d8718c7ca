"""What a coverage report counted, measured and added up, against the sightings and its own gaps."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Final

from tests.chaos.account import API, CHAIN, SECOND, Account, Stretch
from tests.oracle.run import microseconds

DURATION_SECONDS: Final = 0.1
"""By how much a duration may differ from the sum of its gaps."""


def _day(row: dict[str, Any]) -> tuple[str, int]:
    return row["user_label"], row["event_time"] // (86_400 * SECOND)


def _counts(account: Account) -> Iterator[str]:
    seen = account.seen
    expected: defaultdict[tuple[str, int], Counter[str]] = defaultdict(Counter)
    for row in account.run["events"]:
        counted = expected[_day(row)]
        if row["kind"] != "TRADE":
            counted["others"] += 1  # empty ones and such too, which are not booked
        elif not row["booked"]:
            continue
        elif row["status"] != "CANONICAL":
            counted["reversed"] += 1
        else:
            sources = seen[row["id"]].keys()
            counted["fills"] += 1
            counted["both" if len(sources) > 1 else "only_api" if API in sources else "only_chain or awaiting"] += 1
            counted["mismatched"] += row["mismatch"] is not None
    names = ("fills", "both", "only_api", "mismatched", "reversed", "others")
    told = {
        (row["user"], microseconds(f"{row['day']}T00:00:00.000000Z") // (86_400 * SECOND)): row
        for row in account.report["days"]
    }
    for key in expected.keys() | told.keys():
        row, counted = told.get(key, {}), expected[key]
        got = {name: row.get(name, 0) for name in names} | {
            "only_chain or awaiting": row.get("only_chain", 0) + row.get("awaiting_api", 0)
        }
        if got != (wanted := {name: counted[name] for name in got}):
            yield f"{key[0]}: {got}, the sightings say {wanted}"


def _lags(account: Account) -> Iterator[str]:
    seen = account.seen
    lags: defaultdict[tuple[str, int, str], list[int]] = defaultdict(list)
    for row in account.run["events"]:
        if row["kind"] == "TRADE" and row["status"] == "CANONICAL" and row["booked"]:
            for source, at in seen[row["id"]].items():
                lags[*_day(row), source].append(max(0, at - row["event_time"]) // 1000)
    for day in account.report["days"]:
        number = microseconds(f"{day['day']}T00:00:00.000000Z") // (86_400 * SECOND)
        for source, name in ((CHAIN, "chain_lag"), (API, "api_lag")):
            found = sorted(lags[day["user"], number, source])
            wanted = [found[-(-len(found) * part // 100) - 1] for part in (50, 95)] if found else []
            told = [day[name]["median_ms"], day[name]["p95_ms"]] if day[name] else []
            if len(told) != len(wanted) or any(abs(one - other) > 1 for one, other in zip(told, wanted, strict=True)):
                yield f"{name} of {day['user']} is {told} ms, the sightings say {wanted}"


def _without(spans: Iterable[Stretch], since: int, until: int) -> set[int]:
    """Return the milliseconds of a time that lie in any of the spans."""
    found: set[int] = set()
    for span in spans:
        found.update(range(max(span.start, since) // 1000, min(span.end, until) // 1000))
    return found


def _durations(account: Account) -> Iterator[str]:
    """Compare how long a user was followed without contact with the gaps; users of one wallet only."""
    if account.report["gaps_omitted"]:
        return
    until = microseconds(account.report["until"])
    for user in {day["user"] for day in account.report["days"]}:
        names = ("chain_gap_seconds", "api_gap_seconds", "blind_seconds", "unhealed_seconds", "followed_seconds")
        *told, followed = (sum(day[name] for day in account.report["days"] if day["user"] == user) for name in names)
        wallets = {row["wallet"] for row in account.run["events"] if row["user_label"] == user}
        if len(wallets) != 1:
            continue
        chain, api = (
            _without((gap.span for gap in account.gaps if gap.wallet in of), until - int(followed * SECOND), until)
            for of in ({None}, wallets)
        )
        counted = [len(each) / 1000 for each in (chain, api, chain & api)] + [0]
        if any(abs(one - other) > DURATION_SECONDS for one, other in zip(told, counted, strict=True)):
            yield f"{user} was without chain, API, both, healing for {told} s, the gaps give {counted}"


COUNTED: Final = (_counts, _lags, _durations)
